//! What owners and clients may have: runs, streams, tokens and money; on one node and on several.

use parley::simulator::Script;
use reqwest::RequestBuilder;
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};

use crate::support::{
    Answer, Database, Issuer, Key, SseClient, TestApp, Token, merge, talk, within,
};

/// Nodes on one database, and an issuer whose subjects ask them.
pub(super) struct Nodes {
    pub(super) apps: Vec<TestApp>,
    key: Key,
    issuer: Issuer,
    database: Option<Database>,
}

impl Nodes {
    /// One, on a database of this run's kind.
    pub(super) async fn one(script: Script, limits: Value) -> Self {
        Self::on(None, 1, script, limits).await
    }

    /// Two, on PostgreSQL.
    async fn two(script: Script, limits: Value) -> Option<Self> {
        let database = Database::postgres().await?;
        Some(Self::on(Some(database), 2, script, limits).await)
    }

    async fn on(database: Option<Database>, count: usize, script: Script, over: Value) -> Self {
        let key = Key::p256("k");
        let issuer = Issuer::start(&key).await;
        let mut settings = json!({
            "dev_mode": false,
            "auth": {"mode": "oidc", "oidc": [{"issuer": issuer.url, "audience": "parley"}]},
            "rate_limit": {"run_creations_per_minute": 100_000},
            "http": {"trusted_proxies": ["127.0.0.1/32"]},
        });
        merge(&mut settings, &over);
        let uri = database.as_ref().map(|database| database.uri.as_str());
        let mut apps = Vec::new();
        for _ in 0..count {
            apps.push(TestApp::on(uri, script.clone(), settings.clone()).await);
        }
        Self {
            apps,
            key,
            issuer,
            database,
        }
    }

    fn token(&self, subject: &str) -> String {
        let token = Token::of(&self.issuer.url, &self.key);
        let token = token.claim("sub", json!(subject));
        let scopes = json!("runs:read runs:write");
        token.claim("scope", scopes).signed(&self.key)
    }

    /// A request of that subject to the node of that number, or the next one that there is.
    pub(super) fn ask(&self, node: usize, who: &str, method: &str, path: &str) -> RequestBuilder {
        let app = &self.apps[node % self.apps.len()];
        app.request(method, path).bearer_auth(self.token(who))
    }

    pub(super) async fn send(&self, request: RequestBuilder) -> Answer {
        self.apps[0].send(request).await
    }

    pub(super) async fn create(&self, node: usize, who: &str, turns: u32) -> Answer {
        let request = self.ask(node, who, "POST", "/api/run");
        let request = request.header("content-type", "application/json");
        self.send(request.body(talk(turns).to_string())).await
    }

    /// A run that is accepted.
    async fn created(&self, node: usize, who: &str, turns: u32) -> String {
        let answer = self.create(node, who, turns).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()["run_id"].as_str().unwrap().to_owned()
    }

    /// That subject's run to its end.
    pub(super) async fn read(&self, node: usize, who: &str, run: &str) -> String {
        let stream = self.ask(node, who, "GET", &format!("/api/stream/{run}"));
        self.send(stream).await.text
    }

    pub(super) async fn stop(&self, node: usize, who: &str, run: &str) {
        let stop = self.ask(node, who, "POST", &format!("/api/run/{run}/stop"));
        let answer = self.send(stop).await;
        assert!([200, 202].contains(&answer.status), "{}", answer.text);
    }

    /// Stops all runs of that subject and waits for their ends.
    async fn stop_all(&self, who: &str) {
        let list = self.send(self.ask(0, who, "GET", "/api/run")).await.json();
        for run in list["runs"].as_array().unwrap() {
            let run = run["run_id"].as_str().unwrap();
            self.stop(0, who, run).await;
            self.read(0, who, run).await;
        }
    }

    pub(super) async fn close(self) {
        for app in self.apps {
            app.close().await;
        }
        if let Some(database) = self.database {
            database.remove().await;
        }
    }
}

