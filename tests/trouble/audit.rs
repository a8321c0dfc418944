//! A connection that breaks while a run is changed, taken away or deleted: each is done with its row, or not at all.

use parley::simulator::Script;
use serde_json::json;

use super::{Fixture, asked, insist, read, start};
use crate::support::{When, within};

/// More than a change takes, or a deletion and an export together.
const EXCHANGES: u32 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn no_deletion_is_without_its_row_and_no_row_without_its_deletion() {
    let Some(fixture) = Fixture::new(Script::text("Well.")).await else {
        return;
    };
    let app = &fixture.app;
    for at in 0..EXCHANGES {
        for when in [When::Before, When::After] {
            let id = start(app, 1).await;
            read(app, &id).await;
            let path = format!("/api/run/{id}");
            let acts = async |act: &str| {
                let query =
                    format!("SELECT count(*) FROM audit WHERE run_id = '{id}' AND act = '{act}'");
                fixture.count(&query).await
            };
            fixture.proxy.break_at(at, when);
            let export = format!("/api/export/{id}.md");
            let file = insist(async || app.get(&export).await).await;
            assert!(file.text.contains("Well."), "{file:?}");
            // One whose answer was lost may have its row without its file.
            assert!(acts("export").await >= 1, "exchange {at}");
            let delete = async || app.send(app.request("DELETE", &path)).await;
            within("the deletion", async {
                loop {
                    match delete().await.status {
                        204 => return,
                        503 => assert_eq!(acts("delete").await, 0, "exchange {at}"),
                        other => panic!("{other} at exchange {at}"),
                    }
                }
            })
            .await;
            assert_eq!(acts("delete").await, 1, "exchange {at}");
            assert_eq!(acts("start").await, 1, "exchange {at}");
        }
    }
    fixture.close().await;
}

/// Who is told that a change was not done can give it again: none of it is there.
#[tokio::test(flavor = "multi_thread")]
async fn no_change_is_without_its_row_and_none_is_done_that_is_put_off() {
    let Some(fixture) = Fixture::new(Script::silent()).await else {
        return;
    };
    let app = &fixture.app;
    let id = start(app, 2).await;
    asked(app, 1).await;
    let path = format!("/api/run/{id}/bot/1");
    let count = format!("SELECT count(*) FROM audit WHERE run_id = '{id}' AND act = 'update_bot'");
    let mut changes = 0;
    for at in 0..EXCHANGES {
        for when in [When::Before, When::After] {
            let change = json!({"name": format!("Bob {at} {when:?}")});
            fixture.proxy.break_at(at, when);
            within("the change", async {
                loop {
                    let answer = app.patch(&path, &change).await;
                    match answer.status {
                        200 => return,
                        503 => assert_eq!(fixture.count(&count).await, changes, "exchange {at}"),
                        _ => panic!("{answer:?} at exchange {at}"),
                    }
                }
            })
            .await;
            changes += 1;
            assert_eq!(fixture.count(&count).await, changes, "exchange {at}");
        }
    }
    insist(async || app.stop(&id).await).await;
    fixture.close().await;
}
