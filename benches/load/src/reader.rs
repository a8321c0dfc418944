//! One reader of a stream: takes HTTP and SSE apart, keeps the text by the client's rule, and measures.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::{
    body::Body,
    clock::{STAMP, now},
    http::{Chunks, Connection},
    scan::{member, number, plain},
};

/// What all readers of a measurement count together.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Readers that are connected.
    pub(crate) connected: Cell<usize>,
    /// Readers that have read everything.
    pub(crate) ended: Cell<usize>,
    /// Deltas that came.
    pub(crate) delivered: Cell<u64>,
    /// Deltas that came or whose place was passed, as ids tell.
    pub(crate) passed: Cell<u64>,
    /// The size of a delta's text; 0: they differ.
    pub(crate) size: Cell<usize>,
    /// Whether latencies count now.
    pub(crate) open: Cell<bool>,
    /// From the provider's write to the reader's read, in nanoseconds.
    pub(crate) latencies: RefCell<Vec<u64>>,
    /// What all read into, one after the other.
    buffer: RefCell<Vec<u8>>,
}

/// Whose stream it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Parley,
    Relay,
}

/// What a reader has.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The text of each turn.
    pub(crate) turns: Vec<String>,
    /// The last event id.
    pub(crate) cursor: String,
    /// Bytes of text that came with a turn's end alone.
    pub(crate) late: usize,
    /// Bytes of text of turns that have ended.
    pub(crate) whole: usize,
    /// When the first delta came.
    pub(crate) first: u64,
    /// Whether the final event came, or the provider's last word.
    pub(crate) final_event: bool,
    /// Events whose id is not the next one.
    pub(crate) gaps: usize,
    /// Turns whose deltas were not the beginning of the text that they ended with.
    pub(crate) spoiled: usize,
    last: (u64, u64),
}

/// The members of an event that touch the text.
#[derive(Debug, Deserialize)]
struct Closing {
    turn: usize,
    #[serde(default)]
    text: String,
}

/// A reader at work.
#[derive(Debug)]
pub(crate) struct Reader {
    body: Body,
    kind: Kind,
    frames: Vec<u8>,
    pub(crate) heard: Heard,
    meter: Rc<Meter>,
    /// When it was answered: what was said before that is no latency.
    since: u64,
}

impl Reader {
    /// Asks for the stream; `None`: there is nothing more to come (204).
    pub(crate) async fn open(
        address: SocketAddr,
        path: &str,
        headers: &str,
        kind: Kind,
        meter: &Rc<Meter>,
        heard: Heard,
    ) -> Result<Option<Self>> {
        Self::ask(
            Connection::open(address).await?,
            path,
            headers,
            kind,
            meter,
            heard,
        )
        .await
    }

    /// The same over a connection that is there.
    pub(crate) async fn ask(
        mut connection: Connection,
        path: &str,
        headers: &str,
        kind: Kind,
        meter: &Rc<Meter>,
        heard: Heard,
    ) -> Result<Option<Self>> {
        let headers = match heard.cursor.as_str() {
            "" => headers.to_owned(),
            cursor => format!("{headers}last-event-id: {cursor}\r\n"),
        };
        connection.send("GET", path, &headers, "").await?;
        let head = connection.head().await?;
        if head.status == 204 {
            return Ok(None);
        }
        ensure!(head.status == 200, "{path} was answered {}", head.status);
        let body = Body::Http1(connection, Chunks::default());
        Ok(Some(Self::new(body, kind, meter, heard)))
    }

    /// One that has been answered.
    pub(crate) fn new(body: Body, kind: Kind, meter: &Rc<Meter>, heard: Heard) -> Self {
        meter.connected.set(meter.connected.get() + 1);
        Self {
            body,
            kind,
            frames: Vec::new(),
            heard,
            meter: Rc::clone(meter),
            since: now(),
        }
    }

    /// What it has; the connection ends.
    pub(crate) fn into_heard(self) -> Heard {
        self.heard
    }

    /// Reads to the end of the stream.
    pub(crate) async fn read_all(&mut self) -> Result<()> {
        while self.some().await? {}
        Ok(())
    }

    /// Reads once; `false` at the end of the stream.
    pub(crate) async fn some(&mut self) -> Result<bool> {
        let buffer = &self.meter.buffer;
        let goes_on = self.body.read(buffer, &mut self.frames).await?;
        let last = self.take_frames()?;
        Ok(goes_on && !last)
    }

