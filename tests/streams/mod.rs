//! The promises of the stream: nothing lost, nothing doubled, wherever and however often the client was cut.

use parley::simulator::{Gate, Script};
use proptest::prelude::*;
use serde_json::json;

use crate::support::{Event, Fold, SseClient, TestApp, talk, within};

/// Text that is awkward to cut: several bytes a character, combined characters, line ends, quotes.
const AWKWARD: [&str; 8] = [
    "你好，",
    "世界 — ",
    "🦀👩‍👩‍👧‍👦",
    " naïve\r\n",
    "日本語\u{2028}",
    "\"q\\uote\"",
    "\n\n",
    "e\u{301}nd.",
];

/// Thoughts that are awkward in the same way, and that nobody says.
const THOUGHTS: &str = "嗯， 你好\r\n \"q\" 🦀👩‍👩‍👧‍👦 e\u{301} \n\n naïve";

/// Reads a run through connections that are cut after so many bytes each, then to its end.
async fn read_cut(app: &TestApp, id: &str, cuts: &[usize]) -> Fold {
    let mut fold = Fold::default();
    for cut in cuts {
        let stream = app.stream(id, &fold.cursor).await;
        if stream.status == 204 {
            break;
        }
        assert_eq!(stream.status, 200);
        stream
            .cut_after(*cut)
            .await
            .iter()
            .for_each(|event| fold.apply(event));
    }
    while !fold.is_over() {
        let events = app.stream(id, &fold.cursor).await.rest().await;
        assert!(
            !events.is_empty(),
            "the stream ended at {} without a word",
            fold.cursor
        );
        events.iter().for_each(|event| fold.apply(event));
    }
    fold
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Any cuts, any number of readers, attempts that fail in between, reasoning before the text: every reader's text equals the export.
    #[test]
    fn any_cuts_and_reconnects_give_the_export(
        readers in prop::collection::vec(prop::collection::vec(0usize..1_500, 0..12), 1..5),
        faults in prop::collection::vec(0usize..6_000, 0..3),
        shown in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let every = std::time::Duration::from_millis(1);
            let script = || Script::deltas(AWKWARD).reasoning(THOUGHTS).every(every);
            let app = TestApp::with(script(), json!({"retry": {"max_attempts": 5}})).await;
            for bytes in faults {
                app.simulator.enqueue(script().abort_after_bytes(bytes));
            }
            let mut order = talk(3);
            order["show_reasoning"] = json!(shown);
            let id = app.start(&order).await;
            let reading = readers.iter().map(|cuts| read_cut(&app, &id, cuts));
            let folds = within("the readers", futures_util::future::join_all(reading)).await;
            let export = app.export(&id).await;
            for fold in folds {
                assert_eq!(fold.turns, Fold::turns_of(&export));
            }
            assert_eq!(read_cut(&app, &id, &[]).await.turns, Fold::turns_of(&export));
            app.close().await;
        });
    }
}

#[tokio::test]
async fn each_delta_is_seen_as_it_comes() {
    let gate = Gate::closed();
    let app = TestApp::spawn(Script::deltas(AWKWARD).gate(&gate)).await;
    let id = app.start_run(1).await;
    let mut stream = app.stream(&id, "").await;
    stream.until(|event| event.name == "turn.started").await;
    for (n, text) in (1..).zip(AWKWARD) {
        gate.let_through(1);
        // All that a delta costs on the wire: a chunk, and in it these bytes and no others.
        let chunk = stream.chunk().await.unwrap();
        let head = format!("event: turn.delta\nid: 2-{n}\ndata: ");
        let data = format!(
            r#"{{"type":"turn.delta","turn":0,"bot_index":0,"text":{}}}"#,
            json!(text)
        );
        assert_eq!(String::from_utf8_lossy(&chunk), format!("{head}{data}\n\n"));
        let events = stream.decoder.feed(&chunk);
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].id, format!("2-{n}"));
        assert_eq!(events[0].json()["text"], text);
    }
    gate.open();
    stream.rest().await;
    app.close().await;
}

