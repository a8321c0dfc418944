//! The numbers are right: what the API says of a talk, and what the metrics say, is the same.

use parley::{
    conversation::FailureCode,
    simulator::{Gate, Script, Simulator},
};
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};

use crate::{
    crashes::node::Node,
    support::{Event, Scrape, SseDecoder, TestApp, client, talk, within},
};

/// Models that have a price, so that money can be counted, too.
const OPENAI: &str = "gpt-6-luna";
const ANTHROPIC: &str = "claude-haiku-5-5";

fn order(max_turns: u32) -> Value {
    let mut order = talk(max_turns);
    order["bots"][0]["model"] = OPENAI.into();
    order["bots"][1]["model"] = ANTHROPIC.into();
    order
}

fn count(events: &[Event], name: &str) -> f64 {
    events.iter().filter(|event| event.name == name).count() as f64
}

/// The deltas of those turns that this bot spoke.
fn deltas_of(events: &[Event], bot: u64) -> f64 {
    let deltas = events.iter().filter(|event| event.name == "turn.delta");
    deltas
        .filter(|event| event.json()["bot_index"] == bot)
        .count() as f64
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value}"))
}

#[tokio::test]
async fn a_talk_is_counted_exactly() {
    let script = Script::deltas(["One ", "two ", "three."]).usage(1_000, 30);
    let app = TestApp::spawn(script).await;
    let before = Scrape::of(&app).await;
    assert_eq!(before.sum("parley_runs_accepted_total", &[]), 0.0);
    let id = app.start(&order(5)).await;
    let events = app.events(&id).await;
    let (run, seen) = (app.run(&id).await, Scrape::of(&app).await);

    let openai = [("provider", "openai"), ("model", OPENAI)];
    let anthropic = [("provider", "anthropic"), ("model", ANTHROPIC)];
    assert_eq!(seen.sum("parley_runs_accepted_total", &[]), 1.0);
    let end = [("status", "completed"), ("reason", "max_turns")];
    assert_eq!(seen.sum("parley_runs_ended_total", &end), 1.0);
    assert_eq!(seen.sum("parley_runs_ended_total", &[]), 1.0);
    let turns = "parley_turn_duration_seconds_count";
    assert_eq!(seen.sum(turns, &[("status", "completed")]), 5.0);
    assert_eq!(seen.sum(turns, &[]), 5.0);
    for (labels, bot, turns) in [(&openai, 0, 3.0), (&anthropic, 1, 2.0)] {
        let attempts = seen.sum("parley_attempts_total", labels);
        assert_eq!(attempts, turns);
        let timed = [
            "parley_attempt_duration_seconds_count",
            "parley_first_delta_seconds_count",
        ];
        for name in timed {
            assert_eq!(seen.sum(name, labels), turns, "{name}");
        }
        let deltas = seen.sum("parley_deltas_total", labels);
        // Whoever comes late sees an ended turn without its deltas.
        assert_eq!(deltas, turns * 3.0);
        assert!(deltas_of(&events, bot) <= deltas);
    }
    for (kind, field) in [
        ("input", "input_tokens"),
        ("cached_input", "cached_input_tokens"),
        ("cache_write", "cache_write_tokens"),
        ("output", "output_tokens"),
        ("reasoning", "reasoning_tokens"),
    ] {
        let counted = run["usage"][field].as_f64().unwrap_or_default();
        let seen = seen.sum("parley_tokens_total", &[("kind", kind)]);
        assert_eq!(seen, counted, "{kind}");
    }
    assert!(number(&run["usage"]["input_tokens"]) >= 5_000.0);
    let cost = seen.sum("parley_cost_dollars_total", &openai)
        + seen.sum("parley_cost_dollars_total", &anthropic);
    assert!(cost > 0.0);
    assert!(
        (cost - number(&run["cost_usd"])).abs() < 1e-15,
        "{cost} {}",
        run["cost_usd"]
    );
    assert_eq!(seen.sum("parley_unpriced_attempts_total", &[]), 0.0);
    for quiet in [
        "parley_provider_errors_total",
        "parley_retries_total",
        "parley_runs_recovered_total",
        "parley_lease_losses_total",
        "parley_database_errors_total",
        "parley_auth_failures_total",
        "parley_rate_limited_total",
        "parley_subscribers",
        "parley_runs_live",
        "parley_breakers_open",
    ] {
        assert_eq!(seen.sum(quiet, &[]), 0.0, "{quiet}");
    }
    let commits = [("call", "commit")];
    let commits = seen.sum("parley_database_call_duration_seconds_count", &commits);
    assert!(commits >= 7.0, "{commits}");
    assert_eq!(seen.sum("parley_ready", &[]), 1.0);
    assert_eq!(seen.sum("parley_driving", &[]), 1.0);
    let pool = seen.sum("parley_database_connections", &[]);
    assert!(pool >= 1.0 && pool <= seen.sum("parley_database_connections_limit", &[]));
    app.close().await;
}

