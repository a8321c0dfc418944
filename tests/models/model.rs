//! The model: a run with two owners in a few lines.

use parley::models::Head;

/// What an owner writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Closes the turn and starts the next, or ends the run.
    Advance,
    /// Takes the turn's text back.
    Restart,
    /// Closes the turn and leaves the run to others.
    Leave,
    /// Fails the run.
    Abort,
}

impl Kind {
    /// Whether commands are applied with it.
    pub(super) fn takes_commands(self) -> bool {
        self != Self::Restart
    }
}

/// What somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Nothing,
    Renew,
    Expire,
    /// Forgets what it holds.
    Crash,
    Claim,
    Step(Kind),
    /// The same, but the answer is lost, so that the owner has to ask.
    StepUnheard(Kind),
    Update,
    Stop,
}

impl Op {
    /// What makes sense at the same moment as something else: looking up is more than one operation.
    pub(super) fn at_once(self) -> Self {
        match self {
            Self::StepUnheard(kind) => Self::Step(kind),
            other => other,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// The epoch, the last seq and the takeovers of what was claimed.
    Claimed(Option<(u64, u64, u32)>),
    /// Up to that seq.
    Committed(u64),
    /// The run is somebody else's.
    Lost,
    Applied,
    Waits,
    Over,
}

/// What an owner believes to hold.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) epoch: u64,
    pub(super) head: Head,
    pub(super) known_command: u64,
}

/// The run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Model {
    alive: [bool; 2],
    /// Nobody: the run wants one, or is over.
    owner: Option<usize>,
    epoch: u64,
    takeovers: u32,
    turns: u32,
    open: bool,
    pub(super) over: bool,
    pub(super) log: Vec<&'static str>,
    pub(super) waiting: Vec<Op>,
}

impl Model {
    pub(super) const MAX_TURNS: u32 = 4;

    pub(super) fn new() -> Self {
        Self {
            alive: [false; 2],
            owner: None,
            epoch: 0,
            takeovers: 0,
            turns: 0,
            open: false,
            over: false,
            log: vec!["run.started"],
            waiting: Vec::new(),
        }
    }

    /// The operation, or nothing where no process would do it: one that is past its deadline claims nothing, and only an open turn
    /// is restarted.
    pub(super) fn sensible(&self, owner: usize, op: Op, held: Option<&Held>) -> Op {
        let idle = held.is_none_or(|held| held.head.open_seq.is_none());
        match op {
            Op::Claim if !self.alive[owner] => Op::Nothing,
            Op::Step(_) | Op::StepUnheard(_) if held.is_none() => Op::Nothing,
            Op::Step(Kind::Restart) | Op::StepUnheard(Kind::Restart) if idle => Op::Nothing,
            op => op,
        }
    }

    pub(super) fn apply(&mut self, owner: usize, op: Op, held: Option<&Held>) -> Outcome {
        match op {
            Op::Nothing | Op::Crash => Outcome::Done,
            Op::Renew | Op::Expire => {
                self.alive[owner] = op == Op::Renew;
                Outcome::Done
            }
            Op::Claim => self.claim(owner),
            Op::Step(kind) | Op::StepUnheard(kind) => match held {
                Some(held) if held.epoch == self.epoch && self.owner == Some(owner) => {
                    self.step(kind)
                }
                _ => Outcome::Lost,
            },
            Op::Update | Op::Stop => self.order(op),
        }
    }

    fn claim(&mut self, owner: usize) -> Outcome {
        let lost = match self.owner {
            _ if self.over => return Outcome::Claimed(None),
            Some(other) if other == owner || self.alive[other] => return Outcome::Claimed(None),
            other => other.is_some(),
        };
        self.takeovers += u32::from(lost);
        self.owner = Some(owner);
        self.epoch += 1;
        Outcome::Claimed(Some((self.epoch, self.log.len() as u64, self.takeovers)))
    }

    fn step(&mut self, kind: Kind) -> Outcome {
        if kind == Kind::Restart {
            self.log.push("turn.restarted");
            return Outcome::Committed(self.log.len() as u64);
        }
        if self.open {
            let name = if kind == Kind::Abort {
                "turn.failed"
            } else {
                "turn.completed"
            };
            self.log.push(name);
            (self.open, self.takeovers) = (false, 0);
            self.turns += 1;
        }
        let waiting = std::mem::take(&mut self.waiting);
        for _ in waiting.iter().filter(|op| **op == Op::Update) {
            self.log.push("bot.updated");
        }
        let end = match kind {
            Kind::Abort => Some("run.failed"),
            _ if waiting.contains(&Op::Stop) => Some("run.stopped"),
            _ if self.turns == Self::MAX_TURNS => Some("run.completed"),
            _ => None,
        };
        if let Some(end) = end {
            self.end(end);
        } else if kind == Kind::Leave {
            self.owner = None;
            self.epoch += 1;
        } else {
            self.log.push("turn.started");
            self.open = true;
        }
        Outcome::Committed(self.log.len() as u64)
    }

    fn end(&mut self, name: &'static str) {
        self.log.push(name);
        (self.over, self.owner) = (true, None);
    }

    fn order(&mut self, op: Op) -> Outcome {
        if self.over {
            return Outcome::Over;
        }
        if self.owner.is_some() || self.open {
            self.waiting.push(op);
            return Outcome::Waits;
        }
        match op {
            Op::Stop => self.end("run.stopped"),
            _ => self.log.push("bot.updated"),
        }
        Outcome::Applied
    }
}
