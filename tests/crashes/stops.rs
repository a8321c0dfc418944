//! A stop after the turn, while the turn is long: whoever looks for commands meanwhile must not take it for a stop at once.

use std::time::Duration;

use parley::simulator::{Script, Simulator};
use serde_json::{Value, json};

use super::{file, node::Node, pair, start_run};
use crate::support::{Database, Event, SseDecoder, client, within};

/// A node counts as alive for long, so that a busy machine is no reason to cut the turn.
const SETTINGS: &str = "{ drain_seconds: 10 }";

/// Longer than several looks for commands.
fn long_turn() -> Script {
    Script::text(&"slowly ".repeat(40)).every(Duration::from_millis(100))
}

async fn order_stop(base: &str, id: &str) {
    let order = client()
        .post(format!("{base}/api/run/{id}/stop"))
        .header("content-type", "application/json")
        .body(json!({"mode": "after_turn"}).to_string());
    let answer = order.send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let run: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(
        (&run["status"], &run["pending"]),
        (&json!("running"), &json!(true))
    );
}

async fn events(base: &str, id: &str) -> Vec<Event> {
    let reading = async {
        let answer = client().get(format!("{base}/api/stream/{id}")).send();
        let text = answer.await.unwrap().text().await.unwrap();
        SseDecoder::default().feed(text.as_bytes())
    };
    let mut events = within("the run to end", reading).await;
    events.retain(|event| event.name != "turn.delta");
    events
}

/// The turn is spoken to its end, and is the last one.
fn check(events: &[Event]) {
    let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "run.started",
            "turn.started",
            "turn.completed",
            "run.stopped"
        ]
    );
    let text = events[2].json()["text"].as_str().unwrap().to_owned();
    assert_eq!(text.matches("slowly").count(), 40, "{text}");
}

async fn speaking() -> Simulator {
    Simulator::start(([127, 0, 0, 1], 0).into(), long_turn())
        .await
        .unwrap()
}

async fn asked(simulator: &Simulator) {
    let asked = simulator.wait_for(|activity| activity.open == 1);
    within("the turn to begin", asked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_after_the_turn_lets_a_long_turn_end() {
    let folder = tempfile::tempdir().unwrap();
    let simulator = speaking().await;
    let base = format!("http://{}", simulator.address());
    let mut node = Node::new(folder.path(), &file(&folder), &base, SETTINGS);
    node.start().await;
    let id = start_run(std::slice::from_ref(&node.base), 3).await;
    asked(&simulator).await;
    order_stop(&node.base, &id).await;
    check(&events(&node.base, &id).await);
    assert_eq!(simulator.requests().len(), 1);
    simulator.stop().await;
}

/// The same through a node that does not drive the run.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_after_the_turn_lets_a_long_turn_end_on_another_node_too() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let simulator = speaking().await;
    let (_folder, mut nodes) = pair(&database, &simulator, SETTINGS);
    for node in &mut nodes {
        node.start().await;
    }
    let id = start_run(std::slice::from_ref(&nodes[0].base), 3).await;
    asked(&simulator).await;
    order_stop(&nodes[1].base, &id).await;
    check(&events(&nodes[1].base, &id).await);
    assert_eq!(simulator.requests().len(), 1);
    simulator.stop().await;
    drop(nodes);
    database.remove().await;
}
