//! Answers that never end, or are longer than anybody should have to read.

use std::time::Duration;

use parley::conversation::{FailureCode, StopReason};

use super::{BUFFERS, END, HEAD, Hostile, WORD, asked, in_time, short, told};
use crate::providers::{ANTHROPIC, OPENAI, PATIENT, RESPONSES};

/// What tests have for `first_delta`, and how much later an end may come on a machine that has other things to do.
const FIRST_DELTA: u64 = 300;
const MOST: Duration = Duration::from_secs(5);

/// Bound: `max_event_bytes`, 1 MiB here, beside what the kernels hold.
#[tokio::test]
async fn of_a_line_of_a_gigabyte_no_more_than_an_event_is_taken() {
    for first in ["data: ", "", ": ", "event: ", "id: "] {
        let server = Hostile::endless(&format!("{HEAD}{first}"), "xxxxxxxxxxxxxxxx").await;
        let heard = in_time(MOST, &server, PATIENT).await;
        assert_eq!(heard.failure, Some(FailureCode::Malformed), "{first:?}");
        let sent = server.sent().await;
        assert!(sent < BUFFERS, "{first:?}: {sent} bytes");
    }
}

/// Bound: `max_event_bytes` for the lines of one event together.
#[tokio::test]
async fn of_an_event_of_endless_lines_no_more_than_an_event_is_taken() {
    for line in ["data: x\n", "data:\n", "id: 1\n", "nothing: known\n"] {
        let server = Hostile::endless(HEAD, line).await;
        let heard = in_time(MOST, &server, PATIENT).await;
        assert_eq!(heard.failure, Some(FailureCode::Malformed), "{line:?}");
        let sent = server.sent().await;
        assert!(sent < BUFFERS, "{line:?}: {sent} bytes");
    }
}

/// What says nothing, however much of it comes: it ends by `first_delta`, or earlier by `max_event_bytes` where it is no event.
const NOISE: [&str; 7] = [
    ": ping\n\n",
    ":\n",
    "\n",
    "data:\n\n",
    "id: 1\n\n",
    "data: {}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"\"}}]}\n\n",
];

/// Bound: `first_delta`, before the first word and between words.
#[tokio::test]
async fn an_endless_stream_that_says_nothing_ends_by_first_delta() {
    for first in [String::new(), WORD.to_owned()] {
        for noise in NOISE {
            let server = Hostile::endless(&format!("{HEAD}{first}"), noise).await;
            let heard = in_time(MOST, &server, short(FIRST_DELTA, 20_000)).await;
            let code = heard.failure;
            assert!(
                matches!(code, Some(FailureCode::Timeout | FailureCode::Malformed)),
                "{first:?} {noise:?}: {heard:?}"
            );
        }
    }
}

/// Bound: `first_delta`, whatever API is asked.
#[tokio::test]
async fn events_of_each_api_that_say_nothing_end_by_first_delta() {
    let ping = "event: ping\ndata: {\"type\":\"ping\"}\n\n";
    let keepalive = "data: {\"type\":\"keepalive\"}\n\n";
    let messages = "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n";
    let responses = "data: {\"type\":\"response.output_text.delta\",\"delta\":\"Hi\"}\n\n";
    for (kind, first, again) in [
        (ANTHROPIC, "", ping),
        (ANTHROPIC, messages, ping),
        (RESPONSES, "", keepalive),
        (RESPONSES, responses, keepalive),
    ] {
        let server = Hostile::endless(&format!("{HEAD}{first}"), again).await;
        let timeouts = short(FIRST_DELTA, 20_000);
        let heard = asked(MOST, kind, &server.base, timeouts).await;
        assert_eq!(heard.failure, Some(FailureCode::Timeout), "{kind} {first}");
    }
}

/// Bound: `first_delta`. A byte each few milliseconds is no silence, but an event that never ends says nothing either.
#[tokio::test]
async fn a_slow_drip_of_bytes_ends_by_first_delta() {
    let inside = format!("{HEAD}{WORD}data: {{\"choices\":[{{\"delta\":{{\"content\":\"");
    for (first, again) in [
        (HEAD.to_owned(), "x"),
        (format!("{HEAD}{WORD}"), "x"),
        (inside, "x"),
        (format!("{HEAD}{WORD}"), ": ping\n\n"),
        ("HTTP/1.1 200 OK\r\nx-slow: ".to_owned(), "x"),
    ] {
        let server = Hostile::dripping(&first, again).await;
        let heard = in_time(MOST, &server, short(FIRST_DELTA, 20_000)).await;
        assert_eq!(heard.failure, Some(FailureCode::Timeout), "{first:?}");
    }
}

