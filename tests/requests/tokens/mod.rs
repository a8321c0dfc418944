//! Access tokens: who comes in with one, and what is said to those who do not.

mod corpus;
mod introspection;
mod issuers;

use serde_json::{Value, json};

use parley::simulator::Script;

use super::statuses::of_every_route;
use crate::support::{
    Answer, Issuer, Key, Operation, Scrape, TestApp, Token, now, shown, shown_head, talk,
};

/// The application that takes tokens of that issuer, with further settings of it and of all.
async fn with(issuer: &Issuer, of_issuer: Value, settings: Value) -> TestApp {
    let mut one = json!({"issuer": issuer.url, "audience": ["parley", "https://parley.example"]});
    for (key, value) in of_issuer.as_object().unwrap() {
        one[key] = value.clone();
    }
    let mut all = json!({
        "dev_mode": false,
        "auth": {"mode": "oidc", "oidc": [one]},
        "rate_limit": {"failed_logins_per_minute": 100_000},
    });
    for (key, value) in settings.as_object().unwrap() {
        if key == "auth" {
            for (key, value) in value.as_object().unwrap() {
                all["auth"][key] = value.clone();
            }
        } else {
            all[key] = value.clone();
        }
    }
    TestApp::with(Script::text("Hello."), all).await
}

async fn taking(issuer: &Issuer) -> TestApp {
    with(issuer, json!({}), json!({})).await
}

/// What a request with that token is answered. It wants a login and no scope.
async fn ask(app: &TestApp, token: &str) -> Answer {
    let request = app.request("GET", "/api/providers");
    app.send(request.bearer_auth(token)).await
}

async fn start(app: &TestApp, token: &str) -> Answer {
    let request = app
        .request("POST", "/api/run")
        .header("content-type", "application/json")
        .bearer_auth(token);
    app.send(request.body(talk(1).to_string())).await
}

/// Reads the run of that answer to its end.
async fn read(app: &TestApp, token: &str, started: &Answer) {
    let stream = started.json()["stream_url"].as_str().unwrap().to_owned();
    let stream = app.request("GET", &stream).bearer_auth(token);
    let events = app.send(stream).await;
    assert!(events.text.contains("run.completed"), "{events:?}");
}

#[tokio::test]
async fn each_algorithm_is_taken() {
    let keys = [Key::rsa("r"), Key::p256("e"), Key::p384("e3"), Key::ed("d")];
    let issuer = Issuer::start(&keys[0]).await;
    issuer.publish(&keys.iter().map(Key::jwk).collect::<Vec<_>>());
    let app = taking(&issuer).await;
    let mut taken = 0;
    for key in &keys {
        for algorithm in key.algorithms() {
            let token = Token::of(&issuer.url, key).header("alg", json!(algorithm));
            for token in [token.clone(), token.claim("aud", json!(["x", "parley"]))] {
                let answer = ask(&app, &token.signed(key)).await;
                assert_eq!(answer.status, 200, "{algorithm}: {}", answer.text);
                taken += 1;
            }
        }
    }
    assert_eq!((taken, issuer.fetches()), (18, 1));
    app.close().await;
}

#[tokio::test]
async fn a_run_belongs_to_the_subject_of_its_issuer() {
    let key = Key::p256("k");
    let issuer = Issuer::start(&key).await;
    let app = taking(&issuer).await;
    let token = Token::of(&issuer.url, &key);
    let ada = token.signed(&key);
    let started = start(&app, &ada).await;
    assert_eq!(started.status, 201, "{}", started.text);
    read(&app, &ada, &started).await;
    let path = format!("/api/run/{}", started.json()["run_id"].as_str().unwrap());
    let admin = json!("runs:admin");
    for (subject, scopes, status) in [
        ("ada", json!("runs:read"), 200),
        ("eve", json!("runs:read runs:write"), 404),
        ("eve", admin, 200),
        ("ada", json!("openid"), 403),
    ] {
        let token = token.clone().claim("sub", json!(subject));
        let token = token.claim("scope", scopes.clone()).signed(&key);
        let request = app.request("GET", &path).bearer_auth(token);
        let answer = app.send(request).await;
        assert_eq!(answer.status, status, "{subject} {scopes}");
    }
    app.close().await;
}

