//! `prune` on a file that is worked on: it takes what is old, all of it, and nobody who writes is refused meanwhile.

use std::{process::Command, time::Instant};

use parley::simulator::{Script, Simulator};
use sea_orm::{ConnectOptions, ConnectionTrait as _, DatabaseConnection, Statement};
use serde_json::Value;

use super::{sqlite, text};
use crate::{
    crashes::node::Node,
    support::{client, talk, within},
};

/// How many old runs there are, beside the one that they are copies of.
const COPIES: u64 = 1_500;

/// A node on a SQLite file with old runs, a new one, and two that are not over.
struct Fixture {
    node: Node,
    simulator: Simulator,
    db: DatabaseConnection,
    /// The tables, and the column in each that names a run.
    tables: Vec<(String, &'static str)>,
    /// The runs that are to stay.
    young: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let simulator = Simulator::start(([127, 0, 0, 1], 0).into(), Script::text("Yes, tea."))
            .await
            .unwrap();
        let base = format!("http://{}", simulator.address());
        let database = sqlite(&folder.path().join("parley.sqlite"));
        let mut node = Node::new(folder.path(), &database, &base, "{}");
        node.start().await;
        let mut options = ConnectOptions::new(&database);
        options.max_connections(1);
        let db = sea_orm::Database::connect(options).await.unwrap();
        let mut fixture = Self {
            node,
            simulator,
            db,
            tables: Vec::new(),
            young: Vec::new(),
            _folder: folder,
        };
        fixture.tables = fixture.tables().await;
        fixture.ended().await;
        fixture.age_and_copy().await;
        let young = fixture.ended().await;
        fixture.young.push(young);
        for model in ["model-a", "model-a"] {
            fixture.simulator.enqueue_for(model, Script::silent());
            let live = fixture.accepted().await;
            fixture.young.push(live);
        }
        within(
            "two to be silent",
            fixture.simulator.wait_for(|activity| activity.open == 2),
        )
        .await;
        fixture
    }

    async fn accepted(&self) -> String {
        let order = client()
            .post(format!("{}/api/run", self.node.base))
            .header("content-type", "application/json")
            .body(talk(2).to_string());
        let answer = within("the answer", order.send()).await.unwrap();
        assert_eq!(answer.status(), 201, "{}", self.node.log());
        let run: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        run["run_id"].as_str().unwrap().to_owned()
    }

    async fn ended(&self) -> String {
        let id = self.accepted().await;
        let stream = client().get(format!("{}/api/stream/{id}", self.node.base));
        let stream = async { stream.send().await.unwrap().text().await.unwrap() };
        assert!(
            within("the end", stream)
                .await
                .contains("event: run.completed")
        );
        id
    }

    async fn texts(&self, query: &str) -> Vec<String> {
        let query = Statement::from_string(self.db.get_database_backend(), query);
        let rows = self.db.query_all_raw(query).await.unwrap();
        rows.iter()
            .map(|row| row.try_get_by_index(0).unwrap())
            .collect()
    }

    async fn count(&self, query: &str) -> u64 {
        let query = Statement::from_string(self.db.get_database_backend(), query);
        let row = self.db.query_one_raw(query).await.unwrap().unwrap();
        u64::try_from(row.try_get_by_index::<i64>(0).unwrap()).unwrap()
    }

    /// Every table that names runs, but for the one whose rows outlive them.
    async fn tables(&self) -> Vec<(String, &'static str)> {
        let named = self
            .texts("SELECT m.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' AND c.name = 'run_id' AND m.name <> 'audit'")
            .await;
        assert!(named.len() >= 6, "{named:?}");
        let named = named.into_iter().map(|table| (table, "run_id"));
        std::iter::once(("runs".to_owned(), "id"))
            .chain(named)
            .collect()
    }

    /// Makes the runs that there are very old, and many copies of them.
    async fn age_and_copy(&self) {
        let run = |sql: String| async move { self.db.execute_unprepared(&sql).await.unwrap() };
        run("UPDATE runs SET finished_at = 1".to_owned()).await;
        run("UPDATE audit SET at = 1".to_owned()).await;
        run(format!(
            "CREATE TEMP TABLE copies AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {COPIES}) \
             SELECT randomblob(16) AS copy, id AS original FROM runs, n"
        ))
        .await;
        for (table, key) in &self.tables {
            let columns = self
                .texts(&format!("SELECT name FROM pragma_table_info('{table}')"))
                .await;
            let values = columns.iter().map(|name| match name == key {
                true => "copies.copy".to_owned(),
                false => format!("t.{name}"),
            });
            let values: Vec<String> = values.collect();
            run(format!(
                "INSERT INTO {table} ({}) SELECT {} FROM {table} t JOIN copies ON t.{key} = copies.original",
                columns.join(", "),
                values.join(", ")
            ))
            .await;
        }
        assert_eq!(self.old().await, COPIES + 1);
    }