#[tokio::test]
async fn a_cursor_is_resumed_exactly_where_it_stands() {
    let app = TestApp::spawn(Script::text("One two three four.")).await;
    let id = app.start_run(2).await;
    let whole = app.events(&id).await;
    let durable: Vec<&Event> = whole
        .iter()
        .filter(|event| event.id.ends_with("-0"))
        .collect();
    for (at, event) in durable.iter().enumerate() {
        let mut stream = app.stream(&id, &event.id).await;
        let rest = stream.rest().await;
        assert_eq!(
            rest.iter().collect::<Vec<_>>(),
            durable[at + 1..],
            "after {}",
            event.id
        );
        let expected = if at + 1 == durable.len() { 204 } else { 200 };
        assert_eq!(stream.status, expected);
    }
    // Inside an ended attempt: its deltas are gone, the event that closed it comes.
    let inside = app.stream(&id, "2-1").await.rest().await;
    assert_eq!(inside[0].id, "3-0");
    assert_eq!(app.stream(&id, "6-99").await.status, 204);
    for cursor in ["", "0-0"] {
        assert_eq!(
            app.stream(&id, cursor).await.rest().await.len(),
            durable.len()
        );
    }
    app.close().await;
}

#[tokio::test]
async fn cursors_that_cannot_be_are_told_so() {
    let gate = Gate::closed();
    let app = TestApp::spawn(Script::deltas(["a", "b"]).gate(&gate)).await;
    let id = app.start_run(1).await;
    app.stream(&id, "")
        .await
        .until(|event| event.name == "turn.started")
        .await;
    let path = format!("/api/stream/{id}");
    for bad in [
        "x",
        "1",
        "1-",
        "-1-0",
        "01-0",
        "1-0-0",
        "1.0",
        "9999999999999999999-0",
    ] {
        let answer = app
            .send(app.request("GET", &path).header("last-event-id", bad))
            .await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "invalid-cursor"),
            "{bad}"
        );
        let answer = app.get(&format!("{path}?last_event_id={bad}")).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "invalid-cursor"),
            "{bad}"
        );
    }
    let ahead = app.get(&format!("{path}?last_event_id=3-0")).await;
    assert_eq!(
        (ahead.status, ahead.problem().as_str()),
        (400, "cursor-ahead")
    );
    assert_eq!(ahead.json()["last_event_id"], "2-0");
    // An alien number of deltas is no error: they may have lived in a process that died.
    let mut waiting = app.stream(&id, "2-500").await;
    assert_eq!(waiting.status, 200);
    gate.open();
    assert_eq!(waiting.rest().await[0].name, "turn.completed");
    app.close().await;
}

#[tokio::test]
async fn the_header_goes_over_the_query() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let id = app.start_run(1).await;
    app.events(&id).await;
    let path = format!("/api/stream/{id}?last_event_id=1-0");
    let mut by_query = SseClient::open(&app.address, &path, &[]).await;
    assert_eq!(by_query.rest().await[0].id, "2-0");
    let mut by_header = SseClient::open(&app.address, &path, &[("last-event-id", "2-0")]).await;
    assert_eq!(by_header.rest().await[0].id, "3-0");
    app.close().await;
}

