//! Issuers that change their keys, are slow, are away, or talk nonsense.

use std::time::Instant;

use futures_util::future::join_all;
use parley::simulator::{Gate, Script};
use serde_json::json;

use super::{ask, start, taking, with};
use crate::support::{Issuer, Key, Mood, SseClient, TestApp, Token, now, within};

/// New tokens come in within a second, old ones as long as their key is there, streams go on, and the issuer is asked once.
#[tokio::test]
async fn keys_are_changed_while_streams_are_open() {
    let (old, new) = (Key::p256("old"), Key::ed("new"));
    let issuer = Issuer::start(&old).await;
    let gate = Gate::closed();
    let settings = json!({
        "dev_mode": false,
        "auth": {"mode": "oidc", "oidc": [{"issuer": issuer.url, "audience": "parley"}]},
    });
    let app = TestApp::with(Script::deltas(["Hel", "lo."]).gate(&gate), settings).await;
    let (before, after) = (Token::of(&issuer.url, &old), Token::of(&issuer.url, &new));
    let (before, after) = (before.signed(&old), after.signed(&new));
    let started = start(&app, &before).await;
    let path = started.json()["stream_url"].as_str().unwrap().to_owned();
    let login = format!("Bearer {before}");
    let mut streams = Vec::new();
    for _ in 0..50 {
        let mut stream = SseClient::open(&app.address, &path, &[("authorization", &login)]).await;
        assert_eq!(stream.status, 200);
        stream.until(|event| event.name == "turn.started").await;
        streams.push(stream);
    }
    assert_eq!(issuer.fetches(), 1);
    issuer.publish(&[old.jwk(), new.jwk()]);
    // At the first try: whoever comes with the new key waits for it, and no longer than `pace` says.
    let answers = join_all((0..20).map(|_| ask(&app, &after))).await;
    assert!(
        answers.iter().all(|answer| answer.status == 200),
        "{answers:?}"
    );
    assert_eq!(issuer.fetches(), 2);
    assert_eq!(ask(&app, &before).await.status, 200);
    gate.open();
    for mut stream in streams {
        let rest = stream.rest().await;
        assert_eq!(rest.last().unwrap().name, "run.completed");
    }
    assert_eq!(issuer.fetches(), 2);
    app.close().await;
}

/// An issuer that puts another key under the old name is noticed by the first token of the new one.
#[tokio::test]
async fn a_key_may_be_replaced_under_its_name() {
    let (old, new) = (Key::p256("main"), Key::p256("main"));
    let issuer = Issuer::start(&old).await;
    let app = taking(&issuer).await;
    let token = Token::of(&issuer.url, &old);
    assert_eq!(ask(&app, &token.signed(&old)).await.status, 200);
    issuer.publish(&[new.jwk()]);
    let token = token.claim("jti", json!("another"));
    let taken = async { while ask(&app, &token.signed(&new)).await.status != 200 {} };
    within("the new key to be known", taken).await;
    assert_eq!(ask(&app, &token.signed(&old)).await.status, 401);
    app.close().await;
}

