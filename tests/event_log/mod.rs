//! The event log without HTTP: one path for replay and live, whatever the order in which things happen.

use std::{task::Poll, time::Duration};

use bytes::Bytes;
use migration::{Migrator, MigratorTrait as _};
use parley::{
    conversation::{
        Asker, BotSpec, Delta, DeltaKind, EventId, Params, Quotas, RunError, RunId, StartRun,
        Timestamp,
    },
    event_log::{EventLog, Opened, Reader},
    models::{LoggedEvent, Store, connect},
};
use sea_orm::ConnectionTrait as _;

use crate::support::pool;

struct Log {
    log: EventLog,
    db: sea_orm::DatabaseConnection,
    run: RunId,
}

impl Log {
    /// A log with `run.started` in it.
    async fn new() -> Self {
        let db = connect(&pool("sqlite::memory:")).await.unwrap();
        Migrator::up(&db, None).await.unwrap();
        let store = Store::new(db.clone(), Duration::from_secs(5));
        let bot = || BotSpec {
            name: None,
            provider: "p".into(),
            model: "m".into(),
            system_prompt: None,
            params: Params::default(),
            fallback: vec![],
        };
        let order = StartRun {
            topic: "Tea".into(),
            bots: vec![bot(), bot()],
            max_turns: None,
            show_reasoning: None,
            context_policy: None,
        };
        let run = RunId::from_uuid(uuid::Uuid::now_v7());
        store
            .insert_run(
                run,
                &Asker::default(),
                &Quotas::default(),
                &order.plan(9).unwrap(),
                Timestamp::from_millis(0),
                None,
            )
            .await
            .unwrap();
        Self {
            log: EventLog::new(store),
            db,
            run,
        }
    }

    /// Writes an event as a committed transaction would have, without publishing it.
    async fn commit(&self, seq: u64, name: &str) -> LoggedEvent {
        let data = format!("{{\"seq\":{seq}}}");
        let id = self.run.as_uuid().simple();
        self.db
            .execute_unprepared(&format!(
                "INSERT INTO events (run_id, seq, name, payload, at) VALUES (x'{id}', {seq}, '{name}', '{data}', 0);
                 UPDATE runs SET last_seq = {seq} WHERE id = x'{id}'"
            ))
            .await
            .unwrap();
        LoggedEvent {
            seq,
            name: name.into(),
            data,
        }
    }

    async fn append(&self, seq: u64, name: &str) {
        let event = self.commit(seq, name).await;
        self.log.publish(self.run, &[event]);
    }

    async fn read(&self, cursor: &str) -> Reader {
        match self
            .log
            .open(self.run, cursor.parse().unwrap())
            .await
            .unwrap()
        {
            Opened::Reading(reader) => *reader,
            Opened::Over => panic!("over at {cursor}"),
        }
    }

    fn say(&self, channel: &parley::event_log::Channel, text: &str) {
        channel.push(&Delta {
            turn: 0,
            bot_index: 0,
            kind: DeltaKind::Text,
            text,
        });
    }

    /// Says something so long after somebody has begun to wait: the ids of what that one has at once; `None` if it waits for more.
    async fn hears<F>(&self, waiting: &mut F, later: Duration) -> Option<Vec<String>>
    where
        F: Future<Output = Result<Option<Bytes>, RunError>> + Unpin,
    {
        assert!(futures_util::poll!(&mut *waiting).is_pending());
        tokio::time::advance(later).await;
        self.say(&self.log.channel(self.run), "x");
        match futures_util::poll!(waiting) {
            Poll::Ready(blocks) => Some(told(&blocks.unwrap().unwrap())),
            Poll::Pending => None,
        }
    }
}

/// The ids in these blocks.
fn told(blocks: &[u8]) -> Vec<String> {
    let text = str::from_utf8(blocks).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("id: ").map(str::to_owned))
        .collect()
}

/// The ids of what the reader has next, bounded in time.
async fn next(reader: &mut Reader) -> Vec<String> {
    let bytes = tokio::time::timeout(Duration::from_secs(5), reader.next())
        .await
        .expect("nothing came")
        .unwrap();
    told(&bytes.unwrap_or_default())
}

