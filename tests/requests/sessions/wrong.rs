//! What is wrong on the way from the issuer, and where nobody is sent.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Browser, House};
use crate::support::{Answer, Key, Token, compact, now};

/// What comes back must be of a login that this browser has begun, whole, once, and in time.
#[tokio::test]
async fn what_was_not_begun_here_is_no_login() {
    let house = House::usual().await;
    let app = &house.app;
    let mut ada = Browser::default();
    let begun = ada.ask(app, "GET", "/auth/login").await;
    let path = house.back(begun.header("location")).await;
    let failed = |answer: &Answer| {
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "login-failed"),
            "{answer:?}"
        );
        assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 0);
    };
    // Another browser, such as one that was sent a link.
    failed(&Browser::default().ask(app, "GET", &path).await);
    let (start, rest) = path.split_once("state=").unwrap();
    let (_, iss) = rest.split_once('&').unwrap();
    assert!(iss.starts_with("iss="), "{iss}");
    let (state, rest) = rest.split_once('&').unwrap();
    for state in [
        "",
        "x",
        &state[..8],
        &format!("{}x", &state[..21]),
        &format!("{state}x"),
    ] {
        failed(
            &ada.ask(app, "GET", &format!("{start}state={state}&{rest}"))
                .await,
        );
    }
    for rest in ["code=no-such-code", "code=c&iss=https://evil.example"] {
        let path = format!("/auth/callback?state={state}&{rest}");
        failed(&ada.ask(app, "GET", &path).await);
    }
    // An issuer that says with each answer that it is its own has not sent one that does not (RFC 9207).
    let unsaid = path.replace(&format!("&{iss}"), "");
    failed(&ada.ask(app, "GET", &unsaid).await);
    let refused = ada
        .ask(
            app,
            "GET",
            &format!("/auth/callback?state={state}&error=access_denied&{iss}"),
        )
        .await;
    failed(&refused);
    assert!(refused.text.contains("access_denied"));
    let evil = ada
        .ask(
            app,
            "GET",
            &format!("/auth/callback?state={state}&error=%22%0A<b>"),
        )
        .await;
    failed(&evil);
    assert!(!evil.text.contains("<b>"), "{}", evil.text);
    // Its own cookie, changed.
    let mut forged = Browser {
        cookies: ada.cookies.clone(),
    };
    let value = &mut forged.cookies[0].1;
    let last = value.pop().unwrap();
    value.push(if last == 'A' { 'B' } else { 'A' });
    failed(&forged.ask(app, "GET", &path).await);
    // It is as good as ever, once.
    let kept = Browser {
        cookies: ada.cookies.clone(),
    };
    assert_eq!(ada.ask(app, "GET", &path).await.status, 303);
    let mut again = kept;
    failed(&again.ask(app, "GET", &path).await);
    assert!(house.is_in(&mut ada).await);
    house.app.close().await;
}

#[tokio::test]
async fn nobody_is_sent_to_another_server() {
    let house = House::usual().await;
    for evil in [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "/%09/evil.example",
        "/..//evil.example",
        "javascript:alert(1)",
        "",
    ] {
        let path = format!("/auth/login?return_to={evil}");
        let answer = Browser::default().ask(&house.app, "GET", &path).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "invalid-query"),
            "{evil}"
        );
    }
    let other = "/auth/login?issuer=https://evil.example";
    assert_eq!(
        Browser::default()
            .ask(&house.app, "GET", other)
            .await
            .status,
        404
    );
    let own = format!("/auth/login?issuer={}", house.issuer.url);
    assert_eq!(
        Browser::default().ask(&house.app, "GET", &own).await.status,
        303
    );
    house.app.close().await;
}

/// Each of these ID tokens is wrong in one thing.
#[tokio::test]
async fn an_id_token_that_is_wrong_logs_nobody_in() {
    type Change = Box<dyn Fn(Token) -> Token + Send>;
    let house = House::usual().await;
    let claim = |name: &'static str, value: Value| -> Change {
        Box::new(move |token: Token| token.claim(name, value.clone()))
    };
    let kind = |name: &'static str| -> Change {
        Box::new(move |token: Token| token.header("typ", json!(name)))
    };
    let changes = [
        claim("nonce", json!("another")),
        claim("nonce", Value::Null),
        claim("aud", json!("parley")),
        claim("aud", json!(["parley web", "other"])),
        claim("azp", json!("other")),
        claim("iss", json!("https://evil.example")),
        claim("sub", Value::Null),
        claim("exp", json!(now() - 1)),
        claim("iat", json!(now() + 3_600)),
        kind("at+jwt"),
        kind("logout+jwt"),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let (issuer, key) = (house.issuer.url.clone(), Arc::clone(&house.key));
        house.issuer.vouch(move |nonce| {
            change(House::id_token(&issuer, &key, "ada", "s", nonce)).signed(&key)
        });
        let answer = house.log_in(&mut Browser::default()).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "login-failed"),
            "{number}"
        );
    }
    let (issuer, key, forger) = (
        house.issuer.url.clone(),
        Arc::clone(&house.key),
        Key::p256("k"),
    );
    house
        .issuer
        .vouch(move |nonce| House::id_token(&issuer, &key, "ada", "s", nonce).signed(&forger));
    assert_eq!(house.log_in(&mut Browser::default()).await.status, 400);
    let (issuer, key) = (house.issuer.url.clone(), Arc::clone(&house.key));
    house.issuer.vouch(move |nonce| {
        let token = House::id_token(&issuer, &key, "ada", "s", nonce).header("alg", json!("none"));
        compact(&token.header.to_string(), &token.claims.to_string(), |_| {
            Vec::new()
        })
    });
    assert_eq!(house.log_in(&mut Browser::default()).await.status, 400);
    // Among several, the one that it was made for.
    let (issuer, key) = (house.issuer.url.clone(), Arc::clone(&house.key));
    house.issuer.vouch(move |nonce| {
        let token = House::id_token(&issuer, &key, "ada", "s", nonce);
        let token = token.claim("aud", json!(["parley web", "other"]));
        token.claim("azp", json!("parley web")).signed(&key)
    });
    house.browser().await;
    house.app.close().await;
}
