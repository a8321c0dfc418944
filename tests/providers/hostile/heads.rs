//! HTTP that is none, or that wants more than an answer.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use parley::conversation::{FailureCode, StopReason};

use super::{BUFFERS, END, HEAD, Hostile, WORD, in_time, short, told};
use crate::providers::PATIENT;

const MOST: Duration = Duration::from_secs(5);

/// What came of an answer of these bytes.
async fn after(bytes: impl Into<Vec<u8>>) -> crate::providers::Heard {
    let server = Hostile::saying(bytes).await;
    in_time(MOST, &server, PATIENT).await
}

fn whole() -> (Option<FailureCode>, Option<StopReason>, String) {
    (None, Some(StopReason::EndTurn), "Hi".to_owned())
}

fn outcome(heard: crate::providers::Heard) -> (Option<FailureCode>, Option<StopReason>, String) {
    (heard.failure, heard.finished, heard.text)
}

#[tokio::test]
async fn what_is_no_http_is_malformed() {
    for garbage in [
        "Hi\r\n\r\n",
        "<html>HTTP/0.9 knows no head</html>\r\n\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "HTTP/1.1 999999 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx-bell: \u{7}\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx-nul: \0\r\n\r\n",
        "SSH-2.0-OpenSSH_9.9\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nHello",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
    ] {
        let heard = after(garbage).await;
        let expected = (
            Some(FailureCode::Malformed),
            "the provider's answer is not HTTP",
        );
        assert_eq!(told(&heard), expected, "{garbage:?}");
    }
}

/// Bounds: hyper's, of about 400 KiB and of 100 headers.
#[tokio::test]
async fn headers_of_a_megabyte_or_by_the_thousand_are_refused() {
    let long = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x-many: 1\r\n".repeat(5_000));
    for head in [long, many] {
        let heard = after(head).await;
        let expected = (
            Some(FailureCode::Malformed),
            "the head of the provider's answer is too large",
        );
        assert_eq!(told(&heard), expected);
    }
    let server = Hostile::endless("HTTP/1.1 200 OK\r\n", "x-endless: 0123456789abcdef\r\n").await;
    let heard = in_time(MOST, &server, PATIENT).await;
    assert_eq!(heard.failure, Some(FailureCode::Malformed));
    let sent = server.sent().await;
    assert!(sent < BUFFERS, "{sent} bytes");
}

/// Bound: `first_delta`, for answers that only announce others.
#[tokio::test]
async fn informational_answers_are_passed_over_but_not_for_ever() {
    let once =
        format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n{HEAD}{WORD}{END}");
    assert_eq!(outcome(after(once).await), whole());
    for again in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\n",
    ] {
        let server = Hostile::endless("", again).await;
        let heard = in_time(MOST, &server, short(300, 20_000)).await;
        assert_eq!(heard.failure, Some(FailureCode::Timeout), "{again:?}");
    }
    let heard =
        after("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n");
    assert!(heard.await.failure.is_some());
}

#[tokio::test]
async fn lengths_that_are_not_so() {
    let head = |length: usize| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let body = format!("{WORD}{END}");
    let longer = format!("{}{body}", head(body.len() + 99));
    assert_eq!(outcome(after(longer).await), whole(), "the end was said");
    let broken = format!("{}{WORD}", head(WORD.len() + 99));
    assert_eq!(after(broken).await.failure, Some(FailureCode::Truncated));
    let shorter = format!("{}{body}", head(WORD.len()));
    assert_eq!(after(shorter).await.failure, Some(FailureCode::Truncated));
}

#[tokio::test]
async fn chunks_that_are_none() {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let word = chunk(WORD);
    for broken in [
        "zz\r\nHi\r\n",
        "ffffffffffffffffff\r\nHi\r\n",
        "-1\r\nHi\r\n",
        "5\r\nHi\r\n0\r\n\r\n",
        "1\r\nxx\r\n",
        "",
    ] {
        let heard = after(format!("{head}{word}{broken}")).await;
        assert_eq!(
            (heard.failure, heard.text.as_str()),
            (Some(FailureCode::Truncated), "Hi"),
            "{broken:?}"
        );
    }
    let fine = format!("{head}{word}{}0\r\n\r\n", chunk(END));
    assert_eq!(outcome(after(fine.clone()).await), whole());
    let extension = format!("1;{}\r\nx\r\n", "x".repeat(1 << 20));
    let heard = after(format!("{head}{word}{extension}")).await;
    assert_eq!(heard.failure, Some(FailureCode::Truncated), "extensions");
    let trailers = fine.replace(
        "0\r\n\r\n",
        &format!("0\r\n{}\r\n", "x: y\r\n".repeat(99_999)),
    );
    assert_eq!(outcome(after(trailers).await), whole(), "trailers");
}