    async fn old(&self) -> u64 {
        self.count("SELECT count(*) FROM runs WHERE finished_at = 1")
            .await
    }

    async fn counts(&self) -> Vec<u64> {
        let mut counts = Vec::new();
        for (table, _) in &self.tables {
            counts.push(self.count(&format!("SELECT count(*) FROM {table}")).await);
        }
        counts
    }

    /// Only what is to stay is left, with all that belongs to it.
    async fn check(&self) {
        assert_eq!(self.old().await, 0);
        for (table, key) in &self.tables {
            let orphans =
                format!("SELECT count(*) FROM {table} WHERE {key} NOT IN (SELECT id FROM runs)");
            assert_eq!(self.count(&orphans).await, 0, "{table}");
        }
        for id in &self.young {
            let id = id.replace('-', "");
            for (table, key) in &self.tables {
                let rows = format!("SELECT count(*) FROM {table} WHERE {key} = x'{id}'");
                let rows = self.count(&rows).await;
                // Nobody gave an order, a turn that goes on has made no attempt yet, and what else belongs to runs has not been made.
                let filled = ["bots", "events", "messages", "message_words"];
                assert!(rows > 0 || !filled.contains(&table.as_str()), "{table}");
            }
        }
    }

    fn prune(&self, arguments: &[&str]) -> Command {
        let mut command = self.node.command(&["task", "prune", "older_than:1d"]);
        command.args(arguments);
        command
    }

    async fn close(self) {
        self.db.close().await.unwrap();
        drop(self.node);
        self.simulator.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prune_takes_what_is_old_from_every_table_and_refuses_nobody_meanwhile() {
    let mut fixture = Fixture::new().await;
    let before = fixture.counts().await;
    let dry = fixture.prune(&["dry_run:true"]).output().unwrap();
    let said = text(&dry.stdout);
    assert!(
        said.contains(&format!("would remove {} run(s)", COPIES + 1)),
        "{said}"
    );
    assert!(said.contains("would forget 1 act(s)"), "{said}");
    assert_eq!(fixture.counts().await, before);

    // Two at once share the work.
    let prune = || {
        let mut command = fixture.prune(&[]);
        let piped = std::process::Stdio::piped;
        command.stdout(piped()).stderr(piped()).spawn().unwrap()
    };
    let mut pruning = [prune(), prune()];
    let mut longest = std::time::Duration::ZERO;
    while pruning
        .iter_mut()
        .any(|one| one.try_wait().unwrap().is_none())
    {
        let asked = Instant::now();
        let young = fixture.accepted().await;
        longest = longest.max(asked.elapsed());
        fixture.young.push(young);
    }
    println!(
        "{} runs accepted meanwhile, the slowest in {longest:?}",
        fixture.young.len() - 3
    );
    assert!(fixture.young.len() > 3, "{}", fixture.young.len());
    let mut removed = 0;
    for one in pruning {
        let output = one.wait_with_output().unwrap();
        let (said, warned) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{said}{warned}");
        let count = said.strip_prefix("removed ").unwrap().split(' ').next();
        removed += count.unwrap().parse::<u64>().unwrap();
    }
    assert_eq!(removed, COPIES + 1);
    assert!(
        !fixture.node.log().contains("ERROR"),
        "{}",
        fixture.node.log()
    );
    fixture.check().await;
    let acts = "SELECT count(*) FROM audit";
    let young = u64::try_from(fixture.young.len()).unwrap();
    assert_eq!(
        fixture.count(acts).await,
        young,
        "one that was very old is gone"
    );
    fixture.close().await;
}

/// On a terminal a bar says how far it is.
#[tokio::test(flavor = "multi_thread")]
async fn prune_shows_its_progress_on_a_terminal() {
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("skipped: there is no program `script`, which makes a terminal");
        return;
    }
    let fixture = Fixture::new().await;
    let prune = fixture.prune(&[]);
    let words = std::iter::once(prune.get_program()).chain(prune.get_args());
    let words: Vec<&str> = words.map(|word| word.to_str().unwrap()).collect();
    let mut terminal = Command::new("script");
    terminal
        .args([
            "-qec",
            &format!("stty cols 80; {}", words.join(" ")),
            "/dev/null",
        ])
        // Nothing of our environment but where programs are.
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .env("TERM", "xterm")
        .envs(
            prune
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(prune.get_current_dir().unwrap());
    let said = text(&terminal.output().unwrap().stdout);
    let all = COPIES + 1;
    assert!(said.contains(&format!("/{all} runs, ")), "{said}");
    assert!(said.contains(&format!("removed {all} run(s)")), "{said}");
    fixture.close().await;
}