#[tokio::test]
async fn the_head_is_what_browsers_and_proxies_need() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let id = app.start_run(1).await;
    let mut stream = SseClient::open(
        &app.address,
        &format!("/api/stream/{id}"),
        &[("accept-encoding", "gzip, br")],
    )
    .await;
    for line in [
        "content-type: text/event-stream; charset=utf-8",
        "cache-control: no-cache, no-transform",
        "x-accel-buffering: no",
    ] {
        assert!(
            stream.head.contains(line),
            "{line} is not in {}",
            stream.head
        );
    }
    for absent in ["etag", "content-encoding", "content-length", "x-powered-by"] {
        assert!(
            !stream.head.contains(absent),
            "{absent} is in {}",
            stream.head
        );
    }
    let first = stream.chunk().await.unwrap();
    assert!(
        first.starts_with(b"retry: 2000\nevent: run.started\nid: 1-0\ndata: {"),
        "{first:?}"
    );
    let events = stream.decoder.feed(&first);
    assert!(!events.is_empty() && stream.decoder.retry == Some(2000));
    stream.rest().await;
    let head = app
        .send(app.request("HEAD", &format!("/api/stream/{id}")))
        .await;
    assert_eq!(
        head.header("content-type"),
        "text/event-stream; charset=utf-8"
    );
    app.close().await;
}

#[tokio::test]
async fn heartbeats_are_single_lines_and_come_only_in_silence() {
    let gate = Gate::closed();
    let app = TestApp::with(
        Script::deltas(["a"]).gate(&gate),
        json!({"stream": {"heartbeat_ms": 20}}),
    )
    .await;
    let id = app.start_run(1).await;
    let mut stream = app.stream(&id, "").await;
    stream.until(|event| event.name == "turn.started").await;
    for _ in 0..3 {
        assert_eq!(stream.chunk().await.unwrap(), b":\n");
    }
    gate.open();
    assert_eq!(stream.rest().await.last().unwrap().name, "run.completed");
    app.close().await;
}

#[tokio::test]
async fn a_client_that_leaves_does_not_touch_the_run() {
    let gate = Gate::closed();
    let app = TestApp::spawn(Script::deltas(["a", "b"]).gate(&gate)).await;
    let id = app.start_run(1).await;
    for _ in 0..10 {
        app.stream(&id, "").await.cut_after(30).await;
    }
    gate.open();
    assert_eq!(app.events(&id).await.last().unwrap().name, "run.completed");
    assert_eq!(app.simulator.requests().len(), 1);
    app.close().await;
}

/// A reader that does not read holds up nobody, and has everything when it reads again.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_holds_up_nobody_and_loses_nothing() {
    let piece = "x".repeat(2_000);
    let pieces = Script::text(&format!("{piece} ").repeat(400));
    let app = TestApp::spawn(pieces).await;
    let id = app.start_run(4).await;
    let mut slow = app.stream(&id, "").await;
    let fast = app.events(&id).await;
    let late = slow.rest().await;
    let export = app.export(&id).await;
    assert_eq!(Fold::of(&fast).turns, Fold::turns_of(&export));
    assert_eq!(Fold::of(&late).turns, Fold::turns_of(&export));
    app.close().await;
}

/// Many runs and readers at once, over real sockets, all of them right.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_runs_at_once_are_all_right() {
    let app = TestApp::spawn(Script::dialogue(0.05)).await;
    let runs = (0..100).map(|_| {
        let app = &app;
        async move {
            let id = app.start_run(3).await;
            let (one, two) = tokio::join!(app.events(&id), app.events(&id));
            let export = app.export(&id).await;
            assert_eq!(Fold::of(&one).turns, Fold::turns_of(&export));
            assert_eq!(Fold::of(&two).turns, Fold::turns_of(&export));
        }
    });
    within("a hundred runs", futures_util::future::join_all(runs)).await;
    app.close().await;
}

#[tokio::test]
async fn a_shutdown_ends_streams_and_the_cursor_stays_good() {
    let app = TestApp::spawn(Script::silent()).await;
    let id = app.start_run(1).await;
    let mut stream = app.stream(&id, "").await;
    let events = stream.until(|event| event.name == "turn.started").await;
    app.parts().shutdown.cancel();
    assert!(
        stream.rest().await.is_empty(),
        "no final event: the client comes back"
    );
    assert_eq!(Fold::of(&events).cursor, "2-0");
    app.stop(&id).await;
    app.close().await;
}