#[tokio::test]
async fn what_is_missing_is_told_as_the_standards_say() {
    let key = Key::p256("k");
    let issuer = Issuer::start(&key).await;
    let app = taking(&issuer).await;
    let request = || app.request("GET", "/api/run");
    let token = Token::of(&issuer.url, &key);
    let expired = token.clone().claim("exp", json!(now() - 60)).signed(&key);
    let scopeless = token.claim("scope", json!("runs:write")).signed(&key);
    let basic = request().basic_auth("ada", Some("test password"));
    let blocks = [
        shown("none", &app.send(request()).await),
        shown_head("other scheme", &app.send(basic).await),
        shown("expired", &app.send(request().bearer_auth(expired)).await),
        shown(
            "no scope",
            &app.send(request().bearer_auth(scopeless)).await,
        ),
    ];
    let fetch = app.send(request().header("sec-fetch-mode", "cors")).await;
    assert!(fetch.header("www-authenticate").starts_with("Bearer "));
    insta::assert_snapshot!("what_is_missing", blocks.join("\n\n"));
    app.close().await;
}

#[tokio::test]
async fn every_route_says_what_is_missing() {
    let key = Key::p256("k");
    let mut issuer = Issuer::start(&key).await;
    let app = taking(&issuer).await;
    let token = Token::of(&issuer.url, &key);
    let none = token.clone().claim("scope", json!("openid")).signed(&key);
    assert_eq!(ask(&app, &none).await.status, 200);
    issuer.die().await;
    let unknown = token.header("kid", json!("new")).signed(&key);
    let of = |operation: Operation| match operation.id() {
        // It says how many may be made, too.
        _ if operation.statuses().contains(&201) || operation.is_open() => "none",
        "make_ticket" => "runs:read",
        "list_acts" => "runs:admin",
        _ if operation.method == "get" => "runs:read",
        _ => "runs:write",
    };
    let mut blocks = Vec::new();
    for scope in ["runs:read", "runs:write", "runs:admin"] {
        let takes = |operation| of(operation) == scope;
        let refused = of_every_route(&app, 403, takes, |_, request| request.bearer_auth(&none));
        blocks.push(refused.await);
    }
    let secured = |operation: Operation| !operation.is_open();
    let put_off = of_every_route(&app, 503, secured, |_, request| {
        request.bearer_auth(&unknown)
    });
    blocks.push(put_off.await);
    insta::assert_snapshot!("every_route", blocks.join("\n\n"));
    app.close().await;
}

#[tokio::test]
async fn in_the_mode_both_either_comes_in() {
    let key = Key::p256("k");
    let issuer = Issuer::start(&key).await;
    let hash = bcrypt::hash("test password", 4).unwrap();
    let auth = json!({"mode": "both", "basic": {"user": "ada", "password_hash": hash}});
    let app = with(&issuer, json!({}), json!({"auth": auth})).await;
    let token = Token::of(&issuer.url, &key).signed(&key);
    assert_eq!(ask(&app, &token).await.status, 200);
    let request = || app.request("GET", "/api/providers");
    let basic = |password| request().basic_auth("ada", Some(password));
    assert_eq!(app.send(basic("test password")).await.status, 200);
    let challenges = |answer: &Answer| {
        let all = answer.headers.get_all("www-authenticate").iter();
        let schemes = all.map(|value| value.to_str().unwrap().split(' ').next().unwrap());
        schemes.map(str::to_owned).collect::<Vec<_>>()
    };
    for request in [request(), basic("wrong"), request().bearer_auth("x")] {
        let answer = app.send(request).await;
        assert_eq!(
            (answer.status, challenges(&answer)),
            (401, vec!["Bearer".to_owned(), "Basic".to_owned()])
        );
    }
    let fetch = app.send(request().header("sec-fetch-mode", "cors")).await;
    assert_eq!(challenges(&fetch), ["Bearer"]);
    app.close().await;
}

