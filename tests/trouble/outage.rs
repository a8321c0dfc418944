//! A PostgreSQL server that is stopped under load and started again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parley::simulator::Script;
use sea_orm::ConnectionTrait as _;
use serde_json::json;

use super::{
    asked_at_least,
    exchanges::{check_rows, insist_unless_over},
    impatient, insist, is_put_off, read_and_compare, start,
};
use crate::support::{Cluster, TestApp, number, talk, within};

const RUNS: i64 = 20;

/// How long the server is away: a few seconds in the suite, half a minute by hand.
fn outage() -> Duration {
    Duration::from_secs(number("PARLEY_TEST_OUTAGE").unwrap_or(5))
}

/// A client that starts a run, changes it, reads it to its end and insists on all of that.
async fn converse(app: &TestApp) {
    let id = start(app, 8).await;
    let path = format!("/api/run/{id}/bot/1");
    let change = json!({"system_prompt": "Be bold."});
    insist_unless_over(app, &path, &change).await;
    let export = read_and_compare(app, &id).await;
    assert_eq!(export["status"], "completed", "{export}");
}

/// Asks for everything that needs the database, as long as it is away: each answer says that it passes. Returns how many there were,
/// and how long the slowest took.
async fn ask_for_everything(app: &TestApp, ended: &str, until: Instant) -> (usize, Duration) {
    let (run, change) = (format!("/api/run/{ended}"), json!({"name": "Eve"}));
    let asks = [
        ("GET", "/_readiness".to_owned(), None),
        ("GET", run.clone(), None),
        ("GET", "/api/run?limit=10".to_owned(), None),
        ("GET", format!("/api/export/{ended}.json"), None),
        ("GET", format!("/api/stream/{ended}"), None),
        ("POST", "/api/run".to_owned(), Some(talk(1))),
        ("PATCH", format!("{run}/bot/0"), Some(change)),
        ("POST", format!("{run}/stop"), None),
        ("DELETE", run, None),
    ];
    let (mut answers, mut slowest) = (0, Duration::ZERO);
    while Instant::now() < until {
        let asked = asks.iter().map(async |(method, path, body)| {
            let mut request = app.request(method, path);
            if let Some(body) = body {
                request = request
                    .header("content-type", "application/json")
                    .body(body.to_string());
            }
            let sent = Instant::now();
            let answer = app.send(request).await;
            assert!(is_put_off(&answer), "{method} {path}: {answer:?}");
            sent.elapsed()
        });
        for took in futures_util::future::join_all(asked).await {
            answers += 1;
            slowest = slowest.max(took);
        }
    }
    (answers, slowest)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_under_load_and_started_again_costs_nobody_anything() {
    let made = Instant::now();
    let Some(cluster) = tokio::task::spawn_blocking(Cluster::new).await.unwrap() else {
        return;
    };
    let cluster = Arc::new(cluster);
    println!("a server made in {:?}", made.elapsed());
    let app = TestApp::on(Some(&cluster.uri), Script::dialogue(0.2), impatient()).await;
    let ended = start(&app, 1).await;
    read_and_compare(&app, &ended).await;
    let runs = (0..RUNS - 1).map(async |_| converse(&app).await);
    let away = async {
        asked_at_least(&app, 10).await;
        beside(&cluster, Cluster::stop).await;
        let before = app.simulator.requests().len();
        let (answers, slowest) = ask_for_everything(&app, &ended, Instant::now() + outage()).await;
        let meanwhile = app.simulator.requests().len() - before;
        beside(&cluster, Cluster::start).await;
        let back = Instant::now();
        insist(async || app.get("/_readiness").await).await;
        println!(
            "{:?} without the server: {answers} answers, all 503, the slowest after {slowest:?}, {meanwhile} provider requests; ready {:?} after it was back",
            outage(),
            back.elapsed()
        );
        // Who comes now finds all as it was.
        converse(&app).await;
        back
    };
    let (_, back) = tokio::join!(futures_util::future::join_all(runs), away);
    println!("all complete {:?} after it was back", back.elapsed());
    check(&app, &cluster.uri).await;
    app.close().await;
}

/// Does that with the server, which takes seconds, while everybody else goes on.
async fn beside(cluster: &Arc<Cluster>, act: fn(&Cluster)) {
    let cluster = Arc::clone(cluster);
    let done = tokio::task::spawn_blocking(move || act(&cluster));
    done.await.unwrap();
}

/// Nothing is lost, nothing is doubled.
async fn check(app: &TestApp, uri: &str) {
    let db = sea_orm::Database::connect(uri).await.unwrap();
    let count = async |query: &str| -> i64 {
        let query = sea_orm::Statement::from_string(sea_orm::DbBackend::Postgres, query);
        let row = db.query_one_raw(query).await.unwrap().unwrap();
        row.try_get_by_index(0).unwrap()
    };
    // One that had ended before, the crowd, one after.
    assert_eq!(count("SELECT count(*) FROM runs").await, RUNS + 1);
    let other = "SELECT count(*) FROM runs WHERE status <> 'completed'";
    assert_eq!(count(other).await, 0);
    let asked = app.simulator.requests().len();
    let restarted = "SELECT count(*) FROM events WHERE name = 'turn.restarted'";
    println!("{asked} requests, {} restarts", count(restarted).await);
    check_rows(&count, asked).await;
    within("the pool to close", db.close()).await.unwrap();
}
