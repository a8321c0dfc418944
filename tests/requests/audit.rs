//! Who did what with a run: a row for each act that was done, and none for one that was not.

use parley::simulator::{Gate, Script};
use reqwest::RequestBuilder;
use sea_orm::{ConnectionTrait as _, DbBackend, Statement};
use serde_json::{Value, json};

use super::login::{guarded_by, right};
use crate::support::{Answer, TestApp, talk};

const AWAY: &str = "2001:db8:0:1::17";

/// An application whose clients come through a proxy.
struct Audited {
    app: TestApp,
    requests: std::cell::Cell<u32>,
}

impl Audited {
    async fn new(script: Script, settings: Value) -> Self {
        let mut all = json!({"http": {"trusted_proxies": ["127.0.0.1/32"]}});
        crate::support::merge(&mut all, &settings);
        Self {
            app: guarded_by(script, all).await,
            requests: 0.into(),
        }
    }

    /// A request of Ada's, under an id of its own: `request-1`, `request-2` …
    fn ask(&self, method: &str, path: &str) -> RequestBuilder {
        self.requests.set(self.requests.get() + 1);
        let request = self.app.request(method, path);
        request
            .header("authorization", right())
            .header("x-forwarded-for", AWAY)
            .header("x-request-id", format!("request-{}", self.requests.get()))
    }

    async fn get(&self, path: &str) -> Answer {
        self.app.send(self.ask("GET", path)).await
    }

