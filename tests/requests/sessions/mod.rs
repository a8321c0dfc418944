//! People in a browser: they log in at the issuer, and a cookie says who they are.

mod cookies;
mod endings;
mod wrong;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use parley::simulator::Script;
use serde_json::{Value, json};

use crate::support::{Answer, Issuer, Key, Mood, SseClient, TestApp, Token, merge, shown, talk};

struct House {
    app: TestApp,
    issuer: Issuer,
    key: Arc<Key>,
}

/// A browser: it keeps cookies, and nothing else is known of it.
#[derive(Default)]
struct Browser {
    cookies: Vec<(String, String)>,
}

impl Browser {
    fn header(&self) -> String {
        let pairs = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join("; ")
    }

    fn keep(&mut self, answer: &Answer) {
        for line in answer.headers.get_all("set-cookie") {
            let line = line.to_str().unwrap();
            for attribute in ["HttpOnly", "SameSite=Lax", "Path=/"] {
                assert!(line.contains(attribute), "{line}");
            }
            // On one's own machine there is no TLS, and no name that wants it.
            assert!(
                !line.contains("Secure") && !line.starts_with("__"),
                "{line}"
            );
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.retain(|(kept, _)| kept != name);
            if line.contains("Max-Age=0") {
                assert_eq!(value, "");
            } else {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    fn session(&self) -> Option<&str> {
        let mut kept = self.cookies.iter().filter(|(name, _)| name == "parley");
        kept.next().map(|(_, value)| value.as_str())
    }

    async fn ask(&mut self, app: &TestApp, method: &str, path: &str) -> Answer {
        let request = app.request(method, path).header("cookie", self.header());
        let answer = app.send(request).await;
        self.keep(&answer);
        answer
    }

    async fn start(&mut self, app: &TestApp) -> Answer {
        let request = app
            .request("POST", "/api/run")
            .header("cookie", self.header());
        let request = request
            .header("content-type", "application/json")
            .header("sec-fetch-site", "same-origin");
        app.send(request.body(talk(1).to_string())).await
    }
}

impl House {
    /// With these settings of the login over the usual ones.
    async fn new(login: Value, auth: Value) -> Self {
        Self::with(login, json!({"auth": auth})).await
    }

    async fn with(login: Value, over: Value) -> Self {
        let key = Arc::new(Key::p256("k"));
        let issuer = Issuer::start(&key).await;
        let mut one = json!({"issuer": issuer.url, "audience": "parley", "leeway_seconds": 0,
            "login": {"client_id": "parley web"}});
        merge(&mut one["login"], &login);
        let mut settings = json!({
            "dev_mode": false,
            "auth": {"mode": "oidc", "oidc": [one]},
            "rate_limit": {"run_creations_per_minute": 1_000},
        });
        merge(&mut settings, &over);
        let app = TestApp::with(Script::text("Hello."), settings).await;
        let house = Self { app, issuer, key };
        house.know("ada", "s-1");
        house
    }

    async fn usual() -> Self {
        Self::new(json!({}), json!({})).await
    }

    fn id_token(issuer: &str, key: &Key, subject: &str, session: &str, nonce: &str) -> Token {
        Token::of(issuer, key)
            .header("typ", json!("JWT"))
            .claim("aud", json!("parley web"))
            .claim("scope", Value::Null)
            .claim("sub", json!(subject))
            .claim(
                "sid",
                Some(session)
                    .filter(|it| !it.is_empty())
                    .map_or(Value::Null, |it| json!(it)),
            )
            .claim("nonce", json!(nonce))
    }

    /// Whoever logs in now is that one.
    fn know(&self, subject: &'static str, session: &'static str) {
        let (issuer, key) = (self.issuer.url.clone(), Arc::clone(&self.key));
        self.issuer.vouch(move |nonce| {
            Self::id_token(&issuer, &key, subject, session, nonce).signed(&key)
        });
    }

    /// To the issuer and back: the answer to the last step.
    async fn log_in(&self, browser: &mut Browser) -> Answer {
        let begun = browser
            .ask(&self.app, "GET", "/auth/login?return_to=/docs?a=b")
            .await;
        assert_eq!(begun.status, 303, "{begun:?}");
        let path = self.back(begun.header("location")).await;
        browser.ask(&self.app, "GET", &path).await
    }

    /// Where the issuer sends the browser, as a path of ours.
    async fn back(&self, location: &str) -> String {
        let sent = self.app.client().get(location).send().await.unwrap();
        assert_eq!(sent.status(), 302);
        let back = sent.headers()["location"].to_str().unwrap();
        let (ours, _) = back.split_once("/auth/callback?").unwrap();
        assert!(["http://localhost:5150", "https://parley.example"].contains(&ours));
        back[ours.len()..].to_owned()
    }

    async fn browser(&self) -> Browser {
        let mut browser = Browser::default();
        let answer = self.log_in(&mut browser).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (303, "/docs?a=b"),
            "{answer:?}"
        );
        assert_eq!(browser.cookies.len(), 1, "the login's own cookie is gone");
        browser
    }

    /// Whether the browser is somebody.
    async fn is_in(&self, browser: &mut Browser) -> bool {
        match browser.ask(&self.app, "GET", "/api/run").await.status {
            200 => true,
            401 => false,
            other => panic!("{other}"),
        }
    }

    async fn logout_token(&self, change: impl FnOnce(Token) -> Token) -> Answer {
        // Each is a logout of its own.
        static LOGOUTS: AtomicUsize = AtomicUsize::new(0);
        let id = LOGOUTS.fetch_add(1, Ordering::Relaxed);
        let events = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
        let token = Token::of(&self.issuer.url, &self.key)
            .header("typ", json!("logout+jwt"))
            .claim("aud", json!("parley web"))
            .claim("scope", Value::Null)
            .claim("jti", json!(format!("logout {id}")))
            .claim("events", events);
        let token = change(token).signed(&self.key);
        self.send_logout(&format!("logout_token={token}")).await
    }

    async fn send_logout(&self, body: &str) -> Answer {
        let request = self.app.request("POST", "/auth/backchannel-logout");
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        self.app.send(request.body(body.to_owned())).await
    }
}

#[tokio::test]
async fn somebody_logs_in_works_and_logs_out() {
    let house = House::usual().await;
    let app = &house.app;
    let mut ada = house.browser().await;
    let started = ada.start(app).await;
    assert_eq!(started.status, 201, "{}", started.text);
    // EventSource sends the cookie along.
    let path = started.json()["stream_url"].as_str().unwrap().to_owned();
    let cookie = ada.header();
    let mut stream = SseClient::open(&app.address, &path, &[("cookie", &cookie)]).await;
    assert_eq!(stream.status, 200);
    assert_eq!(stream.rest().await.last().unwrap().name, "run.completed");
    // The same one by a token sees it, and another one in a browser does not.
    let run = format!("/api/run/{}", started.json()["run_id"].as_str().unwrap());
    let token = Token::of(&house.issuer.url, &house.key).signed(&house.key);
    let by_token = app.send(app.request("GET", &run).bearer_auth(token)).await;
    assert_eq!(by_token.status, 200);
    house.know("eve", "s-2");
    let mut eve = house.browser().await;
    assert_eq!(eve.ask(app, "GET", &run).await.status, 404);
    assert_eq!(ada.ask(app, "GET", &run).await.status, 200);
    // Out: the cookie is gone, and who has kept it has nothing.
    let mut kept = Browser {
        cookies: ada.cookies.clone(),
    };
    assert_eq!(ada.ask(app, "POST", "/auth/logout").await.status, 204);
    assert_eq!(ada.session(), None);
    assert!(!house.is_in(&mut ada).await && !house.is_in(&mut kept).await);
    assert!(house.is_in(&mut eve).await);
    let request = app
        .request("POST", "/auth/logout")
        .header("cookie", eve.header());
    let request = request.header("sec-fetch-mode", "navigate");
    let out = app
        .send(request.header("sec-fetch-site", "same-origin"))
        .await;
    let expected = format!("{}/logout?client_id=parley+web", house.issuer.url);
    assert_eq!(
        (out.status, out.header("location")),
        (303, expected.as_str())
    );
    assert!(!house.is_in(&mut eve).await);
    house.app.close().await;
}

/// A cookie goes with what a page of another site sends; that changes nothing.
#[tokio::test]
async fn a_page_of_another_site_can_do_nothing_with_a_session() {
    let house = House::usual().await;
    let mut ada = house.browser().await;
    for path in ["/api/run", "/auth/logout"] {
        for (name, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://evil.example"),
        ] {
            let request = house
                .app
                .request("POST", path)
                .header("cookie", ada.header());
            let request = request.header("content-type", "application/json");
            let answer = house.app.send(request.header(name, value).body("{}")).await;
            assert_eq!(
                (answer.status, answer.problem().as_str()),
                (403, "cross-site")
            );
        }
    }
    assert!(house.is_in(&mut ada).await);
    house.app.close().await;
}

#[tokio::test]
async fn what_somebody_may_do_is_what_the_issuer_gives_and_the_settings_grant() {
    let house = House::usual().await;
    for (given, reads, writes) in [
        (None, 200, 201),
        (Some("openid runs:read"), 200, 403),
        (Some("openid"), 403, 403),
        (Some("runs:admin"), 200, 201),
    ] {
        house.issuer.give(given);
        let mut browser = house.browser().await;
        let read = browser.ask(&house.app, "GET", "/api/run").await.status;
        let written = browser.start(&house.app).await;
        assert_eq!((read, written.status), (reads, writes), "{given:?}");
        if written.status == 201 {
            let path = written.json()["stream_url"].as_str().unwrap().to_owned();
            let events = browser.ask(&house.app, "GET", &path).await;
            assert!(events.text.contains("run.completed"));
        }
    }
    house.app.close().await;
    let house = House::new(
        json!({"grants": ["runs:read"], "scopes": ["email"]}),
        json!({}),
    )
    .await;
    house.issuer.give(Some("openid email"));
    let mut browser = house.browser().await;
    assert_eq!(browser.ask(&house.app, "GET", "/api/run").await.status, 200);
    assert_eq!(browser.start(&house.app).await.status, 403);
    house.app.close().await;
}

/// The id is new with each login; what the browser had before is over.
#[tokio::test]
async fn a_login_gives_a_new_session_and_ends_the_one_before() {
    let house = House::usual().await;
    let mut browser = house.browser().await;
    let before = browser.session().unwrap().to_owned();
    // One that somebody else has put there is not taken over.
    let mut planted = Browser {
        cookies: vec![("parley".to_owned(), "planted".to_owned())],
    };
    house.log_in(&mut planted).await;
    assert_ne!(planted.session(), Some("planted"));
    house.log_in(&mut browser).await;
    assert_ne!(browser.session(), Some(before.as_str()));
    let mut old = Browser {
        cookies: vec![("parley".to_owned(), before)],
    };
    assert!(!house.is_in(&mut old).await);
    assert!(house.is_in(&mut browser).await);
    house.app.close().await;
}

/// Where nobody logs in by a browser there is nothing.
#[tokio::test]
async fn without_a_client_there_are_no_logins() {
    for settings in [json!({"dev_mode": true}), json!({"dev_mode": false})] {
        let app = TestApp::with(Script::text("Hello."), settings).await;
        for (method, path) in [
            ("GET", "/auth/login"),
            ("GET", "/auth/callback?state=a&code=b"),
            ("POST", "/auth/logout"),
            ("POST", "/auth/backchannel-logout"),
        ] {
            let answer = app
                .send(
                    app.request(method, path)
                        .header("content-type", "application/x-www-form-urlencoded"),
                )
                .await;
            assert_eq!(
                (answer.status, answer.problem().as_str()),
                (404, "not-found"),
                "{path}"
            );
        }
        app.close().await;
    }
}

/// Who has a secret says it, as it should.
#[tokio::test]
async fn a_client_with_a_secret_is_known_by_it() {
    let house = House::usual().await;
    house.issuer.expect("secret");
    let answer = house.log_in(&mut Browser::default()).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (400, "login-failed")
    );
    assert!(answer.text.contains("invalid_client"), "{}", answer.text);
    house.app.close().await;
}

/// Logins wait for the issuer; who is in stays in.
#[tokio::test]
async fn an_issuer_that_is_down_is_come_back_to() {
    let house = House::usual().await;
    let mut ada = house.browser().await;
    let mut late = Browser::default();
    let begun = late.ask(&house.app, "GET", "/auth/login").await;
    let path = house.back(begun.header("location")).await;
    house.issuer.feel(Mood::Failing);
    let answer = late.ask(&house.app, "GET", &path).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (503, "issuer-unavailable")
    );
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    // However often somebody comes back, the issuer is asked now and then.
    for _ in 0..50 {
        assert_eq!(late.ask(&house.app, "GET", &path).await.status, 503);
    }
    let asked = house.issuer.redemptions();
    assert!((2..12).contains(&asked), "{asked}");
    assert!(house.is_in(&mut ada).await);
    house.app.close().await;
}

