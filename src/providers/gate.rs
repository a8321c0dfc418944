//! Whether a provider may be asked now: the circuit breaker of the model, what the provider said of its limits, and our own caps.
//!
//! The breaker opens when enough requests of a model failed within its window in ways that tell of trouble over there: refused as
//! overloaded, as a server's error or as too many, or not reached at all. An answer that has begun closes it, whatever becomes of it.
//! Open, it lets nobody through for a while, and then one request to see: the next answer decides.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError},
    time::Instant,
};

use super::BreakerConfig;
use crate::conversation::{BreakerInfo, Happening, Meter};

/// How often somebody who waits for another's probe looks again.
const LOOK: Duration = Duration::from_millis(200);

/// How long a wait for a place is said to be: nobody knows.
const BUSY: Duration = Duration::from_secs(1);

/// The most models that are remembered as being in trouble: their names come from callers.
const MAX_MODELS: usize = 1_000;

const MINUTE: Duration = Duration::from_mins(1);

/// Why a request has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// The model's circuit breaker is open.
    Breaker,
    /// The provider's limit, as it has said, or ours.
    RateLimit,
    /// As many requests as are allowed are being answered.
    Busy,
}

/// Whether a request may be made.
#[derive(Debug)]
pub enum Admission {
    /// Now, with this.
    Now(Place),
    /// Not before about so long.
    Wait(Obstacle, Duration),
}

/// The right to make one request. Held until its answer has been read.
#[derive(Debug)]
pub struct Place {
    gate: Arc<Gate>,
    model: String,
    /// Whether the breaker waits for what becomes of it.
    probe: bool,
    /// Given back when the place is.
    _permit: Option<OwnedSemaphorePermit>,
}

/// What stands before a provider.
#[derive(Debug)]
pub(super) struct Gate {
    /// The provider's name, for whoever is told.
    provider: String,
    meter: Meter,
    breaker: BreakerConfig,
    requests_per_minute: Option<usize>,
    places: Option<Arc<Semaphore>>,
    /// Held for a look; no await happens under it.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When requests were made within the last minute, where that matters.
    requests: VecDeque<Instant>,
    /// Those in trouble.
    models: HashMap<String, Model>,
}

/// A model in trouble.
#[derive(Debug, Default)]
struct Model {
    /// When it failed, within the window.
    failures: VecDeque<Instant>,
    /// Until when nobody is let through.
    open_until: Option<Instant>,
    /// Whether somebody was let through to see.
    probing: bool,
    /// Until when the provider has no more requests for us.
    limited_until: Option<Instant>,
}

impl Gate {
    pub(super) fn new(
        breaker: BreakerConfig,
        max_concurrent: Option<usize>,
        requests_per_minute: Option<usize>,
    ) -> Self {
        Self {
            provider: String::new(),
            meter: Meter::default(),
            breaker,
            requests_per_minute,
            places: max_concurrent.map(|places| Arc::new(Semaphore::new(places))),
            state: Mutex::default(),
        }
    }

    /// The same, of the provider of that name; tells when a model is left alone.
    pub(super) fn telling(self, provider: &str, meter: Meter) -> Self {
        Self {
            provider: provider.to_owned(),
            meter,
            ..self
        }
    }

    /// Whether that model may be asked now.
    pub(super) fn admit(self: &Arc<Self>, model: &str) -> Admission {
        self.admit_with(model, None)
    }

    /// Waits until that model may be asked.
    pub(super) async fn admitted(self: &Arc<Self>, model: &str) -> Place {
        let mut permit = None;
        loop {
            match (self.admit_with(model, permit.take()), &self.places) {
                (Admission::Now(place), _) => return place,
                (Admission::Wait(Obstacle::Busy, _), Some(places)) => {
                    // Never closed. Those who wait get their places in order.
                    permit = Arc::clone(places).acquire_owned().await.ok();
                }
                (Admission::Wait(_, wait), _) => tokio::time::sleep(wait).await,
            }
        }
    }

