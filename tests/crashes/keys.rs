//! One `Idempotency-Key`, and a process that is killed while it is asked with it.

use std::{sync::Arc, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use sea_orm::ConnectionTrait as _;
use tokio::sync::watch;

use super::{SETTINGS, file, node::Node, seed, simulator};
use crate::support::{Database, client, talk, within};

/// Asks once with the key: what was answered, if anything was.
async fn ask(client: &reqwest::Client, base: &str, key: &str) -> Option<(u16, String)> {
    let order = client
        .post(format!("{base}/api/run"))
        .header("content-type", "application/json")
        .header("idempotency-key", key)
        .body(talk(1).to_string());
    let answer = order.send().await.ok()?;
    let status = answer.status().as_u16();
    Some((status, answer.text().await.ok()?))
}

/// Kills the node at some moment while twenty equal requests are on their way, and sends those again that were not answered.
async fn twenty_and_a_kill(database: &str, folder: &std::path::Path) {
    let simulator = simulator(0.1).await;
    let base = format!("http://{}", simulator.address());
    let mut node = Node::new(folder, database, &base, SETTINGS);
    node.start().await;
    let mut random = StdRng::seed_from_u64(seed());
    let rounds: usize = 6;
    for round in 0..rounds {
        let (client, key) = (client(), format!("key-{round}"));
        let answered = Arc::new(watch::Sender::new(0));
        let asking: Vec<_> = (0..20)
            .map(|_| {
                let (client, base, key) = (client.clone(), node.base.clone(), key.clone());
                let answered = Arc::clone(&answered);
                tokio::spawn(async move {
                    let answer = ask(&client, &base, &key).await;
                    answered.send_modify(|count| *count += 1);
                    answer
                })
            })
            .collect();
        if round % 2 == 0 {
            // Before anything is answered, or shortly after.
            tokio::time::sleep(Duration::from_micros(random.random_range(500..30_000))).await;
        } else {
            let some = random.random_range(1..10);
            let mut counts = answered.subscribe();
            within("answers", counts.wait_for(|count| *count >= some))
                .await
                .unwrap();
        }
        node.kill();
        node.start().await;
        let (mut answers, mut again) = (Vec::new(), 0);
        for asked in asking {
            let mut answer = asked.await.unwrap();
            let insisting = async {
                while answer.as_ref().is_none_or(|(status, _)| *status == 503) {
                    again += 1;
                    answer = ask(&client, &node.base, &key).await;
                }
                answer.unwrap()
            };
            answers.push(within("an answer", insisting).await);
        }
        println!("round {round}: {again} of 20 were sent again");
        for (status, body) in &answers {
            assert_eq!((*status, body), (201, &answers[0].1));
        }
    }
    let db = sea_orm::Database::connect(database).await.unwrap();
    // Nothing else was done with them, so that an act is a start.
    for table in ["runs", "idempotency_keys", "audit"] {
        let query = format!("SELECT count(*) FROM {table}");
        let query = sea_orm::Statement::from_string(db.get_database_backend(), query);
        let row = db.query_one_raw(query).await.unwrap().unwrap();
        let count: i64 = row.try_get_by_index(0).unwrap();
        assert_eq!(usize::try_from(count).unwrap(), rounds, "{table}");
    }
    db.close().await.unwrap();
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_equal_requests_make_one_run_also_if_a_file_loses_its_process() {
    let folder = tempfile::tempdir().unwrap();
    twenty_and_a_kill(&file(&folder), folder.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_equal_requests_make_one_run_also_if_postgres_loses_its_client() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    twenty_and_a_kill(&database.uri, folder.path()).await;
    database.remove().await;
}
