//! A connection that breaks while a run is taken away or deleted: each is done with its row, or not at all.

use parley::simulator::Script;

use super::{Fixture, insist, read, start};
use crate::support::{When, within};

/// More than a deletion and an export take together.
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
