//! The rows of the table that compare Parley with the relay: how much a delta costs, and how late it comes.

use std::time::Duration;

use anyhow::Result;

use crate::{
    figures::Figure,
    pacer::Plan,
    reader::Kind,
    report::Row,
    talk::{Bench, Shape, Talk, Window},
};

/// The size of a delta's text: a token or two of prose, beside the stamp.
const SIZE: usize = 24;
/// More deltas than any timed window has: the talk ends by its order.
const ENDLESS: usize = 1_000_000;

impl Plan {
    /// A delta each so many milliseconds.
    pub(crate) fn paced(every: u64) -> Self {
        let every = Some(Duration::from_millis(every));
        Self {
            deltas: ENDLESS,
            every,
            size: SIZE,
            gate: true,
            hold: false,
            fault: None,
        }
    }

    /// So many deltas, as fast as the socket takes them.
    pub(crate) fn saturated(deltas: usize) -> Self {
        Self {
            deltas,
            every: None,
            size: SIZE,
            gate: true,
            hold: false,
            fault: None,
        }
    }
}

impl Bench {
    /// How often each measurement is made.
    pub(crate) fn repetitions(&self) -> usize {
        if self.quick { 1 } else { 3 }
    }

    fn timed(&self, runs: usize, every: u64) -> Shape {
        let (warm, length) = match self.window {
            Some(seconds) => (1500, 1000 * seconds),
            None if self.quick => (700, 2500),
            None => (1500, 7000),
        };
        let window = Window::Time {
            warm: Duration::from_millis(warm),
            length: Duration::from_millis(length),
        };
        Shape {
            runs,
            readers: 1,
            plan: Plan::paced(every),
            window,
            http2: None,
        }
    }

    /// The relay and Parley by turns.
    async fn pairs(&self, shape: Shape) -> Result<Vec<(Talk, Talk)>> {
        let mut pairs = Vec::new();
        for _ in 0..self.repetitions() {
            let relay = self.talk(Kind::Relay, shape).await?;
            pairs.push((relay, self.talk(Kind::Parley, shape).await?));
        }
        Ok(pairs)
    }

    /// So many runs with a reader each, at a pace.
    pub(crate) async fn paced(&self, runs: usize) -> Result<Vec<Row>> {
        let pairs = self.pairs(self.timed(runs, 20)).await?;
        let what = format!("{runs} runs × 1 reader, a delta each 20 ms");
        let row = |name: &str, unit, figure: fn(&Talk) -> f64| {
            Row::pairs(format!("{name}, {what}"), unit, &figures(&pairs, figure))
        };
        let mut rows = vec![row("CPU per delta", "µs", |talk| talk.per_delta).ratio_at_most(1.3)];
        let p50 = row("added latency p50", "µs", |talk| talk.latency.p50);
        let p99 = row("added latency p99", "µs", |talk| talk.latency.p99);
        if runs == 500 {
            rows.extend([p50.ratio_at_most(1.3), p99.ratio_at_most(1.5)]);
        } else {
            rows.extend([p50, p99]);
        }
        rows.push(row("added latency p99.9", "µs", |talk| talk.latency.p999));
        rows.push(row("added latency max", "µs", |talk| talk.latency.max));
        rows.push(row("share of a core", "", |talk| talk.busy));
        rows.push(row("share of its core that the load took", "", |talk| {
            talk.load_busy
        }));
        rows.push(row("the provider's lateness p99", "µs", |talk| {
            talk.lateness
        }));
        rows.push(late(&what, pairs.iter().map(|pair| &pair.1)).at_most(0.0));
        Ok(rows)
    }

    /// 50 runs as fast as they go.
    pub(crate) async fn saturated(&self) -> Result<Vec<Row>> {
        let plan = Plan::saturated(if self.quick { 4_000 } else { 30_000 });
        let pairs = self
            .pairs(Shape {
                runs: 50,
                readers: 1,
                plan,
                window: Window::Whole,
                http2: None,
            })
            .await?;
        let name = "CPU per delta, 50 runs × 1 reader, saturated";
        Ok(vec![
            Row::pairs(name, "µs", &figures(&pairs, |talk| talk.per_delta)).ratio_at_most(1.5),
            late("50 runs saturated", pairs.iter().map(|pair| &pair.1)).at_most(2.0),
            Row::pairs(
                "share of a core, 50 runs saturated",
                "",
                &figures(&pairs, |talk| talk.busy),
            ),
        ])
    }