    async fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        let request = self.ask(method, path);
        let request = request.header("content-type", "application/json");
        self.app.send(request.body(body.to_string())).await
    }

    async fn started(&self) -> String {
        let answer = self.send("POST", "/api/run", &talk(2)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["run_id"].as_str().unwrap().to_owned()
    }

    async fn end_of(&self, run: &str) {
        let events = self.get(&format!("/api/stream/{run}")).await;
        let over = ["run.completed", "run.stopped"];
        assert!(
            over.iter().any(|end| events.text.contains(end)),
            "{events:?}"
        );
    }

    async fn acts(&self, run: &str) -> Vec<Value> {
        let answer = self.get(&format!("/api/run/{run}/audit")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["acts"].as_array().unwrap().clone()
    }

    /// What was done, without what is the same of all.
    async fn told(&self, run: &str) -> Vec<Value> {
        let mut before = String::new();
        let acts = self.acts(run).await.into_iter().map(|mut act| {
            let members = act.as_object_mut().unwrap();
            let at = members.remove("at").unwrap().as_str().unwrap().to_owned();
            assert!(before <= at, "{before} {at}");
            before = at;
            for (name, value) in [("who", "ada"), ("login", "basic"), ("address", AWAY)] {
                assert_eq!(members.remove(name).unwrap(), value);
            }
            act
        });
        acts.collect()
    }

    async fn sql(&self, sql: &str) {
        self.app.ctx.db.execute_unprepared(sql).await.unwrap();
    }

    async fn close(self) {
        self.app.close().await;
    }
}

#[tokio::test]
async fn what_was_done_has_a_row_and_what_was_not_has_none() {
    let gate = Gate::closed();
    let audited = Audited::new(Script::deltas(["Hello."]).gate(&gate), json!({})).await;
    let keyed = async || {
        let request = audited.ask("POST", "/api/run");
        let request = request.header("content-type", "application/json");
        let request = request.header("idempotency-key", "a-key");
        let answer = audited.app.send(request.body(talk(2).to_string())).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["run_id"].as_str().unwrap().to_owned()
    };
    let run = keyed().await;
    assert_eq!(keyed().await, run);
    let path = format!("/api/run/{run}");
    let (bot, stop) = (format!("{path}/bot/1"), format!("{path}/stop"));
    let export = |kind: &str| format!("/api/export/{run}.{kind}");
    for (status, method, path, body) in [
        (200, "PATCH", &bot, json!({"name": "Eve"})),
        (200, "PATCH", &bot, json!({"name": "Eve"})),
        (422, "PATCH", &bot, json!({"provider": "nobody"})),
        (409, "DELETE", &path, Value::Null),
        (202, "POST", &stop, json!({"mode": "after_turn"})),
    ] {
        let answer = audited.send(method, path, &body).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    gate.open();
    audited.end_of(&run).await;
    for (status, method, path, body) in [
        (200, "POST", &stop, json!({"mode": "now"})),
        (409, "PATCH", &bot, json!({"name": "Eva"})),
    ] {
        let answer = audited.send(method, path, &body).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let file = audited.get(&export("json")).await;
    let tag = file.header("etag");
    let known = audited
        .ask("GET", &export("json"))
        .header("if-none-match", tag);
    assert_eq!(audited.app.send(known).await.status, 304);
    let head = audited.ask("HEAD", &export("html"));
    assert_eq!(audited.app.send(head).await.status, 200);
    assert_eq!(audited.get(&export("exe")).await.status, 404);
    assert_eq!(audited.get(&export("pdf")).await.status, 200);
    let mut expected = vec![
        json!({"act": "start", "request_id": "request-1"}),
        json!({"act": "update_bot", "bot_index": 1, "bot_version": 2, "request_id": "request-3"}),
        json!({"act": "stop", "mode": "after_turn", "request_id": "request-7"}),
        json!({"act": "export", "format": "json", "request_id": "request-11"}),
        json!({"act": "export", "format": "pdf", "request_id": "request-15"}),
    ];
    assert_eq!(audited.told(&run).await, expected);
    let asked = audited.requests.get() + 1;
    for status in [204, 404] {
        let answer = audited.app.send(audited.ask("DELETE", &path)).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    expected.push(json!({"act": "delete", "request_id": format!("request-{asked}")}));
    assert_eq!(audited.get(&path).await.status, 404);
    assert_eq!(audited.told(&run).await, expected);
    audited.close().await;
}

#[tokio::test]
async fn where_no_login_is_asked_for_it_was_nobody() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let id = app.start_run(1).await;
    app.events(&id).await;
    let acts = app.get(&format!("/api/run/{id}/audit")).await.json();
    let act = &acts["acts"][0];
    assert_eq!(
        [&act["who"], &act["login"], &act["address"]],
        [&json!(""), &Value::Null, &json!("127.0.0.1")]
    );
    app.close().await;
}

/// Neither what was said, nor by what somebody came in.
#[tokio::test]
async fn no_row_holds_what_is_nobodys_business() {
    let audited = Audited::new(Script::text("The answer is marmalade."), json!({})).await;
    let mut order = talk(1);
    order["topic"] = "Is quince better than damson?".into();
    order["bots"][1]["system_prompt"] = "You are a greengage.".into();
    let started = audited.send("POST", "/api/run", &order).await.json();
    let run = started["run_id"].as_str().unwrap();
    let path = format!("/api/run/{run}/bot/0");
    // It may be over already.
    audited
        .send(
            "PATCH",
            &path,
            &json!({"system_prompt": "You are a medlar."}),
        )
        .await;
    audited.end_of(run).await;
    audited.get(&format!("/api/export/{run}.md")).await;
    let rows = audited.acts(run).await;
    assert!(rows.len() >= 2, "{rows:?}");
    let rows = Value::from(rows).to_string();
    let (ticket, credentials) = (started["ticket"].as_str().unwrap(), right());
    for secret in [
        "marmalade",
        "quince",
        "greengage",
        "medlar",
        "password",
        ticket,
        credentials.strip_prefix("Basic ").unwrap(),
    ] {
        assert!(!rows.contains(secret), "{secret}: {rows}");
    }
    audited.close().await;
}

#[tokio::test]
async fn a_long_list_comes_in_pages() {
    let audited = Audited::new(Script::text("Hello."), json!({})).await;
    let (run, other) = (audited.started().await, audited.started().await);
    audited.end_of(&run).await;
    audited.end_of(&other).await;
    for kind in ["md", "json", "html", "pdf", "md", "json"] {
        audited.get(&format!("/api/export/{run}.{kind}")).await;
    }
    let whole = audited.acts(&run).await;
    assert_eq!(whole.len(), 5);
    let (mut paged, mut next) = (Vec::new(), Some(format!("/api/run/{run}/audit?limit=2")));
    let mut cursor = String::new();
    while let Some(path) = next {
        let page = audited.get(&path).await;
        let body = page.json();
        paged.extend(body["acts"].as_array().unwrap().clone());
        let link = page.header("link").strip_suffix(">; rel=\"next\"");
        next = link.map(|link| link.strip_prefix('<').unwrap().to_owned());
        assert_eq!(body["next_cursor"].is_string(), next.is_some());
        if let Some(given) = body["next_cursor"].as_str() {
            given.clone_into(&mut cursor);
        }
    }
    assert_eq!(paged, whole);
    for wrong in [
        format!("{run}/audit?cursor=x"),
        format!("{other}/audit?cursor={cursor}"),
        format!("{run}/audit?limit=10001"),
        format!("{run}/audit?limit=1&limit=1"),
        format!("{run}/audit?who=ada"),
    ] {
        let answer = audited.get(&format!("/api/run/{wrong}")).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "invalid-query"),
            "{wrong}"
        );
    }
    audited.close().await;
}

#[tokio::test]
async fn acts_are_kept_as_long_as_the_settings_say() {
    let settings = json!({"audit": {"retention_days": 2}});
    let audited = Audited::new(Script::text("Hello."), settings).await;
    let (old, young) = (audited.started().await, audited.started().await);
    for run in [&old, &young] {
        audited.end_of(run).await;
        let path = format!("/api/run/{run}");
        let deleted = audited.app.send(audited.ask("DELETE", &path)).await;
        assert_eq!(deleted.status, 204);
    }
    let id = match audited.app.ctx.db.get_database_backend() {
        DbBackend::Postgres => format!("'{old}'"),
        _ => format!("x'{}'", old.replace('-', "")),
    };
    // Those of the one run are a minute older than is kept, those of the other one a minute younger.
    let age = "UPDATE audit SET at = at - 172800000";
    audited
        .sql(&format!("{age} - 60000 WHERE run_id = {id}"))
        .await;
    audited
        .sql(&format!("{age} + 60000 WHERE run_id <> {id}"))
        .await;
    audited.app.parts().supervisor.keep_house().await.unwrap();
    let gone = audited.get(&format!("/api/run/{old}/audit")).await;
    assert_eq!(
        (gone.status, gone.problem().as_str()),
        (404, "run-not-found")
    );
    assert_eq!(audited.acts(&young).await.len(), 2);
    let count = Statement::from_string(
        audited.app.ctx.db.get_database_backend(),
        "SELECT count(*) FROM audit",
    );
    let row = audited
        .app
        .ctx
        .db
        .query_one_raw(count)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.try_get_by_index::<i64>(0).unwrap(), 2);
    audited.close().await;
}
