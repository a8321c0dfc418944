//! Processes that die while a bot's context is being cut.

use parley::simulator::{Script, Simulator};
use serde_json::{Value, json};

use super::{endings::ending, file, node::Node, start_order};
use crate::support::{talk, within};

/// Starts a talk whose fifth turn is too long for its model, and whose later requests of that model are never answered.
async fn too_long(policy: &str, settings: &str) -> (tempfile::TempDir, Simulator, Node, String) {
    let folder = tempfile::tempdir().unwrap();
    let talkative = Script::text(&vec!["tea"; 300].join(" "));
    let simulator = Simulator::start(([127, 0, 0, 1], 0).into(), talkative);
    let simulator = simulator.await.unwrap();
    let queue = |script: Script| simulator.enqueue_for("model-a", script);
    for _ in 0..2 {
        queue(Script::text(&vec!["tea"; 300].join(" ")));
    }
    queue(Script::text("unheard").window(1));
    queue(Script::silent());
    let base = format!("http://{}", simulator.address());
    let mut node = Node::new(folder.path(), &file(&folder), &base, settings);
    node.start().await;
    let mut order = talk(7);
    order["context_policy"] = json!(policy);
    let id = start_order(std::slice::from_ref(&node.base), &order).await;
    held(&simulator, 6).await;
    (folder, simulator, node, id)
}

/// Waits until the request of that number, from 1, is the one that is not answered.
async fn held(simulator: &Simulator, number: usize) {
    let held = simulator.wait_for(|activity| activity.seen == number && activity.open == 1);
    within("the request that is not answered", held).await;
}

/// What the requests of the model said.
fn beginnings(simulator: &Simulator) -> Vec<String> {
    let requests = simulator.requests().into_iter();
    let own = requests.filter(|seen| seen.body["model"] == "model-a");
    let said = |body: &Value| {
        let messages = body["messages"].as_array().unwrap().iter();
        messages
            .filter_map(|message| message["content"].as_str())
            .collect::<Vec<_>>()
            .join("|")
    };
    own.map(|seen| said(&seen.body)).collect()
}

/// The summary is asked for again; one that was written is kept, however often the process dies after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_summary_that_was_lost_is_asked_for_again_and_one_that_was_written_is_not() {
    let (_folder, simulator, mut node, id) = too_long("summarise", "{}").await;
    simulator.enqueue_for("model-a", Script::text("They like tea."));
    simulator.enqueue_for("model-a", Script::silent());
    node.kill();
    node.start().await;
    held(&simulator, 8).await;
    node.kill();
    node.start().await;
    let (mut names, last) = ending(&node, &id).await;
    names.retain(|name| name != "turn.delta");
    let turn = ["turn.started", "turn.completed"];
    let mut expected = vec!["run.started"];
    expected.extend(turn.repeat(4));
    expected.extend([
        "turn.started",
        "error",
        "turn.restarted",
        "context.summarised",
        "turn.restarted",
        "turn.completed",
    ]);
    expected.extend(turn.repeat(2));
    expected.push("run.completed");
    assert_eq!(names, expected, "{last}");
    let prompts = beginnings(&simulator);
    let summaries = prompts
        .iter()
        .filter(|said| said.contains("write a summary"));
    assert_eq!(summaries.count(), 2, "{prompts:?}");
    assert_eq!(prompts[5], prompts[6], "the same is asked again");
    assert!(prompts[6].contains("They like tea."));
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_left_out_stays_left_out() {
    let (_folder, simulator, mut node, id) = too_long("truncate_oldest", "{}").await;
    node.kill();
    node.start().await;
    let (names, last) = ending(&node, &id).await;
    let cuts = names.iter().filter(|name| *name == "context.truncated");
    assert_eq!(cuts.count(), 1, "{names:?}");
    assert_eq!(last["type"], "run.completed");
    let prompts = beginnings(&simulator);
    assert_eq!(prompts[3], prompts[4], "the same is asked again");
    assert!(prompts[5].starts_with(&prompts[4]), "and only grows");
    simulator.stop().await;
}

/// A summary that does not end in time is cut off as a turn is, and asked for again by the next process.
#[tokio::test(flavor = "multi_thread")]
async fn a_summary_that_takes_too_long_is_cut_off_and_asked_for_again() {
    let (_folder, simulator, mut node, id) = too_long("summarise", "{ drain_seconds: 1 }").await;
    simulator.enqueue_for("model-a", Script::text("They like tea."));
    node.signal("TERM");
    assert!(node.ended().await.success(), "{}", node.log());
    node.start().await;
    let (mut names, last) = ending(&node, &id).await;
    names.retain(|name| name != "turn.delta");
    let turn = ["turn.started", "turn.completed"];
    let mut expected = vec!["run.started"];
    expected.extend(turn.repeat(4));
    expected.extend([
        "turn.started",
        "error",
        "turn.restarted",
        "context.summarised",
        "turn.completed",
    ]);
    expected.extend(turn.repeat(2));
    expected.push("run.completed");
    assert_eq!(names, expected, "{last}");
    let prompts = beginnings(&simulator);
    assert_eq!(prompts[3], prompts[4], "the same is asked again");
    simulator.stop().await;
}
