//! The quotas of a day while the database is away: nobody is let in without them, and nothing of them is lost or doubled.

use parley::simulator::{Gate, Script};
use serde_json::{Value, json};

use super::{Fixture, asked, impatient, insist, is_put_off};
use crate::{
    requests::login::{hash, right},
    support::{Answer, TestApp, When, merge, talk, within},
};

/// Each turn takes 15 tokens of Ada's day, which has so many.
async fn fixture(script: Script, tokens: u64) -> Option<Fixture> {
    let mut settings = impatient();
    let guarded = json!({
        "dev_mode": false,
        "auth": {"basic": {"user": "ada", "password_hash": hash()}},
        "rate_limit": {"run_creations_per_minute": 100_000},
        "limits": {"per_owner": {"tokens_per_day": tokens}},
    });
    merge(&mut settings, &guarded);
    Fixture::with(script.usage(10, 5), settings).await
}

async fn create(app: &TestApp, turns: u32) -> Answer {
    let request = app.request("POST", "/api/run");
    let request = request.header("content-type", "application/json");
    let request = request.header("authorization", right());
    app.send(request.body(talk(turns).to_string())).await
}

/// The run once it is over.
async fn ended(app: &TestApp, id: &str) -> Value {
    let path = format!("/api/run/{id}");
    let look = async || {
        let request = app.request("GET", &path);
        app.send(request.header("authorization", right())).await
    };
    within("the end of the run", async {
        loop {
            let run = insist(look).await.json();
            if !run["finished_at"].is_null() {
                return run;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

fn id(started: &Answer) -> String {
    started.json()["run_id"].as_str().unwrap().to_owned()
}

const TOKENS: &str = "SELECT CAST(COALESCE(SUM(tokens), 0) AS BIGINT) FROM spending";
const RUNS: &str = "SELECT count(*) FROM runs";

#[tokio::test(flavor = "multi_thread")]
async fn without_its_database_nobody_takes_anything_of_a_day() {
    for freeze in [false, true] {
        let Some(fixture) = fixture(Script::text("Well."), 40).await else {
            return;
        };
        let app = &fixture.app;
        let first = id(&create(app, 2).await);
        assert_eq!(ended(app, &first).await["status"], "completed");
        assert_eq!(fixture.count(TOKENS).await, 30);
        if freeze {
            fixture.proxy.freeze();
        } else {
            fixture.proxy.close();
        }
        for _ in 0..2 {
            let answer = create(app, 2).await;
            assert!(is_put_off(&answer), "{answer:?}");
            assert_eq!(answer.problem(), "database-unavailable");
        }
        fixture.proxy.open();
        assert_eq!(fixture.count(RUNS).await, 1);
        assert_eq!(fixture.count(TOKENS).await, 30);
        // What is left is there, and what is used up is not forgotten.
        let second = id(&insist(async || create(app, 2).await).await);
        assert_eq!(ended(app, &second).await["error"]["code"], "quota_exceeded");
        assert_eq!(fixture.count(TOKENS).await, 45);
        let over = create(app, 1).await;
        assert_eq!(
            (over.status, over.problem().as_str()),
            (429, "quota-used-up")
        );
        fixture.close().await;
    }
}

/// A turn that ends while the database is away is counted when it is back, and the next one is not begun before that.
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_ends_meanwhile_is_counted_afterwards() {
    let gate = Gate::closed();
    let script = Script::text("Well.").gate(&gate);
    let Some(fixture) = fixture(script, 10).await else {
        return;
    };
    let app = &fixture.app;
    let run = id(&create(app, 9).await);
    asked(app, 1).await;
    fixture.proxy.close();
    gate.open();
    asked(app, 0).await;
    assert!(is_put_off(&create(app, 1).await));
    assert_eq!(fixture.count(TOKENS).await, 0);
    fixture.proxy.open();
    let run = ended(app, &run).await;
    assert_eq!(run["error"]["code"], "quota_exceeded", "{run}");
    assert_eq!(app.simulator.requests().len(), 1);
    assert_eq!(fixture.count(TOKENS).await, 15);
    fixture.close().await;
}

/// Wherever the connection breaks, what was taken is what was spoken.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_is_counted_once_wherever_the_connection_breaks() {
    let Some(fixture) = fixture(Script::text("Well."), 1_000_000).await else {
        return;
    };
    let app = &fixture.app;
    for at in 0..16 {
        for when in [When::Before, When::After] {
            fixture.proxy.break_at(at, when);
            let run = id(&insist(async || create(app, 2).await).await);
            assert_eq!(ended(app, &run).await["status"], "completed");
            // One whose answer was lost was made twice.
            within("all others to end", async {
                let live = "SELECT count(*) FROM runs WHERE finished_at IS NULL";
                while fixture.count(live).await > 0 {}
            })
            .await;
            let spoken = "SELECT count(*) FROM attempts WHERE outcome = 'completed'";
            let spoken = fixture.count(spoken).await;
            let taken = fixture.count(TOKENS).await;
            assert_eq!(taken, 15 * spoken, "exchange {at} {when:?}");
        }
    }
    fixture.close().await;
}