#[tokio::test]
async fn where_to_get_a_token_is_told_to_everybody() {
    let key = Key::p256("k");
    let issuer = Issuer::start(&key).await;
    let app = taking(&issuer).await;
    let path = "/.well-known/oauth-protected-resource";
    let told = app.get(path).await;
    assert_eq!(told.json()["authorization_servers"], json!([issuer.url]));
    let resource = told.json()["resource"].as_str().unwrap().to_owned();
    let refused = app.get("/api/providers").await;
    let metadata = format!("resource_metadata=\"{resource}{path}\"");
    assert!(refused.header("www-authenticate").ends_with(&metadata));
    let told = told.text.replace(&issuer.url, "https://login.example");
    let told = Answer {
        text: told,
        status: 200,
        headers: refused.headers.clone(),
    };
    app.close().await;
    let app = TestApp::spawn(Script::default()).await;
    let none = app.get(path).await;
    let shown_body = format!("show_protected_resource → 200\n\n{:#}", told.json());
    let blocks = [shown_body, shown("show_protected_resource", &none)];
    insta::assert_snapshot!("protected_resource", blocks.join("\n\n"));
    app.close().await;
}

#[tokio::test]
async fn wrong_tokens_are_failed_logins_and_shut_out_no_right_one() {
    let key = Key::p256("k");
    let issuer = Issuer::start(&key).await;
    let limit = json!({"rate_limit": {"failed_logins_per_minute": 3}});
    let app = with(&issuer, json!({}), limit).await;
    let token = Token::of(&issuer.url, &key);
    let expired = token.clone().claim("exp", json!(now() - 60)).signed(&key);
    for _ in 0..5 {
        assert_eq!(ask(&app, &expired).await.status, 401, "no failure");
    }
    for status in [401, 401, 401, 429, 429] {
        let answer = ask(&app, "nonsense").await;
        assert_eq!(answer.status, status);
    }
    let shut = ask(&app, "nonsense").await;
    assert_eq!(shut.problem(), "too-many-failed-logins");
    assert!(shut.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(ask(&app, &expired).await.status, 401);
    for token in [token.clone(), token.claim("jti", json!("new"))] {
        assert_eq!(ask(&app, &token.signed(&key)).await.status, 200);
    }
    let token = Token::of(&issuer.url, &key).signed(&key);
    let metrics = app.request("GET", "/metrics").bearer_auth(token);
    let seen = Scrape::read(&app.send(metrics).await.text);
    let count = |reason| seen.sum("parley_auth_failures_total", &[("reason", reason)]);
    let counts = ["expired_token", "wrong_token", "too_many"].map(count);
    assert_eq!(counts, [6.0, 3.0, 3.0]);
    app.close().await;
}

#[tokio::test]
async fn tokens_that_do_not_say_what_they_are_come_in_only_where_they_may() {
    let key = Key::p256("k");
    let issuer = Issuer::start(&key).await;
    let strict = taking(&issuer).await;
    let plain = with(&issuer, json!({"accept_plain_jwt": true}), json!({})).await;
    let of = || Token::of(&issuer.url, &key);
    for (token, taken) in [
        (of().header("typ", json!("JWT")), true),
        (of().header("typ", Value::Null), true),
        (
            of().header("typ", json!("JWT")).claim("nonce", json!("n")),
            false,
        ),
        (
            of().header("typ", json!("JWT"))
                .claim("at_hash", json!("h")),
            false,
        ),
        (of().header("typ", json!("logout+jwt")), false),
    ] {
        let token = token.signed(&key);
        let refused = ask(&strict, &token).await;
        assert_eq!(refused.status, 401);
        assert!(
            refused
                .header("www-authenticate")
                .contains("accept_plain_jwt")
        );
        let status = if taken { 200 } else { 401 };
        assert_eq!(ask(&plain, &token).await.status, status);
    }
    strict.close().await;
    plain.close().await;
}
