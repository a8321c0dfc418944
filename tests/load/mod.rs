//! Many runs at once: all of them right, and a delta still on its way for a few milliseconds only.

use std::time::{Duration, Instant};

use parley::simulator::{Gate, Script};

use crate::support::{Fold, TestApp, talk, within};

/// Runs that talk while the delay is measured, at the pace of a quick model: 50 deltas a second each.
const RUNS: usize = 50;

/// Deltas whose way is measured.
const PROBES: usize = 500;

/// What half of the deltas may take from the provider's socket to the reader's. It is well under 1 ms on an idle machine, in a
/// debug build; an acknowledgement waited for would cost 40 ms, anything polled more.
const P50: Duration = Duration::from_millis(25);

#[tokio::test(flavor = "multi_thread")]
async fn a_delta_is_quick_among_many_runs_and_all_of_them_end_well() {
    let words = "to be or not to be is what they ask themselves ".repeat(15);
    let start = Gate::closed();
    let talks = Script::text(&words).every(Duration::from_millis(20));
    let app = TestApp::spawn(talks.gate(&start)).await;
    let mut readers = Vec::new();
    for _ in 0..RUNS {
        let id = app.start_run(2).await;
        let mut stream = app.stream(&id, "").await;
        readers.push((id, tokio::spawn(async move { stream.rest().await })));
    }
    let gate = Gate::closed();
    app.simulator
        .enqueue_for("probe", Script::endless("tick ").gate(&gate));
    let probe = start_probe(&app).await;
    within(
        "all of them to talk",
        app.simulator.wait_for(|activity| activity.open > RUNS),
    )
    .await;

    start.open();
    let delays = within("the probes", delays(&app, &probe, &gate)).await;
    let p50 = delays[PROBES / 2];
    assert!(p50 < P50, "half of the deltas took {p50:?} or more");

    assert_eq!(app.stop(&probe).await.status, 200);
    for (id, reader) in readers {
        let events = within("a run to end", reader).await.unwrap();
        let fold = Fold::of(&events);
        assert_eq!(fold.last, "run.completed");
        assert_eq!(fold.turns, Fold::turns_of(&app.export(&id).await));
    }
    app.close().await;
}

/// A run whose provider speaks only when the gate lets it.
async fn start_probe(app: &TestApp) -> String {
    let mut order = talk(1);
    order["bots"][0]["model"] = "probe".into();
    let answer = app.post("/api/run", &order).await;
    answer.json()["run_id"].as_str().unwrap().to_owned()
}

/// How long each delta took from the provider to a reader, shortest first.
async fn delays(app: &TestApp, probe: &str, gate: &Gate) -> Vec<Duration> {
    let mut stream = app.stream(probe, "").await;
    stream.until(|event| event.name == "turn.started").await;
    let mut delays = Vec::new();
    for _ in 0..PROBES {
        let sent = Instant::now();
        gate.let_through(1);
        stream.until(|event| event.name == "turn.delta").await;
        delays.push(sent.elapsed());
    }
    delays.sort();
    delays
}
