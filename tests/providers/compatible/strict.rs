//! A server that takes nothing but what all compatible servers take, and refuses the rest in the words of those that do: a whole talk
//! must get through.

use std::sync::{Arc, Mutex};

use parley::simulator::Script;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpListener, task::JoinSet};

use super::super::{read_request, recorded::canned};
use crate::support::{Fold, TestApp};

/// What was asked, and the status that it was answered with.
type Seen = Arc<Mutex<Vec<(Value, u16)>>>;

/// A listening server; gone when dropped.
struct Strict {
    base_url: String,
    seen: Seen,
    _tasks: JoinSet<()>,
}

impl Strict {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let seen = Seen::default();
        let (noted, mut tasks) = (Arc::clone(&seen), JoinSet::new());
        tasks.spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let request = read_request(&mut socket).await.unwrap();
                let (_, body) = request.split_once("\r\n\r\n").unwrap();
                let body: Value = serde_json::from_str(body).unwrap();
                let (status, kind, answer) = match refusal(&body) {
                    Some((status, answer)) => (status, "application/json", answer.to_string()),
                    None => {
                        let answer = canned("openai_compat/keepalive_comments.sse").body;
                        let answer = String::from_utf8(answer).unwrap();
                        (200, "text/event-stream", answer)
                    }
                };
                noted.lock().unwrap().push((body, status));
                let head = format!(
                    "HTTP/1.1 {status} Strict\r\nconnection: close\r\ncontent-type: {kind}\r\n\r\n"
                );
                let sent = socket.write_all((head + &answer).as_bytes()).await;
                sent.unwrap();
            }
        });
        Self {
            base_url,
            seen,
            _tasks: tasks,
        }
    }

    fn statuses(&self) -> Vec<u16> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|(_, status)| *status).collect()
    }
}

/// Why such a server would not answer that.
fn refusal(body: &Value) -> Option<(u16, Value)> {
    const KNOWN: [&str; 5] = ["model", "messages", "stream", "max_tokens", "temperature"];
    let members = body.as_object().unwrap();
    let unknown: Vec<Value> = members
        .keys()
        .filter(|name| !KNOWN.contains(&name.as_str()))
        .map(|name| {
            json!({"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted", "input": body[name]})
        })
        .collect();
    if !unknown.is_empty() {
        // Mistral's: the message is no text.
        let answer = json!({"object": "error", "message": {"detail": unknown}, "type": "invalid_request_error", "param": null, "code": null});
        return Some((422, answer));
    }
    let roles: Vec<&str> = body["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["role"].as_str().unwrap())
        .collect();
    let bad = |message: &str| {
        Some((
            400,
            json!({"object": "error", "message": message, "type": "BadRequestError", "code": 400}),
        ))
    };
    let rest = match roles.split_first() {
        Some((&"system", rest)) => rest,
        _ => &roles[..],
    };
    if rest
        .iter()
        .any(|role| !matches!(*role, "user" | "assistant"))
    {
        return bad(
            "unknown variant `developer`, expected one of `system`, `user`, `assistant`, `tool`",
        );
    }
    let alternate = rest
        .iter()
        .enumerate()
        .all(|(place, role)| (place % 2 == 0) == (*role == "user"));
    if !alternate {
        return bad("conversation roles must alternate user/assistant/user/assistant/...");
    }
    // Such a request would be continued in place of answered.
    if rest.last() != Some(&"user") {
        return bad("the last message is the assistant's");
    }
    let empty = |message: &Value| {
        message["content"]
            .as_str()
            .is_none_or(|text| text.trim().is_empty())
    };
    if body["messages"].as_array().unwrap().iter().any(empty) {
        return bad("a message is empty");
    }
    None
}

/// Three bots, so that each hears two others in a row, and one that has no prompt of its own.
fn talk(provider: &str) -> Value {
    let bot = |prompt: Option<&str>| {
        json!({
            "provider": provider, "model": "m", "system_prompt": prompt,
            "params": {"max_tokens": 64, "temperature": 0.5},
        })
    };
    json!({"topic": "Tea?", "max_turns": 7, "bots": [bot(Some("Be brief.")), bot(None), bot(Some("Be long."))]})
}

async fn run(settings: Value) -> (Vec<u16>, Vec<(Value, u16)>) {
    let server = Strict::start().await;
    let mut provider = json!({"kind": "openai", "base_url": server.base_url});
    for (key, value) in settings.as_object().unwrap() {
        provider[key] = value.clone();
    }
    let settings = json!({"providers": {"strict": provider}, "retry": {"max_attempts": 1}});
    let app = TestApp::with(Script::default(), settings).await;
    let answer = app.post("/api/run", &talk("strict")).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let id = answer.json()["run_id"].as_str().unwrap().to_owned();
    let events = app.events(&id).await;
    let last = events.last().unwrap();
    if last.name == "run.completed" {
        let turns = Fold::of(&events).turns;
        assert_eq!(turns.len(), 7);
        assert!(turns.values().all(|text| text == "Hi there"), "{turns:?}");
    }
    app.close().await;
    let seen = server.seen.lock().unwrap().clone();
    (server.statuses(), seen)
}

/// One refusal of the question for usage, which costs no attempt, and nothing else to refuse.
#[tokio::test]
async fn a_strict_server_refuses_the_question_for_usage_once_and_nothing_else() {
    let (statuses, seen) = run(json!({})).await;
    assert_eq!(statuses, [422, 200, 200, 200, 200, 200, 200, 200]);
    assert_eq!(seen[0].0["stream_options"], json!({"include_usage": true}));
    assert!(seen.iter().all(|(body, _)| body["max_tokens"] == 64));
    let longest = seen.last().unwrap().0["messages"].as_array().unwrap();
    assert!(longest.len() >= 6, "a talk that has grown: {longest:?}");
}

#[tokio::test]
async fn a_server_that_is_known_to_be_strict_has_nothing_to_refuse() {
    let (statuses, seen) = run(json!({"include_usage": false})).await;
    assert_eq!(statuses, [200; 7]);
    assert!(
        seen.iter()
            .all(|(body, _)| body.get("stream_options").is_none())
    );
}

/// The other way round: what the settings say is what goes out, and this server refuses it.
#[tokio::test]
async fn another_role_and_another_field_go_out_where_the_settings_say_so() {
    for (setting, word) in [
        (json!({"system_role": "developer"}), "developer"),
        (
            json!({"max_tokens_field": "max_completion_tokens"}),
            "max_completion_tokens",
        ),
    ] {
        let mut settings = json!({"include_usage": false});
        settings
            .as_object_mut()
            .unwrap()
            .extend(setting.as_object().unwrap().clone());
        let (statuses, seen) = run(settings).await;
        assert!(matches!(statuses[..], [400 | 422]), "{word}: {statuses:?}");
        let body = &seen[0].0;
        match word {
            "developer" => assert_eq!(body["messages"][0]["role"], "developer"),
            field => assert_eq!((&body[field], body.get("max_tokens")), (&json!(64), None)),
        }
    }
}
