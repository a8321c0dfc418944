//! Readers that come back whatever happens, and the reckoning at the end.

use std::{sync::Arc, time::Duration};

use parley::simulator::Simulator;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{Event, Fold, SseDecoder, client};

/// No run takes longer, killed processes and all.
const PATIENCE: Duration = Duration::from_secs(60);

/// A run that is read to its end.
pub(super) struct Watched {
    id: String,
    /// What a reader saw that came back with its cursor after every cut.
    reader: JoinHandle<Fold>,
    /// The versions that were answered to changes of a bot.
    changer: JoinHandle<Vec<u64>>,
    /// How the run has to end by the answer to a stop; `None`: nobody stops it.
    stopper: Option<JoinHandle<String>>,
}

impl Watched {
    /// The same run, which somebody stops at some moment.
    pub(super) fn stopped(self, mode: &'static str, bases: Arc<[String]>, seed: u64) -> Self {
        let stopper = tokio::spawn(stop(self.id.clone(), mode, bases, seed));
        Self {
            stopper: Some(stopper),
            ..self
        }
    }
}

/// What the logs of all runs come to.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// Turns that were spoken, to their end or to a stop.
    pub(super) turns: usize,
    pub(super) restarts: usize,
    pub(super) stopped: usize,
    /// The events of each run.
    pub(super) logs: Vec<Vec<Event>>,
}

/// Reads the run, and changes one of its bots now and then, on nodes that come and go.
pub(super) fn watch(id: String, bases: Arc<[String]>, seed: u64) -> Watched {
    Watched {
        reader: tokio::spawn(read(id.clone(), Arc::clone(&bases), seed)),
        changer: tokio::spawn(change(id.clone(), bases, seed)),
        stopper: None,
        id,
    }
}

