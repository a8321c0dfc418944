//! Bad input: each a clear problem+json, and nothing lost.

use parley::simulator::{Gate, Script};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{TestApp, talk, within};

/// A talk with one member changed, by JSON pointer.
fn with(pointer: &str, value: Value) -> Value {
    let mut order = talk(2);
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match order.pointer_mut(parent).unwrap() {
        Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
        object => object[key] = value,
    }
    order
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn orders_that_break_a_rule_are_422_and_name_it() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let bot = || json!({"provider": "openai", "model": "m"});
    for (order, pointer) in [
        (with("/surprise", json!(1)), "/surprise"),
        (with("/show_reasoning", json!("yes")), "/show_reasoning"),
        (with("/context_policy", json!("drop")), "/context_policy"),
        (with("/context_policy", json!(3)), "/context_policy"),
        (with("/turn_policy", json!("vote")), "/turn_policy"),
        (with("/bots/0/surprise", json!(1)), "/bots/0/surprise"),
        (
            with("/bots/0/params", json!({"top_k": 1})),
            "/bots/0/params/top_k",
        ),
        (json!({"bots": [bot(), bot()]}), ""),
        (json!({"topic": "t"}), ""),
        (with("/bots", json!([bot()])), "/bots"),
        (with("/bots", json!(vec![bot(); 9])), "/bots"),
        (with("/bots", json!("two")), "/bots"),
        (with("/topic", json!("")), "/topic"),
        (with("/topic", json!("x".repeat(32 * 1024 + 1))), "/topic"),
        (with("/topic", json!("a\u{0}b")), "/topic"),
        (with("/topic", json!(7)), "/topic"),
        (with("/bots/1/name", json!("")), "/bots/1/name"),
        (with("/bots/1/name", json!("x".repeat(65))), "/bots/1/name"),
        (with("/bots/1/name", json!("a\nb")), "/bots/1/name"),
        (with("/bots/1/name", json!("a\u{0}b")), "/bots/1/name"),
        (with("/bots/1/name", json!("Ada")), "/bots/1/name"),
        (
            with("/bots/0/system_prompt", json!("é".repeat(16_385))),
            "/bots/0/system_prompt",
        ),
        (
            with("/bots/0/system_prompt", json!("\u{0}")),
            "/bots/0/system_prompt",
        ),
        (
            with("/bots/0/provider", json!("nobody")),
            "/bots/0/provider",
        ),
        (with("/bots/0/model", json!("")), "/bots/0/model"),
        (
            with("/bots/0/params", json!({"temperature": 3})),
            "/bots/0/params/temperature",
        ),
        (
            with("/bots/0/params", json!({"max_tokens": 0})),
            "/bots/0/params/max_tokens",
        ),
        (with("/max_turns", json!(0)), "/max_turns"),
        (with("/max_turns", json!(-1)), "/max_turns"),
        (with("/max_turns", json!(1.5)), "/max_turns"),
        (with("/max_turns", json!(51)), "/max_turns"),
        (json!([1]), ""),
        (json!(["t", [bot(), bot()], 2]), ""),
        (
            with("/bots/0", json!([null, "openai", "m", null, {}])),
            "/bots/0",
        ),
        (json!(null), ""),
    ] {
        let answer = app.post("/api/run", &order).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (422, "validation-failed"),
            "{order}"
        );
        let errors = answer.json()["errors"].clone();
        let pointers: Vec<&str> = errors
            .as_array()
            .unwrap()
            .iter()
            .map(|error| error["pointer"].as_str().unwrap())
            .collect();
        assert!(
            pointers.contains(&pointer),
            "{pointer:?} is not in {errors}"
        );
        assert!(errors.as_array().unwrap().iter().all(|error| {
            error["reason"]
                .as_str()
                .is_some_and(|reason| !reason.is_empty())
        }));
    }
    assert!(
        app.simulator.requests().is_empty(),
        "nothing was asked of a provider"
    );
    app.close().await;
}

#[tokio::test]
async fn a_provider_without_a_key_is_refused_before_any_money_is_spent() {
    let app = TestApp::with(
        Script::text("Hello."),
        json!({"providers": {"openai": {"base_url": null}}}),
    )
    .await;
    let answer = app.post("/api/run", &talk(2)).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (422, "validation-failed")
    );
    let error = &answer.json()["errors"][0];
    assert_eq!(error["pointer"], "/bots/0/provider");
    assert!(
        error["reason"].as_str().unwrap().contains("OPENAI_API_KEY"),
        "{error}"
    );
    app.close().await;
}

