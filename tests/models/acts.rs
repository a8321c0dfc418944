//! Acts that change nothing have a row, but not one each time.

use std::{net::IpAddr, time::Duration};

use migration::{Migrator, MigratorTrait as _};
use parley::{
    conversation::{Act, Asker, RunId, Timestamp},
    models::{Store, connect},
};

use super::new_run;
use crate::support::{Database, now, pool};

fn ada(address: &str) -> Asker {
    Asker {
        owner: "ada".to_owned(),
        login: Some("basic"),
        address: address.parse().ok(),
        ..Asker::default()
    }
}

async fn exports_do_not_fill_the_table(uri: &str) {
    let db = connect(&pool(uri)).await.unwrap();
    Migrator::up(&db, None).await.unwrap();
    let store = Store::new(db.clone(), Duration::from_secs(5));
    let (run, other) = (new_run(&store).await, new_run(&store).await);
    let began = i64::try_from(now()).unwrap() * 1_000;
    let export = async |run: RunId, by: &Asker, format: &str, seconds: i64| {
        let act = Act::Export {
            format: format.to_owned(),
        };
        let at = Timestamp::from_millis(began + seconds * 1_000);
        store.note(run, &act, by, at).await.unwrap();
    };
    let rows = async |run: RunId| {
        let acts = store.audit(run, None, 1_000).await.unwrap().entries;
        let exports = |act: &Act| matches!(act, Act::Export { .. });
        acts.iter().filter(|entry| exports(&entry.act)).count()
    };
    let here = ada("192.0.2.1");
    let session = Asker {
        login: Some("session"),
        ..here.clone()
    };
    let eve = Asker {
        owner: "eve".to_owned(),
        ..here.clone()
    };
    // What differs has its own; what does not, has none, as long as a minute is not over.
    for (by, format, second, expected) in [
        (&here, "md", 1, 1),
        (&here, "md", 2, 1),
        (&here, "md", 50, 1),
        (&here, "json", 50, 2),
        (&session, "md", 50, 3),
        (&ada("192.0.2.2"), "md", 50, 4),
        (&ada(""), "md", 50, 5),
        (&ada(""), "md", 51, 5),
        (&eve, "md", 51, 6),
        (&here, "md", 90, 7),
    ] {
        export(run, by, format, second).await;
        assert_eq!(rows(run).await, expected, "{by:?} {format} {second}");
    }
    // A client that has very many addresses fills nothing either, and takes no room from others.
    for n in 0..100_u128 {
        let by = Asker {
            address: Some(IpAddr::from((0x2001_0db8_u128 << 96 | n).to_be_bytes())),
            ..here.clone()
        };
        export(other, &by, "md", 0).await;
    }
    assert_eq!(rows(other).await, 16);
    export(other, &eve, "md", 0).await;
    assert_eq!(rows(other).await, 17);
    db.close().await.unwrap();
}

#[tokio::test]
async fn exports_do_not_fill_the_table_in_sqlite() {
    exports_do_not_fill_the_table("sqlite::memory:").await;
}

#[tokio::test]
async fn exports_do_not_fill_the_table_in_postgresql() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    exports_do_not_fill_the_table(&database.uri).await;
    database.remove().await;
}
