//! The rows about one run at a time: the first delta, stops, what the database does, and the start of a process.

use std::{rc::Rc, sync::atomic::Ordering, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tokio::time::sleep;

use crate::{
    api::Api,
    clock::now,
    figures::{Figure, percentile},
    http::Connection,
    listening::{Listening, listen, start_runs, until},
    pacer::{Order, Plan},
    provider::TOPIC,
    reader::{Heard, Kind, Meter, Reader},
    report::Row,
    server::Server,
    talk::{Bench, Shape, Window},
};

impl Bench {
    /// From the request that starts a run to the first delta at its reader, one run after the other.
    pub(crate) async fn first_delta(&self) -> Result<Vec<Row>> {
        let count = if self.quick { 100 } else { 300 };
        let (mut p50, mut p99, mut commits) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.repetitions() {
            let (relay, _) = self.first_deltas(Kind::Relay, count).await?;
            let (parley, commit) = self.first_deltas(Kind::Parley, count).await?;
            let pair = |share| {
                let [relay, parley] = [&relay, &parley].map(|took| percentile(took, share));
                (relay / 1000.0, parley / 1000.0)
            };
            p50.push(pair(0.5));
            p99.push(pair(0.99));
            commits.push(commit);
        }
        let commit = Row::plain("a commit, mean", "ms", Figure::of(commits));
        // What starts a run has to be safe before anybody is told; in memory that costs nothing.
        let more = match self.starter.database {
            None => 1.5,
            Some(_) => 1.5 + commit.parley.median,
        };
        Ok(vec![
            Row::pairs("POST to first delta, p50", "ms", &p50).beyond_relay(more),
            Row::pairs("POST to first delta, p99", "ms", &p99),
            commit,
        ])
    }

    /// What each took, and how long Parley's database took for a commit, in milliseconds.
    async fn first_deltas(&self, kind: Kind, count: u64) -> Result<(Vec<u64>, f64)> {
        // So many that the turn still goes on when the reader comes, however slow the database is: an ended turn's deltas are gone.
        self.provider.reset(Plan {
            deltas: 10_000,
            gate: false,
            ..Plan::paced(1)
        });
        let server = self.starter.start(kind).await?;
        let meter = Rc::new(Meter::default());
        let mut api = Api::open(server.address).await?;
        let mut took = Vec::new();
        for number in 0..count {
            let connection = Connection::open(server.address).await?;
            let began = now();
            let path = match kind {
                Kind::Parley => format!("/api/stream/{}", api.start(number, 1).await?),
                Kind::Relay => format!("/pipe?topic={TOPIC}{number}"),
            };
            let reader = Reader::ask(connection, &path, "", kind, &meter, Heard::default()).await?;
            let mut reader = reader.context("nothing to read")?;
            while reader.heard.first == 0 && reader.some().await? {}
            self.provider.tell(Order::Finish);
            reader.read_all().await?;
            ensure!(
                reader.heard.first > began && reader.heard.final_event,
                "a run without a delta"
            );
            took.push(reader.heard.first - began);
        }
        took.sort_unstable();
        let commit = match kind {
            Kind::Parley => {
                let counts = counted(&mut api, &server).await?;
                1000.0 * counts.committing / counts.commits.max(1.0)
            }
            Kind::Relay => 0.0,
        };
        Ok((took, commit))
    }

    /// From the stop of a run that talks to the end of the provider's connection, and to the answer.
    pub(crate) async fn stop(&self) -> Result<Vec<Row>> {
        let (mut closing, mut answering) = (Vec::new(), Vec::new());
        for _ in 0..self.repetitions() {
            let (closed, answered) = self.stops().await?;
            closing.push(closed);
            answering.push(answered);
        }
        let row = |name: &str, of: &[Vec<u64>], share| {
            Row::plain(
                name,
                "ms",
                Figure::of(of.iter().map(|took| percentile(took, share) / 1000.0)),
            )
        };
        Ok(vec![
            row("stop to provider connection closed, p50", &closing, 0.5),
            row("stop to provider connection closed, p99", &closing, 0.99).at_most(5.0),
            row("stop to answer, p50", &answering, 0.5),
            row("stop to answer, p99", &answering, 0.99),
        ])
    }

    async fn stops(&self) -> Result<(Vec<u64>, Vec<u64>)> {
        let runs = if self.quick { 100 } else { 300 };
        let plan = Plan::paced(20);
        self.provider.reset(plan);
        let server = self.starter.start(Kind::Parley).await?;
        let meter = Rc::new(Meter::default());
        let ids = start_runs(&server, 0, runs).await?;
        let mut listening = listen(
            &server,
            &ids,
            Shape {
                runs,
                readers: 1,
                plan,
                window: Window::Whole,
                http2: None,
            },
            "",
            &meter,
        );
        self.all_talk(&mut listening, &meter, runs, runs).await?;
        let mut api = Api::open(server.address).await?;
        let (mut closed, mut answered) = (Vec::new(), Vec::new());
        for (number, id) in ids.iter().enumerate() {
            let said = self.provider.said(u64::try_from(number)?);
            let began = now();
            api.stop(id).await?;
            answered.push(now() - began);
            until(
                "the provider's connection to be closed",
                &mut listening,
                || said.closed.load(Ordering::Acquire) > 0,
            )
            .await?;
            closed.push(said.closed.load(Ordering::Acquire) - began);
        }
        for (number, heard) in listening.joined().await? {
            ensure!(
                heard.turns == api.export(&ids[number]).await?,
                "a reader of the stopped run {number} has another text"
            );
        }
        closed.sort_unstable();
        answered.sort_unstable();
        Ok((closed, answered))
    }

    /// Opens the gate when so many requests and readers are there, and waits until there is talk.
    pub(crate) async fn all_talk(
        &self,
        listening: &mut Listening,
        meter: &Meter,
        requests: usize,
        readers: usize,
    ) -> Result<()> {
        until("readers and requests", listening, || {
            meter.connected.get() == readers && self.provider.asked() == requests
        })
        .await?;
        self.provider.tell(Order::Go);
        sleep(Duration::from_millis(500)).await;
        Ok(())
    }

    /// From the start of the process to its first answer.
    pub(crate) async fn boot(&self) -> Result<Vec<Row>> {
        let mut boots = [Vec::new(), Vec::new()];
        for _ in 0..if self.quick { 5 } else { 15 } {
            for (kind, boots) in [Kind::Relay, Kind::Parley].into_iter().zip(&mut boots) {
                #[expect(clippy::cast_precision_loss, reason = "milliseconds")]
                boots.push(self.starter.start(kind).await?.boot as f64 / 1e6);
            }
        }
        let [relay, parley] = boots.map(Figure::of);
        Ok(vec![Row {
            relay: Some(relay),
            ..Row::plain("boot to first answer", "ms", parley).at_most(300.0)
        }])
    }

    /// What the database is asked for, by the counts that `/metrics` keeps: a run of many turns beside one of a single turn, and a turn
    /// of many deltas beside one of a few. Nobody reads the stream meanwhile, so all of it is the run's own.
    pub(crate) async fn database(&self) -> Result<Vec<Row>> {
        const TURNS: usize = 41;
        const DELTAS: usize = 4000;
        let one = self.calls(1, 20).await?;
        let turns = self.calls(TURNS, 20).await?;
        let deltas = self.calls(1, DELTAS).await?;
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let each = |many: f64, few: f64, count: usize| Figure::one((many - few) / count as f64);
        Ok(vec![
            Row::plain(
                "transactions of a turn",
                "",
                each(turns.0, one.0, TURNS - 1),
            )
            .at_most(1.0),
            Row::plain(
                "statements of a turn, without begin and commit",
                "",
                each(turns.1, one.1, TURNS - 1),
            ),
            Row::plain(
                "transactions of a delta",
                "",
                each(deltas.0, one.0, DELTAS - 20),
            )
            .at_most(0.0),
            Row::plain(
                "statements of a delta",
                "",
                each(deltas.1, one.1, DELTAS - 20),
            ),
        ])
    }

    /// Commits and statements of one run.
    async fn calls(&self, turns: usize, deltas: usize) -> Result<(f64, f64)> {
        self.provider.reset(Plan {
            gate: false,
            ..Plan::saturated(deltas)
        });
        let server = self.starter.start(Kind::Parley).await?;
        let mut api = Api::open(server.address).await?;
        let before = counted(&mut api, &server).await?;
        let id = api.start(0, turns).await?;
        let after = loop {
            sleep(Duration::from_millis(20)).await;
            let counts = counted(&mut api, &server).await?;
            if counts.ended > 0.0 {
                break counts;
            }
        };
        ensure!(
            api.export(&id).await?.len() == turns,
            "a run with another number of turns"
        );
        Ok((
            after.commits - before.commits,
            after.statements - before.statements,
        ))
    }
}

/// What `/metrics` has counted so far.
struct Counts {
    commits: f64,
    /// How long they took together, in seconds.
    committing: f64,
    statements: f64,
    /// Runs that have ended.
    ended: f64,
}

async fn counted(api: &mut Api, server: &Server) -> Result<Counts> {
    let text = api.text("/metrics").await.with_context(|| server.log())?;
    let sum = |name: &str| {
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    };
    Ok(Counts {
        commits: sum("parley_database_call_duration_seconds_count{call=\"commit\"}"),
        committing: sum("parley_database_call_duration_seconds_sum{call=\"commit\"}"),
        statements: sum("parley_database_call_duration_seconds_count{call=\"statement\"}"),
        ended: sum("parley_runs_ended_total"),
    })
}