/// Whoever makes up names of keys makes the issuer work once a second, and keeps nobody with a new key waiting.
#[tokio::test]
async fn a_thousand_made_up_keys_cost_few_looks() {
    let (key, new) = (Key::p256("k"), Key::ed("new"));
    let issuer = Issuer::start(&key).await;
    let app = taking(&issuer).await;
    let good = Token::of(&issuer.url, &key);
    assert_eq!(ask(&app, &good.signed(&key)).await.status, 200);
    let began = Instant::now();
    let forged = |name: usize| {
        good.clone()
            .header("kid", json!(format!("forged-{name}")))
            .signed(&key)
    };
    for hundred in 0..10 {
        let tokens: Vec<String> = (0..100)
            .map(|place| forged(hundred * 100 + place))
            .collect();
        let answers = join_all(tokens.iter().map(|token| ask(&app, token))).await;
        assert!(answers.iter().all(|answer| answer.status == 401));
    }
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap();
    assert!(
        issuer.fetches() <= 3 + seconds,
        "{} in {seconds} s",
        issuer.fetches()
    );
    // In the middle of them a new key comes: it is taken at the first try, by the next look or the one after.
    let tokens: Vec<String> = (2_000..2_100).map(forged).collect();
    let flood = join_all(tokens.iter().map(|token| ask(&app, token)));
    let newcomer = async {
        issuer.publish(&[key.jwk(), new.jwk()]);
        let looks = issuer.fetches();
        let token = Token::of(&issuer.url, &new).signed(&new);
        let began = Instant::now();
        assert_eq!(ask(&app, &token).await.status, 200);
        let seconds = usize::try_from(began.elapsed().as_secs()).unwrap();
        assert!(issuer.fetches() <= looks + 2 + seconds, "{looks} before");
    };
    tokio::join!(newcomer, flood);
    let other = good.claim("jti", json!("2")).signed(&key);
    assert_eq!(ask(&app, &other).await.status, 200);
    app.close().await;
}

#[tokio::test]
async fn an_issuer_that_is_away_at_boot_is_waited_for_by_tokens_alone() {
    let key = Key::p256("k");
    let mut issuer = Issuer::dead(&key);
    let app = taking(&issuer).await;
    let token = Token::of(&issuer.url, &key).signed(&key);
    let put_off = ask(&app, &token).await;
    assert_eq!(
        (put_off.status, put_off.problem().as_str()),
        (503, "issuer-unavailable")
    );
    let wait: u64 = put_off.header("retry-after").parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(put_off.header("www-authenticate"), "");
    // What is wrong in itself is not put off.
    assert_eq!(ask(&app, "nonsense").await.status, 401);
    assert_eq!(app.get("/_readiness").await.status, 200);
    issuer.revive().await;
    // It is asked again by itself.
    issuer.asked(2).await;
    let mut answer = ask(&app, &token).await;
    while answer.status == 503 {
        answer = ask(&app, &token).await;
    }
    assert_eq!(answer.status, 200);
    app.close().await;
}

#[tokio::test]
async fn known_keys_go_on_without_their_issuer() {
    let (known, new) = (Key::p256("known"), Key::p256("new"));
    let mut issuer = Issuer::start(&known).await;
    let app = taking(&issuer).await;
    let token = Token::of(&issuer.url, &known);
    assert_eq!(ask(&app, &token.signed(&known)).await.status, 200);
    issuer.die().await;
    let unknown = Token::of(&issuer.url, &new).signed(&new);
    let put_off = ask(&app, &unknown).await;
    assert_eq!(
        (put_off.status, put_off.problem().as_str()),
        (503, "issuer-unavailable")
    );
    // One that was not seen before, and one with a wrong signature.
    let fresh = token.claim("jti", json!("fresh"));
    assert_eq!(ask(&app, &fresh.signed(&known)).await.status, 200);
    assert_eq!(ask(&app, &fresh.signed(&new)).await.status, 401);
    app.close().await;
}

/// An issuer that has no key any more has taken all of them back.
#[tokio::test]
async fn an_empty_set_of_keys_takes_back_what_was_there() {
    let key = Key::p256("k");
    let issuer = Issuer::start(&key).await;
    let app = taking(&issuer).await;
    let token = Token::of(&issuer.url, &key);
    assert_eq!(ask(&app, &token.signed(&key)).await.status, 200);
    issuer.publish(&[]);
    // Somebody with a key that is not known has it looked at.
    let unknown = token.clone().header("kid", json!("new")).signed(&key);
    assert_eq!(ask(&app, &unknown).await.status, 401);
    let fresh = token.claim("jti", json!("fresh")).signed(&key);
    assert_eq!(ask(&app, &fresh).await.status, 401);
    app.close().await;
}