/// Whoever sends a header means that, and not what its browser remembers.
#[tokio::test]
async fn a_header_goes_before_a_ticket_and_a_ticket_before_a_cookie() {
    let house = House::new(json!({}), json!({"mode": "both"})).await;
    let mut ada = house.browser().await;
    let started = ada.start(&house.app).await.json();
    let (path, ticket) = (
        started["stream_url"].as_str().unwrap(),
        started["ticket"].as_str().unwrap(),
    );
    let ask = async |headers: &[(&str, &str)], path: &str| {
        let request = house.app.request("GET", path);
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        house.app.send(request).await.status
    };
    let cookie = ada.header();
    assert_eq!(ask(&[("cookie", &cookie)], path).await, 200);
    assert_eq!(
        ask(
            &[
                ("cookie", &cookie),
                ("authorization", "Bearer no.such.token")
            ],
            path
        )
        .await,
        401
    );
    let watched = format!("{path}?ticket={ticket}");
    assert_eq!(ask(&[("cookie", &cookie)], &watched).await, 200);
    assert_eq!(ask(&[("cookie", "parley=gone")], &watched).await, 200);
    assert_eq!(ask(&[("cookie", "parley=gone")], path).await, 401);
    // Whoever opens an address with a ticket may watch, whatever login the browser has.
    house.know("eve", "s-2");
    let eve = house.browser().await;
    assert_eq!(ask(&[("cookie", &eve.header())], path).await, 404);
    assert_eq!(ask(&[("cookie", &eve.header())], &watched).await, 200);
    house.app.close().await;
}