/// The items of a field of `RateLimit`, and whether it speaks of that limit so.
fn says(answer: &Answer, field: &str, item: &str) -> bool {
    let mut lines = answer.headers.get_all(field).iter();
    lines.any(|line| line.to_str().unwrap() == item)
}

fn wait_of(answer: &Answer) -> u64 {
    answer.header("retry-after").parse().unwrap()
}

#[track_caller]
pub(super) fn refused(answer: &Answer, slug: &str) {
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (429, slug),
        "{answer:?}"
    );
    assert!(wait_of(answer) >= 1);
}

pub(super) fn per_owner(limits: &Value) -> Value {
    json!({"limits": {"per_owner": limits}})
}

/// Three a minute, wherever they are asked for; what is refused makes nothing, and others are not held back.
async fn three_a_minute(nodes: Nodes) {
    for number in 0..3 {
        let answer = nodes.create(number, "ada", 1).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let policy = "\"run-creations-of-owner\";q=3;w=60";
        assert!(says(&answer, "ratelimit-policy", policy), "{answer:?}");
        let lines = answer.headers.get_all("ratelimit").iter();
        let left = format!("\"run-creations-of-owner\";r={};t=", 2 - number);
        let told = lines.filter(|line| line.to_str().unwrap().starts_with(&left));
        let told: Vec<_> = told.map(|line| line.to_str().unwrap()).collect();
        assert_eq!(told.len(), 1, "{answer:?}");
        // One comes back every 20 seconds, whatever is left.
        let wait = told[0].strip_prefix(&left).unwrap().parse::<u64>();
        assert!((1..=20).contains(&wait.unwrap()), "{told:?}");
        let run = answer.json()["run_id"].as_str().unwrap().to_owned();
        nodes.read(0, "ada", &run).await;
    }
    for node in 0..2 {
        let answer = nodes.create(node, "ada", 1).await;
        refused(&answer, "rate-limited");
        assert!(wait_of(&answer) <= 20, "{answer:?}");
        assert!(answer.text.contains("you may create 3 runs a minute"));
    }
    let list = nodes.send(nodes.ask(0, "ada", "GET", "/api/run")).await;
    assert_eq!(list.json()["runs"].as_array().unwrap().len(), 3);
    let run = nodes.created(1, "bob", 1).await;
    nodes.read(0, "bob", &run).await;
    nodes.close().await;
}

#[tokio::test]
async fn an_owner_creates_so_many_runs_a_minute() {
    let limits = per_owner(&json!({"run_creations_per_minute": 3}));
    three_a_minute(Nodes::one(Script::text("Hello."), limits).await).await;
}

#[tokio::test]
async fn an_owner_creates_so_many_runs_a_minute_on_two_nodes_together() {
    let limits = per_owner(&json!({"run_creations_per_minute": 3}));
    if let Some(nodes) = Nodes::two(Script::text("Hello."), limits).await {
        three_a_minute(nodes).await;
    }
}

/// The limit by address holds on two nodes together, too, whoever asks.
#[tokio::test]
async fn an_address_creates_so_many_runs_a_minute_on_two_nodes_together() {
    let limits = json!({"rate_limit": {"run_creations_per_minute": 2}});
    let Some(nodes) = Nodes::two(Script::text("Hello."), limits).await else {
        return;
    };
    let from = async |node: usize, who: &str, address: &str| {
        let request = nodes.ask(node, who, "POST", "/api/run");
        let request = request.header("content-type", "application/json");
        let request = request.header("x-forwarded-for", address);
        nodes.send(request.body(talk(1).to_string())).await
    };
    for (node, who, address, status) in [
        (0, "ada", "192.0.2.1", 201),
        (1, "bob", "192.0.2.1", 201),
        (0, "ada", "192.0.2.1", 429),
        (1, "cyd", "192.0.2.1", 429),
        (1, "ada", "2001:db8::1", 201),
        (0, "ada", "2001:db8::2", 201),
        (0, "ada", "2001:db8::3", 429),
        (0, "ada", "2001:db8:0:1::3", 201),
    ] {
        let answer = from(node, who, address).await;
        assert_eq!(answer.status, status, "{address}: {answer:?}");
        let told = answer.headers.get_all("ratelimit").iter();
        let told = told.filter(|line| line.to_str().unwrap().starts_with("\"run-creations\""));
        assert_eq!(told.count(), 1, "{answer:?}");
        if status == 201 {
            let run = answer.json()["run_id"].as_str().unwrap().to_owned();
            nodes.read(node, who, &run).await;
        }
    }
    nodes.close().await;
}

