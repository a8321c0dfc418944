//! Who may do what: every route, asked by everybody. A route without a row fails the test.

use serde_json::{Value, json};

use parley::simulator::Script;

use crate::support::{Answer, Issuer, Key, Operation, TestApp, Token, contract, now, talk};

/// What a route takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// Nothing.
    Nothing,
    /// Any login.
    Login,
    /// The scope `runs:read`. What it shows belongs to nobody in particular.
    Read,
    /// The scope `runs:write`. What it changes belongs to nobody in particular.
    Write,
    /// The scope `runs:read`, and the run.
    ReadRun,
    /// The scope `runs:write`, and the run.
    WriteRun,
    /// The scope `runs:admin`.
    Admin,
}

const TABLE: &[(&str, Takes)] = &[
    ("ping", Takes::Nothing),
    ("health", Takes::Nothing),
    ("readiness", Takes::Nothing),
    ("show_protected_resource", Takes::Nothing),
    ("begin_login", Takes::Nothing),
    ("complete_login", Takes::Nothing),
    ("log_out", Takes::Nothing),
    ("end_logins", Takes::Nothing),
    ("show_metrics", Takes::Login),
    ("list_providers", Takes::Login),
    ("get_document", Takes::Login),
    ("show_docs", Takes::Login),
    ("show_docs_file", Takes::Login),
    ("start_run", Takes::Write),
    ("list_runs", Takes::Read),
    ("get_run", Takes::ReadRun),
    ("stream_run", Takes::ReadRun),
    ("make_ticket", Takes::ReadRun),
    ("export_run", Takes::ReadRun),
    ("stop_run", Takes::WriteRun),
    ("update_bot", Takes::WriteRun),
    ("delete_run", Takes::WriteRun),
    ("list_acts", Takes::Admin),
    // access-inject (do not remove: generated routes have their rows above it)
];

/// Those who ask, and what they may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Nobody,
    Wrong,
    Expired,
    Owner,
    OwnerReads,
    OwnerWrites,
    OwnerWithoutScope,
    Stranger,
    Admin,
    Ticket,
}

impl Who {
    const ALL: [Self; 10] = [
        Self::Nobody,
        Self::Wrong,
        Self::Expired,
        Self::Owner,
        Self::OwnerReads,
        Self::OwnerWrites,
        Self::OwnerWithoutScope,
        Self::Stranger,
        Self::Admin,
        Self::Ticket,
    ];

    /// Why not, by status and problem; `None`: it may.
    fn refused(self, id: &str, takes: Takes) -> Option<(u16, &'static str)> {
        let login = Some((401, "unauthorized"));
        let scope = Some((403, "insufficient-scope"));
        let reads = matches!(takes, Takes::Read | Takes::ReadRun);
        let writes = matches!(takes, Takes::Write | Takes::WriteRun);
        match self {
            _ if takes == Takes::Nothing => None,
            Self::Ticket if id == "stream_run" => None,
            Self::Nobody | Self::Wrong | Self::Expired | Self::Ticket => login,
            Self::Admin => None,
            _ if takes == Takes::Admin => scope,
            Self::OwnerReads if writes => scope,
            Self::OwnerWrites if reads => scope,
            Self::OwnerWithoutScope if reads || writes => scope,
            Self::Stranger if matches!(takes, Takes::ReadRun | Takes::WriteRun) => {
                Some((404, "run-not-found"))
            }
            _ => None,
        }
    }
}

struct House {
    app: TestApp,
    key: Key,
    issuer: Issuer,
}

impl House {
    async fn new() -> Self {
        let key = Key::p256("k");
        let issuer = Issuer::start(&key).await;
        let one = json!({"issuer": issuer.url, "audience": "parley"});
        let settings = json!({
            "dev_mode": false,
            "auth": {"mode": "oidc", "oidc": [one]},
            "rate_limit": {"failed_logins_per_minute": 100_000, "run_creations_per_minute": 100_000},
        });
        let app = TestApp::with(Script::text("Hello."), settings).await;
        Self { app, key, issuer }
    }

    fn token(&self, subject: &str, scope: &str) -> String {
        let token = Token::of(&self.issuer.url, &self.key);
        let token = token.claim("sub", json!(subject));
        token.claim("scope", json!(scope)).signed(&self.key)
    }

    fn owner(&self) -> String {
        self.token("ada", "runs:read runs:write")
    }

    fn stranger(&self) -> String {
        self.token("eve", "runs:read runs:write")
    }

