//! How often a client's credentials may be wrong in a minute: what is counted is what was wrong, and whether a client has had enough can be
//! asked without counting, before a look that is dear. (`limit` counts what is asked, by a crate that has no such question.)

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::ClientKey;

/// How many clients are remembered before those whose minute is over are forgotten.
const CLIENTS: usize = 10_000;

/// What clients have got wrong. Its memory is bounded by the clients of the last minute.
pub(super) struct Failures {
    /// After how long one failure is forgiven.
    each: Duration,
    times: u32,
    /// Held for a moment only.
    clients: Mutex<Clients>,
}

struct Clients {
    /// When the last of a client's failures is forgiven.
    forgiven: HashMap<ClientKey, Instant>,
    /// At how many clients the next look for those to forget is due.
    sweep_at: usize,
}

impl Failures {
    /// That many times a minute, at least once.
    pub(super) fn per_minute(times: u32) -> Self {
        let times = times.max(1);
        Self {
            each: Duration::from_mins(1) / times,
            times,
            clients: Mutex::new(Clients {
                forgiven: HashMap::new(),
                sweep_at: CLIENTS,
            }),
        }
    }

    /// How long the client has to wait, if it has had enough.
    pub(super) fn wait(&self, client: ClientKey) -> Option<Duration> {
        let forgiven = *self.clients().forgiven.get(&client)?;
        let owed = forgiven.saturating_duration_since(Instant::now());
        // One more must fit.
        let most = self.each * (self.times - 1);
        owed.checked_sub(most).filter(|wait| !wait.is_zero())
    }

    /// Counts one.
    pub(super) fn count(&self, client: ClientKey) {
        let now = Instant::now();
        let mut clients = self.clients();
        if clients.forgiven.len() >= clients.sweep_at {
            clients.forgiven.retain(|_, forgiven| *forgiven > now);
            // Where all are of the last minute, not each of them is worth another look.
            clients.sweep_at = CLIENTS.max(2 * clients.forgiven.len());
        }
        let forgiven = clients.forgiven.entry(client).or_insert(now);
        *forgiven = (*forgiven).max(now) + self.each;
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn client(number: u32) -> ClientKey {
        IpAddr::from(number.to_be_bytes()).into()
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_a_minute_and_no_more() {
        let failures = Failures::per_minute(3);
        for _ in 0..3 {
            assert_eq!(failures.wait(client(1)), None);
            failures.count(client(1));
        }
        assert_eq!(failures.wait(client(1)), Some(Duration::from_secs(20)));
        assert_eq!(failures.wait(client(2)), None);
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(failures.wait(client(1)), None);
        failures.count(client(1));
        assert!(failures.wait(client(1)).is_some());
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(failures.wait(client(1)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn those_whose_minute_is_over_are_forgotten() {
        let failures = Failures::per_minute(60);
        for number in 0..200_000 {
            failures.count(client(number));
            if number % 1_000 == 0 {
                tokio::time::advance(Duration::from_secs(1)).await;
            }
        }
        assert!(failures.clients().forgiven.len() <= CLIENTS);
    }
}
