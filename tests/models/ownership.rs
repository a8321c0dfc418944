//! Two owners and those who give commands, in any order and at the same moment, against a small model of the log: whatever the store
//! does, the model does it too, one operation after the other.

use std::{sync::Arc, time::Duration};

use migration::{Migrator, MigratorTrait as _};
use parley::{
    conversation::{
        Asker, Bot, BotSpec, BotUpdated, ContextPolicy, Failure, FailureCode, Params, Quotas,
        RunId, RunPlan, StopMode, Timestamp,
    },
    models::{Claimed, CommandKind, Fence, Inserted, Order, Store, StoreError, Takeover, connect},
};
use proptest::{prelude::*, test_runner::TestRunner};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement};

use super::{
    change,
    model::{Held, Kind, Model, Op, Outcome},
};
use crate::support::{Database, pool};

const NODES: [&str; 2] = ["node-a", "node-b"];
const AT: Timestamp = Timestamp::from_millis(1);

/// One operation alone, or one of each owner at the same moment.
#[derive(Debug, Clone)]
enum Round {
    One(usize, Op),
    Both([Op; 2]),
}

fn ops() -> impl Strategy<Value = Op> {
    let kinds = || {
        prop_oneof![
            5 => Just(Kind::Advance),
            2 => Just(Kind::Restart),
            1 => Just(Kind::Leave),
            1 => Just(Kind::Abort),
        ]
    };
    prop_oneof![
        3 => Just(Op::Renew),
        2 => Just(Op::Expire),
        5 => Just(Op::Claim),
        1 => Just(Op::Crash),
        10 => kinds().prop_map(Op::Step),
        2 => kinds().prop_map(Op::StepUnheard),
        3 => Just(Op::Update),
        1 => Just(Op::Stop),
    ]
}

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let round = prop_oneof![
        2 => (0..2_usize, ops()).prop_map(|(owner, op)| Round::One(owner, op)),
        1 => (ops(), ops()).prop_map(|(one, two)| Round::Both([one, two])),
    ];
    prop::collection::vec(round, 1..40)
}

fn bot(index: u32) -> Bot {
    let spec = BotSpec {
        name: None,
        provider: "p".to_owned(),
        model: "m".to_owned(),
        system_prompt: None,
        params: Params::default(),
        fallback: vec![],
    };
    Bot::from_spec(spec, index, 1)
}

/// A case: a run in the database, what the model knows of it, and what each owner believes to hold.
struct Case {
    db: DatabaseConnection,
    store: Store,
    run: RunId,
    /// What the run may be: two operations at once may have come in either order.
    models: Vec<Model>,
    held: [Option<Held>; 2],
}

impl Case {
    async fn new(db: &DatabaseConnection) -> Self {
        let store = Store::new(db.clone(), Duration::from_secs(10));
        let run = RunId::from_uuid(uuid::Uuid::now_v7());
        let plan = RunPlan {
            topic: "Tea?".to_owned(),
            bots: vec![bot(0), bot(1)],
            max_turns: Model::MAX_TURNS,
            show_reasoning: false,
            trace: None,
            context_policy: ContextPolicy::Fail,
        };
        let inserted = store
            .insert_run(run, &Asker::default(), &Quotas::default(), &plan, AT, None)
            .await
            .unwrap();
        assert!(matches!(inserted, Inserted::Now(..)));
        let mut case = Self {
            db: db.clone(),
            store,
            run,
            models: vec![Model::new()],
            held: [None, None],
        };
        for owner in 0..2 {
            Box::pin(case.round(&Round::One(owner, Op::Renew))).await;
        }
        case
    }

    async fn round(&mut self, round: &Round) {
        match round {
            Round::One(owner, op) => {
                let op = self.sensible(*owner, *op);
                let (outcome, held) = self.act(*owner, op).await;
                self.explain(&[(*owner, op, outcome)]);
                self.held[*owner] = held;
            }
            Round::Both(ops) => {
                let ops = [0, 1].map(|owner| self.sensible(owner, ops[owner].at_once()));
                let (one, two) = tokio::join!(self.act(0, ops[0]), self.act(1, ops[1]));
                self.explain(&[(0, ops[0], one.0), (1, ops[1], two.0)]);
                self.held = [one.1, two.1];
            }
        }
        let end = self.store.log_end(self.run).await.unwrap();
        let believed = format!("{:?}", self.models);
        self.models
            .retain(|model| end == Some((model.log.len() as u64, model.over)));
        assert!(
            !self.models.is_empty(),
            "{end:?} after {round:?}: {believed}"
        );
    }