/// A talk that goes on for longer than `first_delta`, with pauses shorter than it, is none of the above.
#[tokio::test]
async fn slow_words_are_words() {
    let server = Hostile::start(|mut wire| async move {
        wire.request().await?;
        wire.say(HEAD.as_bytes()).await?;
        for _ in 0..6 {
            wire.say(WORD.as_bytes()).await?;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        wire.say(END.as_bytes()).await
    })
    .await;
    let heard = in_time(MOST, &server, short(1_500, 1_500)).await;
    assert_eq!(
        (heard.finished, heard.text.as_str()),
        (Some(StopReason::EndTurn), "HiHiHiHiHiHi")
    );
}

/// Bound: `max_event_bytes` of refusal in all.
#[tokio::test]
async fn an_endless_refusal_is_cut() {
    for (kind, frame) in [
        (
            OPENAI,
            "data: {\"choices\":[{\"delta\":{\"refusal\":\"No, no, no, no, no, no, no.\"}}]}\n\n",
        ),
        (
            RESPONSES,
            "data: {\"type\":\"response.refusal.delta\",\"delta\":\"No, no, no, no, no, no, no.\"}\n\n",
        ),
    ] {
        let server = Hostile::endless(HEAD, frame).await;
        // Tens of thousands of frames.
        let heard = asked(MOST * 4, kind, &server.base, PATIENT).await;
        assert_eq!(heard.failure, Some(FailureCode::TextTooLong), "{kind}");
        assert!(heard.refusal.len() <= 1024 * 1024);
    }
}

/// Bounds: the body of an error is read for 5 seconds and 64 KiB at most.
#[tokio::test]
async fn an_error_without_end_is_told_by_its_status() {
    for (status, code) in [
        (500, FailureCode::Server),
        (401, FailureCode::Auth),
        (429, FailureCode::RateLimited),
        (301, FailureCode::InvalidRequest),
    ] {
        let head = format!("HTTP/1.1 {status} No\r\nconnection: close\r\n\r\n");
        let server = Hostile::endless(&head, "{\"error\": ").await;
        let heard = in_time(MOST, &server, PATIENT).await;
        assert_eq!(heard.failure, Some(code));
        let sent = server.sent().await;
        assert!(sent < BUFFERS, "{sent} bytes");
    }
    let head = "HTTP/1.1 503 No\r\nconnection: close\r\n\r\n";
    let slow = Hostile::dripping(head, "x").await;
    let heard = in_time(Duration::from_secs(8), &slow, PATIENT).await;
    assert_eq!(heard.failure, Some(FailureCode::Overloaded));
}

/// Bound: `usage`, 200 ms here: an answer that is complete stays so.
#[tokio::test]
async fn what_never_ends_after_the_end_is_left() {
    let finish = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    for again in [WORD, ": ping\n\n", "x", "data: {}\n\n", finish] {
        let server = Hostile::endless(&format!("{HEAD}{WORD}{finish}"), again).await;
        let heard = in_time(MOST, &server, short(20_000, 20_000)).await;
        assert_eq!(
            (heard.failure, heard.finished, heard.text.as_str()),
            (None, Some(StopReason::EndTurn), "Hi"),
            "{again:?}"
        );
    }
}

/// A body that was packed without our having asked for it stays packed, however large it would become.
#[tokio::test]
async fn a_compressed_bomb_is_not_unpacked() {
    // The beginning of a gigabyte of zeros, as gzip writes it.
    let mut gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\xec\xc1\x01\x01\x00\x00".to_vec();
    gzip.extend([0; 4096]);
    for encoding in ["gzip", "br", "zstd", "deflate", "gzip, gzip"] {
        let head = HEAD.replace(
            "connection",
            &format!("content-encoding: {encoding}\r\nconnection"),
        );
        let body = [head.as_bytes(), &gzip].concat();
        let server = Hostile::saying(body).await;
        let heard = in_time(MOST, &server, PATIENT).await;
        assert_eq!(told(&heard).0, Some(FailureCode::Malformed), "{heard:?}");
        assert!(heard.message.contains(encoding), "{}", heard.message);
    }
}