/// A request that comes again under its key takes nothing, and what was refused is no answer to be given again.
#[tokio::test]
async fn what_is_refused_leaves_its_key_free() {
    let limits = per_owner(&json!({"live_runs": 1}));
    let nodes = Nodes::one(Script::endless("on "), limits).await;
    let keyed = async |key: &str| {
        let request = nodes.ask(0, "ada", "POST", "/api/run");
        let request = request.header("content-type", "application/json");
        let request = request.header("idempotency-key", key);
        nodes.send(request.body(talk(1).to_string())).await
    };
    let first = keyed("first").await;
    assert_eq!(first.status, 201);
    assert_eq!(
        keyed("first").await.json()["run_id"],
        first.json()["run_id"]
    );
    refused(&keyed("second").await, "too-many-live-runs");
    nodes.stop_all("ada").await;
    let second = keyed("second").await;
    assert_eq!(second.status, 201, "{}", second.text);
    nodes.stop_all("ada").await;
    nodes.close().await;
}

/// However many ask at the same moment, wherever: as many get a run as may have one.
async fn five_at_a_time(nodes: Nodes) {
    let asked = (0..20).map(|node| nodes.create(node, "ada", 1));
    let answers = futures_util::future::join_all(asked).await;
    let accepted = answers.iter().filter(|answer| answer.status == 201);
    assert_eq!(accepted.count(), 5);
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        refused(answer, "too-many-live-runs");
        assert!(says(answer, "ratelimit", "\"live-runs\";r=0"), "{answer:?}");
    }
    let run = nodes.created(1, "bob", 1).await;
    nodes.stop(1, "bob", &run).await;
    let list = nodes.send(nodes.ask(0, "ada", "GET", "/api/run")).await;
    let run = list.json()["runs"][0]["run_id"]
        .as_str()
        .unwrap()
        .to_owned();
    nodes.stop(0, "ada", &run).await;
    nodes.read(0, "ada", &run).await;
    // One has ended, so there is a place for one.
    nodes.created(1, "ada", 1).await;
    refused(&nodes.create(0, "ada", 1).await, "too-many-live-runs");
    nodes.stop_all("ada").await;
    nodes.stop_all("bob").await;
    nodes.close().await;
}

#[tokio::test]
async fn an_owner_has_so_many_runs_at_a_time() {
    let limits = per_owner(&json!({"live_runs": 5}));
    five_at_a_time(Nodes::one(Script::endless("on "), limits).await).await;
}

#[tokio::test]
async fn an_owner_has_so_many_runs_at_a_time_on_two_nodes_together() {
    let limits = per_owner(&json!({"live_runs": 5}));
    if let Some(nodes) = Nodes::two(Script::endless("on "), limits).await {
        five_at_a_time(nodes).await;
    }
}