async fn ids(reader: &mut Reader, until: &str) -> Vec<String> {
    let mut all = Vec::new();
    while all.last().map(String::as_str) != Some(until) {
        let more = next(reader).await;
        assert!(!more.is_empty(), "the log ended after {all:?}");
        all.extend(more);
    }
    all
}

#[tokio::test]
async fn replay_and_live_are_one_path() {
    let log = Log::new().await;
    let channel = log.log.channel(log.run);
    let mut early = log.read("0-0").await;
    assert_eq!(next(&mut early).await, ["1-0"]);
    log.append(2, "turn.started").await;
    log.say(&channel, "a");
    log.say(&channel, "b");
    assert_eq!(ids(&mut early, "2-2").await, ["2-0", "2-1", "2-2"]);
    let mut late = log.read("0-0").await;
    assert_eq!(ids(&mut late, "2-2").await, ["1-0", "2-0", "2-1", "2-2"]);
    let mut resumed = log.read("2-1").await;
    assert_eq!(next(&mut resumed).await, ["2-2"]);
    log.append(3, "turn.completed").await;
    log.append(4, "run.completed").await;
    for reader in [&mut early, &mut late, &mut resumed] {
        assert_eq!(ids(reader, "4-0").await, ["3-0", "4-0"]);
        assert!(reader.next().await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_reader_that_lags_still_gets_the_deltas_it_was_reading() {
    let log = Log::new().await;
    let channel = log.log.channel(log.run);
    log.append(2, "turn.started").await;
    let mut reader = log.read("1-0").await;
    log.say(&channel, "a");
    assert_eq!(ids(&mut reader, "2-1").await, ["2-0", "2-1"]);
    log.say(&channel, "b");
    log.append(3, "turn.completed").await;
    log.append(4, "turn.started").await;
    log.append(5, "turn.completed").await;
    log.say(&channel, "c");
    assert_eq!(
        ids(&mut reader, "5-1").await,
        ["2-2", "3-0", "4-0", "5-0", "5-1"]
    );
}

#[tokio::test]
async fn deltas_of_an_ended_attempt_are_gone_for_whoever_comes_later() {
    let log = Log::new().await;
    let channel = log.log.channel(log.run);
    log.append(2, "turn.started").await;
    log.say(&channel, "a");
    log.append(3, "turn.completed").await;
    assert_eq!(next(&mut log.read("2-0").await).await, ["3-0"]);
    assert_eq!(next(&mut log.read("2-1").await).await, ["3-0"]);
    assert_eq!(
        ids(&mut log.read("0-0").await, "3-0").await,
        ["1-0", "2-0", "3-0"]
    );
}

#[tokio::test]
async fn a_cursor_of_lost_deltas_waits_for_what_comes_next() {
    let log = Log::new().await;
    log.append(2, "turn.started").await;
    let mut reader = log.read("2-999").await;
    assert!(
        tokio::time::timeout(Duration::from_millis(50), reader.next())
            .await
            .is_err()
    );
    log.append(3, "turn.restarted").await;
    assert_eq!(next(&mut reader).await, ["3-0"]);
}

#[tokio::test]
async fn events_published_out_of_order_leave_no_gap() {
    let log = Log::new().await;
    let channel = log.log.channel(log.run);
    log.append(2, "turn.started").await;
    let mut reader = log.read("0-0").await;
    assert_eq!(ids(&mut reader, "2-0").await, ["1-0", "2-0"]);
    let third = log.commit(3, "bot.updated").await;
    log.append(4, "turn.started").await;
    channel.publish(&[third]);
    log.say(&channel, "a");
    assert_eq!(ids(&mut reader, "4-1").await, ["3-0", "4-0", "4-1"]);
}

#[tokio::test]
async fn an_event_read_from_the_database_before_it_was_published_comes_once() {
    let log = Log::new().await;
    let channel = log.log.channel(log.run);
    let second = log.commit(2, "turn.started").await;
    let mut reader = log.read("0-0").await;
    assert_eq!(ids(&mut reader, "2-0").await, ["1-0", "2-0"]);
    channel.publish(std::slice::from_ref(&second));
    channel.publish(&[second]);
    log.say(&channel, "a");
    assert_eq!(next(&mut reader).await, ["2-1"]);
}

#[tokio::test]
async fn cursors_are_held_against_the_database() {
    let log = Log::new().await;
    log.append(2, "turn.started").await;
    let open = |cursor: &str| log.log.open(log.run, cursor.parse().unwrap());
    let Err(RunError::CursorAhead { last, .. }) = open("3-0").await else {
        panic!("3-0 was good")
    };
    assert_eq!(last, EventId::durable(2));
    let nobody = RunId::from_uuid(uuid::Uuid::nil());
    assert!(matches!(
        log.log.open(nobody, EventId::START).await,
        Err(RunError::NotFound(_))
    ));
    log.append(3, "run.stopped").await;
    log.db
        .execute_unprepared("UPDATE runs SET status = 'stopped'")
        .await
        .unwrap();
    assert!(matches!(open("3-0").await, Ok(Opened::Over)));
    assert!(matches!(open("3-77").await, Ok(Opened::Over)));
    assert_eq!(next(&mut log.read("2-5").await).await, ["3-0"]);
}

#[tokio::test]
async fn a_cancelled_wait_loses_nothing() {
    let log = Log::new().await;
    let channel = log.log.channel(log.run);
    log.append(2, "turn.started").await;
    let mut reader = log.read("2-0").await;
    for n in 1..=100 {
        // Polled once and dropped, as a heartbeat does it.
        let early = tokio::time::timeout(Duration::ZERO, reader.next()).await;
        assert!(early.is_err(), "nothing was said yet");
        log.say(&channel, "x");
        assert_eq!(next(&mut reader).await, [format!("2-{n}")]);
    }
}

/// A heartbeat gives a wait up; where the database takes longer, its answer still comes.
#[tokio::test]
async fn a_read_of_the_database_goes_on_where_the_wait_for_it_is_given_up() {
    let log = Log::new().await;
    let mut reader = log.read("0-0").await;
    let patience = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        // One look each, in which no database answers.
        match futures_util::poll!(Box::pin(reader.next())) {
            Poll::Ready(read) => {
                let read = read.unwrap().unwrap();
                assert!(String::from_utf8_lossy(&read).contains("id: 1-0"));
                return;
            }
            Poll::Pending => tokio::task::yield_now().await,
        }
        assert!(tokio::time::Instant::now() < patience, "no answer comes");
    }
}

/// The same where the log goes on meanwhile: what was asked for is not left behind, with a connection that all others lack.
#[tokio::test]
async fn a_read_that_was_given_up_is_answered_before_anything_else_is_shown() {
    let log = Log::new().await;
    let channel = log.log.channel(log.run);
    let second = log.commit(2, "turn.started").await;
    let mut reader = log.read("0-0").await;
    assert_eq!(ids(&mut reader, "2-0").await, ["1-0", "2-0"]);
    assert!(futures_util::poll!(Box::pin(reader.next())).is_pending());
    assert!(reader.is_reading());
    channel.publish(&[second]);
    log.say(&channel, "a");
    assert_eq!(next(&mut reader).await, ["2-1"]);
    assert!(!reader.is_reading());
    // The pool has one connection.
    log.append(3, "turn.completed").await;
    assert_eq!(next(&mut reader).await, ["3-0"]);
}

/// What comes quicker than anybody can see leaves in one write; nothing else than deltas waits for it.
#[tokio::test]
async fn quick_deltas_leave_together() {
    let log = Log::new().await;
    let channel = log.log.channel(log.run);
    log.append(2, "turn.started").await;
    let mut reader = log.read("2-0").await;
    // The clock stands still but where it is moved on. Nothing below is read from the database, whose pool has timers of its own.
    tokio::time::pause();
    {
        let mut first = Box::pin(reader.next());
        let at_once = log.hears(&mut first, Duration::ZERO).await;
        assert_eq!(at_once.unwrap(), ["2-1"], "a turn's first delta has waited");
    }
    {
        let mut slow = Box::pin(reader.next());
        let at_once = log.hears(&mut slow, Duration::from_millis(1)).await;
        assert_eq!(at_once.unwrap(), ["2-2"], "a slow delta has waited");
    }
    {
        let mut quick = Box::pin(reader.next());
        assert_eq!(log.hears(&mut quick, Duration::ZERO).await, None);
        log.say(&channel, "x");
        assert!(futures_util::poll!(&mut quick).is_pending());
        tokio::time::advance(Duration::from_millis(2)).await;
        let Poll::Ready(both) = futures_util::poll!(&mut quick) else {
            panic!("deltas wait for more than two milliseconds");
        };
        assert_eq!(told(&both.unwrap().unwrap()), ["2-3", "2-4"]);
    }
    {
        let mut given_up = Box::pin(reader.next());
        assert_eq!(log.hears(&mut given_up, Duration::ZERO).await, None);
    }
    assert_eq!(next(&mut reader).await, ["2-5"]);
    {
        let mut cut_short = Box::pin(reader.next());
        assert_eq!(log.hears(&mut cut_short, Duration::ZERO).await, None);
        let event = LoggedEvent {
            seq: 3,
            name: "turn.completed".into(),
            data: "{}".into(),
        };
        channel.publish(&[event]);
        let Poll::Ready(last) = futures_util::poll!(&mut cut_short) else {
            panic!("an event has waited for deltas");
        };
        assert_eq!(told(&last.unwrap().unwrap()), ["2-6"]);
    }
    assert_eq!(next(&mut reader).await, ["3-0"]);
    log.say(&channel, "x");
    assert_eq!(next(&mut reader).await, ["3-1"]);
    {
        let mut removed = Box::pin(reader.next());
        assert_eq!(log.hears(&mut removed, Duration::ZERO).await, None);
        log.log.vanish(log.run);
        assert!(futures_util::poll!(&mut removed).is_ready());
    }
    assert!(reader.next().await.unwrap().is_none());
}

/// Where no delta has come, there is none to wait for.
#[tokio::test]
async fn a_removal_alone_ends_a_wait_at_once() {
    let log = Log::new().await;
    let channel = log.log.channel(log.run);
    log.append(2, "turn.started").await;
    let mut reader = log.read("2-0").await;
    log.say(&channel, "x");
    assert_eq!(next(&mut reader).await, ["2-1"]);
    // Nothing below is read from the database.
    tokio::time::pause();
    let mut waiting = Box::pin(reader.next());
    assert!(futures_util::poll!(&mut waiting).is_pending());
    log.log.vanish(log.run);
    let Poll::Ready(end) = futures_util::poll!(&mut waiting) else {
        panic!("a removal has waited for deltas");
    };
    assert!(end.unwrap().is_none());
}

#[tokio::test]
async fn a_long_log_is_read_in_pages_and_a_long_turn_in_bounded_writes() {
    let log = Log::new().await;
    for seq in 2..=200 {
        log.commit(seq, "bot.updated").await;
    }
    let mut reader = log.read("0-0").await;
    assert_eq!(ids(&mut reader, "200-0").await.len(), 200);
    log.append(201, "turn.started").await;
    let channel = log.log.channel(log.run);
    log.append(202, "turn.started").await;
    let text = "x".repeat(1_000);
    for _ in 0..300 {
        log.say(&channel, &text);
    }
    let mut bytes = 0;
    while bytes < 300_000 {
        let piece = tokio::time::timeout(Duration::from_secs(5), reader.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert!(piece.len() <= 64 * 1024, "{}", piece.len());
        bytes += piece.len();
    }
}

#[tokio::test]
async fn nothing_is_left_of_a_run_that_nobody_holds() {
    let log = Log::new().await;
    let channel = log.log.channel(log.run);
    let reader = log.read("0-0").await;
    assert_eq!(log.log.live(), 1);
    drop(channel);
    assert_eq!(log.log.live(), 1);
    drop(reader);
    assert_eq!(log.log.live(), 0);
}