/// Reads from any node, comes back with the cursor whenever the stream ends, until the run is over.
async fn read(id: String, bases: Arc<[String]>, seed: u64) -> Fold {
    let (client, mut random) = (client(), StdRng::seed_from_u64(seed));
    let mut fold = Fold::default();
    let mut cursor = String::new();
    while !fold.is_over() {
        let base = &bases[random.random_range(0..bases.len())];
        let mut request = client.get(format!("{base}/api/stream/{id}"));
        if !cursor.is_empty() {
            request = request.header("last-event-id", &cursor);
        }
        let Ok(mut answer) = request.send().await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        if answer.status() != 200 {
            assert!(answer.status() == 503, "{:?}", answer.text().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        let mut decoder = SseDecoder::default();
        while let Ok(Some(bytes)) = answer.chunk().await {
            for event in decoder.feed(&bytes) {
                assert!(
                    number(&event.id) > number(&cursor),
                    "{} after {cursor}",
                    event.id
                );
                cursor.clone_from(&event.id);
                let before = fold.turns.clone();
                fold.apply(&event);
                if matches!(event.name.as_str(), "turn.completed" | "turn.interrupted") {
                    // What was shown delta by delta is the beginning of it: nothing doubled, nothing of another attempt.
                    let (turn, text) = fold.turns.last_key_value().unwrap();
                    let shown = before.get(turn).map_or("", String::as_str);
                    assert!(
                        text.starts_with(shown),
                        "run {id}: {shown:?} was shown of {text:?}"
                    );
                }
            }
        }
    }
    fold
}

pub(super) fn number(id: &str) -> (u64, u64) {
    let (seq, n) = id.split_once('-').unwrap_or(("0", "0"));
    (seq.parse().unwrap(), n.parse().unwrap())
}

/// Changes the second bot a few times; the versions that were answered.
async fn change(id: String, bases: Arc<[String]>, seed: u64) -> Vec<u64> {
    let (client, mut random) = (client(), StdRng::seed_from_u64(!seed));
    let mut versions = Vec::new();
    for round in 0..3 {
        tokio::time::sleep(Duration::from_millis(random.random_range(0..400))).await;
        let base = &bases[random.random_range(0..bases.len())];
        let body = json!({"system_prompt": format!("Round {round} of {seed}.")});
        let request = client
            .patch(format!("{base}/api/run/{id}/bot/1"))
            .header("content-type", "application/json")
            .body(body.to_string());
        if let Ok(answer) = request.send().await
            && answer.status() == 200
            && let Ok(text) = answer.text().await
        {
            let bot: Value = serde_json::from_str(&text).unwrap();
            versions.push(bot["version"].as_u64().unwrap());
        }
    }
    versions
}

/// Stops the run at some moment, asking until it is accepted; the status with which the run then has to end.
async fn stop(id: String, mode: &'static str, bases: Arc<[String]>, seed: u64) -> String {
    let (client, mut random) = (client(), StdRng::seed_from_u64(seed.rotate_left(32)));
    tokio::time::sleep(Duration::from_millis(random.random_range(0..600))).await;
    loop {
        let base = &bases[random.random_range(0..bases.len())];
        let request = client
            .post(format!("{base}/api/run/{id}/stop"))
            .header("content-type", "application/json")
            .body(json!({"mode": mode}).to_string());
        if let Ok(answer) = request.send().await {
            let status = answer.status().as_u16();
            assert!(matches!(status, 200 | 202 | 503), "{status} to a stop");
            if let Ok(text) = answer.text().await
                && status != 503
            {
                let run: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(run["pending"], status == 202, "{text}");
                // Written down while the run was not over: nothing else can end it.
                return match status {
                    202 => "stopped".to_owned(),
                    _ => run["status"].as_str().unwrap().to_owned(),
                };
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits for the end of every run and compares what was seen with what is written, and what was asked with what was spoken.
pub(super) async fn check(watched: Vec<Watched>, base: &str, simulator: &Simulator) -> Books {
    let books = reckon(watched, base).await;
    let (asked, spoken) = (simulator.requests().len(), books.turns + books.restarts);
    assert!(
        asked <= spoken,
        "{asked} requests for {} turns and {} restarts",
        books.turns,
        books.restarts
    );
    books
}

/// Waits for the end of every run and compares what was seen with what is written.
pub(super) async fn reckon(watched: Vec<Watched>, base: &str) -> Books {
    let client = client();
    let get = async |path: String| -> String {
        let answer = client.get(format!("{base}{path}")).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().await.unwrap()
    };
    let mut books = Books::default();
    for Watched {
        id,
        reader,
        changer,
        stopper,
    } in watched
    {
        let fold = tokio::time::timeout(PATIENCE, reader)
            .await
            .unwrap_or_else(|_| panic!("run {id} does not end"))
            .unwrap();
        let accepted = changer.await.unwrap();
        let status = match stopper {
            Some(stopper) => stopper.await.unwrap(),
            None => "completed".to_owned(),
        };
        let export: Value =
            serde_json::from_str(&get(format!("/api/export/{id}.json")).await).unwrap();
        assert_eq!(export["status"], status.as_str(), "{export}");
        assert_eq!(
            fold.turns,
            Fold::turns_of(&export),
            "run {id}: the reader saw something else"
        );
        let events = SseDecoder::default().feed(get(format!("/api/stream/{id}")).await.as_bytes());
        let seqs: Vec<(u64, u64)> = events.iter().map(|event| number(&event.id)).collect();
        let gapless: Vec<(u64, u64)> = (1..=seqs.len() as u64).map(|seq| (seq, 0)).collect();
        assert_eq!(seqs, gapless, "run {id}: the log has gaps");
        check_commands(&id, &events, &accepted, &status);
        books.turns += count(&events, "turn.completed") + count(&events, "turn.interrupted");
        books.restarts += count(&events, "turn.restarted");
        books.stopped += count(&events, "run.stopped");
        books.logs.push(events);
    }
    books
}

/// What was accepted happened, once; what was not, did not.
fn check_commands(id: &str, events: &[Event], accepted: &[u64], status: &str) {
    let told: Vec<u64> = events
        .iter()
        .filter(|event| event.name == "bot.updated")
        .map(|event| event.json()["version"].as_u64().unwrap())
        .collect();
    assert!(
        told.windows(2).all(|pair| pair[0] < pair[1]),
        "run {id}: {told:?}"
    );
    assert!(
        accepted.iter().all(|version| told.contains(version)),
        "run {id}: {accepted:?} were accepted, {told:?} were told"
    );
    let stops = usize::from(status == "stopped");
    assert_eq!(count(events, "run.stopped"), stops, "run {id}");
    assert!(
        count(events, "turn.interrupted") <= stops,
        "run {id}: a turn was interrupted that nobody had stopped"
    );
}

pub(super) fn count(events: &[Event], name: &str) -> usize {
    events.iter().filter(|event| event.name == name).count()
}