    fn sensible(&self, owner: usize, op: Op) -> Op {
        self.models[0].sensible(owner, op, self.held[owner].as_ref())
    }

    /// Goes on with what the operations, in any order that gives these outcomes, may have made of the model.
    fn explain(&mut self, done: &[(usize, Op, Outcome)]) {
        let reversed: Vec<_> = done.iter().rev().copied().collect();
        let mut possible = Vec::new();
        for model in &self.models {
            for order in [done, &reversed] {
                let mut model = model.clone();
                let agree = order.iter().all(|(owner, op, outcome)| {
                    // A claim may miss what is let go at this very moment: the next look finds it.
                    let missed = done.len() > 1 && *outcome == Outcome::Claimed(None);
                    missed || model.apply(*owner, *op, self.held[*owner].as_ref()) == *outcome
                });
                if agree && !possible.contains(&model) {
                    possible.push(model);
                }
            }
        }
        assert!(
            !possible.is_empty(),
            "{done:?}, in no order possible: {:?} {:?}",
            self.models,
            self.held
        );
        self.models = possible;
    }

    /// What really happens, and what the owner holds after it.
    async fn act(&self, owner: usize, op: Op) -> (Outcome, Option<Held>) {
        let (store, run, node) = (&self.store, self.run, NODES[owner]);
        let held = self.held[owner].clone();
        match op {
            Op::Nothing => (Outcome::Done, held),
            Op::Renew => {
                store.renew(node, Duration::from_hours(1)).await.unwrap();
                (Outcome::Done, held)
            }
            Op::Expire => {
                let expire = format!("UPDATE nodes SET expires = 0 WHERE id = '{node}'");
                self.db.execute_unprepared(&expire).await.unwrap();
                (Outcome::Done, held)
            }
            Op::Crash => (Outcome::Done, None),
            Op::Claim => {
                let claimed = store.claim(run, node, Takeover::Expired).await.unwrap();
                let seen = claimed
                    .as_ref()
                    .map(|claimed| (claimed.epoch, claimed.head.last_seq, claimed.takeovers));
                (Outcome::Claimed(seen), claimed.map(Held::from).or(held))
            }
            Op::Update | Op::Stop => (self.order(op).await, held),
            Op::Step(kind) => self.step(kind, held).await,
            Op::StepUnheard(kind) => {
                let before = held.clone();
                let (outcome, _) = self.step(kind, held).await;
                (outcome, self.resolve(before).await)
            }
        }
    }

    async fn order(&self, op: Op) -> Outcome {
        let nobody = Asker::default();
        let answer = self.store.order(self.run, &nobody, AT, |locked| {
            let idle = !locked.owned && locked.head.open_seq.is_none();
            Ok(Some(if op == Op::Stop {
                Order {
                    kind: CommandKind::Stop(StopMode::Now),
                    change: idle.then(|| change::stopped(&locked.head)),
                }
            } else {
                let old = &locked.run.bots[1];
                let bot = Bot {
                    version: old.version + 1,
                    ..old.clone()
                };
                let update = BotUpdated {
                    bot_index: 1,
                    version: bot.version,
                    changes: serde_json::Map::new(),
                    effective_from_turn: None,
                };
                Order {
                    change: idle.then(|| change::updated(&locked.head, &update)),
                    kind: CommandKind::UpdateBot { update, bot },
                }
            }))
        });
        match answer.await {
            Ok(ordered) if ordered.logged.is_empty() => Outcome::Waits,
            Ok(_) => Outcome::Applied,
            Err(parley::conversation::RunError::AlreadyEnded { .. }) => Outcome::Over,
            Err(error) => panic!("{error:?}"),
        }
    }

    async fn step(&self, kind: Kind, held: Option<Held>) -> (Outcome, Option<Held>) {
        let Some(mut held) = held else {
            return (Outcome::Done, None);
        };
        let fence = Fence {
            run: self.run,
            epoch: held.epoch,
            expected_seq: held.head.last_seq,
            known_command: kind.takes_commands().then_some(held.known_command),
        };
        let plan = |commands: &[_]| change::step(kind, &held.head, commands);
        match self.store.commit(&fence, plan).await {
            Ok(committed) => {
                let released = committed.change.release;
                held.head = committed.change.head;
                if kind.takes_commands() {
                    held.known_command = committed.last_command;
                }
                let over = held.head.status.is_final();
                let seq = held.head.last_seq;
                (
                    Outcome::Committed(seq),
                    Some(held).filter(|_| !released && !over),
                )
            }
            Err(StoreError::LeaseLost) => (Outcome::Lost, None),
            Err(error) => panic!("{error:?}"),
        }
    }

