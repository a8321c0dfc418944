//! SQLite that cannot write: on a disk that is full, or locked by somebody else.

use std::{
    io::Write as _,
    process::Command,
    time::{Duration, Instant},
};

use parley::simulator::{Gate, Script};
use sea_orm::ConnectionTrait as _;
use serde_json::json;

use super::{asked, impatient, insist, is_put_off, read, read_and_compare, start};
use crate::support::{Fold, TestApp, is_root, talk, within};

/// SQLite that may take no more pages: what writes is put off, and with room again all goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_database_in_memory_is_waited_for() {
    let gate = Gate::closed();
    let script = Script::deltas(["One ", "two."]).gate(&gate);
    let app = TestApp::on(Some("sqlite::memory:"), script, impatient()).await;
    let id = start(&app, 3).await;
    asked(&app, 1).await;
    let pages = |count: u32| format!("PRAGMA max_page_count = {count}");
    // Never less than there are: the disk is full from now on.
    app.ctx.db.execute_unprepared(&pages(1)).await.unwrap();
    let long = json!({"system_prompt": "x".repeat(30_000)});
    let answer = app.patch(&format!("/api/run/{id}/bot/1"), &long).await;
    assert!(is_put_off(&answer), "{answer:?}");
    let mut order = talk(1);
    order["topic"] = json!("x".repeat(30_000));
    assert!(is_put_off(&app.post("/api/run", &order).await));
    // Reading goes on.
    assert_eq!(app.get(&format!("/api/run/{id}")).await.status, 200);
    app.ctx
        .db
        .execute_unprepared(&pages(1 << 30))
        .await
        .unwrap();
    gate.open();
    let export = read_and_compare(&app, &id).await;
    assert_eq!(export["status"], "completed");
    assert_eq!(start(&app, 1).await.len(), 36);
    app.close().await;
}

/// A disk of a few megabytes.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// `None`, and a word about it, where none can be mounted.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]);
        let mounted = is_root()
            && mount
                .arg(folder.path())
                .status()
                .is_ok_and(|it| it.success());
        if !mounted {
            eprintln!("skipped: cannot mount a small disk");
            return None;
        }
        Some(Self { folder })
    }

    fn database(&self) -> String {
        format!(
            "sqlite://{}/parley.sqlite?mode=rwc",
            self.folder.path().display()
        )
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut filler = std::fs::File::create(self.folder.path().join("filler")).unwrap();
        let error = loop {
            if let Err(error) = filler.write_all(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
    }

    /// Gives the room back.
    fn clear(&self) {
        std::fs::remove_file(self.folder.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.folder.path())
            .status();
    }
}

/// Two runs on such a disk: one whose turn ends when the gate lets it, so that its transaction is the first write that is refused,
/// and one that is told something without end.
struct Full {
    disk: SmallDisk,
    app: TestApp,
    gate: Gate,
    waiting: String,
    endless: String,
}

impl Full {
    async fn new() -> Option<Self> {
        let disk = SmallDisk::mount()?;
        let script = Script::text("There is room again.");
        let app = TestApp::on(Some(&disk.database()), script, impatient()).await;
        let gate = Gate::closed();
        let waiting = Script::deltas(["One ", "two."]).gate(&gate);
        app.simulator.enqueue(waiting);
        let waiting = start(&app, 1).await;
        asked(&app, 1).await;
        let endless = Script::endless("again ").every(Duration::from_millis(10));
        app.simulator.enqueue(endless);
        let endless = start(&app, 2).await;
        asked(&app, 2).await;
        disk.fill();
        Some(Self {
            disk,
            app,
            gate,
            waiting,
            endless,
        })
    }
}

/// What is spoken is heard for the node's lifetime after the first write that was refused, then cut; with room again it is spoken
/// once more, and all goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_cuts_streams_after_a_while_and_is_waited_for() {
    let Some(full) = Full::new().await else {
        return;
    };
    let (app, lifetime) = (&full.app, Duration::from_secs(1));
    // Too much for any page that is left.
    let change = json!({"system_prompt": "x".repeat(30_000)});
    let mut order = talk(1);
    order["topic"] = change["system_prompt"].clone();
    let path = format!("/api/run/{}/bot/1", full.endless);
    assert!(is_put_off(&app.patch(&path, &change).await));
    let mut stream = app.stream(&full.endless, "").await;
    let mut events = stream.until(|event| event.name == "turn.delta").await;
    let ending = Instant::now();
    full.gate.open();
    asked(app, 1).await;
    // Ten deltas take a tenth of a second.
    let heard = events.len() + 10;
    while events.len() < heard {
        events.extend(stream.events().await);
    }
    assert_eq!(app.simulator.open(), 1, "cut too early");
    asked(app, 0).await;
    let cut = ending.elapsed();
    println!("cut {cut:?} after the turn whose end was refused");
    assert!(cut > lifetime * 9 / 10 && cut < lifetime * 10, "{cut:?}");
    assert!(is_put_off(&app.post("/api/run", &order).await));
    assert!(is_put_off(&app.patch(&path, &change).await));
    // Reading goes on.
    let run = format!("/api/run/{}", full.endless);
    assert_eq!(app.get(&run).await.status, 200);
    assert_eq!(app.simulator.requests().len(), 2, "asked for nothing");
    full.disk.clear();
    let patched = insist(async || app.patch(&path, &change).await).await;
    events.extend(within("the run to end", stream.rest()).await);
    let restarts = events.iter().filter(|event| event.name == "turn.restarted");
    assert_eq!(restarts.count(), 1);
    let fold = Fold::of(&events);
    assert_eq!(fold.last, "run.completed");
    assert_eq!(fold.turns, Fold::turns_of(&app.export(&full.endless).await));
    // What was heard to its end while the disk was full is written down now, and not asked for again.
    let export = read_and_compare(app, &full.waiting).await;
    assert_eq!(export["messages"][1]["text"], "One two.");
    assert_eq!(app.simulator.requests().len(), 4);
    insist(async || app.get("/_readiness").await).await;
    // What was answered is written down, and not only in the process that answered it.
    let mut fresh = sea_orm::ConnectOptions::new(full.disk.database());
    fresh.min_connections(1).max_connections(1);
    let fresh = sea_orm::Database::connect(fresh).await.unwrap();
    let version = "SELECT max(version) FROM bots";
    let version = sea_orm::Statement::from_string(sea_orm::DbBackend::Sqlite, version);
    let row = fresh.query_one_raw(version).await.unwrap().unwrap();
    let version: i64 = row.try_get_by_index(0).unwrap();
    assert_eq!(patched.json()["version"], version);
    fresh.close().await.unwrap();
    full.app.close().await;
}

