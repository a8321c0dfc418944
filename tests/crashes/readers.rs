//! Readers of runs that another process drives.

use std::sync::Arc;

use parley::simulator::Script;
use serde_json::json;

use super::{
    SETTINGS,
    books::{count, number},
    node::Node,
    simulator, start_order, start_run,
};
use crate::support::{Database, Event, SseClient, client, talk, within};

/// A run that nobody drives is read and changed on a node that has no place for it, and then driven by another: the reader is told
/// everything to the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_on_a_node_that_does_not_drive_is_told_everything() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let simulator = simulator(0.5).await;
    let base = format!("http://{}", simulator.address());
    let full = SETTINGS.replace('{', "{ max_live_runs: 1,");
    let mut here = Node::new(folder.path(), &database.uri, &base, &full);
    let mut there = Node::new(folder.path(), &database.uri, &base, SETTINGS);
    here.start().await;
    let bases: Arc<[String]> = Arc::new([here.base.clone()]);
    // Takes the only place, for good.
    simulator.enqueue_for("silent", Script::silent());
    let mut order = talk(1);
    order["bots"][0]["model"] = "silent".into();
    let blocker = start_order(&bases, &order).await;
    let speaking = simulator.wait_for(|activity| activity.open == 1);
    within("the place to be taken", speaking).await;
    let id = start_run(&bases, 3).await;
    let address = here.base.strip_prefix("http://").unwrap().to_owned();
    let mut stream = SseClient::open(&address, &format!("/api/stream/{id}"), &[]).await;
    let mut events = stream.until(|event| event.name == "run.started").await;
    let change = client()
        .patch(format!("{}/api/run/{id}/bot/0", here.base))
        .header("content-type", "application/json")
        .body(json!({"system_prompt": "Be bold."}).to_string());
    assert_eq!(change.send().await.unwrap().status(), 200);
    let is_update = |event: &Event| event.name == "bot.updated";
    events.extend(stream.until(is_update).await);
    there.start().await;
    events.extend(within("the run to end, on the other node", stream.rest()).await);
    let seqs: Vec<u64> = events
        .iter()
        .map(|event| number(&event.id))
        .filter(|(_, n)| *n == 0)
        .map(|(seq, _)| seq)
        .collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    assert_eq!(count(&events, "turn.completed"), 3);
    assert_eq!(events.last().unwrap().name, "run.completed");
    let stop = client().post(format!("{}/api/run/{blocker}/stop", here.base));
    assert_eq!(stop.send().await.unwrap().status(), 200);
    simulator.stop().await;
    drop((here, there));
    database.remove().await;
}