    fn admit_with(
        self: &Arc<Self>,
        model: &str,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Admission {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut probe = false;
        if let Some(model) = state.models.get(model) {
            match model.open_until {
                Some(until) if now < until => {
                    return Admission::Wait(Obstacle::Breaker, until - now);
                }
                Some(_) if model.probing => return Admission::Wait(Obstacle::Breaker, LOOK),
                open => probe = open.is_some(),
            }
            if let Some(until) = model.limited_until.filter(|until| now < *until) {
                return Admission::Wait(Obstacle::RateLimit, until - now);
            }
        }
        if let Some(wait) = self.wait_for_the_minute(&mut state, now) {
            return Admission::Wait(Obstacle::RateLimit, wait);
        }
        let permit = match (&self.places, permit) {
            (None, _) => None,
            (Some(_), Some(permit)) => Some(permit),
            (Some(places), None) => match Arc::clone(places).try_acquire_owned() {
                Ok(permit) => Some(permit),
                Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
                    return Admission::Wait(Obstacle::Busy, BUSY);
                }
            },
        };
        if self.requests_per_minute.is_some() {
            state.requests.push_back(now);
        }
        if probe && let Some(model) = state.models.get_mut(model) {
            model.probing = true;
        }
        Admission::Now(Place {
            gate: Arc::clone(self),
            model: model.to_owned(),
            probe,
            _permit: permit,
        })
    }

    fn wait_for_the_minute(&self, state: &mut State, now: Instant) -> Option<Duration> {
        let limit = self.requests_per_minute?;
        let old = |made: &mut Instant| now.duration_since(*made) >= MINUTE;
        while state.requests.pop_front_if(old).is_some() {}
        let first = state
            .requests
            .front()
            .filter(|_| state.requests.len() >= limit)?;
        Some(*first + MINUTE - now)
    }

    /// The breakers that are not closed.
    pub(super) fn breakers(&self) -> Vec<BreakerInfo> {
        let now = Instant::now();
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let open = state.models.iter().filter_map(|(name, model)| {
            let until = model.open_until?;
            Some(BreakerInfo {
                model: name.clone(),
                retry_in: until.saturating_duration_since(now),
            })
        });
        let mut open: Vec<BreakerInfo> = open.collect();
        open.sort_by(|a, b| a.model.cmp(&b.model));
        open
    }

    fn change(&self, model: &str, change: impl FnOnce(&mut Model, Instant)) {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.models.contains_key(model) && state.models.len() >= MAX_MODELS {
            state
                .models
                .retain(|_, model| !model.is_well(now, self.breaker.window));
        }
        if state.models.len() <= MAX_MODELS {
            change(state.models.entry(model.to_owned()).or_default(), now);
        }
    }
}

impl Model {
    fn is_well(&self, now: Instant, window: Duration) -> bool {
        let failing = self
            .failures
            .back()
            .is_some_and(|at| now.duration_since(*at) < window);
        let limited = self.limited_until.is_some_and(|until| now < until);
        self.open_until.is_none() && !failing && !limited
    }
}

impl Place {
    /// The provider has begun to answer.
    pub(super) fn succeeded(&mut self) {
        self.probe = false;
        let mut state = self
            .gate
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let model = state.models.get_mut(&self.model);
        if let Some(model) = model
            && (model.open_until.is_some() || !model.failures.is_empty())
        {
            *model = Model {
                limited_until: model.limited_until,
                ..Model::default()
            };
        }
    }

    /// The provider is in trouble.
    pub(super) fn failed(&mut self) {
        let probe = std::mem::take(&mut self.probe);
        let BreakerConfig {
            failures,
            window,
            open,
        } = self.gate.breaker;
        let mut opened = false;
        self.gate.change(&self.model, |model, now| {
            model.failures.push_back(now);
            let old = |at: &mut Instant| now.duration_since(*at) >= window;
            while model.failures.pop_front_if(old).is_some() {}
            if probe || model.failures.len() >= failures {
                opened = model.open_until.is_none();
                model.open_until = Some(now + open);
                model.probing = false;
                model.failures.clear();
            }
        });
        if opened {
            self.gate.meter.tell(Happening::BreakerOpened {
                provider: &self.gate.provider,
                model: &self.model,
            });
        }
    }

