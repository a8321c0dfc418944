//! A job that is done leaves the queue: a run that was deleted is named nowhere.

use std::{path::Path, time::Duration};

use loco_rs::{
    app::Hooks as _,
    boot::StartMode,
    config::{Config, QueueConfig, WorkerMode},
    environment::Environment,
};
use parley::{
    app::{App, Parts},
    simulator::Script,
};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{SETTINGS, accepted, ends, queued, redis, simulator, sqlite, sqlite_queue};
use crate::{
    crashes::node::Node,
    support::{client, within},
};

/// How many jobs of that status the queue holds.
async fn jobs(queue: &DatabaseConnection, status: &str) -> i64 {
    let count = format!("SELECT count(*) FROM sqlt_loco_queue WHERE status = '{status}'");
    let count = Statement::from_string(queue.get_database_backend(), count);
    let row = queue.query_one_raw(count).await.unwrap().unwrap();
    row.try_get_by_index(0).unwrap()
}

/// Two runs of a server and worker, whose jobs are done.
async fn two_runs(node: &mut Node) -> [String; 2] {
    node.start().await;
    let ids = [accepted(node, 1).await, accepted(node, 1).await];
    for id in &ids {
        ends(node, id, "run.completed").await;
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_are_done_go_with_the_housekeeping_and_with_prune() {
    let folder = tempfile::tempdir().unwrap();
    let (simulator, base) = simulator(Script::text("Yes.")).await;
    let database = sqlite(&folder, "parley.sqlite");
    let mut node =
        Node::new(folder.path(), &database, &base, SETTINGS).with(&["--server-and-worker"]);
    queued(&node, &sqlite_queue(&folder));
    let ids = two_runs(&mut node).await;
    let queue = sea_orm::Database::connect(sqlite(&folder, "queue.sqlite"))
        .await
        .unwrap();
    let all_done = async || {
        within("the jobs to be done", async {
            while jobs(&queue, "completed").await < 2 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    };
    all_done().await;
    for id in &ids {
        let delete = client().delete(format!("{}/api/run/{id}", node.base));
        assert_eq!(delete.send().await.unwrap().status(), 204);
    }
    // A job that waits stays; one that a dead worker has left is given out again.
    for (id, status) in [("waits", "queued"), ("left", "processing")] {
        let job = format!(
            "INSERT INTO sqlt_loco_queue (id, name, task_data, status, run_at, updated_at) \
             VALUES ('{id}', 'Nobody', '{{}}', '{status}', datetime('now', '1 day'), datetime('now', '-1 day'))"
        );
        queue.execute_unprepared(&job).await.unwrap();
    }
    node.kill();

    let mut config = Config::from_folder(&Environment::Test, Path::new("config")).unwrap();
    config.database.uri.clone_from(&database);
    config.workers.mode = WorkerMode::BackgroundQueue;
    let yaml = serde_json::json!({"kind": "Sqlite", "uri": sqlite(&folder, "queue.sqlite")});
    config.queue = Some(serde_json::from_value::<QueueConfig>(yaml).unwrap());
    let booted = App::boot(StartMode::ServerOnly, &Environment::Test, config)
        .await
        .unwrap();
    let parts: Parts = booted.app_context.shared_store.get().unwrap();
    assert!(!parts.supervisor.is_driving());
    parts.supervisor.keep_house().await.unwrap();
    assert_eq!(jobs(&queue, "completed").await, 0);
    assert_eq!(jobs(&queue, "processing").await, 0);
    assert_eq!(jobs(&queue, "queued").await, 2);
    parts.shut_down().await;

    two_runs(&mut node).await;
    all_done().await;
    let prune = node
        .command(&["task", "prune", "older_than:1ms"])
        .output()
        .unwrap();
    assert!(prune.status.success(), "{prune:?}");
    assert_eq!(
        String::from_utf8_lossy(&prune.stdout)
            .matches("removed 2")
            .count(),
        1
    );
    assert_eq!(jobs(&queue, "completed").await, 0);
    queue.close().await.unwrap();
    simulator.stop().await;
}

/// What Redis answers to a command.
async fn ask(redis: &url::Url, command: &str) -> String {
    let address = (redis.host_str().unwrap(), redis.port().unwrap_or(6379));
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let database = redis.path().trim_start_matches('/');
    let commands = format!("SELECT {database}\r\n{command}\r\nQUIT\r\n");
    socket.write_all(commands.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_are_done_leave_redis() {
    let Some(redis) = redis(3) else { return };
    let redis = url::Url::parse(&redis).unwrap();
    ask(&redis, "FLUSHDB").await;
    let folder = tempfile::tempdir().unwrap();
    let (simulator, base) = simulator(Script::text("Yes.")).await;
    let database = sqlite(&folder, "parley.sqlite");
    let mut node =
        Node::new(folder.path(), &database, &base, SETTINGS).with(&["--server-and-worker"]);
    queued(
        &node,
        &format!("{{ kind: Redis, uri: \"{redis}\", num_workers: 2 }}"),
    );
    two_runs(&mut node).await;
    assert!(ask(&redis, "KEYS job:*").await.contains("*2\r\n"));
    let prune = || {
        let output = node.command(&["task", "prune", "older_than:1ms"]).output();
        assert!(output.unwrap().status.success());
    };
    // A worker may be about to say that it is done.
    within("the jobs to be gone", async {
        prune();
        while !ask(&redis, "KEYS job:*").await.contains("*0\r\n") {
            prune();
        }
    })
    .await;
    simulator.stop().await;
}
