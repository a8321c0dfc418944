//! Tokens that say nothing by themselves: the issuer is asked.

use std::{net::IpAddr, sync::Arc, time::Duration};

use parley::identity::{
    Admitted, Authenticator, ClientKey, ClientSecret, Denied, IssuerConfig, LoginLimits, Oidc,
    Scope, Tickets, TokenError,
};
use serde_json::{Value, json};

use super::{ask, taking};
use crate::support::{Issuer, Key, Mood, Token, now, within};

/// With characters that must be encoded on their way.
const SECRET: &str = "a:b c+d%2F/é";

struct House {
    issuer: Issuer,
    key: Key,
    authenticator: Authenticator,
    oidc: Arc<Oidc>,
}

impl House {
    async fn new(failures_per_minute: u32) -> Self {
        let key = Key::p256("k");
        let issuer = Issuer::start(&key).await;
        issuer.expect(SECRET);
        let config = IssuerConfig {
            issuer: issuer.url.clone(),
            audience: vec!["parley".to_owned()],
            accept_plain_jwt: false,
            leeway: Duration::ZERO,
            client: None,
            introspection: Some(ClientSecret {
                id: "parley".to_owned(),
                secret: Some(SECRET.into()),
            }),
        };
        let oidc = Arc::new(Oidc::start(vec![config]).unwrap());
        let tickets = Arc::new(Tickets::new(&[], Duration::from_hours(1)));
        let limits = LoginLimits {
            failures_per_minute,
            hash_threads: 1,
        };
        Self {
            issuer,
            key,
            authenticator: Authenticator::new(None, Some(Arc::clone(&oidc)), tickets, limits),
            oidc,
        }
    }

    async fn ask(&self, token: &str) -> Result<Admitted, Denied> {
        let header = format!("Bearer {token}");
        let client = ClientKey::from(IpAddr::from([192, 0, 2, 1]));
        self.authenticator
            .check(Some(header.as_bytes()), client)
            .await
    }

    fn good(&self) -> Value {
        json!({
            "active": true, "iss": self.issuer.url, "aud": ["other", "parley"], "sub": "ada",
            "scope": "runs:read runs:write", "exp": now() + 60, "token_type": "Bearer", "client_id": "c",
        })
    }

    fn say(&self, token: &str, name: &str, value: Value) {
        let mut said = self.good();
        said[name] = value;
        self.issuer.say(token, said);
    }
}

#[tokio::test]
async fn who_has_an_opaque_token_is_who_its_issuer_says() {
    let house = House::new(60).await;
    house.issuer.say("opaque-1", house.good());
    let admitted = house.ask("opaque-1").await.unwrap();
    // The same subject by a token that says it itself is the same owner.
    let token = Token::of(&house.issuer.url, &house.key).signed(&house.key);
    assert_eq!(house.ask(&token).await.unwrap(), admitted);
    assert!(admitted.caller.scopes.allow(Scope::Write));
    // Its word goes for a while: it was asked once.
    for _ in 0..5 {
        assert_eq!(house.ask("opaque-1").await, Ok(admitted.clone()));
    }
    assert_eq!(house.issuer.introspections(), 1);
    house.say("opaque-2", "scope", json!("openid runs:read"));
    let scopes = house.ask("opaque-2").await.unwrap().caller.scopes;
    assert!(scopes.allow(Scope::Read) && !scopes.allow(Scope::Write));
    house.say("opaque-3", "aud", json!("parley"));
    assert!(house.ask("opaque-3").await.is_ok());
    house.oidc.end().await;
}

#[tokio::test]
async fn what_an_issuer_does_not_vouch_for_comes_not_in() {
    let house = House::new(60).await;
    for (name, value, error) in [
        ("active", json!(false), TokenError::Inactive),
        ("iss", json!("https://other.example"), TokenError::Issuer),
        ("aud", json!("other"), TokenError::Audience),
        ("aud", Value::Null, TokenError::Audience),
        ("aud", json!([]), TokenError::Audience),
        ("sub", Value::Null, TokenError::Claim("sub")),
        ("sub", json!(""), TokenError::Claim("sub")),
        ("sub", json!("a\nb"), TokenError::Claim("sub")),
        ("exp", json!(now() - 1), TokenError::Expired),
        ("exp", json!(-1e300), TokenError::Expired),
        ("nbf", json!(now() + 60), TokenError::NotYetValid),
        ("token_type", json!("DPoP"), TokenError::Bound),
        ("cnf", json!({"jkt": "x"}), TokenError::Bound),
    ] {
        house.say("opaque", name, value.clone());
        let answer = house.ask("opaque").await;
        assert_eq!(answer, Err(Denied::Token(error)), "{name} {value}");
    }
    let unknown = house.ask("unknown").await;
    assert_eq!(unknown, Err(Denied::Token(TokenError::Inactive)));
    // What has not the form of a token is asked about nowhere.
    let before = house.issuer.introspections();
    for token in ["a.b.c", "a b", "a\"b", &"x".repeat(9_000)] {
        assert!(house.ask(token).await.is_err(), "{token}");
    }
    assert_eq!(house.issuer.introspections(), before);
    house.oidc.end().await;
}

