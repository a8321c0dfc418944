//! Worker modes: who drives runs, and what tells whom that there is one. A job that comes twice, late or never is harmless.

mod doorbell;
mod jobs;
mod modes;

use loco_rs::prelude::BackgroundWorker as _;
use parley::{
    simulator::{Script, Simulator},
    workers::run::{RunWorker, RunWorkerArgs},
};
use serde_json::Value;

use crate::{
    crashes::node::Node,
    support::{TestApp, client, talk, within},
};

/// Short times, so that a test sees them pass.
const SETTINGS: &str = "{ node_lifetime_ms: 1000, drain_seconds: 10 }";

/// A simulator, and its address as nodes are given it.
async fn simulator(script: Script) -> (Simulator, String) {
    let simulator = Simulator::start(([127, 0, 0, 1], 0).into(), script)
        .await
        .unwrap();
    let base = format!("http://{}", simulator.address());
    (simulator, base)
}

fn sqlite(folder: &tempfile::TempDir, name: &str) -> String {
    format!("sqlite://{}?mode=rwc", folder.path().join(name).display())
}

/// A queue in a SQLite file.
fn sqlite_queue(folder: &tempfile::TempDir) -> String {
    let uri = sqlite(folder, "queue.sqlite");
    format!("{{ kind: Sqlite, uri: \"{uri}\", num_workers: 2, poll_interval_sec: 1 }}")
}

/// The Redis of the tests, one of its databases: jobs of other tests are none of ours.
fn redis(database: u32) -> Option<String> {
    let Ok(uri) = std::env::var("PARLEY_TEST_REDIS_URL") else {
        eprintln!("skipped: PARLEY_TEST_REDIS_URL is not set");
        return None;
    };
    let mut uri = url::Url::parse(&uri).unwrap();
    uri.set_path(&database.to_string());
    Some(uri.into())
}

/// Makes it use that queue.
fn queued(node: &Node, queue: &str) {
    let workers = format!("workers: {{ mode: BackgroundQueue }}\nqueue: {queue}");
    node.reconfigure("workers: { mode: BackgroundAsync }", &workers);
    node.reconfigure("level: warn", "level: info");
}

/// Has a run accepted by `server`: its id.
async fn accepted(server: &Node, turns: u32) -> String {
    let order = client()
        .post(format!("{}/api/run", server.base))
        .header("content-type", "application/json")
        .body(talk(turns).to_string());
    let answer = within("the answer", order.send()).await.unwrap();
    assert_eq!(answer.status(), 201, "{}", server.log());
    let run: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    run["run_id"].as_str().unwrap().to_owned()
}

/// Reads the run on `server` to its end, which must be that event.
async fn ends(server: &Node, id: &str, by: &str) {
    let stream = async {
        let stream = client().get(format!("{}/api/stream/{id}", server.base));
        stream.send().await.unwrap().text().await.unwrap()
    };
    let stream = within("the run to end", stream).await;
    let last = stream.rfind("event: run.").map(|at| &stream[at + 7..]);
    assert!(
        last.is_some_and(|last| last.starts_with(by)),
        "{stream}\n{}",
        server.log()
    );
}

#[tokio::test]
async fn a_job_that_comes_twice_late_or_for_nobody_is_harmless() {
    let app = TestApp::spawn(Script::text("Once.")).await;
    let worker = RunWorker::build(&app.ctx);
    let job = |id: &str| RunWorkerArgs {
        run_id: id.parse().unwrap(),
    };
    let answer = app.post("/api/run", &talk(2)).await.json();
    let id = answer["run_id"].as_str().unwrap();
    for _ in 0..3 {
        worker.perform(job(id)).await.unwrap();
    }
    app.events(id).await;
    worker.perform(job(id)).await.unwrap();
    let nobody = "00000000-0000-7000-8000-000000000000";
    worker.perform(job(nobody)).await.unwrap();
    within("the claims to be over", async {
        while app.parts().supervisor.live() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(app.simulator.requests().len(), 2);
    app.close().await;
}