/// Reading goes well on a full disk; that nothing can be written is for readiness to say.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_disk_is_full_is_not_ready() {
    let Some(full) = Full::new().await else {
        return;
    };
    let app = &full.app;
    full.gate.open();
    asked(app, 1).await;
    let red = async {
        loop {
            let ready = app.get("/_readiness").await;
            if ready.status != 200 {
                return ready;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let red = within("readiness to say so", red).await;
    assert!(is_put_off(&red) && red.text.contains("database"), "{red:?}");
    full.disk.clear();
    insist(async || app.get("/_readiness").await).await;
    read_and_compare(app, &full.waiting).await;
    insist(async || app.stop(&full.endless).await).await;
    full.app.close().await;
}

/// Somebody else holds the file's write lock for longer than anybody waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_locked_by_somebody_else_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let uri = format!(
        "sqlite://{}/parley.sqlite?mode=rwc",
        folder.path().display()
    );
    let gate = Gate::closed();
    let script = Script::deltas(["One ", "two."]).gate(&gate);
    let app = TestApp::on(Some(&uri), script, json!({})).await;
    let id = start(&app, 2).await;
    asked(&app, 1).await;
    let mut other = sea_orm::ConnectOptions::new(&uri);
    other.min_connections(1).max_connections(1);
    let other = sea_orm::Database::connect(other).await.unwrap();
    other.execute_unprepared("BEGIN IMMEDIATE").await.unwrap();
    let locked = Instant::now();
    // A turn ends meanwhile: its transaction waits too.
    gate.open();
    let put_off = app.post("/api/run", &talk(1)).await;
    assert!(is_put_off(&put_off), "{put_off:?}");
    println!("put off after {:?}", locked.elapsed());
    assert_eq!(app.get(&format!("/api/run/{id}")).await.status, 200);
    tokio::time::sleep(Duration::from_millis(6500).saturating_sub(locked.elapsed())).await;
    other.execute_unprepared("ROLLBACK").await.unwrap();
    let export = read_and_compare(&app, &id).await;
    assert_eq!(export["status"], "completed");
    assert_eq!(app.simulator.requests().len(), 2, "a turn was spoken again");
    let next = start(&app, 1).await;
    assert!(read(&app, &next).await.is_over());
    let history = app.get("/api/run").await.json();
    let listed = history["runs"].as_array().unwrap().len();
    assert_eq!(listed, 2, "what was put off did not happen");
    other.close().await.unwrap();
    app.close().await;
}