/// Whatever it answers: known keys go on, others are put off, nothing is followed to elsewhere.
#[tokio::test]
async fn an_issuer_that_talks_nonsense_is_one_that_is_down() {
    let (known, new) = (Key::p256("known"), Key::p256("new"));
    for mood in [
        Mood::Garbage,
        Mood::NoKeys,
        Mood::Failing,
        Mood::Redirecting,
        Mood::Endless,
        Mood::Another,
        Mood::Unsafe,
    ] {
        let issuer = Issuer::start(&known).await;
        let well = taking(&issuer).await;
        let token = Token::of(&issuer.url, &known);
        assert_eq!(ask(&well, &token.signed(&known)).await.status, 200);
        issuer.feel(mood);
        issuer.publish(&[known.jwk(), new.jwk()]);
        let from_now_on = taking(&issuer).await;
        let unknown = Token::of(&issuer.url, &new).signed(&new);
        let mut lost = vec![ask(&from_now_on, &unknown).await];
        // An address that is known already is not discovered again.
        if !matches!(mood, Mood::Another | Mood::Unsafe) {
            lost.push(ask(&well, &unknown).await);
        }
        for answer in lost {
            assert_eq!(answer.status, 503, "{mood:?}: {}", answer.text);
        }
        let fresh = token.claim("jti", json!("fresh")).signed(&known);
        assert_eq!(ask(&well, &fresh).await.status, 200, "{mood:?}");
        well.close().await;
        from_now_on.close().await;
    }
}

/// It holds up the tokens that need it, and nothing else; and those not for long.
#[tokio::test]
async fn a_silent_issuer_is_given_up() {
    let key = Key::p256("k");
    let issuer = Issuer::start(&key).await;
    issuer.feel(Mood::Silent);
    let app = taking(&issuer).await;
    issuer.asked(1).await;
    let token = Token::of(&issuer.url, &key).signed(&key);
    let (put_off, health) = tokio::join!(ask(&app, &token), app.get("/_health"));
    assert_eq!((put_off.status, health.status), (503, 200));
    issuer.feel(Mood::Well);
    let mut answer = ask(&app, &token).await;
    while answer.status == 503 {
        answer = ask(&app, &token).await;
    }
    assert_eq!(answer.status, 200);
    app.close().await;
}

#[tokio::test]
async fn clocks_may_differ_by_the_leeway() {
    let key = Key::ed("k");
    let issuer = Issuer::start(&key).await;
    let app = with(&issuer, json!({"leeway_seconds": 100}), json!({})).await;
    let at = |claim, time: u64| {
        Token::of(&issuer.url, &key)
            .claim(claim, json!(time))
            .signed(&key)
    };
    let now = now();
    for (token, status) in [
        (at("exp", now - 80), 200),
        (at("exp", now - 100), 401),
        (at("exp", now - 120), 401),
        (at("nbf", now + 80), 200),
        (at("nbf", now + 120), 401),
        (at("iat", now + 80), 200),
        (at("iat", now + 120), 401),
    ] {
        assert_eq!(ask(&app, &token).await.status, status);
    }
    app.close().await;
}

#[tokio::test]
async fn several_issuers_each_have_their_own_keys() {
    // The same name for two keys.
    let keys = [Key::p256("k"), Key::p256("k")];
    let issuers = [Issuer::start(&keys[0]).await, Issuer::start(&keys[1]).await];
    let listed = issuers
        .each_ref()
        .map(|issuer| json!({"issuer": issuer.url, "audience": "parley"}));
    let app = with(&issuers[0], json!({}), json!({"auth": {"oidc": listed}})).await;
    for (issuer, of) in issuers.iter().zip(0..) {
        for (key, by) in keys.iter().zip(0..) {
            let answer = ask(&app, &Token::of(&issuer.url, key).signed(key)).await;
            assert_eq!(answer.status, if of == by { 200 } else { 401 });
        }
    }
    app.close().await;
}
