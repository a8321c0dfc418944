//! Connections that cannot be made, or break.

use std::time::Duration;

use parley::conversation::{FailureCode, StopReason};

use super::{END, HEAD, Hostile, WORD, asked, in_time, told};
use crate::providers::{Heard, OPENAI, PATIENT, Timeouts};

const MOST: Duration = Duration::from_secs(5);

/// Where a connection is reset.
#[derive(Debug, Clone, Copy)]
enum Stage {
    BeforeTheRequestIsRead,
    BeforeTheHead,
    InTheHead,
    AfterTheHead,
    InAFrame,
    BeforeTheEnd,
    AfterTheEnd,
}

async fn reset(stage: Stage) -> Heard {
    let server = Hostile::start(move |mut wire| async move {
        if !matches!(stage, Stage::BeforeTheRequestIsRead) {
            wire.request().await?;
        }
        let finish = END.split_inclusive("\n\n").next().unwrap_or_default();
        let said = match stage {
            Stage::BeforeTheRequestIsRead | Stage::BeforeTheHead => String::new(),
            Stage::InTheHead => "HTTP/1.1 200 OK\r\ncontent-".to_owned(),
            Stage::AfterTheHead => HEAD.to_owned(),
            Stage::InAFrame => format!("{HEAD}{WORD}data: {{\"cho"),
            Stage::BeforeTheEnd => format!("{HEAD}{WORD}"),
            Stage::AfterTheEnd => format!("{HEAD}{WORD}{finish}"),
        };
        wire.say(said.as_bytes()).await?;
        // What was sent is to be read first: a reset throws away what was not.
        tokio::time::sleep(Duration::from_millis(150)).await;
        wire.reset()
    })
    .await;
    in_time(MOST, &server, PATIENT).await
}

#[tokio::test]
async fn a_reset_at_each_stage_is_truncated_until_the_end_was_said() {
    for (stage, text) in [
        (Stage::BeforeTheRequestIsRead, ""),
        (Stage::BeforeTheHead, ""),
        (Stage::InTheHead, ""),
        (Stage::AfterTheHead, ""),
        (Stage::InAFrame, "Hi"),
        (Stage::BeforeTheEnd, "Hi"),
    ] {
        let heard = reset(stage).await;
        assert_eq!(
            (heard.failure, heard.text.as_str()),
            (Some(FailureCode::Truncated), text),
            "{stage:?}: {}",
            heard.message
        );
    }
    let heard = reset(Stage::AfterTheEnd).await;
    assert_eq!(
        (heard.failure, heard.finished),
        (None, Some(StopReason::EndTurn))
    );
}

/// Bound: no longer than the resolver takes; a name of `.invalid` has no address by definition.
#[tokio::test]
async fn a_name_that_does_not_resolve_is_told_as_such() {
    let timeouts = Timeouts {
        connect: Duration::from_secs(2),
        ..PATIENT
    };
    let heard = asked(MOST, OPENAI, "http://parley.invalid", timeouts).await;
    let expected = (
        Some(FailureCode::Timeout),
        "the provider cannot be reached: its name has no address",
    );
    assert_eq!(told(&heard), expected);
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_told_as_such() {
    let heard = asked(MOST, OPENAI, "http://127.0.0.1:1", PATIENT).await;
    let expected = (
        Some(FailureCode::Timeout),
        "the provider cannot be reached: it refuses the connection",
    );
    assert_eq!(told(&heard), expected);
}