/// Each turn takes 15 tokens. What is used up ends a run before its next turn, and keeps another from being made; all of it is the
/// owner's alone.
async fn forty_tokens_a_day(nodes: Nodes) {
    let run = nodes.created(0, "ada", 9).await;
    let said = nodes.read(0, "ada", &run).await;
    let turns = |said: &str| said.matches("event: turn.completed").count();
    assert_eq!(turns(&said), 3, "{said}");
    assert_eq!(said.matches("event: turn.started").count(), 3);
    assert!(said.contains("event: run.failed"), "{said}");
    assert!(said.contains("\"code\":\"quota_exceeded\""), "{said}");
    for node in 0..2 {
        let answer = nodes.create(node, "ada", 1).await;
        refused(&answer, "quota-used-up");
        let policy = "\"tokens-a-day\";q=40;w=86400;qu=\"tokens\"";
        assert!(says(&answer, "ratelimit-policy", policy), "{answer:?}");
        assert!(wait_of(&answer) <= 86_400);
    }
    // What is left of it is told before.
    let answer = nodes.create(1, "bob", 2).await;
    let lines = answer.headers.get_all("ratelimit").iter();
    let told = lines.filter(|line| {
        line.to_str()
            .unwrap()
            .starts_with("\"tokens-a-day\";r=40;t=")
    });
    assert_eq!(told.count(), 1, "{answer:?}");
    let run = answer.json()["run_id"].as_str().unwrap().to_owned();
    assert!(nodes.read(0, "bob", &run).await.contains("run.completed"));
    // Of the rest, a turn is spoken to its end.
    let run = nodes.created(0, "bob", 5).await;
    assert_eq!(turns(&nodes.read(1, "bob", &run).await), 1);
    refused(&nodes.create(0, "bob", 1).await, "quota-used-up");
    nodes.close().await;
}

#[tokio::test]
async fn an_owner_takes_so_many_tokens_a_day() {
    let limits = per_owner(&json!({"tokens_per_day": 40}));
    forty_tokens_a_day(Nodes::one(Script::text("Hello.").usage(10, 5), limits).await).await;
}

#[tokio::test]
async fn an_owner_takes_so_many_tokens_a_day_on_two_nodes_together() {
    let limits = per_owner(&json!({"tokens_per_day": 40}));
    if let Some(nodes) = Nodes::two(Script::text("Hello.").usage(10, 5), limits).await {
        forty_tokens_a_day(nodes).await;
    }
}