#[tokio::test]
async fn whatever_follows_the_end_is_no_part_of_the_answer() {
    let again = format!("{WORD}{END}");
    let error = "data: {\"error\":{\"message\":\"too late\"}}\n\n";
    for after_it in [
        again.as_str(),
        error,
        "garbage",
        "data: garbage\n\n",
        "data: \u{fffd}\n\n",
        &format!("{HEAD}{again}"),
    ] {
        let heard = after(format!("{HEAD}{WORD}{END}{after_it}")).await;
        assert_eq!(outcome(heard), whole(), "{after_it:?}");
    }
    // A second finish, and words, between the finish and [DONE].
    let finish = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let twice = format!("{HEAD}{WORD}{finish}{WORD}{finish}{END}");
    assert_eq!(outcome(after(twice).await), whole());
}

/// A second answer on the same connection answers nothing that was asked.
#[tokio::test]
async fn a_second_answer_is_not_taken_for_the_next_requests() {
    let body = format!("{WORD}{END}");
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let forged = format!("{head}{body}").replace("Hi", "No");
    let server = Hostile::saying(format!("{head}{body}{forged}")).await;
    let registry = crate::providers::registry("openai", &server.base, PATIENT);
    for _ in 0..3 {
        assert_eq!(outcome(crate::providers::ask(&registry).await), whole());
    }
    assert_eq!(server.connections.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn text_that_is_none() {
    let invalid = [
        HEAD.as_bytes(),
        b": \xff\xfe\n\n",
        WORD.as_bytes(),
        END.as_bytes(),
    ]
    .concat();
    assert_eq!(outcome(after(invalid).await), whole(), "in a comment");
    for frame in [
        &b"data: \xff\n\n"[..],
        b"data: {\"choices\":\"\xc3\x28\"}\n\n",
    ] {
        let invalid = [HEAD.as_bytes(), WORD.as_bytes(), frame, END.as_bytes()].concat();
        let heard = after(invalid).await;
        let expected = (
            Some(FailureCode::Malformed),
            "the provider's stream is not UTF-8",
        );
        assert_eq!(told(&heard), expected);
        assert_eq!(heard.text, "Hi");
    }
}

/// Nothing that a success says of waiting keeps anybody waiting, and no value that is no text does harm.
#[tokio::test]
async fn headers_of_a_success_that_mean_nothing() {
    let began = Instant::now();
    for header in [
        b"retry-after: 86400".as_slice(),
        b"retry-after: \xff\xff",
        b"content-type: text/event-stream; charset=\xff",
        b"x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 1e999s",
        b"x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: -5",
        b"set-cookie: a=b\r\nlocation: http://127.0.0.1:1/",
    ] {
        let head = [b"HTTP/1.1 200 OK\r\n", header, b"\r\n\r\n"].concat();
        let bytes = [&head, WORD.as_bytes(), END.as_bytes()].concat();
        assert_eq!(outcome(after(bytes).await), whole());
    }
    assert!(began.elapsed() < MOST);
}

/// Neither with the key nor without it.
#[tokio::test]
async fn redirects_are_never_followed() {
    let elsewhere = Hostile::saying(format!("{HEAD}{WORD}{END}")).await;
    let authority = elsewhere.base.trim_start_matches("http:").to_owned();
    for status in [300, 301, 302, 303, 307, 308] {
        for location in [
            format!("{}/v1/chat/completions", elsewhere.base),
            authority.clone(),
        ] {
            let bytes = format!(
                "HTTP/1.1 {status} Moved\r\nlocation: {location}\r\nrefresh: 0; url={location}\r\n\
                 connection: close\r\n\r\n"
            );
            let heard = after(bytes).await;
            assert_eq!(heard.failure, Some(FailureCode::InvalidRequest), "{status}");
            assert!(heard.message.contains("redirect"), "{}", heard.message);
        }
    }
    assert_eq!(elsewhere.connections.load(Ordering::Relaxed), 0);
}
