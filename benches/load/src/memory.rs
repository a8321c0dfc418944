//! The rows about memory: differences of a process's RSS over many runs and readers.

use std::{rc::Rc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tokio::time::sleep;

use crate::{
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

impl Bench {
    /// A live run, an idle subscriber, and one that has stopped reading.
    pub(crate) async fn memory(&self) -> Result<Vec<Row>> {
        let (runs, idle, lagging) = if self.quick {
            (500, 1000, 200)
        } else {
            (2000, 5000, 1000)
        };
        let mut figures = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..self.repetitions() {
            figures[0].push(self.live_run(runs).await?);
            figures[1].push(self.idle_subscriber(idle).await?);
            figures[2].push(self.lagging_subscriber(lagging).await?);
        }
        let [run, idle, lagging] = figures.map(Figure::of);
        Ok(vec![
            Row::plain("memory of a live run", "KiB", run).at_most(64.0),
            Row::plain("memory of an idle subscriber", "KiB", idle).at_most(16.0),
            Row::plain(
                "memory of a lagging subscriber, beyond the turn's text",
                "KiB",
                lagging,
            )
            .at_most(16.0),
        ])
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
    async fn idle_subscriber(&self, count: usize) -> Result<f64> {
        let plan = Plan::paced(500);
        self.provider.reset(plan);
        let server = self.starter.start(Kind::Parley).await?;
        let ids = start_runs(&server, 0, 1).await?;
        let meter = Rc::new(Meter::default());
        let shape = |readers| Shape {
            runs: 1,
            readers,
            plan,
            window: Window::Share,
        };
        let mut warm = listen(&server, &ids, shape(WARM), "", &meter);
        until("the first readers", &mut warm, || {
            meter.connected.get() == WARM
        })
        .await?;
        let before = self.settled(&server, 1).await?;
        let mut rest = listen(&server, &ids, shape(count), "", &meter);
        until("all readers", &mut rest, || {
            meter.connected.get() == WARM + count
        })
        .await?;
        let after = self.settled(&server, 1).await?;
        Ok(kibibytes(after - before, count))
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
                window: Window::Share,
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