#[tokio::test]
async fn a_model_that_the_provider_does_not_know_ends_the_run_with_its_code() {
    let app = TestApp::spawn(Script::status(404)).await;
    let id = app.start_run(2).await;
    app.events(&id).await;
    let run = app.run(&id).await;
    assert_eq!(
        (run["status"].as_str(), run["error"]["code"].as_str()),
        (Some("failed"), Some("not_found"))
    );
    app.close().await;
}

#[tokio::test]
async fn bodies_that_cannot_be_read() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let post = |content_type: &'static str, body: Vec<u8>| {
        app.send(
            app.request("POST", "/api/run")
                .header("content-type", content_type)
                .body(body),
        )
    };
    for broken in ["", "{", "{\"topic\": 1", "nonsense", "{} {}"] {
        let answer = post("application/json", broken.into()).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "not-json"),
            "{broken}"
        );
    }
    let answer = post("application/json", b"{\"topic\":\"\xff\"}".to_vec()).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (400, "not-json")
    );
    for other in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/merge-patch+json",
        "nonsense",
    ] {
        let answer = post(other, talk(2).to_string().into_bytes()).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (415, "unsupported-media-type"),
            "{other}"
        );
    }
    let answer = app
        .send(app.request("POST", "/api/run").body(talk(2).to_string()))
        .await;
    assert_eq!(answer.status, 415, "no content type at all");
    let answer = post(
        "Application/JSON; charset=utf-8",
        talk(1).to_string().into_bytes(),
    )
    .await;
    assert_eq!(answer.status, 201);
    app.events(answer.json()["run_id"].as_str().unwrap()).await;
    app.close().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_read_away_so_that_the_answer_is_seen() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let big = vec![b' '; 3 * 1024 * 1024];
    let answer = app
        .send(
            app.request("POST", "/api/run")
                .header("content-type", "application/json")
                .body(big),
        )
        .await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (413, "body-too-large")
    );
    let fits = format!("{}{}", " ".repeat(200 * 1024), talk(1));
    let answer = app
        .send(
            app.request("POST", "/api/run")
                .header("content-type", "application/json")
                .body(fits),
        )
        .await;
    assert_eq!(answer.status, 201);
    app.events(answer.json()["run_id"].as_str().unwrap()).await;
    app.close().await;
}

#[tokio::test]
async fn addresses_that_lead_nowhere() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let nobody = "00000000-0000-7000-8000-000000000000";
    for (method, path, status, problem) in [
        ("GET", "/api/run/x".to_owned(), 400, "invalid-run-id"),
        (
            "GET",
            format!("/api/run/{}", nobody.to_uppercase().replace('0', "A")),
            400,
            "invalid-run-id",
        ),
        ("GET", "/api/run/%ff".to_owned(), 400, "invalid-path"),
        ("GET", format!("/api/run/{nobody}"), 404, "run-not-found"),
        ("GET", format!("/api/stream/{nobody}"), 404, "run-not-found"),
        ("GET", "/api/stream/x".to_owned(), 400, "invalid-run-id"),
        (
            "GET",
            format!("/api/export/{nobody}.json"),
            404,
            "run-not-found",
        ),
        (
            "GET",
            format!("/api/export/{nobody}.exe"),
            404,
            "unknown-format",
        ),
        (
            "GET",
            format!("/api/export/{nobody}"),
            404,
            "unknown-format",
        ),
        (
            "GET",
            "/api/export/%ff.json".to_owned(),
            400,
            "invalid-path",
        ),
        (
            "POST",
            format!("/api/run/{nobody}/stop"),
            404,
            "run-not-found",
        ),
        ("POST", "/api/run/x/stop".to_owned(), 400, "invalid-run-id"),
        ("GET", "/api/nothing".to_owned(), 404, "not-found"),
        ("GET", "/".to_owned(), 404, "not-found"),
        (
            "DELETE",
            "/api/providers".to_owned(),
            405,
            "method-not-allowed",
        ),
        ("PUT", "/api/run".to_owned(), 405, "method-not-allowed"),
        (
            "POST",
            format!("/api/stream/{nobody}"),
            405,
            "method-not-allowed",
        ),
    ] {
        let answer = app.send(app.request(method, &path)).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (status, problem),
            "{method} {path}"
        );
        assert_eq!(
            status == 405,
            !answer.header("allow").is_empty(),
            "{method} {path}"
        );
    }
    app.close().await;
}