    async fn ask(&self, method: &str, path: &str, token: &str) -> Answer {
        let request = self.app.request(method, path).bearer_auth(token);
        self.app.send(request).await
    }

    async fn start(&self, token: &str, key: Option<&str>) -> Value {
        let request = self.app.request("POST", "/api/run").bearer_auth(token);
        let request = request.header("content-type", "application/json");
        let request = key.into_iter().fold(request, |request, key| {
            request.header("idempotency-key", key)
        });
        let answer = self.app.send(request.body(talk(1).to_string())).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()
    }

    /// A run of the owner that is over, and a ticket for it.
    async fn run(&self) -> (String, String) {
        let run = self.start(&self.owner(), None).await;
        let text = |name: &str| run[name].as_str().unwrap().to_owned();
        let events = self.ask("GET", &text("stream_url"), &self.owner()).await;
        assert!(events.text.contains("run.completed"), "{events:?}");
        (text("run_id"), text("ticket"))
    }

    /// What that one is answered.
    async fn answer(&self, operation: Operation, who: Who, run: &str, ticket: &str) -> Answer {
        let path = operation
            .path
            .replace("{run_id}", run)
            .replace("{bot_index}", "0")
            .replace("{format}", "json")
            .replace("{file}", "index.html")
            .replace("{id}", run);
        let path = if who == Who::Ticket {
            format!("{path}?ticket={ticket}")
        } else {
            path
        };
        let request = self.app.request(&operation.method.to_uppercase(), &path);
        let request = match operation.request() {
            Some((kind, body)) => request.header("content-type", kind).body(body.to_string()),
            None => request,
        };
        let ada = |scope| Some(self.token("ada", scope));
        let token = match who {
            Who::Nobody | Who::Ticket => None,
            Who::Wrong => Some(format!("{}x", self.owner())),
            Who::Expired => {
                let token = Token::of(&self.issuer.url, &self.key);
                Some(token.claim("exp", json!(now() - 3600)).signed(&self.key))
            }
            Who::Owner => Some(self.owner()),
            Who::OwnerReads => ada("runs:read"),
            Who::OwnerWrites => ada("runs:write"),
            Who::OwnerWithoutScope => ada("openid"),
            Who::Stranger => Some(self.stranger()),
            Who::Admin => Some(self.token("root", "runs:admin")),
        };
        let request = token
            .into_iter()
            .fold(request, |request, token| request.bearer_auth(token));
        self.app.send(request).await
    }
}

#[tokio::test]
async fn every_route_asked_by_everybody() {
    let house = House::new().await;
    let mut rows: Vec<&str> = TABLE.iter().map(|(id, _)| *id).collect();
    for operation in contract().operations() {
        let id = operation.id();
        let row = TABLE.iter().find(|(of, _)| *of == id);
        let Some((_, takes)) = row else {
            panic!("{id} has no row in this table");
        };
        rows.retain(|row| *row != id);
        for who in Who::ALL {
            let (run, ticket) = house.run().await;
            let answer = house.answer(operation, who, &run, &ticket).await;
            let told = format!("{id} asked by {who:?}: {} {}", answer.status, answer.text);
            match who.refused(id, *takes) {
                Some((status, problem)) => {
                    assert_eq!(
                        (answer.status, answer.problem().as_str()),
                        (status, problem),
                        "{told}"
                    );
                    if matches!(takes, Takes::ReadRun | Takes::WriteRun) {
                        let path = format!("/api/run/{run}");
                        let still = house.ask("GET", &path, &house.owner()).await;
                        assert_eq!(still.json()["bots"][0]["version"], 1, "{told}");
                    }
                }
                None => assert!(!matches!(answer.status, 401 | 403), "{told}"),
            }
            if matches!(takes, Takes::ReadRun | Takes::WriteRun)
                && who.refused(id, *takes).is_none()
            {
                // What is over is not changed any more.
                let expected = match id {
                    "update_bot" => 409,
                    "delete_run" => 204,
                    _ => 200,
                };
                assert_eq!(answer.status, expected, "{told}");
            }
        }
    }
    assert!(rows.is_empty(), "there is no {rows:?}");
    house.app.close().await;
}