    /// One run that many read: 100, and 5,000.
    pub(crate) async fn fanout(&self) -> Result<Vec<Row>> {
        // So many that a reader is written to many times, however much gathers; and no more than 5,000 take in their time.
        let (few, many) = if self.quick {
            (3_000, 600)
        } else {
            (20_000, 6_000)
        };
        let shape = |readers, deltas| Shape {
            runs: 1,
            readers,
            plan: Plan::saturated(deltas),
            window: Window::Whole,
            http2: None,
        };
        let (mut of_100, mut of_5000) = (Vec::new(), Vec::new());
        for _ in 0..self.repetitions() {
            for (pairs, shape) in [
                (&mut of_100, shape(100, few)),
                (&mut of_5000, shape(5000, many)),
            ] {
                let relay = self.talk(Kind::Relay, shape).await?;
                pairs.push((relay, self.talk(Kind::Parley, shape).await?));
            }
        }
        let late_of_100 = late("100 readers, saturated", of_100.iter().map(|pair| &pair.1));
        let late_of_5000 = late(
            "5,000 readers, saturated",
            of_5000.iter().map(|pair| &pair.1),
        );
        let (of_100, of_5000) = (
            figures(&of_100, |talk| talk.per_delivered),
            figures(&of_5000, |talk| talk.per_delivered),
        );
        let growth: Vec<(f64, f64)> = of_100
            .iter()
            .zip(&of_5000)
            .map(|(few, many)| (few.1, many.1))
            .collect();
        let paced = Shape {
            readers: 100,
            ..self.timed(1, 20)
        };
        let paced = figures(&self.pairs(paced).await?, |talk| talk.per_delivered);
        let mut grown = Row::pairs(
            "the same, over Parley's figure of 100 readers",
            "µs",
            &growth,
        );
        grown.relay = None;
        Ok(vec![
            Row::pairs(
                "CPU per delivered delta, 1 run × 100 readers, saturated",
                "µs",
                &of_100,
            )
            .ratio_at_most(1.0),
            Row::pairs(
                "CPU per delivered delta, 1 run × 5,000 readers, saturated",
                "µs",
                &of_5000,
            ),
            grown.ratio_at_most(1.1),
            late_of_100.at_most(2.0),
            late_of_5000.at_most(2.0),
            Row::pairs(
                "CPU per delivered delta, 1 run × 100 readers, a delta each 20 ms",
                "µs",
                &paced,
            ),
        ])
    }

    /// One run that 100 read by HTTP/2, ten to a connection, beside as many by HTTP/1.1; Parley's figures alone.
    pub(crate) async fn http2(&self) -> Result<Vec<Row>> {
        // The protocol's own window, and that of a browser (Chromium's).
        const WINDOWS: [(&str, u32); 2] = [("64 KiB", 65_535), ("6 MiB", 6 << 20)];
        let deltas = if self.quick { 3_000 } else { 20_000 };
        let saturated = Shape {
            runs: 1,
            readers: 100,
            plan: Plan::saturated(deltas),
            window: Window::Whole,
            http2: None,
        };
        let paced = Shape {
            readers: 100,
            ..self.timed(1, 20)
        };
        let mut rows = Vec::new();
        for (name, shape) in [("saturated", saturated), ("a delta each 20 ms", paced)] {
            let mut pairs = WINDOWS.map(|_| Vec::new());
            for _ in 0..self.repetitions() {
                let http1 = self.talk(Kind::Parley, shape).await?.per_delivered;
                for (pairs, (_, window)) in pairs.iter_mut().zip(WINDOWS) {
                    let http2 = Some(window);
                    let talk = self.talk(Kind::Parley, Shape { http2, ..shape }).await?;
                    pairs.push((http1, talk.per_delivered));
                }
            }
            for (pairs, (window, _)) in pairs.iter().zip(WINDOWS) {
                let what = format!(
                    "1 run × 100 readers, {name}, by HTTP/2 (window: {window}) over HTTP/1.1"
                );
                let mut row = Row::pairs(format!("CPU per delivered delta, {what}"), "µs", pairs);
                row.relay = None;
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// How the ratio to the relay grows with the number of runs.
    pub(crate) async fn scale(&self) -> Result<Vec<Row>> {
        let many = if self.quick { 1500 } else { 5000 };
        let (few, many) = (self.timed(500, 500), self.timed(many, 500));
        let (mut of_few, mut of_many) = (Vec::new(), Vec::new());
        for _ in 0..self.repetitions() {
            for (pairs, shape) in [(&mut of_few, few), (&mut of_many, many)] {
                let relay = self.talk(Kind::Relay, shape).await?;
                pairs.push((relay, self.talk(Kind::Parley, shape).await?));
            }
        }
        let (of_few, of_many) = (
            figures(&of_few, |talk| talk.per_delta),
            figures(&of_many, |talk| talk.per_delta),
        );
        let growth: Vec<(f64, f64)> = of_few
            .iter()
            .zip(&of_many)
            .map(|(few, many)| (few.1 / few.0, many.1 / many.0))
            .collect();
        let mut grown = Row::pairs(
            format!("ratio at {} runs over the ratio at 500", many.runs),
            "",
            &growth,
        );
        grown.relay = None;
        Ok(vec![
            Row::pairs(
                "CPU per delta, 500 runs, a delta each 500 ms",
                "µs",
                &of_few,
            ),
            Row::pairs(
                format!("CPU per delta, {} runs, a delta each 500 ms", many.runs),
                "µs",
                &of_many,
            ),
            // With fewer runs than the goal has, it says nothing of the goal.
            if self.quick {
                grown
            } else {
                grown.ratio_at_most(1.15)
            },
        ])
    }
}

/// The share of Parley's text that came with its turn's end alone.
fn late<'a>(of: &str, talks: impl Iterator<Item = &'a Talk>) -> Row {
    Row::plain(
        format!("text that comes only with the turn's end, {of}"),
        "%",
        Figure::of(talks.map(|talk| 100.0 * talk.late)),
    )
}

fn figures(pairs: &[(Talk, Talk)], figure: fn(&Talk) -> f64) -> Vec<(f64, f64)> {
    pairs
        .iter()
        .map(|(relay, parley)| (figure(relay), figure(parley)))
        .collect()
}
