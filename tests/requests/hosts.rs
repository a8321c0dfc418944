//! For which host a request is: ours by name, said once, and the same to all that look at it.

use parley::simulator::Script;
use serde_json::{Value, json};

use super::{
    login::{guarded, right},
    raw::ask,
};
use crate::support::{TestApp, talk};

/// The status of the answer to a request that says those hosts, and its body.
async fn asked_by(app: &TestApp, hosts: &[&str], path: &str) -> (u16, String) {
    let hosts: String = hosts
        .iter()
        .map(|host| format!("host: {host}\r\n"))
        .collect();
    let request = format!("GET {path} HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
    let answer = ask(app, request.as_bytes()).await;
    (answer[9..12].parse().unwrap(), answer)
}

/// A name that somebody else has made point here is not ours; our own, and addresses, are. Nobody looks for names in production where none
/// is said.
#[tokio::test]
async fn who_asks_for_another_name_is_refused() {
    let check = async |settings: Value, rows: &[(&str, &str, u16)]| {
        let app = guarded(settings).await;
        for (host, path, status) in rows {
            let (answered, text) = asked_by(&app, &[host], path).await;
            assert_eq!(answered, *status, "{host} {path}: {text}");
            assert!(answered != 421 || text.contains("/problems/misdirected-request"));
        }
        app.close().await;
    };
    let ours = [
        ("evil.example", "/api/run", 421),
        ("evil.example:80", "/openapi.json", 421),
        ("parley.example", "/api/run", 401),
        ("127.0.0.1:5150", "/api/run", 401),
        ("[::1]", "/api/run", 401),
        ("localhost", "/api/run", 401),
        ("evil.example", "/_ping", 200),
    ];
    check(
        json!({"http": {"allowed_hosts": ["parley.example"]}}),
        &ours,
    )
    .await;
    check(json!({"HOST": "https://parley.example"}), &ours).await;
    let both = json!({"HOST": "https://parley.example", "http": {"allowed_hosts": ["parley"]}});
    check(both, &ours).await;
    let neither = [("evil.example", "/api/run", 401)];
    check(json!({}), &neither).await;
}

/// Without a login it is the name alone that keeps pages of other sites out.
#[tokio::test]
async fn dev_mode_answers_to_its_own_machine_alone() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    for (host, status) in [
        ("evil.example", 421),
        ("localhost:5150", 200),
        ("127.0.0.1", 200),
    ] {
        assert_eq!(
            asked_by(&app, &[host], "/api/run").await.0,
            status,
            "{host}"
        );
    }
    app.close().await;
    let listed = json!({"http": {"allowed_hosts": ["devbox"]}});
    let app = TestApp::with(Script::text("Hello."), listed).await;
    assert_eq!(asked_by(&app, &["devbox:5150"], "/api/run").await.0, 200);
    app.close().await;
}

/// What is said twice two readers may read in two ways.
#[tokio::test]
async fn a_request_says_once_for_which_host_it_is_and_who_is_asking() {
    let app = guarded(json!({})).await;
    for hosts in [
        &[][..],
        &["localhost", "localhost"],
        &["localhost", "evil.example"],
        &["user@localhost"],
        &["localhost@evil.example"],
    ] {
        let (status, text) = asked_by(&app, hosts, "/api/providers").await;
        assert_eq!(status, 400, "{text}");
        assert!(text.contains("/problems/bad-request") && text.contains("x-request-id"));
    }
    let (status, _) = asked_by(&app, &["localhost"], "http://ada@localhost/api/providers").await;
    assert_eq!(status, 400);
    let right = right();
    for (logins, status) in [(vec![&right], 200), (vec![&right, &right], 400)] {
        let lines: String = logins
            .iter()
            .map(|it| format!("authorization: {it}\r\n"))
            .collect();
        let request = format!(
            "GET /api/providers HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{lines}\r\n"
        );
        let answer = ask(&app, request.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
        assert!(
            status == 200 || answer.contains("/problems/bad-request"),
            "{answer}"
        );
    }
    // HTTP/1.0 has no such field.
    let old = ask(&app, b"GET /api/providers HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 401"), "{old}");
    app.close().await;
}

/// By HTTP/2 a request says it in its address, and our own pages may do there what they may by HTTP/1.1.
#[tokio::test]
async fn our_own_origin_is_ours_by_http_2() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .no_proxy();
    let client = client.tls_certs_only([]).build().unwrap();
    for (origin, status) in [
        (format!("http://{}", app.address), 201),
        ("http://evil.example".to_owned(), 403),
    ] {
        let request = client.post(app.url("/api/run")).header("origin", origin);
        let request = request.header("content-type", "application/json");
        let answer = app
            .send_by(&client, request.body(talk(1).to_string()))
            .await;
        assert_eq!(answer.status, status, "{}", answer.text);
        if status == 201 {
            app.events(answer.json()["run_id"].as_str().unwrap()).await;
        }
    }
    app.close().await;
}
