//! A database that is refused, gone, frozen, slow, full or read-only, and one that fails at every single exchange: nothing is lost or
//! doubled, the API says that it passes, and all goes on by itself.

mod audit;
mod disk;
mod exchanges;
mod outage;
mod quotas;
mod slow;

use std::time::Duration;

use parley::simulator::{Gate, Script};
use sea_orm::{ConnectionTrait as _, DatabaseConnection};
use serde_json::{Value, json};

use crate::support::{Answer, Database, Fold, Proxy, TestApp, talk, within};

/// Short times, so that a test sees them pass.
fn impatient() -> Value {
    json!({
        "orchestrator": {"node_lifetime_ms": 1000},
        "database": {"statement_timeout_ms": 1000, "lock_timeout_ms": 500},
    })
}

/// An application on PostgreSQL with a proxy between them.
struct Fixture {
    database: Database,
    proxy: Proxy,
    app: TestApp,
    /// The way to the database past the proxy.
    direct: DatabaseConnection,
}

impl Fixture {
    /// `None`, and a word about it, where there is no PostgreSQL.
    async fn new(script: Script) -> Option<Self> {
        Self::with(script, impatient()).await
    }

    async fn with(script: Script, settings: Value) -> Option<Self> {
        let database = Database::postgres().await?;
        let proxy = Proxy::before(&database.uri).await;
        let app = TestApp::on(Some(&proxy.uri), script, settings).await;
        // One connection, which is never killed.
        let mut direct = sea_orm::ConnectOptions::new(&database.uri);
        direct.min_connections(1).max_connections(1);
        let direct = sea_orm::Database::connect(direct).await.unwrap();
        Some(Self {
            database,
            proxy,
            app,
            direct,
        })
    }

    async fn sql(&self, sql: &str) {
        self.direct.execute_unprepared(sql).await.unwrap();
    }

    /// Ends every connection but our own.
    async fn kill_backends(&self) {
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
            .await;
    }

    async fn count(&self, query: &str) -> i64 {
        let statement = sea_orm::Statement::from_string(sea_orm::DbBackend::Postgres, query);
        let row = self.direct.query_one_raw(statement).await.unwrap().unwrap();
        row.try_get_by_index(0).unwrap()
    }

    async fn close(self) {
        self.proxy.open();
        self.app.close().await;
        self.direct.close().await.unwrap();
        self.database.remove().await;
    }
}