/// Who guesses does not have the issuer asked for ever; who was right a moment ago comes in all the same.
#[tokio::test]
async fn guesses_do_not_hammer_the_issuer() {
    let house = House::new(5).await;
    house.issuer.say("right", house.good());
    assert!(house.ask("right").await.is_ok());
    let mut asked = 0;
    for number in 0..50 {
        match house.ask(&format!("guess-{number}")).await {
            Err(Denied::Token(TokenError::Inactive)) => asked += 1,
            Err(Denied::TooMany { retry_after }) => assert!(!retry_after.is_zero()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((asked, house.issuer.introspections()), (5, 6));
    assert!(house.ask("right").await.is_ok());
    house.oidc.end().await;
}

#[tokio::test]
async fn while_the_issuer_is_in_trouble_nobody_knows() {
    for trouble in [
        Some(Mood::Failing),
        Some(Mood::Garbage),
        Some(Mood::Endless),
        Some(Mood::Redirecting),
        // It does not know us any more: no fault of the token's.
        None,
    ] {
        let house = House::new(60).await;
        for token in ["right", "other"] {
            house.issuer.say(token, house.good());
        }
        assert!(house.ask("right").await.is_ok());
        match trouble {
            Some(mood) => house.issuer.feel(mood),
            None => house.issuer.expect("another secret"),
        }
        let answer = house.ask("other").await;
        assert!(is_put_off(&answer), "{trouble:?}: {answer:?}");
        assert!(house.ask("right").await.is_ok(), "{trouble:?}");
        house.issuer.feel(Mood::Well);
        house.issuer.expect(SECRET);
        // It is asked again when it is time, and then by everybody.
        let there_again = async {
            while is_put_off(&house.ask("other").await) {
                tokio::task::yield_now().await;
            }
        };
        within("the issuer to be asked again", there_again).await;
        assert!(house.ask("other").await.is_ok(), "{trouble:?}");
        house.oidc.end().await;
    }
}

fn is_put_off(answer: &Result<Admitted, Denied>) -> bool {
    matches!(answer, Err(Denied::Token(TokenError::Unavailable { .. })))
}

/// Whoever sends tokens that nobody knows makes an issuer that is down work no more than now and then, and us say so once.
#[tokio::test]
async fn an_issuer_in_trouble_is_left_alone_for_a_while() {
    let house = House::new(100_000).await;
    // Where to ask is known.
    house.issuer.say("right", house.good());
    assert!(house.ask("right").await.is_ok());
    let began = std::time::Instant::now();
    house.issuer.feel(Mood::Failing);
    let answers = futures_util::future::join_all((0..500).map(async |number| {
        let answer = house.ask(&format!("guess-{number}")).await;
        assert!(is_put_off(&answer), "{answer:?}");
    }));
    answers.await;
    // As many as there are places may have been on their way; then one after a second, two, four …
    let most = 17 + usize::try_from(began.elapsed().as_secs()).unwrap();
    let asked = house.issuer.introspections();
    assert!((2..=most).contains(&asked), "{asked}");
    for number in 0..500 {
        assert!(is_put_off(&house.ask(&format!("more-{number}")).await));
    }
    let most = most + 1 + usize::try_from(began.elapsed().as_secs()).unwrap();
    assert!(house.issuer.introspections() <= most);
    house.oidc.end().await;
}

#[tokio::test]
async fn of_many_with_the_same_token_one_asks() {
    let house = House::new(3).await;
    house.issuer.say("right", house.good());
    let answers = futures_util::future::join_all((0..50).map(|_| house.ask("right"))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(house.issuer.introspections(), 1);
    house.oidc.end().await;
}

/// Without the setting, what says nothing by itself is nothing.
#[tokio::test]
async fn nobody_is_asked_unless_a_setting_says_so() {
    let issuer = Issuer::start(&Key::p256("k")).await;
    let app = taking(&issuer).await;
    issuer.say("opaque", json!({"active": true}));
    assert_eq!(ask(&app, "opaque").await.status, 401);
    assert_eq!(issuer.introspections(), 0);
    app.close().await;
}