/// What appears with its first event cannot be seen to rise by it.
#[tokio::test]
async fn what_alerts_look_at_is_zero_before_it_happens() {
    let app = TestApp::spawn(Script::text("Yes.")).await;
    let seen = Scrape::of(&app).await;
    let has = |name: &str, labels: &[(&str, &str)]| {
        let found = seen.series(name).into_iter().filter(|series| {
            let has =
                |(label, value): &(&str, &str)| series.contains(&format!("{label}=\"{value}\""));
            labels.iter().all(has)
        });
        assert!(found.count() > 0, "{name} {labels:?}");
    };
    for model in [
        ("openai", OPENAI),
        ("openai", "other"),
        ("anthropic", ANTHROPIC),
    ] {
        let labels = [("provider", model.0), ("model", model.1)];
        has("parley_breaker_openings_total", &labels);
    }
    for code in FailureCode::ALL {
        let labels = [("status", "failed"), ("reason", code.as_str())];
        has("parley_runs_ended_total", &labels);
    }
    for (method, route) in [
        ("POST", "/api/run"),
        ("GET", "/api/stream/{run_id}"),
        ("PATCH", "/api/run/{run_id}/bot/{bot_index}"),
    ] {
        for status in ["500", "503"] {
            let labels = [("method", method), ("route", route), ("status", status)];
            has("parley_http_requests_total", &labels);
        }
    }
    let id = app.start(&order(1)).await;
    app.events(&id).await;
    let seen = Scrape::of(&app).await;
    let errors = seen.series("parley_provider_errors_total");
    assert_eq!(errors.len(), 13, "{errors:?}");
    assert_eq!(seen.sum("parley_provider_errors_total", &[]), 0.0);
    app.close().await;
}

#[tokio::test]
async fn what_fails_and_is_made_again_is_counted_by_code() {
    let app = TestApp::spawn(Script::text("Yes.").usage(10, 1)).await;
    for _ in 0..2 {
        app.simulator.enqueue_for(OPENAI, Script::status(500));
    }
    let mut order = order(2);
    // Nobody has heard of this one: it has no price, and no label of its own.
    order["bots"][1]["model"] = "my-own-model-7".into();
    let id = app.start(&order).await;
    let events = app.events(&id).await;
    let seen = Scrape::of(&app).await;
    let server = [
        ("provider", "openai"),
        ("model", OPENAI),
        ("code", "server"),
    ];
    assert_eq!(count(&events, "error"), 2.0);
    assert_eq!(seen.sum("parley_provider_errors_total", &server), 2.0);
    assert_eq!(seen.sum("parley_retries_total", &server), 2.0);
    let outcome = |outcome| seen.sum("parley_attempts_total", &[("outcome", outcome)]);
    assert_eq!((outcome("server"), outcome("completed")), (2.0, 2.0));
    let other = [("provider", "anthropic"), ("model", "other")];
    assert_eq!(seen.sum("parley_attempts_total", &other), 1.0);
    assert_eq!(seen.sum("parley_unpriced_attempts_total", &other), 1.0);
    assert!(!format!("{seen:?}").contains("my-own-model-7"));

    // The last failure of a turn is an error, and no retry.
    for _ in 0..3 {
        app.simulator.enqueue_for(OPENAI, Script::status(500));
    }
    let id = app.start(&order).await;
    app.events(&id).await;
    let seen = Scrape::of(&app).await;
    assert_eq!(seen.sum("parley_provider_errors_total", &server), 5.0);
    assert_eq!(seen.sum("parley_retries_total", &server), 4.0);
    let end = [("status", "failed"), ("reason", "server")];
    assert_eq!(seen.sum("parley_runs_ended_total", &end), 1.0);
    let failed = [("status", "failed")];
    assert_eq!(seen.sum("parley_turn_duration_seconds_count", &failed), 1.0);
    app.close().await;
}