#[tokio::test]
async fn lists_searches_and_keys_are_each_ones_own() {
    let house = House::new().await;
    let (ada, eve, root) = (
        house.owner(),
        house.stranger(),
        house.token("root", "runs:admin"),
    );
    let of_ada = house.start(&ada, Some("a-key")).await;
    let of_eve = house.start(&eve, Some("a-key")).await;
    assert_ne!(of_ada["run_id"], of_eve["run_id"], "the key is another's");
    assert_eq!(house.start(&ada, Some("a-key")).await, of_ada);
    for (token, run) in [(&ada, &of_ada), (&eve, &of_eve)] {
        let url = run["stream_url"].as_str().unwrap();
        assert_eq!(house.ask("GET", url, token).await.status, 200);
    }
    let listed = async |token: &str, query: &str| -> Vec<Value> {
        let answer = house.ask("GET", &format!("/api/run{query}"), token).await;
        let runs = answer.json()["runs"].as_array().unwrap().clone();
        runs.iter().map(|run| run["run_id"].clone()).collect()
    };
    let (a, e) = (of_ada["run_id"].clone(), of_eve["run_id"].clone());
    for query in [
        "",
        "?q=hello",
        "?status=completed",
        "?provider=openai&q=hello",
    ] {
        assert_eq!(listed(&ada, query).await, vec![a.clone()], "{query}");
        assert_eq!(listed(&eve, query).await, vec![e.clone()], "{query}");
        assert_eq!(
            listed(&root, query).await,
            [e.clone(), a.clone()],
            "{query}"
        );
    }
    house.app.close().await;
}

#[tokio::test]
async fn a_ticket_watches_its_run_until_it_is_deleted_and_does_nothing_else() {
    let house = House::new().await;
    let (run, ticket) = house.run().await;
    let (other, _) = house.run().await;
    let get = async |path: &str| house.app.get(path).await;
    let made = house
        .ask("POST", &format!("/api/stream/{run}/ticket"), &house.owner())
        .await
        .json();
    let address = made["stream_url"].as_str().unwrap();
    let second = made["ticket"].as_str().unwrap();
    assert_eq!(address, format!("/api/stream/{run}?ticket={second}"));
    for address in [
        address,
        &format!("/api/stream/{run}?last_event_id=1-0&ticket={ticket}"),
    ] {
        let events = get(address).await;
        assert!(events.text.contains("event: run.completed"), "{events:?}");
    }
    let head = house.app.send(house.app.request("HEAD", address)).await;
    assert_eq!(head.status, 200);
    for refused in [
        format!("/api/stream/{other}?ticket={second}"),
        format!("/api/run/{run}?ticket={second}"),
        format!("/api/export/{run}.json?ticket={second}"),
        format!("/api/run?ticket={second}"),
        format!("/api/stream/{run}?ticket={}", &second[1..]),
        format!("/api/stream/{run}?ticket="),
        format!("/api/stream/{run}?TICKET={second}"),
    ] {
        let status = get(&refused).await.status;
        let expected = if refused.contains(&other) { 404 } else { 401 };
        assert_eq!(status, expected, "{refused}");
    }
    // A login that is there counts, and not the ticket.
    assert_eq!(
        house.ask("GET", address, &house.stranger()).await.status,
        404
    );
    let deleted = house
        .ask("DELETE", &format!("/api/run/{run}"), &house.owner())
        .await;
    assert_eq!(deleted.status, 204);
    assert_eq!(get(address).await.status, 404);
    house.app.close().await;
}

/// Who may start runs and not look at them gets nothing to look by.
#[tokio::test]
async fn who_may_not_read_gets_no_ticket() {
    let house = House::new().await;
    let writes = house.token("ada", "runs:write");
    let started = house.start(&writes, Some("a-key")).await;
    assert!(started["ticket"].is_null() && started["ticket_expires_at"].is_null());
    assert_eq!(house.start(&writes, Some("a-key")).await, started);
    let url = started["stream_url"].as_str().unwrap();
    let events = house.ask("GET", url, &house.owner()).await;
    assert!(events.text.contains("run.completed"), "{events:?}");
    house.app.close().await;
}

#[tokio::test]
async fn without_a_login_there_is_no_ticket_and_none_is_wanted() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let started = app.post("/api/run", &talk(1)).await.json();
    assert!(started["ticket"].is_null() && started["ticket_expires_at"].is_null());
    let run = started["run_id"].as_str().unwrap();
    let made = app
        .send(app.request("POST", &format!("/api/stream/{run}/ticket")))
        .await;
    assert_eq!(
        made.json(),
        json!({"stream_url": format!("/api/stream/{run}")})
    );
    let events = app.get(&format!("/api/stream/{run}?ticket=whatever")).await;
    assert!(events.text.contains("event: run.completed"), "{events:?}");
    app.close().await;
}
