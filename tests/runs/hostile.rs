//! Runs on providers that mean ill, and one beside them that must not notice.

use std::time::{Duration, Instant};

use parley::simulator::Script;
use serde_json::{Value, json};

use super::names;
use crate::{
    providers::hostile::{END, HEAD, Hostile, WORD},
    support::{Fold, TestApp, talk, within},
};

/// A run of one turn on that provider.
fn order(provider: &str) -> Value {
    let mut order = talk(1);
    order["bots"][0]["provider"] = json!(provider);
    order
}

/// The providers, and the code that each of them comes to.
async fn hostile() -> Vec<(Hostile, &'static str)> {
    let with = |header: &str| HEAD.replace("connection", &format!("{header}\r\nconnection"));
    let redirect = "HTTP/1.1 307 No\r\nlocation: http://127.0.0.1:1/\r\n\r\n";
    let error = "HTTP/1.1 500 No\r\nconnection: close\r\n\r\n";
    vec![
        (Hostile::endless(HEAD, WORD).await, "text_too_long"),
        (Hostile::endless(HEAD, ": ping\n\n").await, "malformed"),
        (
            Hostile::endless(&format!("{HEAD}{WORD}"), "data: {}\n\n").await,
            "timeout",
        ),
        (
            Hostile::dripping(&format!("{HEAD}{WORD}data: "), "x").await,
            "timeout",
        ),
        (
            Hostile::endless(&format!("{HEAD}data: "), "x").await,
            "malformed",
        ),
        (
            Hostile::saying(with("content-encoding: gzip")).await,
            "malformed",
        ),
        (Hostile::saying("SSH-2.0-nobody\r\n\r\n").await, "malformed"),
        (
            Hostile::saying(format!("{HEAD}{WORD}data: {{")).await,
            "truncated",
        ),
        (
            Hostile::start(|wire| async { wire.reset() }).await,
            "truncated",
        ),
        (Hostile::saying(redirect).await, "invalid_request"),
        (Hostile::endless(error, "no ").await, "server"),
    ]
}

/// Bound: two attempts of `first_delta`, 2 s here (what another row answers has come by then, however busy the machine), and as much
/// again and more for the machine.
#[tokio::test]
async fn a_run_on_each_ends_with_its_code_while_another_is_completed() {
    let servers = hostile().await;
    let mut settings = json!({
        "timeouts": {"first_delta_ms": 2_000},
        "retry": {"max_attempts": 2},
        // Few bytes, so that a busy machine comes to their end in time, too.
        "limits": {"turn_text_bytes": 100_000, "provider_event_bytes": 100_000},
    });
    for (number, (server, _)) in servers.iter().enumerate() {
        let provider = json!({"kind": "openai", "base_url": format!("{}/v1", server.base)});
        settings["providers"][format!("bad-{number}")] = provider;
    }
    let app = TestApp::with(Script::text("All is well."), settings).await;
    let mut runs = Vec::new();
    for (number, (_, code)) in servers.iter().enumerate() {
        runs.push((app.start(&order(&format!("bad-{number}"))).await, code));
    }
    let began = Instant::now();
    let healthy = app.start_run(6).await;
    assert_eq!(
        names(&app.events(&healthy).await).last(),
        Some(&"run.completed")
    );
    for (id, code) in runs {
        let events = app.events(&id).await;
        assert_eq!(events.last().unwrap().name, "run.failed");
        let codes: Vec<Value> = events
            .iter()
            .filter(|event| event.name == "error")
            .map(|event| event.json()["code"].clone())
            .collect();
        assert!(codes.iter().all(|told| told == code), "{code}: {codes:?}");
        let retried = !matches!(*code, "text_too_long" | "invalid_request");
        assert_eq!(codes.len(), if retried { 2 } else { 1 }, "{code}");
        let export = app.export(&id).await;
        assert_eq!(export["error"]["code"], *code);
        assert_eq!(Fold::of(&events).turns, Fold::turns_of(&export));
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    app.close().await;
}

/// What never lets up does not keep a run from being stopped.
#[tokio::test]
async fn a_stop_is_heard_above_any_noise() {
    for (first, again) in [
        ("", ": ping\n\n"),
        (WORD, "data: {}\n\n"),
        (WORD, "data:\n\n"),
    ] {
        let server = Hostile::endless(&format!("{HEAD}{first}"), again).await;
        let provider = json!({"kind": "openai", "base_url": format!("{}/v1", server.base)});
        let settings = json!({"providers": {"bad": provider}});
        let app = TestApp::with(Script::default(), settings).await;
        let id = app.start(&order("bad")).await;
        within("the request", async {
            while server
                .connections
                .load(std::sync::atomic::Ordering::Relaxed)
                == 0
            {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let began = Instant::now();
        assert_eq!(app.stop(&id).await.status, 200);
        assert!(began.elapsed() < Duration::from_secs(3), "{again:?}");
        assert_eq!(app.events(&id).await.last().unwrap().name, "run.stopped");
        app.close().await;
    }
}

/// Numbers that nobody has counted are not believed, and break nothing.
#[tokio::test]
async fn absurd_counts_break_nothing() {
    let max = u64::MAX;
    let chat = format!(
        "data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":{max},\"completion_tokens\":{max}}}}}\n\n"
    );
    let chat = format!("{HEAD}{WORD}{chat}{END}");
    let usage = format!(
        "{{\"input_tokens\":{max},\"cache_read_input_tokens\":{max},\"cache_creation_input_tokens\":{max},\"output_tokens\":{max}}}"
    );
    let messages = format!(
        "{HEAD}data: {{\"type\":\"message_start\",\"message\":{{\"usage\":{usage}}}}}\n\n\
         data: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"end_turn\"}},\"usage\":{usage}}}\n\n\
         data: {{\"type\":\"message_stop\"}}\n\n"
    );
    let (chat, messages) = (Hostile::saying(chat).await, Hostile::saying(messages).await);
    let settings = json!({"providers": {
        "openai": {"base_url": format!("{}/v1", chat.base)},
        "anthropic": {"base_url": messages.base},
    }});
    let app = TestApp::with(Script::default(), settings).await;
    let id = app.start_run(4).await;
    let events = app.events(&id).await;
    assert_eq!(events.last().unwrap().name, "run.completed", "{events:?}");
    let export = app.export(&id).await;
    assert_eq!(Fold::of(&events).turns, Fold::turns_of(&export));
    app.close().await;
}
