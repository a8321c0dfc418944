//! Killed processes: nothing is lost, nothing is doubled, no turn that was finished is asked for again.

mod books;
mod contexts;
mod endings;
mod keys;
pub(crate) mod node;
mod readers;
mod restarts;
mod stops;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parley::simulator::{Script, Simulator};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use sea_orm::ConnectionTrait as _;

use self::{
    books::{Books, Watched, check, count, watch},
    node::Node,
};
use crate::support::{Database, client, number, talk, within};

/// Turns are short next to the time between two kills, so that each run gets on; how often one may lose its owner is no matter here.
const SETTINGS: &str = "{ node_lifetime_ms: 1000, max_takeovers: 100000, drain_seconds: 10 }";

/// How many kills: a few dozen in the suite, hundreds by hand.
fn kills() -> u32 {
    number("PARLEY_TEST_KILLS").unwrap_or(24)
}

fn seed() -> u64 {
    let seed = number("PARLEY_TEST_SEED").unwrap_or_else(rand::random);
    println!("PARLEY_TEST_SEED={seed}");
    seed
}

async fn simulator(pace: f64) -> Simulator {
    Simulator::start(([127, 0, 0, 1], 0).into(), Script::dialogue(pace))
        .await
        .unwrap()
}

fn file(folder: &tempfile::TempDir) -> String {
    format!(
        "sqlite://{}/parley.sqlite?mode=rwc",
        folder.path().display()
    )
}

/// Starts a run on some node that is up, however often that has to be tried.
async fn start_run(bases: &[String], turns: u32) -> String {
    start_order(bases, &talk(turns)).await
}