/// Every status of every route, as the document of the API has them.
#[tokio::test]
async fn every_status_of_a_login() {
    let house = House::new(json!({"backchannel_logout": true}), json!({})).await;
    let app = &house.app;
    let mut ada = Browser::default();
    let mut blocks = Vec::new();
    let mut show = |id: &str, answer: &Answer| {
        let text = shown(id, answer).replace(&house.issuer.url, "https://issuer.example");
        // What follows is new each time.
        let lines = text
            .lines()
            .map(|line| line.split("authorize?").next().unwrap());
        blocks.push(lines.collect::<Vec<_>>().join("\n"));
    };
    let begun = ada.ask(app, "GET", "/auth/login").await;
    show("begin_login", &begun);
    show(
        "begin_login",
        &ada.ask(app, "GET", "/auth/login?return_to=//a").await,
    );
    show(
        "begin_login",
        &ada.ask(app, "GET", "/auth/login?issuer=x").await,
    );
    let path = house.back(begun.header("location")).await;
    show("complete_login", &ada.ask(app, "GET", &path).await);
    show(
        "complete_login",
        &ada.ask(app, "GET", "/auth/callback?state=x").await,
    );
    let request = app
        .request("POST", "/auth/logout")
        .header("cookie", ada.header());
    let request = request.header("sec-fetch-mode", "navigate");
    show(
        "log_out",
        &app.send(request.header("sec-fetch-site", "none")).await,
    );
    show("log_out", &ada.ask(app, "POST", "/auth/logout").await);
    show("end_logins", &house.logout_token(|token| token).await);
    show("end_logins", &house.send_logout("a=b").await);
    let untyped = app.request("POST", "/auth/backchannel-logout");
    show("end_logins", &app.send(untyped.body("{}")).await);
    house.app.close().await;
    let none = TestApp::spawn(Script::default()).await;
    for (id, method, path) in [
        ("complete_login", "GET", "/auth/callback"),
        ("log_out", "POST", "/auth/logout"),
        ("end_logins", "POST", "/auth/backchannel-logout"),
    ] {
        let request = none.request(method, path);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        show(id, &none.send(request).await);
    }
    none.close().await;
    insta::assert_snapshot!("logins", blocks.join("\n\n"));
}
