//! The bytes of an answer into frames, bounded in size and in silence.

use std::{future::Future, pin::pin, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    task::coop::unconstrained,
    time::{Instant, Sleep, sleep_until},
};

use super::sse::{Frame, SseError, SseReader};
use crate::conversation::{AttemptFailure, FailureCode};

/// The frames of one answer.
pub(super) struct Frames {
    response: reqwest::Response,
    reader: SseReader,
    /// How long the provider may be silent once it has begun. How long the first bytes may take is for others to bound: a server may
    /// send its headers long before it has read the prompt.
    idle: Duration,
    /// When bytes came last.
    heard: Option<Instant>,
    alarm: Alarm,
}

/// What comes of waiting for a frame.
pub(super) enum Next<'a> {
    /// It came.
    Frame(Frame<'a>),
    /// The body has ended.
    End,
    /// It did not come in time.
    Late,
}

impl Frames {
    pub(super) fn new(response: reqwest::Response, idle: Duration, max_event_bytes: usize) -> Self {
        Self {
            response,
            reader: SseReader::new(max_event_bytes),
            idle,
            heard: None,
            alarm: Alarm::default(),
        }
    }

    /// An error that the server has written past the format of its stream.
    pub(super) fn stray_error(&self) -> Option<String> {
        self.reader.stray_error()
    }

    /// The next frame, if it comes before that moment.
    ///
    /// Cancel-safe: what was read and is no whole frame yet is a part of the next one.
    pub(super) async fn next(&mut self, due: Instant) -> Result<Next<'_>, AttemptFailure> {
        let mut late = false;
        loop {
            // A provider that is quicker than we are must not keep this task from whatever else it waits for: a stop, a deadline.
            tokio::task::consume_budget().await;
            if self.reader.advance().map_err(|error| unreadable(&error))? {
                return Ok(Next::Frame(self.reader.frame()));
            }
            if late {
                return Ok(Next::Late);
            }
            let silent = self.heard.map(|heard| heard + self.idle);
            let first = silent.map_or(due, |silent| silent.min(due));
            match self.alarm.before(first, self.response.chunk()).await {
                Some(Ok(Some(bytes))) => {
                    let now = Instant::now();
                    // Where bytes are always there, nobody waits, and no alarm is heard. What has come counts all the same: this process
                    // may have stood still.
                    late = now >= due;
                    self.heard = Some(now);
                    self.reader.push(bytes);
                }
                Some(Ok(None)) => return Ok(Next::End),
                Some(Err(error)) => {
                    let cause = error.without_url();
                    tracing::debug!(%cause, "a provider's body broke off");
                    let message = "the connection broke off".to_owned();
                    return Err(AttemptFailure::new(FailureCode::Truncated, message));
                }
                None if first < due => {
                    let ms = self.idle.as_millis();
                    let message = format!("the provider fell silent for {ms} ms");
                    return Err(AttemptFailure::new(FailureCode::Timeout, message));
                }
                None => return Ok(Next::Late),
            }
        }
    }
}

fn unreadable(error: &SseError) -> AttemptFailure {
    AttemptFailure::new(FailureCode::Malformed, error.to_string())
}

/// A timer for many waits. As long as each ends before its time, which moves on with it, nothing is wound up again, and nothing looked at
/// before it rings.
#[derive(Default)]
struct Alarm {
    bell: FuturesUnordered<Sleep>,
    rings: Option<Instant>,
}

impl Alarm {
    /// What the future comes to, if that is before its time.
    async fn before<T>(&mut self, due: Instant, future: impl Future<Output = T>) -> Option<T> {
        if self.rings.is_none_or(|rings| rings > due) {
            self.wind_up(due);
        }
        let mut future = pin!(future);
        loop {
            tokio::select! {
                biased;
                done = &mut future => return Some(done),
                // Also where the future has used up all that a task may do at once.
                _ = unconstrained(self.bell.next()) => {
                    if Instant::now() >= due {
                        self.rings = None;
                        return None;
                    }
                    self.wind_up(due);
                }
            }
        }
    }

    fn wind_up(&mut self, due: Instant) {
        self.bell.clear();
        self.bell.push(sleep_until(due));
        self.rings = Some(due);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_alarm_rings_at_the_time_of_each_wait_and_not_before() {
        let (mut alarm, began) = (Alarm::default(), Instant::now());
        let at = |ms| began + Duration::from_millis(ms);
        for ms in [10, 20, 90] {
            let word = alarm.before(at(100 + ms), sleep_until(at(ms)));
            assert!(word.await.is_some());
        }
        assert_eq!(began.elapsed().as_millis(), 90);
        // The first time that it was wound up for is long over when this wait is.
        assert!(
            alarm
                .before(at(300), std::future::pending::<()>())
                .await
                .is_none()
        );
        assert_eq!(began.elapsed().as_millis(), 300);
        // An earlier time than the one that it was last wound up for.
        assert!(
            alarm
                .before(at(900), std::future::ready(()))
                .await
                .is_some()
        );
        assert!(
            alarm
                .before(at(400), std::future::pending::<()>())
                .await
                .is_none()
        );
        assert_eq!(began.elapsed().as_millis(), 400);
    }
}