    /// What an owner goes on with that has not heard of its commit: what the database says.
    async fn resolve(&self, before: Option<Held>) -> Option<Held> {
        let before = before?;
        let seq = self
            .store
            .stands_at(self.run, before.epoch)
            .await
            .unwrap()?;
        if seq == before.head.last_seq {
            return Some(before);
        }
        let claimed = self.store.load(self.run).await.unwrap().unwrap();
        let mine = claimed.epoch == before.epoch && NODES.contains(&claimed.owner.as_str());
        (mine && !claimed.head.status.is_final()).then(|| Held::from(claimed))
    }

    /// The books: the log is the model's, without gaps, and every command has its one outcome.
    async fn check(&mut self) {
        let logged = self.store.events_after(self.run, 0, 1_000).await.unwrap();
        let names: Vec<&str> = logged.iter().map(|event| event.name.as_str()).collect();
        self.models.retain(|model| model.log == names);
        let Some(model) = self.models.first() else {
            panic!("{names:?} is none of what is possible");
        };
        let seqs: Vec<u64> = logged.iter().map(|event| event.seq).collect();
        assert_eq!(seqs, (1..=logged.len() as u64).collect::<Vec<_>>());
        let query = Statement::from_sql_and_values(
            self.db.get_database_backend(),
            "SELECT count(*) FROM commands WHERE run_id = $1 AND outcome IS NULL",
            [self.run.as_uuid().into()],
        );
        let row = self.db.query_one_raw(query).await.unwrap().unwrap();
        let open: i64 = row.try_get_by_index(0).unwrap();
        assert_eq!(usize::try_from(open).unwrap(), model.waiting.len());
    }
}

impl From<Claimed> for Held {
    fn from(claimed: Claimed) -> Self {
        Self {
            epoch: claimed.epoch,
            head: claimed.head,
            known_command: 0,
        }
    }
}

fn cases(default: u32) -> u32 {
    let by_hand = std::env::var("PARLEY_TEST_CASES").ok();
    by_hand.map_or(default, |cases| cases.parse().unwrap())
}

/// As many cases on that database, shrunk to the shortest that goes wrong.
fn explore(uri: &str, cases: u32) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let db = runtime.block_on(async {
        let db = connect(&pool(uri)).await.unwrap();
        Migrator::up(&db, None).await.unwrap();
        db
    });
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let (runtime, db) = (Arc::new(runtime), Arc::new(db));
    let outcome = TestRunner::new(config).run(&rounds(), |rounds| {
        runtime.block_on(async {
            let mut case = Box::pin(Case::new(&db)).await;
            for round in &rounds {
                Box::pin(case.round(round)).await;
            }
            case.check().await;
        });
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    runtime.block_on(db.close_by_ref()).unwrap();
}

#[test]
fn two_owners_in_memory_do_what_the_model_does() {
    explore("sqlite::memory:", cases(1_000));
}

#[test]
fn two_owners_on_postgres_do_what_the_model_does() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Some(database) = runtime.block_on(Database::postgres()) else {
        return;
    };
    explore(&database.uri, cases(100));
    runtime.block_on(database.remove());
}

/// Who ends a run unread, and does not hear that it went through, finds it in the row.
#[tokio::test]
async fn an_end_that_nobody_heard_of_is_found() {
    let db = connect(&pool("sqlite::memory:")).await.unwrap();
    Migrator::up(&db, None).await.unwrap();
    let case = Case::new(&db).await;
    let (store, run) = (&case.store, case.run);
    let failure = Failure::new(FailureCode::Internal, "cannot be read");
    let claimed = store.claim(run, NODES[0], Takeover::Nobody).await.unwrap();
    assert!(claimed.is_some());
    let found = async |at| store.was_failed(run, &failure, at).await.unwrap();
    assert_eq!(found(AT).await, None);
    let logged = store.fail_unread(run, NODES[0], &failure, AT).await;
    assert!(store.owned(run, NODES[0]).await.unwrap().is_none());
    assert_eq!(found(AT).await, Some(logged.unwrap()));
    // The same words of another moment are somebody else's.
    assert_eq!(found(Timestamp::from_millis(2)).await, None);
}
