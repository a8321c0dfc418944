use std::time::Duration;

use super::*;
use crate::providers::fuzzing::{Speaker, owned};

/// Longer than anything is waited for.
const LONG: Duration = Duration::from_hours(2);

const WORDS: &[u8] = b"data: {\"choices\":[{\"delta\":{\"content\":\"Tea.\"}}]}\n\n";
const NOTHING: &[u8] = b"data: {\"choices\":[{\"delta\":{}}]}\n\n";
const END: &[u8] =
    b"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

fn reply(key: &str, pieces: &[&[u8]]) -> Reply {
    Speaker::any(0, false).reply(key, owned(pieces))
}

/// All parts, and what the answer failed by.
async fn all(mut reply: Reply) -> (Vec<Part>, Option<FailureCode>) {
    let mut parts = Vec::new();
    loop {
        match reply.next().await {
            Ok(Some(part)) => parts.push(part),
            Ok(None) => return (parts, None),
            Err(failure) => return (parts, Some(failure.failure.code)),
        }
    }
}

/// A process that was suspended, say: what the provider has said meanwhile is not asked for again.
#[tokio::test(start_paused = true)]
async fn what_lies_there_counts_however_late_it_is_read() {
    let whole = [
        Part::Text("Tea.".to_owned()),
        Part::Finished(StopReason::EndTurn),
    ];
    for pieces in [&[WORDS, END][..], &[&[WORDS, END].concat()]] {
        let reply = reply("", pieces);
        tokio::time::advance(LONG).await;
        assert_eq!(all(reply).await, (whole.to_vec(), None));
    }
}

/// The first piece would be enough for whoever looks at the clock; the many are an answer that is always there.
#[tokio::test(start_paused = true)]
async fn what_says_nothing_ends_in_time_though_it_is_always_there() {
    for nothing in [NOTHING, b": busy\n", b"data: {\"cho"] {
        let reply = reply("", &vec![nothing; 1_000]);
        tokio::time::advance(LONG).await;
        assert_eq!(all(reply).await, (vec![], Some(FailureCode::Timeout)));
    }
}

/// The end of a refusal may be the beginning of the key, until it is known that nothing follows.
#[tokio::test]
async fn a_refusal_that_ends_with_its_frame_is_told_in_its_order() {
    let frame = b"data: {\"choices\":[{\"delta\":{\"refusal\":\"No, because of this\"},\"finish_reason\":\"content_filter\"}]}\n\n";
    let (parts, failed) = all(reply("this-is-a-long-key", &[frame])).await;
    let told = parts.into_iter().filter_map(|part| match part {
        Part::Refusal(words) => Some(words),
        _ => None,
    });
    assert_eq!(told.collect::<String>(), "No, because of this");
    assert_eq!(failed, None);
}