/// What a client does: asks again as long as it is told that it passes. Anything else than success or that fails the test.
async fn insist(mut ask: impl AsyncFnMut() -> Answer) -> Answer {
    within("an answer other than 503", async {
        loop {
            let answer = ask().await;
            if answer.status != 503 {
                assert!(answer.status < 300, "{answer:?}");
                return answer;
            }
            assert!(is_put_off(&answer), "{answer:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

/// 503 as it has to be: a problem that says when to come back.
fn is_put_off(answer: &Answer) -> bool {
    let slug = answer.problem();
    answer.status == 503
        && answer.header("retry-after").parse::<u32>().is_ok()
        && matches!(
            slug.as_str(),
            "database-unavailable" | "stop-not-recorded" | "not-ready"
        )
}

async fn start(app: &TestApp, turns: u32) -> String {
    let answer = insist(async || app.post("/api/run", &talk(turns)).await).await;
    answer.json()["run_id"].as_str().unwrap().to_owned()
}

/// Reads a run to its end, coming back with the cursor as often as it takes.
async fn read(app: &TestApp, id: &str) -> Fold {
    let (mut fold, mut cursor) = (Fold::default(), String::new());
    within("the run to end", async {
        while !fold.is_over() {
            let mut stream = app.stream(id, &cursor).await;
            if stream.status == 503 {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            assert_eq!(stream.status, 200, "{}", stream.head);
            for event in stream.rest().await {
                cursor.clone_from(&event.id);
                fold.apply(&event);
            }
        }
    })
    .await;
    fold
}

/// Reads the run to its end and compares with the export.
async fn read_and_compare(app: &TestApp, id: &str) -> Value {
    let fold = read(app, id).await;
    let path = format!("/api/export/{id}.json");
    let export = insist(async || app.get(&path).await).await.json();
    assert_eq!(fold.turns, Fold::turns_of(&export), "run {id}");
    export
}

/// Waits until a provider is asked by so many.
async fn asked(app: &TestApp, open: usize) {
    within(
        "provider requests",
        app.simulator.wait_for(|activity| activity.open == open),
    )
    .await;
}

/// The streams go on until the process may not act any more, are cut then, and the turn is spoken again.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_cuts_streams_at_the_deadline_and_all_goes_on_after_it() {
    for freeze in [false, true] {
        let gate = Gate::closed();
        let script = Script::deltas(["One ", "two ", "three."]).gate(&gate);
        let Some(fixture) = Fixture::new(script).await else {
            return;
        };
        let Fixture { app, proxy, .. } = &fixture;
        let id = start(app, 2).await;
        asked(app, 1).await;
        if freeze {
            proxy.freeze();
        } else {
            proxy.close();
        }
        asked(app, 0).await;
        let ready = app.get("/_readiness").await;
        assert!(
            is_put_off(&ready) && ready.text.contains("database"),
            "{ready:?}"
        );
        let put_off = app.get(&format!("/api/run/{id}")).await;
        assert!(is_put_off(&put_off), "{put_off:?}");
        gate.open();
        proxy.open();
        let export = read_and_compare(app, &id).await;
        assert_eq!(export["status"], "completed");
        insist(async || app.get("/_readiness").await).await;
        assert_eq!(
            app.simulator.requests().len(),
            3,
            "two turns, one of them twice"
        );
        fixture.close().await;
    }
}

/// The stream is closed all the same, the client is told that nothing is written yet, and the run ends once it can.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_the_database_is_away_closes_the_stream() {
    let Some(fixture) =
        Fixture::new(Script::endless("again ").every(Duration::from_millis(5))).await
    else {
        return;
    };
    let Fixture { app, proxy, .. } = &fixture;
    let id = start(app, 2).await;
    asked(app, 1).await;
    proxy.close();
    let answer = app.stop(&id).await;
    assert!(is_put_off(&answer), "{answer:?}");
    asked(app, 0).await;
    assert_eq!(answer.problem(), "stop-not-recorded");
    proxy.open();
    let export = read_and_compare(app, &id).await;
    assert_eq!(export["status"], "stopped");
    insist(async || app.stop(&id).await).await;
    // It was stopped once, and there is a row of it, although nothing could be written when it was.
    let stops = format!("SELECT count(*) FROM audit WHERE run_id = '{id}' AND act = 'stop'");
    assert_eq!(fixture.count(&stops).await, 1);
    fixture.close().await;
}

/// Many runs, clients that go on asking, a database that is gone in the middle: only 503 and success, and every run completes.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_under_load_loses_nothing() {
    let script = Script::dialogue(0.02);
    let Some(fixture) = Fixture::new(script).await else {
        return;
    };
    let Fixture { app, proxy, .. } = &fixture;
    let load = async {
        let runs = (0..20).map(async |_| {
            let id = start(app, 6).await;
            let change = json!({"system_prompt": "Be bold."});
            let path = format!("/api/run/{id}/bot/1");
            exchanges::insist_unless_over(app, &path, &change).await;
            let export = read_and_compare(app, &id).await;
            assert_eq!(export["status"], "completed");
        });
        futures_util::future::join_all(runs).await;
    };
    let outages = async {
        asked_at_least(app, 10).await;
        for _ in 0..2 {
            proxy.close();
            tokio::time::sleep(Duration::from_millis(1500)).await;
            proxy.open();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::join!(load, outages);
    let spoken = fixture
        .count("SELECT count(*) FROM events WHERE name IN ('turn.started', 'turn.restarted')")
        .await;
    let asked = fixture.app.simulator.requests().len();
    assert!(asked as i64 <= spoken, "{asked} requests for {spoken}");
    assert_eq!(fixture.count("SELECT count(*) FROM runs").await, 20);
    fixture.close().await;
}

/// Waits until providers were asked so often: how many answer at the same moment is chance.
async fn asked_at_least(app: &TestApp, count: usize) {
    within(
        "provider requests",
        app.simulator.wait_for(|activity| activity.seen >= count),
    )
    .await;
}

/// Connections that are killed again and again, and transactions that could not be serialised.
#[tokio::test(flavor = "multi_thread")]
async fn killed_backends_and_refused_transactions_are_tried_again() {
    let Some(fixture) = Fixture::new(Script::text("Once more.")).await else {
        return;
    };
    fixture
        .sql(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               IF random() < 0.05 THEN RAISE EXCEPTION 'not now' USING ERRCODE = '40001'; END IF; RETURN NEW; END $$",
        )
        .await;
    for table in ["runs", "events", "messages", "commands"] {
        fixture
            .sql(&format!(
                "CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()"
            ))
            .await;
    }
    let app = &fixture.app;
    let work = async {
        for _ in 0..2 {
            let id = start(app, 3).await;
            let export = read_and_compare(app, &id).await;
            assert_eq!(export["status"], "completed");
        }
    };
    let killing = async {
        let mut written = 0;
        loop {
            // Not before something was written since: on a machine that is busy all would be killed.
            let now = fixture.count("SELECT count(*) FROM events").await;
            if now > written {
                written = now;
                fixture.kill_backends().await;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = killing => {}
    }
    let requests = app.simulator.requests().len();
    let attempts = fixture.count("SELECT count(*) FROM attempts").await;
    assert!(
        requests as i64 <= attempts,
        "{requests} requests, {attempts} attempts"
    );
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_read_only_for_a_while_is_waited_for() {
    let Some(fixture) = Fixture::new(Script::text("I wait.")).await else {
        return;
    };
    let app = &fixture.app;
    let name = fixture.database.uri.rsplit('/').next().unwrap().to_owned();
    fixture
        .sql(&format!(
            "ALTER DATABASE {name} SET default_transaction_read_only = on"
        ))
        .await;
    fixture.kill_backends().await;
    let answer = app.post("/api/run", &talk(1)).await;
    assert!(is_put_off(&answer), "{answer:?}");
    fixture
        .sql(&format!(
            "ALTER DATABASE {name} RESET default_transaction_read_only"
        ))
        .await;
    fixture.kill_backends().await;
    let id = start(app, 1).await;
    assert_eq!(read_and_compare(app, &id).await["status"], "completed");
    fixture.close().await;
}