async fn start_order(bases: &[String], order: &serde_json::Value) -> String {
    let client = client();
    let started = async {
        for base in bases.iter().cycle() {
            let request = client
                .post(format!("{base}/api/run"))
                .header("content-type", "application/json")
                .body(order.to_string());
            if let Ok(answer) = request.send().await
                && answer.status() == 201
                && let Ok(body) = answer.text().await
            {
                let body: serde_json::Value = serde_json::from_str(&body).unwrap();
                return body["run_id"].as_str().unwrap().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        unreachable!()
    };
    within("a run to be accepted", started).await
}

/// Kills nodes in turn at random moments while runs start, stream and are changed; then looks into the books.
async fn kill_over_and_over(mut nodes: Vec<Node>, database: &str, simulator: Simulator) {
    let mut random = StdRng::seed_from_u64(seed());
    for node in &mut nodes {
        node.start().await;
    }
    let bases: Arc<[String]> = nodes.iter().map(|node| node.base.clone()).collect();
    let mut watched: Vec<Watched> = Vec::new();
    for kill in 0..kills() {
        for number in 0..3 {
            let (id, seed) = (start_run(&bases, 4).await, random.random());
            let run = watch(id, Arc::clone(&bases), seed);
            watched.push(match (number, kill % 2) {
                (0, 0) => run.stopped("now", Arc::clone(&bases), seed),
                (0, _) => run.stopped("after_turn", Arc::clone(&bases), seed),
                _ => run,
            });
        }
        let victim = kill as usize % nodes.len();
        tokio::time::sleep(Duration::from_millis(random.random_range(20..700))).await;
        nodes[victim].kill();
        // Sometimes the others have to notice that it is gone; sometimes it is back at once.
        let pause = if random.random() { 0 } else { 1200 };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        nodes[victim].start().await;
    }
    let books = check(watched, &bases[0], &simulator).await;
    println!(
        "{} kills, {} turns, {} restarts, {} runs stopped",
        kills(),
        books.turns,
        books.restarts,
        books.stopped
    );
    assert!(books.stopped > 0, "nothing was stopped");
    check_inbox(database, &books).await;
    for node in nodes {
        let log = node.log();
        assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
    }
    simulator.stop().await;
}

/// Every command was dealt with, and every event that tells of one has its command, and only one.
async fn check_inbox(database: &str, books: &Books) {
    let db = sea_orm::Database::connect(database).await.unwrap();
    let rows = async |of: &str| -> i64 {
        let query = format!("SELECT count(*) FROM commands WHERE {of}");
        let query = sea_orm::Statement::from_string(db.get_database_backend(), query);
        let row = db.query_one_raw(query).await.unwrap().unwrap();
        row.try_get_by_index(0).unwrap()
    };
    assert_eq!(rows("outcome IS NULL").await, 0, "a command was forgotten");
    let applied = rows("kind = 'update_bot' AND outcome = 'applied'").await;
    let told: usize = books
        .logs
        .iter()
        .map(|events| count(events, "bot.updated"))
        .sum();
    assert_eq!(usize::try_from(applied).unwrap(), told);
    assert_eq!(
        rows("kind = 'update_bot' AND outcome <> 'applied'").await,
        0,
        "a change was accepted for nothing"
    );
    db.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_database_outlives_its_process() {
    let folder = tempfile::tempdir().unwrap();
    let simulator = simulator(0.1).await;
    let base = format!("http://{}", simulator.address());
    let database = file(&folder);
    let node = Node::new(folder.path(), &database, &base, SETTINGS);
    kill_over_and_over(vec![node], &database, simulator).await;
}

/// A node on a file with one run of two turns, whose first answer never begins.
async fn silent(settings: &str) -> (tempfile::TempDir, Simulator, Node, String) {
    let folder = tempfile::tempdir().unwrap();
    let simulator = simulator(0.2).await;
    simulator.enqueue(Script::silent());
    let base = format!("http://{}", simulator.address());
    let mut node = Node::new(folder.path(), &file(&folder), &base, settings);
    node.reconfigure("level: warn", "level: info");
    node.start().await;
    let id = start_run(std::slice::from_ref(&node.base), 2).await;
    within(
        "the silence",
        simulator.wait_for(|activity| activity.open == 1),
    )
    .await;
    (folder, simulator, node, id)
}

/// What does not end in time is cut, said so, and spoken again by the next process.
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_takes_too_long_is_cut_and_spoken_again() {
    let (_folder, simulator, mut node, id) = silent("{ drain_seconds: 1 }").await;
    let bases: Arc<[String]> = Arc::new([node.base.clone()]);
    let watched = vec![watch(id, Arc::clone(&bases), 0)];
    node.signal("TERM");
    assert!(node.ended().await.success(), "{}", node.log());
    node.start().await;
    let books = check(watched, &bases[0], &simulator).await;
    assert_eq!(books.restarts, 1, "{}", node.log());
    simulator.stop().await;
}

/// The first signal gives the silent turn 20 s; the second does not wait for them.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once_and_loses_nothing() {
    let (_folder, simulator, mut node, id) = silent("{ drain_seconds: 20 }").await;
    let bases: Arc<[String]> = Arc::new([node.base.clone()]);
    let watched = vec![watch(id, Arc::clone(&bases), 0)];
    node.signal("TERM");
    within("the node to drain", async {
        while !node.log().contains("shutting down") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    // Not in the same breath: that would be the same signal.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(node.is_running(), "{}", node.log());
    let told = Instant::now();
    // To a process that has had no time to look in between, one is the same signal still.
    while node.is_running() {
        node.signal("INT");
        assert!(told.elapsed() < Duration::from_secs(10), "{}", node.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let status = node.ended().await;
    assert_eq!(status.code(), Some(1), "{}", node.log());
    node.start().await;
    assert_eq!(check(watched, &bases[0], &simulator).await.restarts, 1);
    simulator.stop().await;
}

/// Two nodes on a database that they share.
fn pair(
    database: &Database,
    simulator: &Simulator,
    settings: &str,
) -> (tempfile::TempDir, Vec<Node>) {
    let folder = tempfile::tempdir().unwrap();
    let base = format!("http://{}", simulator.address());
    let node = || Node::new(folder.path(), &database.uri, &base, settings);
    let nodes = vec![node(), node()];
    (folder, nodes)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_goes_on_with_the_runs_of_one_that_was_killed() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let simulator = simulator(0.1).await;
    let (_folder, nodes) = pair(&database, &simulator, SETTINGS);
    kill_over_and_over(nodes, &database.uri, simulator).await;
    database.remove().await;
}

/// A node that was frozen past its lifetime finds its runs gone, and neither shows nor writes anything of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_node_that_wakes_does_no_harm() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let simulator = simulator(0.3).await;
    let (_folder, mut nodes) = pair(&database, &simulator, SETTINGS);
    for node in &mut nodes {
        node.start().await;
    }
    let bases: Arc<[String]> = nodes.iter().map(|node| node.base.clone()).collect();
    let mut watched = Vec::new();
    for node in &nodes {
        for seed in 0..10 {
            watched.push(watch(start_run(&bases, 4).await, Arc::clone(&bases), seed));
        }
        within(
            "somebody to speak",
            simulator.wait_for(|activity| activity.open >= 1),
        )
        .await;
        node.signal("STOP");
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        node.signal("CONT");
    }
    check(watched, &bases[0], &simulator).await;
    for node in nodes {
        let log = node.log();
        assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
    }
    simulator.stop().await;
    database.remove().await;
}