    /// Takes all whole blocks; `true` after the last one.
    fn take_frames(&mut self) -> Result<bool> {
        if self.frames.is_empty() {
            return Ok(false);
        }
        let frames = std::mem::take(&mut self.frames);
        let (mut from, time) = (0, now());
        while let Some(length) = memchr::memmem::find(&frames[from..], b"\n\n") {
            self.block(&frames[from..from + length], time)?;
            from += length + 2;
        }
        self.frames = frames;
        self.frames.drain(..from);
        Ok(self.heard.final_event)
    }

    fn block(&mut self, block: &[u8], time: u64) -> Result<()> {
        let (mut name, mut data): (&[u8], &[u8]) = (b"", b"");
        let mut id = None;
        for line in block.split(|byte| *byte == b'\n') {
            if let Some(value) = line.strip_prefix(b"data: ") {
                data = value;
            } else if let Some(value) = line.strip_prefix(b"event: ") {
                name = value;
            } else if let Some(value) = line.strip_prefix(b"id: ") {
                id = Some(std::str::from_utf8(value).context("an id")?);
            }
        }
        match self.kind {
            Kind::Relay => self.relayed(data, time),
            Kind::Parley => self.event(name, id.unwrap_or_default(), data, time),
        }
    }

    fn relayed(&mut self, data: &[u8], time: u64) -> Result<()> {
        if data == b"[DONE]" {
            self.heard.final_event = true;
            return Ok(());
        }
        let Some(text) = member(data, b"\"content\":\"").filter(|text| !text.is_empty()) else {
            return Ok(());
        };
        self.delta(0, plain(text)?, time);
        Ok(())
    }

    fn event(&mut self, name: &[u8], id: &str, data: &[u8], time: u64) -> Result<()> {
        let (seq, n) = id.split_once('-').context("an event without an id")?;
        let place = (seq.parse()?, n.parse()?);
        let before = std::mem::replace(&mut self.heard.last, place);
        if place != (before.0, before.1 + 1) && place != (before.0 + 1, 0) {
            self.heard.gaps += 1;
        }
        id.clone_into(&mut self.heard.cursor);
        match name {
            b"turn.delta" => {
                let turn = number(data, b"\"turn\":").context("a delta without a turn")?;
                match member(data, b"\"text\":\"") {
                    Some(text) if !text.contains(&b'\\') => self.delta(turn, plain(text)?, time),
                    _ => self.delta(turn, &serde_json::from_slice::<Closing>(data)?.text, time),
                }
            }
            b"turn.completed" | b"turn.interrupted" | b"turn.failed" => {
                let closing: Closing = serde_json::from_slice(data)?;
                let turn = self.heard.turn(closing.turn);
                let spoiled = usize::from(!closing.text.starts_with(turn.as_str()));
                let late = closing.text.len().saturating_sub(turn.len());
                *turn = closing.text;
                self.heard.whole += self.heard.turns[closing.turn].len();
                self.heard.late += late;
                self.heard.spoiled += spoiled;
                // All deltas of a measurement are of one size, so the text tells how many were left out.
                let left_out = late.checked_div(self.meter.size.get()).unwrap_or(0);
                self.meter
                    .passed
                    .set(self.meter.passed.get() + u64::try_from(left_out)?);
            }
            b"turn.restarted" => {
                let closing: Closing = serde_json::from_slice(data)?;
                self.heard.turn(closing.turn).clear();
            }
            b"run.completed" | b"run.stopped" | b"run.failed" => self.heard.final_event = true,
            _ => {}
        }
        Ok(())
    }

    fn delta(&mut self, turn: usize, text: &str, time: u64) {
        self.heard.turn(turn).push_str(text);
        let meter = &self.meter;
        meter.delivered.set(meter.delivered.get() + 1);
        meter.passed.set(meter.passed.get() + 1);
        if self.heard.first == 0 {
            self.heard.first = time;
        }
        if meter.open.get()
            && let Some(stamp) = text
                .get(..STAMP)
                .and_then(|stamp| u64::from_str_radix(stamp, 16).ok())
                .filter(|stamp| *stamp >= self.since)
        {
            meter
                .latencies
                .borrow_mut()
                .push(time.saturating_sub(stamp));
        }
    }
}

impl Heard {
    fn turn(&mut self, turn: usize) -> &mut String {
        if self.turns.len() <= turn {
            self.turns.resize(turn + 1, String::new());
        }
        &mut self.turns[turn]
    }
}
