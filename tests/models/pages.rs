//! Who reads a log holds little of it, however large its events are.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use migration::{Migrator, MigratorTrait as _};
use parley::{
    conversation::EventId,
    event_log::{EventLog, Opened},
    models::{Store, connect},
};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement};

use super::new_run;
use crate::support::{Database, pool};

/// Writes an event of so many bytes, in characters of two.
async fn write(db: &DatabaseConnection, run: uuid::Uuid, seq: i64, bytes: usize) {
    let data = "é".repeat(bytes / 2);
    let insert = Statement::from_sql_and_values(
        db.get_database_backend(),
        "INSERT INTO events (run_id, seq, name, payload, at) VALUES ($1, $2, 'turn.completed', $3, 0)",
        [run.into(), seq.into(), data.into()],
    );
    db.execute_raw(insert).await.unwrap();
}

async fn pages_are_bounded(uri: &str) {
    const KIB: usize = 1024;
    let db = connect(&pool(uri)).await.unwrap();
    Migrator::up(&db, None).await.unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let (mut counted, count) = (db.clone(), Arc::clone(&asked));
    counted.set_metric_callback(move |info| {
        let pages = info.statement.sql.contains("octet_length");
        count.fetch_add(usize::from(pages), Ordering::Relaxed);
    });
    let store = Store::new(counted, Duration::from_secs(5));
    let run = new_run(&store).await;
    // Small ones by the number, then large ones, and one that is larger than any page.
    let sizes = [[10; 100].as_slice(), &[100 * KIB; 7], &[1024 * KIB, 10, 10]].concat();
    for (seq, bytes) in (2..).zip(&sizes) {
        write(&db, run.as_uuid(), seq, *bytes).await;
    }
    let (mut seq, mut pages) = (0, Vec::new());
    loop {
        let page = store
            .page_after(run, seq, 64, 256 * KIB as u64)
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        assert_eq!(page[0].seq, seq + 1);
        assert_eq!(page.len() as u64, last.seq - seq);
        seq = last.seq;
        pages.push(page.len());
    }
    // `run.started` is the first.
    assert_eq!(pages, [64, 40, 3, 2, 2]);
    assert_eq!(seq, sizes.len() as u64 + 1);
    // A page of next to no bytes has one event all the same.
    assert_eq!(store.page_after(run, 0, 64, 1).await.unwrap().len(), 1);

    // And so a reader takes them: each page when the one before is gone.
    let set = Statement::from_sql_and_values(
        db.get_database_backend(),
        "UPDATE runs SET last_seq = $1 WHERE id = $2",
        [i64::try_from(seq).unwrap().into(), run.as_uuid().into()],
    );
    db.execute_raw(set).await.unwrap();
    asked.store(0, Ordering::Relaxed);
    let log = EventLog::new(store);
    let Opened::Reading(mut reader) = log.open(run, EventId::START).await.unwrap() else {
        panic!("it is over");
    };
    let (mut read, mut ended) = (0, 0);
    while ended <= sizes.len() {
        let bytes = reader.next().await.unwrap().unwrap();
        read += bytes.len();
        ended += std::str::from_utf8(&bytes).unwrap().matches("id: ").count();
        // What was read ahead is less than a page and its last event.
        let (taken, most) = (asked.load(Ordering::Relaxed), pages.len());
        let before: usize = pages[..taken.min(most) - 1].iter().sum();
        assert!(
            ended >= before,
            "{taken} pages were read for {ended} events"
        );
    }
    assert!(read > sizes.iter().sum(), "{read}");
    assert_eq!(asked.load(Ordering::Relaxed), pages.len());
    drop(reader);
    db.close().await.unwrap();
}

#[tokio::test]
async fn a_page_of_large_events_has_few_in_sqlite() {
    pages_are_bounded("sqlite::memory:").await;
}

#[tokio::test]
async fn a_page_of_large_events_has_few_in_postgresql() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    pages_are_bounded(&database.uri).await;
    database.remove().await;
}
