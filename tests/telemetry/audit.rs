//! Who did what, as the log of the real program has it.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use parley::simulator::Script;
use serde_json::{Value, json};

use super::logs::{lines, simulator, started_as};
use crate::{
    crashes::node::Node,
    support::{client, talk, within},
};

const PASSWORD: &str = "a plum in the log";

/// An answer to Ada, and its body.
async fn ask(node: &Node, method: &str, path: &str, id: &str, body: &Value) -> (u16, String) {
    let credentials = BASE64_STANDARD.encode(format!("ada:{PASSWORD}"));
    let request = client()
        .request(method.parse().unwrap(), format!("{}{path}", node.base))
        .header("authorization", format!("Basic {credentials}"))
        .header("content-type", "application/json")
        .header("x-request-id", id);
    let answer = async {
        let answer = request.body(body.to_string()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    within("an answer", answer).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_act_is_a_line_of_its_target() {
    let folder = tempfile::tempdir().unwrap();
    let simulator = simulator(Script::deltas(["The answer is marmalade."]).silent_after(1)).await;
    let hash = bcrypt::hash(PASSWORD, 4).unwrap();
    let login = format!("auth: {{ basic: {{ user: ada, password_hash: \"{hash}\" }} }}");
    let node = started_as(folder.path(), &simulator, "info", &login).await;
    let (status, text) = ask(&node, "POST", "/api/run", "r-1", &talk(2)).await;
    assert_eq!(status, 201, "{text}");
    let run: Value = serde_json::from_str(&text).unwrap();
    let ticket = run["ticket"].as_str().unwrap();
    let id = run["run_id"].as_str().unwrap();
    let path = format!("/api/run/{id}");
    let quince = json!({"system_prompt": "You are a quince."});
    for (expected, method, path, id, body) in [
        (200, "PATCH", format!("{path}/bot/1"), "r-2", quince),
        (409, "DELETE", path.clone(), "r-3", json!({})),
        (200, "POST", format!("{path}/stop"), "r-4", json!({})),
        (200, "POST", format!("{path}/stop"), "r-5", json!({})),
        (200, "GET", format!("/api/export/{id}.md"), "r-6", json!({})),
        (200, "GET", format!("/api/export/{id}.md"), "r-7", json!({})),
        (204, "DELETE", path.clone(), "r-8", json!({})),
    ] {
        let (status, text) = ask(&node, method, &path, id, &body).await;
        assert_eq!(status, expected, "{id}: {text}");
    }
    node.says("run deleted").await;
    let lines = lines(&node);
    let acts = lines.iter().filter(|line| line["target"] == "audit");
    let acts = acts.map(|line| {
        assert_eq!(line["level"], "INFO", "{line}");
        let same = ["run_id", "who", "login", "address"].map(|name| &line[name]);
        assert_eq!(same, [id, "ada", "basic", "127.0.0.1"], "{line}");
        let own = [
            "message",
            "act",
            "request_id",
            "bot_index",
            "bot_version",
            "mode",
            "format",
        ];
        Value::from(own.map(|name| line[name].clone()).to_vec())
    });
    assert_eq!(
        acts.collect::<Vec<_>>(),
        [
            json!(["run started", "start", "r-1", null, null, null, null]),
            json!(["bot changed", "update_bot", "r-2", 1, 2, null, null]),
            json!(["run stopped", "stop", "r-4", null, null, "now", null]),
            json!(["run exported", "export", "r-6", null, null, null, "md"]),
            // Which has no row of its own.
            json!(["run exported", "export", "r-7", null, null, null, "md"]),
            json!(["run deleted", "delete", "r-8", null, null, null, null]),
        ]
    );
    let log = node.log();
    for word in ["marmalade", "quince", PASSWORD, ticket, hash.as_str()] {
        assert!(!log.contains(word), "{word}");
    }
    simulator.stop().await;
}
