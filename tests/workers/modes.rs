//! Each worker mode runs a conversation: in one process, and in one that serves and one that works.

use std::{
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use parley::simulator::{Gate, Script};
use sea_orm::{ConnectionTrait as _, Statement};
use serde_json::Value;

use super::{SETTINGS, accepted, ends, queued, redis, simulator, sqlite, sqlite_queue};
use crate::{
    crashes::node::Node,
    support::{Database, Scrape, SseClient, client, free_port, pool, within},
};

/// How long it is watched that nobody drives: three sweeps and more.
const THREE_SWEEPS: Duration = Duration::from_secs(4);

/// Watches that runs in that database have no owner.
async fn nobody_drives(database: &str) {
    let db = parley::models::connect(&pool(database)).await.unwrap();
    let count = "SELECT count(*) FROM runs WHERE lease_owner = '' AND status = 'queued'";
    let waiting = Statement::from_string(db.get_database_backend(), count);
    let since = Instant::now();
    while since.elapsed() < THREE_SWEEPS {
        let row = db.query_one_raw(waiting.clone()).await.unwrap().unwrap();
        let waiting: i64 = row.try_get_by_index(0).unwrap();
        assert_eq!(waiting, 1, "a process that only serves drives the run");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    db.close().await.unwrap();
}

/// One process for both, and then one for each, with that queue.
async fn run_with(database: &str, queue: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (simulator, base) = simulator(Script::text("Yes.")).await;
    let node = |arguments| {
        let node = Node::new(folder.path(), database, &base, SETTINGS).with(arguments);
        queued(&node, queue);
        node
    };
    let mut both = node(&["--server-and-worker"]);
    both.start().await;
    ends(&both, &accepted(&both, 3).await, "run.completed").await;
    both.signal("TERM");
    assert!(both.ended().await.success(), "{}", both.log());
    assert!(!both.log().contains("only serves"), "{}", both.log());

    let (mut server, mut worker) = (node(&[]), node(&["--worker"]));
    server.start().await;
    assert_eq!(server.log().matches("only serves").count(), 1);
    worker.start_without_server();
    ends(&server, &accepted(&server, 3).await, "run.completed").await;
    worker.signal("TERM");
    assert!(worker.ended().await.success(), "{}", worker.log());
    // What the server accepts while nobody works is done by the next worker.
    let late = accepted(&server, 3).await;
    nobody_drives(database).await;
    worker.start_without_server();
    ends(&server, &late, "run.completed").await;
    assert_eq!(simulator.requests().len(), 9);
    for node in [&mut server, &mut worker] {
        node.signal("TERM");
        assert!(node.ended().await.success(), "{}", node.log());
    }
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    run_with(&sqlite(&folder, "parley.sqlite"), &sqlite_queue(&folder)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_in_postgres() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let queue = format!(
        "{{ kind: Postgres, uri: \"{}\", num_workers: 2, poll_interval_sec: 1, connect_timeout: 5000 }}",
        database.uri
    );
    run_with(&database.uri, &queue).await;
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_in_redis() {
    let (Some(redis), Some(database)) = (redis(1), Database::postgres().await) else {
        return;
    };
    let queue = format!("{{ kind: Redis, uri: \"{redis}\", num_workers: 2 }}");
    run_with(&database.uri, &queue).await;
    database.remove().await;
}

/// Processes that only serve are for a queue alone: without one, each drives, and `--worker` makes one that only drives.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_queue_a_worker_drives_what_it_finds() {
    let folder = tempfile::tempdir().unwrap();
    let (simulator, base) = simulator(Script::text("Yes.")).await;
    let database = sqlite(&folder, "parley.sqlite");
    let mut worker =
        Node::new(folder.path(), &database, &base, SETTINGS).with(&["--worker", "--no-banner"]);
    worker.reconfigure("level: warn", "level: info");
    worker.start_without_server();
    worker.says("only drives runs").await;
    let lock = folder.path().join("parley.sqlite-driver");
    within("the lock", async {
        while !lock.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let mut server = Node::new(folder.path(), &database, &base, SETTINGS);
    server.start().await;
    ends(&server, &accepted(&server, 2).await, "run.completed").await;
    worker.signal("TERM");
    assert!(worker.ended().await.success(), "{}", worker.log());
    ends(&server, &accepted(&server, 2).await, "run.completed").await;
    simulator.stop().await;
}

/// Operators see a process that only drives as they see one that serves, and nothing else is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_can_be_watched() {
    let folder = tempfile::tempdir().unwrap();
    let (simulator, base) = simulator(Script::text("Yes.")).await;
    let database = sqlite(&folder, "parley.sqlite");
    for arguments in [&["--worker"][..], &[]] {
        let mut node = Node::new(folder.path(), &database, &base, SETTINGS).with(arguments);
        let binding = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let told = format!("dev_mode: false\n  metrics: {{ binding: \"{binding}\" }}");
        node.reconfigure("dev_mode: true", &told);
        node.start_without_server();
        let get = async |path: &str| {
            let request = client().get(format!("http://{binding}{path}"));
            request.send().await
        };
        within("the port to answer", async {
            while get("/_ping").await.is_err() {
                assert!(node.is_running(), "{}", node.log());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        for (path, status) in [
            ("/_ping", 200),
            ("/_readiness", 200),
            ("/api/providers", 404),
        ] {
            assert_eq!(get(path).await.unwrap().status(), status, "{path}");
        }
        let refused = client().post(format!("http://{binding}/metrics")).send();
        let refused = refused.await.unwrap();
        let header = |name| refused.headers()[name].to_str().unwrap();
        assert_eq!(
            (
                refused.status().as_u16(),
                header("allow"),
                header("content-type")
            ),
            (405, "GET,HEAD", "application/problem+json")
        );
        let seen = Scrape::at(&format!("http://{binding}")).await;
        assert_eq!(seen.sum("parley_driving", &[]), 1.0);
        if arguments.is_empty() {
            let open = client().get(format!("{}/metrics", node.base)).send();
            assert_eq!(open.await.unwrap().status(), 401);
        }
        node.signal("TERM");
        assert!(node.ended().await.success(), "{}", node.log());
    }
    simulator.stop().await;
}

/// What a client asks of a process that only serves reaches the worker that drives.
async fn change_and_stop_from_elsewhere(database: &str, queue: &str) {
    let folder = tempfile::tempdir().unwrap();
    let gate = Gate::closed();
    let (simulator, base) = simulator(Script::deltas(["Yes", "."]).gate(&gate)).await;
    let node = |arguments| {
        let node = Node::new(folder.path(), database, &base, SETTINGS).with(arguments);
        queued(&node, queue);
        node
    };
    let (mut server, mut worker) = (node(&[]), node(&["--worker"]));
    server.start().await;
    worker.start_without_server();
    let id = accepted(&server, 9).await;
    let speaking = simulator.wait_for(|activity| activity.open == 1);
    within("the first request", speaking).await;
    let address = server.base.strip_prefix("http://").unwrap();
    let mut stream = SseClient::open(address, &format!("/api/stream/{id}"), &[]).await;

    let change = client()
        .patch(format!("{}/api/run/{id}/bot/1", server.base))
        .header("content-type", "application/merge-patch+json")
        .body(r#"{"model": "model-c"}"#);
    let answer = within("the answer", change.send()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(
        (&answer["version"], &answer["effective_from_turn"]),
        (&2.into(), &1.into())
    );
    gate.let_through(3);
    let events = stream.until(|event| event.name == "turn.started" && event.json()["turn"] == 1);
    let events = within("the second turn", events).await;
    let last = events.last().unwrap().json();
    assert_eq!(last["model"], "model-c", "{events:?}");
    within(
        "the second request",
        simulator.wait_for(|activity| activity.open == 1),
    )
    .await;

    let stop = client().post(format!("{}/api/run/{id}/stop", server.base));
    let answer = within("the answer", stop.send()).await.unwrap();
    assert_eq!(answer.status(), 200, "{}", worker.log());
    let closed = simulator.wait_for(|activity| activity.open == 0);
    tokio::time::timeout(Duration::from_secs(5), closed)
        .await
        .expect("still open");
    let run: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(
        (&run["status"], &run["turns"]),
        (&"stopped".into(), &2.into())
    );
    assert_eq!(stream.rest().await.last().unwrap().name, "run.stopped");
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_and_a_stop_through_a_process_that_only_serves() {
    let folder = tempfile::tempdir().unwrap();
    let database = sqlite(&folder, "parley.sqlite");
    change_and_stop_from_elsewhere(&database, &sqlite_queue(&folder)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_and_a_stop_through_a_process_that_only_serves_on_postgres() {
    let folder = tempfile::tempdir().unwrap();
    if let Some(database) = Database::postgres().await {
        change_and_stop_from_elsewhere(&database.uri, &sqlite_queue(&folder)).await;
        database.remove().await;
    }
}

/// A worker whose run is in the middle of a turn; its queue is `queue`.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_lets_its_turn_end_and_a_second_signal_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let gate = Gate::closed();
    let (simulator, base) = simulator(Script::deltas(["Yes", "."]).gate(&gate)).await;
    let database = sqlite(&folder, "parley.sqlite");
    let node = |arguments| {
        let node = Node::new(folder.path(), &database, &base, SETTINGS).with(arguments);
        queued(&node, &sqlite_queue(&folder));
        node
    };
    let (mut server, mut worker) = (node(&[]), node(&["--worker"]));
    server.start().await;
    worker.start_without_server();
    let id = accepted(&server, 2).await;
    let speaking = async || {
        let open = simulator.wait_for(|activity| activity.open == 1);
        within("a request", open).await;
    };
    speaking().await;
    worker.signal("TERM");
    worker.says("shutting down").await;
    gate.let_through(3);
    assert!(worker.ended().await.success(), "{}", worker.log());
    assert_eq!(simulator.requests().len(), 1);

    worker.start_without_server();
    speaking().await;
    let before = worker.log().len();
    worker.signal("TERM");
    within("the words of the second end", async {
        while !worker.log()[before..].contains("shutting down") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let told = Instant::now();
    worker.signal("INT");
    worker.ended().await;
    assert!(told.elapsed() < Duration::from_secs(5), "{}", worker.log());

    worker.start_without_server();
    gate.open();
    ends(&server, &id, "run.completed").await;
    assert_eq!(simulator.requests().len(), 3, "one turn was cut");
    simulator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_in_memory_has_no_other_process() {
    let folder = tempfile::tempdir().unwrap();
    let refused = async |queue: bool, arguments: &'static [&'static str]| {
        let nobody = "http://127.0.0.1:1";
        let mut node = Node::new(folder.path(), "sqlite::memory:", nobody, "{}").with(arguments);
        if queue {
            queued(&node, &sqlite_queue(&folder));
        }
        node.start_without_server();
        assert!(!node.ended().await.success(), "{arguments:?}");
        let said = node.log();
        assert!(
            said.contains("in memory") && said.contains("DATABASE_URL"),
            "{said}"
        );
    };
    for worker in [&["--worker"][..], &["--worker=a"], &["-w"], &["-nw"]] {
        refused(false, worker).await;
        refused(true, worker).await;
    }
    refused(true, &[]).await;
    refused(true, &["--server-and-worker"]).await;
}

/// A login is for those who answer requests.
#[tokio::test]
async fn in_production_a_worker_needs_no_login() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let program = |arguments: &[&str]| {
        let said = fs::File::options().create(true).append(true).open(&log);
        let mut command = Command::new(env!("CARGO_BIN_EXE_parley-cli"));
        command
            .args(arguments)
            .env_clear()
            .env("LOCO_ENV", "production")
            .env("PORT", "0")
            .env("DATABASE_URL", sqlite(&folder, "parley.sqlite"))
            .env(
                "LOCO_CONFIG_FOLDER",
                concat!(env!("CARGO_MANIFEST_DIR"), "/config"),
            )
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(said.unwrap());
        command
    };
    let said = || fs::read_to_string(&log).unwrap();
    assert!(program(&["db", "migrate"]).status().unwrap().success());
    assert!(!program(&["start"]).status().unwrap().success());
    assert!(said().contains("BASIC_AUTH_PW_HASH"), "{}", said());
    let mut worker = program(&["start", "--worker"]).spawn().unwrap();
    within("the worker to start", async {
        while !said().contains("only drives runs") {
            assert!(worker.try_wait().unwrap().is_none(), "{}", said());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    worker.kill().unwrap();
    worker.wait().unwrap();
}