#[tokio::test]
async fn a_breaker_that_opens_is_seen() {
    let settings = json!({
        "breaker": {"failures": 2, "open_ms": 60_000},
        "retry": {"max_attempts": 2, "base_ms": 1, "cap_ms": 5},
    });
    let app = TestApp::with(Script::text("Yes."), settings).await;
    for _ in 0..2 {
        app.simulator.enqueue_for(OPENAI, Script::status(503));
    }
    let id = app.start(&order(1)).await;
    app.events(&id).await;
    let labels = [("provider", "openai"), ("model", OPENAI)];
    let seen = Scrape::of(&app).await;
    assert_eq!(seen.sum("parley_breakers_open", &labels), 1.0);
    assert_eq!(seen.sum("parley_breakers_open", &[]), 1.0);
    assert_eq!(seen.sum("parley_breaker_openings_total", &labels), 1.0);
    // The next run has to wait for it.
    let id = app.start(&order(1)).await;
    let mut stream = app.stream(&id, "").await;
    stream.until(|event| event.name == "error").await;
    let seen = Scrape::of(&app).await;
    let waits = [("provider", "openai"), ("code", "overloaded")];
    assert_eq!(seen.sum("parley_attempts_delayed_total", &waits), 1.0);
    app.stop(&id).await;
    app.close().await;
}

#[tokio::test]
async fn what_is_live_is_counted_while_it_lives() {
    let gate = Gate::closed();
    let app = TestApp::spawn(Script::deltas(["a", "b"]).gate(&gate)).await;
    let id = app.start(&order(1)).await;
    let mut first = app.stream(&id, "").await;
    let second = app.stream(&id, "").await;
    first.until(|event| event.name == "turn.started").await;
    let seen = Scrape::of(&app).await;
    assert_eq!(seen.sum("parley_runs_live", &[]), 1.0);
    assert_eq!(seen.sum("parley_subscribers", &[]), 2.0);
    drop(second);
    let id_of_other = app.start(&order(1)).await;
    app.stop(&id_of_other).await;
    gate.open();
    first.rest().await;
    within("nothing to live any more", async {
        loop {
            let seen = Scrape::of(&app).await;
            let live = seen.sum("parley_runs_live", &[]) + seen.sum("parley_subscribers", &[]);
            if live == 0.0 {
                break;
            }
        }
    })
    .await;
    let seen = Scrape::of(&app).await;
    let stopped = [("status", "stopped"), ("reason", "stop_requested")];
    assert_eq!(seen.sum("parley_runs_ended_total", &stopped), 1.0);
    app.close().await;
}

#[tokio::test]
async fn requests_are_counted_by_route_and_bytes_as_they_are_sent() {
    let app = TestApp::spawn(Script::deltas(["a", "b"])).await;
    let id = app.start(&order(1)).await;
    app.events(&id).await;
    let route = [("route", "/api/stream/{run_id}")];
    let bytes = "parley_http_response_bytes_total";
    let before = Scrape::of(&app).await.sum(bytes, &route);
    let replay = client().get(app.url(&format!("/api/stream/{id}")));
    let replay = replay.send().await.unwrap().bytes().await.unwrap();
    assert!(replay.len() > 500);
    for path in ["/nothing", "/api/run/x", "/api/run/y?z"] {
        app.get(path).await;
    }
    app.send(app.request("BREW", "/api/run")).await;
    let seen = Scrape::of(&app).await;
    assert_eq!(seen.sum(bytes, &route) - before, replay.len() as f64);
    let requests = |labels: &[(&str, &str)]| seen.sum("parley_http_requests_total", labels);
    let run = ("route", "/api/run/{run_id}");
    assert_eq!(requests(&[run, ("status", "400")]), 2.0);
    assert_eq!(requests(&[("route", "none"), ("status", "404")]), 1.0);
    assert_eq!(requests(&[("method", "other"), ("status", "405")]), 1.0);
    assert_eq!(requests(&[("method", "POST"), ("status", "201")]), 1.0);
    let timed = seen.sum("parley_http_request_duration_seconds_count", &[run]);
    assert_eq!(timed, 2.0);
    assert!(!format!("{seen:?}").contains(&id), "no run's id");
    app.close().await;
}

/// A run whose claim was carried out, and not heard of, has lost nobody.
#[tokio::test]
async fn a_claim_that_nobody_heard_of_is_no_recovery() {
    let settings = json!({"orchestrator": {"max_live_runs": 1}});
    let app = TestApp::with(Script::text("Yes."), settings).await;
    app.simulator.enqueue_for(OPENAI, Script::silent());
    let first = app.start(&order(1)).await;
    let open = app.simulator.wait_for(|activity| activity.open == 1);
    within("the only place to be taken", open).await;
    let second = app.start(&order(1)).await;
    let claim = "UPDATE runs SET lease_epoch = 1, lease_owner = (SELECT lease_owner FROM runs WHERE status = 'running') \
                 WHERE status = 'queued'";
    app.ctx.db.execute_unprepared(claim).await.unwrap();
    app.stop(&first).await;
    app.events(&second).await;
    let seen = Scrape::of(&app).await;
    assert_eq!(seen.sum("parley_runs_recovered_total", &[]), 0.0);
    app.close().await;
}