#[tokio::test]
async fn changes_and_stops_that_cannot_be() {
    let gate = Gate::closed();
    let app = TestApp::spawn(Script::deltas(["a"]).gate(&gate)).await;
    let id = app.start_run(2).await;
    for (index, status, problem) in [
        ("2", 404, "bot-not-found"),
        ("x", 400, "invalid-bot-index"),
        ("-1", 400, "invalid-bot-index"),
        ("99999999999", 400, "invalid-bot-index"),
    ] {
        let answer = app
            .patch(
                &format!("/api/run/{id}/bot/{index}"),
                &json!({"name": "Eve"}),
            )
            .await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (status, problem),
            "{index}"
        );
    }
    for (patch, pointer) in [
        (json!({"surprise": 1}), "/surprise"),
        (json!({"name": "Bob"}), "/name"),
        (json!({"name": "a\tb"}), "/name"),
        (json!({"provider": "nobody"}), "/provider"),
        (json!({"provider": null}), ""),
        (json!({"params": {"top_p": 2}}), "/params/top_p"),
    ] {
        let answer = app.patch(&format!("/api/run/{id}/bot/0"), &patch).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (422, "validation-failed"),
            "{patch}"
        );
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{patch}");
    }
    assert_eq!(
        app.patch(&format!("/api/run/{id}/bot/0"), &json!([1]))
            .await
            .status,
        422
    );
    let tag = app
        .request("PATCH", &format!("/api/run/{id}/bot/0"))
        .header("if-match", "3");
    let answer = app
        .send(tag.header("content-type", "application/json").body("{}"))
        .await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (400, "invalid-header")
    );
    let answer = app
        .post(&format!("/api/run/{id}/stop"), &json!({"mode": "gently"}))
        .await;
    assert_eq!(
        (
            answer.status,
            answer.json()["errors"][0]["pointer"].as_str()
        ),
        (422, Some("/mode"))
    );
    let form = app
        .request("POST", &format!("/api/run/{id}/stop"))
        .header("content-type", "text/plain")
        .body("x=y");
    assert_eq!(app.send(form).await.status, 415);
    assert_eq!(
        app.run(&id).await["bots"][0]["version"],
        1,
        "nothing of this was kept"
    );
    gate.open();
    app.events(&id).await;
    app.close().await;
}

/// Half a request, and nothing more: the server does not wait for ever.
#[tokio::test]
async fn headers_that_never_end_are_cut_off() {
    let short = json!({"http": {"header_timeout_ms": 1000}});
    let app = TestApp::with(Script::text("Hello."), short).await;
    let mut socket = tokio::net::TcpStream::connect(&app.address).await.unwrap();
    socket
        .write_all(b"GET /_ping HTTP/1.1\r\nhost: localhost\r\nx-slow: ")
        .await
        .unwrap();
    let mut answer = Vec::new();
    within("the connection to end", socket.read_to_end(&mut answer))
        .await
        .unwrap();
    app.close().await;
}

/// A connection that has asked before is no half request: closing it would lose the request that is on its way.
#[tokio::test]
async fn a_connection_is_kept_open_between_requests() {
    let short = json!({"http": {"header_timeout_ms": 1000}});
    let app = TestApp::with(Script::text("Hello."), short).await;
    let mut socket = tokio::net::TcpStream::connect(&app.address).await.unwrap();
    let ask = b"GET /_ping HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut answer = [0; 4096];
    socket.write_all(ask).await.unwrap();
    assert!(socket.read(&mut answer).await.unwrap() > 0);
    // Longer than the first headers of a connection may take.
    let closed = tokio::time::timeout(
        std::time::Duration::from_millis(1500),
        socket.read(&mut answer),
    );
    assert!(closed.await.is_err(), "it was closed");
    socket.write_all(ask).await.unwrap();
    assert!(within("an answer", socket.read(&mut answer)).await.unwrap() > 0);
    drop(socket);
    app.close().await;
}

#[tokio::test]
async fn what_is_no_http_at_all_harms_nobody() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01"[..],
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /api/run HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
    ] {
        let mut socket = tokio::net::TcpStream::connect(&app.address).await.unwrap();
        socket.write_all(garbage).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // Whether it answers or hangs up is its own affair.
        let _ = within("the connection to end", socket.read_to_end(&mut answer)).await;
    }
    assert_eq!(app.get("/_ping").await.status, 200);
    app.close().await;
}
