//! Runs that cannot go on after a restart say so.

use std::sync::Arc;

use parley::simulator::{Script, Simulator};
use sea_orm::ConnectionTrait as _;
use serde_json::Value;

use super::{
    books::{reckon, watch},
    file,
    node::Node,
    start_order, start_run,
};
use crate::support::{SseDecoder, client, talk, within};

/// A node on a file whose provider never begins to answer.
async fn silent(settings: &str) -> (tempfile::TempDir, Simulator, Node) {
    let folder = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(([127, 0, 0, 1], 0).into(), Script::silent())
        .await
        .unwrap();
    let base = format!("http://{}", simulator.address());
    let mut node = Node::new(folder.path(), &file(&folder), &base, settings);
    node.start().await;
    (folder, simulator, node)
}

/// Reads the run's stream to its end: the names of its events, and the data of the last one.
pub(super) async fn ending(node: &Node, id: &str) -> (Vec<String>, Value) {
    let reading = async {
        let address = format!("{}/api/stream/{id}", node.base);
        let answer = client().get(address).send().await.unwrap();
        SseDecoder::default().feed(answer.text().await.unwrap().as_bytes())
    };
    let events = within("the run to end", reading).await;
    let last = events.last().unwrap().json();
    (events.into_iter().map(|event| event.name).collect(), last)
}

async fn asked(simulator: &Simulator) {
    within(
        "a request",
        simulator.wait_for(|activity| activity.open == 1),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_breaks_its_process_down_again_and_again_is_failed() {
    let (_folder, simulator, mut node) = silent("{ max_takeovers: 3 }").await;
    let id = start_run(std::slice::from_ref(&node.base), 2).await;
    for _ in 0..3 {
        asked(&simulator).await;
        node.kill();
        node.start().await;
    }
    let (names, last) = ending(&node, &id).await;
    assert_eq!(
        names,
        [
            "run.started",
            "turn.started",
            "turn.restarted",
            "turn.restarted",
            "turn.restarted",
            "turn.failed",
            "run.failed"
        ]
    );
    assert_eq!(last["error"]["code"], "crashed_repeatedly", "{last}");
    assert_eq!(simulator.requests().len(), 3);
    simulator.stop().await;
}

/// The process dies whenever one run asks its provider. Those beside it lose their turns with it, and complete all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_breaks_its_process_down_does_not_drag_down_those_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let simulator = super::simulator(0.5).await;
    let base = format!("http://{}", simulator.address());
    let mut node = Node::new(folder.path(), &file(&folder), &base, "{}");
    node.start().await;
    for _ in 0..9 {
        simulator.enqueue_for("poison", Script::silent());
    }
    let bases: Arc<[String]> = Arc::new([node.base.clone()]);
    let mut watched = Vec::new();
    let mut bad = String::new();
    for seed in 0..5 {
        if seed == 2 {
            let mut order = talk(2);
            order["bots"][0]["model"] = "poison".into();
            bad = start_order(&bases, &order).await;
        } else {
            watched.push(watch(start_run(&bases, 2).await, Arc::clone(&bases), seed));
        }
    }
    let poisoned = || {
        let requests = simulator.requests();
        let poisoned = requests
            .iter()
            .filter(|request| request.body["model"] == "poison");
        poisoned.count()
    };
    for crash in 0..5 {
        within(
            "the bad run to be tried",
            simulator.wait_for(|_| poisoned() > crash),
        )
        .await;
        node.kill();
        node.start().await;
    }
    let (names, last) = ending(&node, &bad).await;
    assert_eq!(last["error"]["code"], "crashed_repeatedly", "{last}");
    assert_eq!(names.last().map(String::as_str), Some("run.failed"));
    // All others have completed: the books accept nothing else.
    let books = reckon(watched, &node.base).await;
    assert_eq!(poisoned(), 5);
    let asked = simulator.requests().len() - poisoned();
    assert!(asked <= books.turns + books.restarts, "{asked} requests");
    assert!(books.restarts >= 4, "those beside it lost nothing");
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_provider_is_gone_after_the_restart_is_failed() {
    let (_folder, simulator, mut node) = silent("{}").await;
    let id = start_run(std::slice::from_ref(&node.base), 2).await;
    asked(&simulator).await;
    node.kill();
    let address = format!(
        "openai: {{ base_url: \"http://{}/v1\" }}",
        simulator.address()
    );
    node.reconfigure(&address, "openai: {}");
    node.start().await;
    let (_, last) = ending(&node, &id).await;
    assert_eq!(last["error"]["code"], "provider_not_configured", "{last}");
    simulator.stop().await;
}

/// Whoever ends Parley and copies the file has it all.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_let_go_of_is_whole_by_itself() {
    let (folder, simulator, mut node) = silent("{ drain_seconds: 1 }").await;
    start_run(std::slice::from_ref(&node.base), 2).await;
    asked(&simulator).await;
    node.signal("TERM");
    let status = node.ended().await;
    assert!(status.success(), "{status}\n{}", node.log());
    let copies = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path(), copies.path());
    std::fs::copy(from.join("parley.sqlite"), to.join("parley.sqlite")).unwrap();
    let db = sea_orm::Database::connect(file(&copies)).await.unwrap();
    let runs = db.execute_unprepared("UPDATE runs SET takeovers = takeovers");
    assert_eq!(runs.await.unwrap().rows_affected(), 1);
    db.close().await.unwrap();
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_rows_cannot_be_read_is_failed() {
    let (folder, simulator, mut node) = silent("{}").await;
    let id = start_run(std::slice::from_ref(&node.base), 2).await;
    asked(&simulator).await;
    node.kill();
    let db = sea_orm::Database::connect(file(&folder)).await.unwrap();
    let spoilt = db.execute_unprepared("UPDATE bots SET params = 'no JSON'");
    assert_eq!(spoilt.await.unwrap().rows_affected(), 2);
    db.close().await.unwrap();
    node.start().await;
    let (names, last) = ending(&node, &id).await;
    assert_eq!(names.last().map(String::as_str), Some("run.failed"));
    assert_eq!(last["error"]["code"], "internal", "{last}");
    simulator.stop().await;
}

/// A stop that was accepted is not forgotten: the next process applies it before it asks anybody anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_outlives_the_process_that_accepted_it() {
    let (folder, simulator, mut node) = silent("{ drain_seconds: 1 }").await;
    let id = start_run(std::slice::from_ref(&node.base), 2).await;
    asked(&simulator).await;
    node.kill();
    // As if the process had died between writing the command down and applying it.
    let db = sea_orm::Database::connect(file(&folder)).await.unwrap();
    for change in [
        "UPDATE runs SET last_command = 1",
        "INSERT INTO commands (run_id, id, kind, payload, created_at) SELECT id, 1, 'stop', '\"now\"', 0 FROM runs",
    ] {
        assert_eq!(
            db.execute_unprepared(change).await.unwrap().rows_affected(),
            1
        );
    }
    db.close().await.unwrap();
    node.start().await;
    let (names, _) = ending(&node, &id).await;
    let last: Vec<&str> = names.iter().rev().take(2).map(String::as_str).collect();
    assert_eq!(last, ["run.stopped", "turn.interrupted"]);
    assert_eq!(simulator.requests().len(), 1, "nobody was asked again");
    simulator.stop().await;
}
