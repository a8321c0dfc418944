//! One measurement: a fresh server, runs that talk, readers that listen, a window in which all do, and every text checked after it.

use std::{collections::HashMap, rc::Rc, sync::PoisonError, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tokio::time::{sleep, timeout};

use crate::{
    api::Api,
    clock::{self, now},
    figures::{Latency, percentile},
    http::Connection,
    listening::{Listening, PATIENCE, broadcast, listen, start_runs, until},
    pacer::{Order, Plan},
    provider::Provider,
    reader::{Heard, Kind, Meter},
    server::{Server, Starter},
};

/// By which share the deltas of a window may differ from what its pace makes.
const PACE: f64 = 0.02;

/// What is measured by.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) provider: Provider,
    pub(crate) starter: Starter,
    pub(crate) quick: bool,
    /// How many seconds a timed window has, if that is asked for: for a profile to be taken in.
    pub(crate) window: Option<u64>,
}

/// How many talk and listen, and when it counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) runs: usize,
    pub(crate) readers: usize,
    pub(crate) plan: Plan,
    pub(crate) window: Window,
    /// How many bytes may be on their way to a reader that comes by HTTP/2; `None`: readers come by HTTP/1.1.
    pub(crate) http2: Option<u32>,
}

/// The part of the talk that counts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Window {
    /// So long, after so long.
    Time { warm: Duration, length: Duration },
    /// From the word to begin to the time when all readers have read everything.
    Whole,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Talk {
    /// Processor time in the window, in microseconds, over the deltas that passed in it: each delta counted once for each run.
    pub(crate) per_delta: f64,
    /// The same over the deltas that were delivered, once for each reader.
    pub(crate) per_delivered: f64,
    /// The part of one core that the server took.
    pub(crate) busy: f64,
    /// The same of the load.
    pub(crate) load_busy: f64,
    pub(crate) latency: Latency,
    /// How late the provider was with its deltas, p99, in microseconds.
    pub(crate) lateness: f64,
    /// The share of the text that came with the turn's end alone.
    pub(crate) late: f64,
}

/// What the clocks and counts say of a window: processor time and length in nanoseconds, deltas.
struct Happened {
    cpu: f64,
    load_cpu: f64,
    length: f64,
    passed: f64,
    delivered: f64,
    /// In order.
    lateness: Vec<u64>,
}

impl Bench {
    /// Has the server of this kind talk in this shape.
    pub(crate) async fn talk(&self, kind: Kind, shape: Shape) -> Result<Talk> {
        self.provider.reset(shape.plan);
        let server = self.starter.start(kind).await?;
        let meter = Rc::new(Meter::default());
        meter.size.set(shape.plan.size);
        let ids = start_runs(&server, 0, shape.runs).await?;
        let mut listening = listen(&server, &ids, shape, "", &meter);
        let all = shape.runs * shape.readers;
        until("all readers to be connected", &mut listening, || {
            meter.connected.get() == all
        })
        .await?;
        if kind == Kind::Relay && shape.readers > 1 {
            for number in 0..shape.runs {
                let answer = Connection::open(server.address)
                    .await?
                    .ask("POST", &broadcast(number), "", "")
                    .await?;
                ensure!(
                    answer.status == 202,
                    "a broadcast was answered {}",
                    answer.status
                );
            }
        }
        until("all requests to be made", &mut listening, || {
            self.provider.asked() == shape.runs
        })
        .await?;
        sleep(Duration::from_millis(300)).await;
        let window = self.window(&server, shape, &meter, &mut listening).await;
        let window = window.with_context(|| format!("{kind:?}: {}", server.log()))?;
        self.provider.tell(Order::Finish);
        let heard = timeout(PATIENCE, listening.joined())
            .await
            .context("readers that do not end")??;
        let late = self.check(&server, &ids, &heard).await?;
        let latency = Latency::of(&mut meter.latencies.borrow_mut());
        let readers = f64::from(u32::try_from(shape.readers)?);
        Ok(Talk {
            per_delta: window.cpu / 1000.0 / (window.passed / readers),
            per_delivered: window.cpu / 1000.0 / window.delivered,
            busy: window.cpu / window.length,
            load_busy: window.load_cpu / window.length,
            latency,
            lateness: percentile(&window.lateness, 0.99),
            late,
        })
    }

    /// What happened between the window's ends; the talk begins with it or before.
    async fn window(
        &self,
        server: &Server,
        shape: Shape,
        meter: &Meter,
        listening: &mut Listening,
    ) -> Result<Happened> {
        let read = || -> Result<[u64; 5]> {
            Ok([
                server.processor_time()?,
                meter.passed.get(),
                meter.delivered.get(),
                now(),
                clock::processor_time(std::process::id())?,
            ])
        };
        let begin = || self.provider.tell(Order::Go);
        let before = match shape.window {
            Window::Time { warm, .. } => {
                begin();
                sleep(warm).await;
                meter.open.set(true);
                self.provider.take_lateness();
                read()?
            }
            Window::Whole => {
                let before = read()?;
                begin();
                before
            }
        };
        match shape.window {
            Window::Time { length, .. } => sleep(length).await,
            Window::Whole => {
                let all = u64::try_from(shape.runs * shape.readers * shape.plan.deltas)?;
                until("the talk to end", listening, || meter.passed.get() >= all).await?;
            }
        }
        let after = read()?;
        meter.open.set(false);
        ensure!(after[2] > before[2], "nothing was said");
        #[expect(clippy::cast_precision_loss, reason = "figures of some digits")]
        let gone = |index: usize| (after[index] - before[index]) as f64;
        let happened = Happened {
            cpu: gone(0),
            passed: gone(1),
            delivered: gone(2),
            length: gone(3),
            load_cpu: gone(4),
            lateness: self.provider.take_lateness(),
        };
        if let Some(every) = shape.plan.every {
            let streams = f64::from(u32::try_from(shape.runs * shape.readers)?);
            let due = streams * happened.length / 1e9 / every.as_secs_f64();
            let kept = happened.passed / due;
            ensure!(
                (kept - 1.0).abs() < PACE,
                "the pace was not kept: {kept:.3} of what was due came"
            );
        }
        Ok(happened)
    }

    /// Holds every reader's text against the export, and the export against what the provider said. Tells the share of the text that
    /// came with a turn's end alone.
    async fn check(
        &self,
        server: &Server,
        ids: &[String],
        heard: &[(usize, Heard)],
    ) -> Result<f64> {
        let mut truth = HashMap::new();
        let mut api = match server.kind {
            Kind::Parley => Some(Api::open(server.address).await?),
            Kind::Relay => None,
        };
        let (mut late, mut whole) = (0, 0);
        for (run, heard) in heard {
            if !truth.contains_key(run) {
                let said = self.provider.said(u64::try_from(*run)?);
                let said = vec![
                    said.text
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .clone(),
                ];
                if let Some(api) = &mut api {
                    ensure!(
                        api.export(&ids[*run]).await? == said,
                        "the export of run {run} is not what was said"
                    );
                }
                truth.insert(*run, said);
            }
            ensure!(
                heard.final_event,
                "a reader of run {run} has not seen its end"
            );
            ensure!(
                heard.gaps == 0 && heard.spoiled == 0,
                "a reader of run {run} has seen {} gaps, and {} turns whose deltas were not their text",
                heard.gaps,
                heard.spoiled
            );
            ensure!(
                truth.get(run) == Some(&heard.turns),
                "a reader of run {run} has another text"
            );
            late += heard.late;
            whole += heard.whole;
        }
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        Ok(late as f64 / whole.max(1) as f64)
    }
}