    /// The provider says that it has no more requests for us for so long.
    pub(super) fn limited(&self, wait: Duration) {
        self.gate.change(&self.model, |model, now| {
            model.limited_until = model.limited_until.max(Some(now + wait));
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.probe {
            // Nothing was learned: somebody else may see.
            self.gate
                .change(&self.model, |model, _| model.probing = false);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn gate(max_concurrent: Option<usize>, requests_per_minute: Option<usize>) -> Arc<Gate> {
        let breaker = BreakerConfig {
            failures: 3,
            window: Duration::from_secs(30),
            open: Duration::from_secs(10),
        };
        Arc::new(Gate::new(breaker, max_concurrent, requests_per_minute))
    }

    fn now(gate: &Arc<Gate>, model: &str) -> Place {
        match gate.admit(model) {
            Admission::Now(place) => place,
            wait @ Admission::Wait(..) => panic!("{wait:?}"),
        }
    }

    fn obstacle(gate: &Arc<Gate>, model: &str) -> Option<(Obstacle, u64)> {
        match gate.admit(model) {
            Admission::Now(_) => None,
            Admission::Wait(obstacle, wait) => Some((obstacle, wait.as_secs())),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_breaker_opens_lets_one_through_to_see_and_closes() {
        let gate = gate(None, None);
        for _ in 0..3 {
            now(&gate, "m").failed();
        }
        assert_eq!(obstacle(&gate, "m"), Some((Obstacle::Breaker, 10)));
        assert_eq!(obstacle(&gate, "other"), None, "each model has its own");
        assert_eq!(gate.breakers()[0].model, "m");
        tokio::time::advance(Duration::from_secs(10)).await;
        let mut probe = now(&gate, "m");
        assert_eq!(
            obstacle(&gate, "m"),
            Some((Obstacle::Breaker, 0)),
            "one is enough"
        );
        probe.failed();
        assert_eq!(obstacle(&gate, "m"), Some((Obstacle::Breaker, 10)));
        tokio::time::advance(Duration::from_secs(10)).await;
        drop(now(&gate, "m"));
        let mut probe = now(&gate, "m");
        probe.succeeded();
        assert_eq!(obstacle(&gate, "m"), None);
        assert!(gate.breakers().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_long_ago_or_before_a_success_do_not_count() {
        let gate = gate(None, None);
        for _ in 0..10 {
            now(&gate, "m").failed();
            tokio::time::advance(Duration::from_secs(16)).await;
            assert_eq!(obstacle(&gate, "m"), None);
        }
        for _ in 0..10 {
            now(&gate, "m").failed();
            now(&gate, "m").succeeded();
            assert_eq!(obstacle(&gate, "m"), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn caps_are_kept_and_waited_for() {
        let gate = gate(Some(1), Some(2));
        let first = now(&gate, "m");
        assert_eq!(obstacle(&gate, "m"), Some((Obstacle::Busy, 1)));
        let (other, waiting) = (Arc::clone(&gate), Instant::now());
        let mut second = Box::pin(other.admitted("m"));
        assert!((&mut second).now_or_never().is_none());
        tokio::time::advance(Duration::from_secs(5)).await;
        drop(first);
        drop(second.await);
        assert_eq!(waiting.elapsed().as_secs(), 5);
        assert_eq!(obstacle(&gate, "m"), Some((Obstacle::RateLimit, 55)));
        let third = gate.admitted("m").await;
        assert_eq!(waiting.elapsed().as_secs(), 60);
        third.limited(Duration::from_secs(7));
        drop(third);
        assert_eq!(obstacle(&gate, "m"), Some((Obstacle::RateLimit, 7)));
    }

    #[test]
    fn names_of_models_do_not_fill_the_memory() {
        let gate = gate(None, None);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            for number in 0..3 * MAX_MODELS {
                now(&gate, &number.to_string()).failed();
            }
        });
        assert!(gate.state.lock().unwrap().models.len() <= MAX_MODELS + 1);
    }
}