/// Money is counted where a price is known.
#[tokio::test]
async fn an_owner_spends_so_much_a_day() {
    let limits = per_owner(&json!({"cost_usd_per_day": 0.01}));
    let nodes = Nodes::one(Script::text("Hello.").usage(1_000_000, 1_000), limits).await;
    let mut order = talk(9);
    let ask = async |order: &Value| {
        let request = nodes.ask(0, "ada", "POST", "/api/run");
        let request = request.header("content-type", "application/json");
        nodes.send(request.body(order.to_string())).await
    };
    // Nobody knows what these models cost.
    let free = ask(&talk(2)).await.json()["run_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(nodes.read(0, "ada", &free).await.contains("run.completed"));
    order["bots"][0]["model"] = json!("gpt-4o-mini");
    let dear = ask(&order).await.json()["run_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let said = nodes.read(0, "ada", &dear).await;
    assert_eq!(said.matches("event: turn.completed").count(), 1, "{said}");
    assert!(said.contains("may cost 0.01 dollars a day"), "{said}");
    refused(&ask(&talk(1)).await, "quota-used-up");
    nodes.close().await;
}

/// The stream of a run for that subject, held open.
pub(super) async fn open(nodes: &Nodes, who: &str, run: &str, address: &str) -> SseClient {
    let token = format!("Bearer {}", nodes.token(who));
    let headers = [
        ("authorization", token.as_str()),
        ("x-forwarded-for", address),
    ];
    let path = format!("/api/stream/{run}");
    SseClient::open(&nodes.apps[0].address, &path, &headers).await
}

#[tokio::test]
async fn so_many_streams_are_open_to_an_owner_to_a_client_and_in_all() {
    let limits = json!({"limits": {
        "streams": 4,
        "streams_per_client": 3,
        "per_owner": {"streams": 2},
    }});
    let nodes = Nodes::one(Script::endless("on "), limits).await;
    let (ada, bob) = (
        nodes.created(0, "ada", 1).await,
        nodes.created(0, "bob", 1).await,
    );
    let watch = async |who: &str, run: &str, address: &str| {
        let request = nodes.ask(0, who, "GET", &format!("/api/stream/{run}"));
        let request = request.header("x-forwarded-for", address);
        nodes.send(request).await
    };
    let first = open(&nodes, "ada", &ada, "192.0.2.1").await;
    let second = open(&nodes, "ada", &ada, "192.0.2.1").await;
    assert_eq!((first.status, second.status), (200, 200));
    let over = watch("ada", &ada, "192.0.2.2").await;
    refused(&over, "too-many-streams");
    let policy = "\"streams-of-owner\";q=2;qu=\"streams\"";
    assert!(says(&over, "ratelimit-policy", policy), "{over:?}");
    assert!(says(&over, "ratelimit", "\"streams-of-owner\";r=0"));
    let third = open(&nodes, "bob", &bob, "192.0.2.1").await;
    refused(&watch("bob", &bob, "192.0.2.1").await, "too-many-streams");
    let fourth = open(&nodes, "bob", &bob, "192.0.2.2").await;
    assert_eq!((third.status, fourth.status), (200, 200));
    let cyd = nodes.created(0, "cyd", 1).await;
    let full = watch("cyd", &cyd, "192.0.2.3").await;
    assert_eq!((full.status, full.problem().as_str()), (503, "busy"));
    // A browser would give up for good: it is told to come back.
    let request = nodes.ask(0, "cyd", "GET", &format!("/api/stream/{cyd}"));
    let told = nodes.send(request.header("sec-fetch-mode", "cors")).await;
    assert_eq!(told.status, 200);
    assert!(
        told.text.contains("retry: ") && !told.text.contains("data: "),
        "{}",
        told.text
    );
    // A look at the headers alone takes no place, and needs none.
    let request = nodes.ask(0, "cyd", "HEAD", &format!("/api/stream/{cyd}"));
    assert_eq!(nodes.send(request).await.status, 200);
    // Whoever leaves makes room.
    drop(second);
    within("a place", async {
        while open(&nodes, "ada", &ada, "192.0.2.4").await.status != 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for (who, run) in [("ada", &ada), ("bob", &bob), ("cyd", &cyd)] {
        nodes.stop(0, who, run).await;
    }
    drop((first, third, fourth));
    nodes.close().await;
}

/// Two streams, at whichever nodes they are; who leaves one makes room at the other, and a node that is gone has none.
#[tokio::test]
async fn an_owner_has_so_many_streams_on_two_nodes_together() {
    let Some(nodes) = Nodes::two(Script::endless("on "), per_owner(&json!({"streams": 2}))).await
    else {
        return;
    };
    let run = nodes.created(0, "ada", 1).await;
    let eve = nodes.created(0, "eve", 1).await;
    let watch = async |node: usize, who: &str, run: &str| {
        let token = format!("Bearer {}", nodes.token(who));
        let path = format!("/api/stream/{run}");
        let headers = [("authorization", token.as_str())];
        SseClient::open(&nodes.apps[node].address, &path, &headers).await
    };
    let room = async |node: usize| {
        within("a place", async {
            loop {
                let stream = watch(node, "ada", &run).await;
                if stream.status == 200 {
                    return stream;
                }
            }
        })
        .await
    };
    let (first, second) = (watch(0, "ada", &run).await, watch(1, "ada", &run).await);
    assert_eq!((first.status, second.status), (200, 200));
    for node in [0, 1] {
        assert_eq!(watch(node, "ada", &run).await.status, 429);
    }
    let other = watch(1, "eve", &eve).await;
    assert_eq!(other.status, 200);
    drop(first);
    let third = room(1).await;
    assert_eq!(watch(0, "ada", &run).await.status, 429);
    // Many at once are never too many.
    drop((second, third));
    let one = room(0).await;
    let all = futures_util::future::join_all((0..20).map(|n| watch(n % 2, "ada", &run))).await;
    let open = all.iter().filter(|stream| stream.status == 200).count();
    assert!(open <= 1, "{open}");
    drop((one, all));
    let (_last, _of_all) = (room(1).await, room(1).await);
    assert_eq!(watch(0, "ada", &run).await.status, 429);
    // The other node dies: its row is not renewed, and what it had is free.
    let db = &nodes.apps[0].ctx.db;
    let name = nodes.apps[1].parts().supervisor.node().to_owned();
    let gone = format!("UPDATE nodes SET expires = 0 WHERE id = '{name}'");
    within("its places", async {
        loop {
            db.execute_unprepared(&gone).await.unwrap();
            if watch(0, "ada", &run).await.status == 200 {
                break;
            }
        }
    })
    .await;
    drop((_last, _of_all, other));
    for (who, run) in [("ada", &run), ("eve", &eve)] {
        nodes.stop(0, who, run).await;
    }
    nodes.close().await;
}

/// Who watches by a ticket is the owner's guest.
#[tokio::test]
async fn a_ticket_takes_a_place_of_the_runs_owner() {
    let limits = json!({"limits": {"per_owner": {"streams": 2}}});
    let nodes = Nodes::one(Script::endless("on "), limits).await;
    let run = nodes.create(0, "ada", 1).await.json();
    let (run, ticket) = (
        run["run_id"].as_str().unwrap(),
        run["ticket"].as_str().unwrap(),
    );
    let path = format!("/api/stream/{run}?ticket={ticket}");
    let mine = open(&nodes, "ada", run, "192.0.2.1").await;
    let by_ticket = async |address: &str| {
        let headers = [("x-forwarded-for", address)];
        SseClient::open(&nodes.apps[0].address, &path, &headers).await
    };
    let other = by_ticket("192.0.2.2").await;
    assert_eq!((mine.status, other.status), (200, 200));
    assert_eq!(by_ticket("192.0.2.3").await.status, 429);
    nodes.stop(0, "ada", run).await;
    drop((mine, other));
    nodes.close().await;
}

/// Only the header that the settings name says who the client is.
#[tokio::test]
async fn the_standard_header_counts_where_it_is_set_and_the_other_one_does_not() {
    let limits = json!({
        "http": {"forwarded_by": "forwarded"},
        "rate_limit": {"run_creations_per_minute": 1},
    });
    let nodes = Nodes::one(Script::text("Hello."), limits).await;
    for (name, value, status) in [
        ("forwarded", "for=192.0.2.1", 201),
        ("forwarded", "for=\"192.0.2.1:443\";proto=https", 429),
        ("forwarded", "for=\"[2001:db8::1]\"", 201),
        ("forwarded", "for=192.0.2.9, for=192.0.2.1", 429),
        ("x-forwarded-for", "192.0.2.2", 201),
        ("x-forwarded-for", "192.0.2.3", 429),
    ] {
        let request = nodes.ask(0, "ada", "POST", "/api/run").header(name, value);
        let request = request.header("content-type", "application/json");
        let answer = nodes.send(request.body(talk(1).to_string())).await;
        assert_eq!(answer.status, status, "{value}: {answer:?}");
        if status == 201 {
            let run = answer.json()["run_id"].as_str().unwrap().to_owned();
            nodes.read(0, "ada", &run).await;
        }
    }
    nodes.close().await;
}

/// On one's own machine there are none.
#[tokio::test]
async fn in_dev_mode_nobody_is_limited() {
    let limits = json!({"limits": {
        "streams_per_client": 1,
        "per_owner": {"run_creations_per_minute": 1, "live_runs": 1, "streams": 1, "tokens_per_day": 1},
    }});
    let app = TestApp::with(Script::text("Hello.").usage(10, 5), limits).await;
    for _ in 0..3 {
        let run = app.start_run(2).await;
        let events = app.events(&run).await;
        assert_eq!(events.last().unwrap().name, "run.completed");
    }
    app.close().await;
}