/// Two in one process have nothing in common.
#[tokio::test]
async fn each_application_counts_for_itself() {
    let (one, other) = (
        TestApp::spawn(Script::text("Yes.")).await,
        TestApp::spawn(Script::text("Yes.")).await,
    );
    let id = one.start(&order(1)).await;
    one.events(&id).await;
    let accepted = "parley_runs_accepted_total";
    assert_eq!(Scrape::of(&one).await.sum(accepted, &[]), 1.0);
    assert_eq!(Scrape::of(&other).await.sum(accepted, &[]), 0.0);
    assert_eq!(
        Scrape::of(&other).await.series("parley_attempts_total"),
        Vec::<&str>::new()
    );
    one.close().await;
    other.close().await;
}

/// A run whose process is killed in the middle of a turn is counted once by both together, and so are its turns and its money.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_taken_over_is_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!(
        "sqlite://{}/parley.sqlite?mode=rwc",
        folder.path().display()
    );
    let script = Script::text("Yes.").usage(1_000, 10);
    let simulator = Simulator::start(([127, 0, 0, 1], 0).into(), script).await;
    let simulator = simulator.unwrap();
    let address = format!("http://{}", simulator.address());
    let mut node = Node::new(folder.path(), &database, &address, "{}");
    node.start().await;
    let (silent, order) = (Script::deltas(["Y"]).silent_after(1), order(3));
    simulator.enqueue_for(OPENAI, Script::text("Yes.").usage(1_000, 10));
    simulator.enqueue_for(OPENAI, silent);
    let started = client().post(format!("{}/api/run", node.base));
    let started = started.header("content-type", "application/json");
    let started = started.body(order.to_string()).send().await.unwrap();
    let started: Value = serde_json::from_str(&started.text().await.unwrap()).unwrap();
    let id = started["run_id"].as_str().unwrap();
    let third = simulator.wait_for(|activity| activity.seen == 3 && activity.open == 1);
    within("the third turn", third).await;
    let first = Scrape::at(&node.base).await;
    node.kill();
    node.start().await;
    let stream = client().get(format!("{}/api/stream/{id}", node.base));
    let text = stream.send().await.unwrap().text();
    let text = within("the run to end", text).await.unwrap();
    assert!(text.contains("event: run.completed"), "{text}");
    // A turn takes as long as it is open, whoever opened it.
    let events = SseDecoder::default().feed(text.as_bytes());
    let last = |name: &str| {
        events
            .iter()
            .rfind(|event| event.name == name)
            .unwrap()
            .json()
    };
    let (opened, closed) = (last("turn.started"), last("turn.completed"));
    let at = |event: &Value| {
        let at = chrono::DateTime::parse_from_rfc3339(event["at"].as_str().unwrap());
        at.unwrap().timestamp_millis()
    };
    assert_eq!(closed["duration_ms"], at(&closed) - at(&opened));
    // Counted a moment after it is shown.
    let second = within("the run to be counted", async {
        loop {
            let seen = Scrape::at(&node.base).await;
            if seen.sum("parley_runs_ended_total", &[]) > 0.0 {
                return seen;
            }
        }
    })
    .await;
    let run = client().get(format!("{}/api/run/{id}", node.base));
    let run: Value =
        serde_json::from_str(&run.send().await.unwrap().text().await.unwrap()).unwrap();

    let both =
        |name: &str, labels: &[(&str, &str)]| [first.sum(name, labels), second.sum(name, labels)];
    assert_eq!(both("parley_runs_accepted_total", &[]), [1.0, 0.0]);
    assert_eq!(both("parley_runs_ended_total", &[]), [0.0, 1.0]);
    let process = [("reason", "process")];
    assert_eq!(both("parley_runs_recovered_total", &process), [0.0, 1.0]);
    let turns = "parley_turn_duration_seconds_count";
    assert_eq!(both(turns, &[("status", "completed")]), [2.0, 1.0]);
    let outcome = |word| both("parley_attempts_total", &[("outcome", word)]);
    assert_eq!(outcome("completed"), [2.0, 1.0]);
    assert_eq!(outcome("crash"), [0.0, 1.0]);
    assert_eq!(both("parley_unpriced_attempts_total", &[]), [0.0, 1.0]);
    let cost: f64 = both("parley_cost_dollars_total", &[]).iter().sum();
    assert!((cost - number(&run["cost_usd"])).abs() < 1e-15, "{cost}");
    assert_eq!(run["cost_complete"], false);
}
