//! The thread that writes the deltas of all answers, each at its time.
//!
//! A thread of its own over a heap of due times, and no task an answer: the load shares the machine with what it measures, and a
//! timer of tokio's is no finer than a millisecond.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use tokio::{net::TcpStream, sync::oneshot};

use crate::{
    chunk::{Deltas, ending},
    clock::now,
    provider::lock,
};

/// How many deltas a saturated answer hands to the socket at once, each in its own HTTP chunk.
const AT_ONCE: usize = 16;
/// After how long a socket that took nothing is tried again.
const AGAIN: u64 = 200_000;
/// How often an answer that stands still is looked at.
const LOOK: u64 = 50_000_000;

/// How an answer is spoken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// How many deltas it has.
    pub(crate) deltas: usize,
    /// The time from one to the next; `None`: as fast as the socket takes them.
    pub(crate) every: Option<Duration>,
    /// The size of a delta's text.
    pub(crate) size: usize,
    /// Whether all wait for the word to begin, spread over one interval then.
    pub(crate) gate: bool,
    /// Whether the answer stays open when all is said.
    pub(crate) hold: bool,
    /// After how many deltas the connection is cut, or the answer stands still.
    pub(crate) fault: Option<(Fault, usize)>,
}

/// What goes wrong in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Cut,
    Stall,
}

/// What all answers count together.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Deltas that were written.
    pub(crate) written: AtomicU64,
    /// How long after their time those were written that have one, in nanoseconds.
    pub(crate) lateness: Mutex<Vec<u64>>,
}

/// What has been said to one run.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// The text of its last answer.
    pub(crate) text: Mutex<String>,
    /// When the connection was seen to be closed before the answer's end.
    pub(crate) closed: AtomicU64,
}

/// An answer to be written.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) stream: Arc<TcpStream>,
    pub(crate) said: Arc<Said>,
    pub(crate) plan: Plan,
    /// Its place among all: when its deltas come, within the interval, and what its filler is.
    pub(crate) place: u64,
    /// Told when the answer is whole.
    pub(crate) done: oneshot::Sender<()>,
}

/// What the pacer is told.
#[derive(Debug)]
pub(crate) enum Order {
    Answer(Box<Answer>),
    /// The gate opens.
    Go,
    /// All answers end with their next delta.
    Finish,
    /// All answers are forgotten, and with them their connections.
    Clear,
}

struct Speaking {
    answer: Answer,
    deltas: Deltas,
    left: usize,
    pending: Vec<u8>,
    finished: bool,
}

enum Step {
    Again(u64),
    Done,
    Gone,
}

/// Does what it is told until nobody can tell it anything more.
pub(crate) fn run(orders: &Receiver<Order>, counts: &Counts) {
    let (mut speaking, mut free): (Vec<Option<Speaking>>, Vec<usize>) = Default::default();
    let mut due: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let (mut open, mut waiting) = (false, Vec::new());
    loop {
        let wait = due
            .peek()
            .map_or(u64::MAX, |Reverse((at, _))| at.saturating_sub(now()));
        match orders.recv_timeout(Duration::from_nanos(wait.min(1_000_000_000))) {
            Ok(Order::Answer(answer)) => {
                let index = free.pop().unwrap_or_else(|| {
                    speaking.push(None);
                    speaking.len() - 1
                });
                let gated = answer.plan.gate;
                speaking[index] = Some(Speaking::new(*answer));
                if gated && !open {
                    waiting.push(index);
                } else {
                    due.push(Reverse((now(), index)));
                }
            }
            Ok(Order::Go) => {
                open = true;
                let (start, all) = (now(), u64::try_from(waiting.len()).unwrap_or(1));
                for index in waiting.drain(..) {
                    let offset = speaking[index].as_ref().map_or(0, |one| one.offset(all));
                    due.push(Reverse((start + offset, index)));
                }
            }
            Ok(Order::Finish) => speaking.iter_mut().flatten().for_each(Speaking::finish),
            Ok(Order::Clear) => {
                speaking.clear();
                free.clear();
                due.clear();
                waiting.clear();
                open = false;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let time = now();
        while let Some(Reverse((at, index))) =
            due.peek().copied().filter(|Reverse((at, _))| *at <= time)
        {
            due.pop();
            let Some(one) = &mut speaking[index] else {
                continue;
            };
            match one.step(at, counts) {
                Step::Again(at) => due.push(Reverse((at, index))),
                Step::Done => {
                    if let Some(one) = speaking[index].take() {
                        // An error means that the connection is gone.
                        let _ = one.answer.done.send(());
                    }
                    free.push(index);
                }
                Step::Gone => {
                    speaking[index] = None;
                    free.push(index);
                }
            }
        }
    }
}

impl Speaking {
    fn new(answer: Answer) -> Self {
        Self {
            deltas: Deltas::new(
                answer.plan.size,
                answer.place.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            ),
            left: answer.plan.deltas,
            pending: Vec::new(),
            finished: false,
            answer,
        }
    }

    fn offset(&self, all: u64) -> u64 {
        let every = self.answer.plan.every.map_or(0, nanoseconds);
        every * (self.answer.place % all.max(1)) / all.max(1)
    }

    fn finish(&mut self) {
        self.left = self.left.min(1);
        self.answer.plan.hold = false;
    }

    /// Writes what is due. `at` is when it was: lateness is made up for, so that the pace is kept.
    fn step(&mut self, at: u64, counts: &Counts) -> Step {
        let plan = self.answer.plan;
        if self.answer.done.is_closed() {
            return Step::Gone;
        }
        if self.pending.is_empty() && self.left > 0 {
            let spoken = plan.deltas - self.left;
            match plan.fault.filter(|(_, after)| spoken >= *after) {
                // The receiver sees that the word of the end was dropped, and closes the connection.
                Some((Fault::Cut, _)) => return Step::Gone,
                Some((Fault::Stall, _)) => return Step::Again(now() + LOOK),
                None => {}
            }
            let count = if plan.every.is_some() {
                1
            } else {
                self.left.min(AT_ONCE)
            };
            let mut text = lock(&self.answer.said.text);
            for _ in 0..count {
                self.deltas.put(&mut self.pending, &mut text);
            }
            self.left -= count;
            let all = &counts.written;
            all.fetch_add(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
            if plan.every.is_some() {
                lock(&counts.lateness).push(now().saturating_sub(at));
            }
        } else if self.pending.is_empty() && !self.finished {
            if plan.hold {
                return Step::Again(now() + LOOK);
            }
            self.pending = ending();
            self.finished = true;
        }
        match self.answer.stream.try_write(&self.pending) {
            Ok(count) if count == self.pending.len() => self.pending.clear(),
            Ok(count) => {
                self.pending.drain(..count);
                return Step::Again(now() + AGAIN);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Step::Again(now() + AGAIN);
            }
            Err(_) => return Step::Gone,
        }
        match plan.every {
            _ if self.finished => Step::Done,
            Some(every) if self.left > 0 => Step::Again(at + nanoseconds(every)),
            _ => Step::Again(now()),
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
