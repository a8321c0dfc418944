//! The rows about memory: differences of a process's RSS over many runs and readers.

use std::{rc::Rc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tokio::time::sleep;

use crate::{
    clock::now,
    figures::Figure,
    http::Connection,
    listening::{Listening, listen, start_runs, until},
    pacer::{Order, Plan},
    reader::{Kind, Meter},
    report::Row,
    server::Server,
    talk::{Bench, Shape, Window},
};

/// What is there before anything counts, so that pools and pages of a first time are paid for.
const WARM: usize = 100;
/// How long idle subscribers are watched: two heartbeats of each.
const HEARTBEATS: Duration = Duration::from_secs(8);

/// What idle subscribers cost.
struct Idle {
    /// Of each, in KiB.
    memory: f64,
    /// The part of one core that all of them take.
    busy: f64,
}

impl Bench {
    /// A live run, an idle subscriber, and one that has stopped reading.
    pub(crate) async fn memory(&self) -> Result<Vec<Row>> {
        let idle = self.idle();
        let (runs, lagging) = if self.quick { (500, 200) } else { (2000, 1000) };
        ensure!(
            self.starter.database.is_none(),
            "memory is measured with the database in memory: servers leave live runs to the next"
        );
        let (mut of_run, mut of_idle, mut of_lagging) = (Vec::new(), Vec::new(), Vec::new());
        let mut busy = Vec::new();
        for _ in 0..self.repetitions() {
            of_run.push(self.live_run(runs).await?);
            let relay = self.idle_subscriber(Kind::Relay, idle).await?;
            let parley = self.idle_subscriber(Kind::Parley, idle).await?;
            of_idle.push((relay.memory, parley.memory));
            busy.push(parley.busy);
            of_lagging.push(self.lagging_subscriber(lagging).await?);
        }
        let run = Row::plain("memory of a live run", "KiB", Figure::of(of_run));
        let idle = Row::pairs("memory of an idle subscriber", "KiB", &of_idle);
        let lagging = Row::plain(
            "memory of a lagging subscriber, beyond the turn's text",
            "KiB",
            Figure::of(of_lagging),
        );
        Ok(vec![
            run.at_most(64.0),
            idle.at_most(16.0),
            lagging.at_most(16.0),
            Row::plain(
                format!(
                    "share of a core, {} idle subscribers (heartbeats)",
                    self.idle()
                ),
                "",
                Figure::of(busy),
            ),
        ])
    }

    /// How many subscribers are idle.
    fn idle(&self) -> usize {
        if self.quick { 1000 } else { 5000 }
    }

    /// Runs that talk, a delta each half a second, without readers. The rows of the database in memory are part of it.
    async fn live_run(&self, count: usize) -> Result<f64> {
        self.provider.reset(Plan {
            gate: false,
            ..Plan::paced(500)
        });
        let server = self.starter.start(Kind::Parley).await?;
        start_runs(&server, 0, WARM).await?;
        let before = self.settled(&server, WARM).await?;
        start_runs(&server, WARM, count).await?;
        let after = self.settled(&server, WARM + count).await?;
        Ok(kibibytes(after - before, count))
    }

    /// Subscribers of a run that says nothing.
    async fn idle_subscriber(&self, kind: Kind, count: usize) -> Result<Idle> {
        let plan = Plan::paced(500);
        self.provider.reset(plan);
        let server = self.starter.start(kind).await?;
        let ids = start_runs(&server, 0, 1).await?;
        // The relay asks for a broadcast when it is told to, which nobody does here.
        let asked = usize::from(kind == Kind::Parley);
        let meter = Rc::new(Meter::default());
        let shape = |readers| Shape {
            runs: 1,
            readers,
            plan,
            window: Window::Whole,
            http2: None,
        };
        let mut warm = listen(&server, &ids, shape(WARM), "", &meter);
        until("the first readers", &mut warm, || {
            meter.connected.get() == WARM
        })
        .await?;
        let before = self.settled(&server, asked).await?;
        let mut rest = listen(&server, &ids, shape(count), "", &meter);
        until("all readers", &mut rest, || {
            meter.connected.get() == WARM + count
        })
        .await?;
        let after = self.settled(&server, asked).await?;
        let (cpu, began) = (server.processor_time()?, now());
        sleep(HEARTBEATS).await;
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let busy = (server.processor_time()? - cpu) as f64 / (now() - began) as f64;
        Ok(Idle {
            memory: kibibytes(after - before, count),
            busy,
        })
    }

    /// Subscribers that read the head of the answer and no more, while a run says more than sockets hold. What the run itself takes
    /// for its text is measured without them, and is taken off.
    async fn lagging_subscriber(&self, count: usize) -> Result<f64> {
        let alone = self.text_and_laggards(0).await?;
        let with_laggards = self.text_and_laggards(count).await?;
        Ok(kibibytes(with_laggards - alone, count))
    }

    async fn text_and_laggards(&self, count: usize) -> Result<i64> {
        const DELTAS: usize = 60_000;
        let plan = Plan {
            hold: true,
            ..Plan::saturated(DELTAS)
        };
        self.provider.reset(plan);
        let server = self.starter.start(Kind::Parley).await?;
        let ids = start_runs(&server, 0, 1).await?;
        let meter = Rc::new(Meter::default());
        let mut reader = listen(
            &server,
            &ids,
            Shape {
                runs: 1,
                readers: 1,
                plan,
                window: Window::Whole,
                http2: None,
            },
            "",
            &meter,
        );
        until("the reader", &mut reader, || meter.connected.get() == 1).await?;
        let before = self.settled(&server, 1).await?;
        let mut laggards = Vec::new();
        for _ in 0..count {
            let mut connection = Connection::narrow(server.address).await?;
            connection
                .send("GET", &format!("/api/stream/{}", ids[0]), "", "")
                .await?;
            ensure!(
                connection.head().await?.status == 200,
                "a subscriber was refused"
            );
            laggards.push(connection);
        }
        self.provider.tell(Order::Go);
        let all = u64::try_from(DELTAS)?;
        until("the text", &mut reader, || meter.passed.get() == all)
            .await
            .with_context(|| server.log())?;
        let after = self.settled(&server, 1).await?;
        drop(laggards);
        Ok(after - before)
    }

    /// The process's memory when so many requests have been made and some time has passed.
    async fn settled(&self, server: &Server, requests: usize) -> Result<i64> {
        until("the requests", &mut Listening::default(), || {
            self.provider.asked() == requests
        })
        .await?;
        sleep(Duration::from_millis(1500)).await;
        Ok(i64::try_from(server.memory()?)?)
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures of some digits")]
fn kibibytes(bytes: i64, count: usize) -> f64 {
    bytes as f64 / 1024.0 / count as f64
}
