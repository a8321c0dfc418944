//! What is read at the moment of a scrape.

use prometheus_client::{
    encoding::prometheus_text,
    metrics::{family::Family, gauge::Gauge, info::Info},
    registry::Registry,
};

use super::labels::{Build, Known, Model, State};

/// How the process is at a moment.
#[derive(Debug, Clone, Default)]
pub struct Vitals {
    /// Whether it can do its work and will go on doing it, as far as it knows without asking anybody.
    pub ready: bool,
    /// Whether it takes runs to drive them.
    pub driving: bool,
    /// The runs that it drives.
    pub live_runs: usize,
    /// The most that it drives.
    pub max_live_runs: usize,
    /// The streams that are open.
    pub subscribers: usize,
    /// The connections to the database that somebody uses.
    pub connections_in_use: u32,
    /// Those that are open and free.
    pub connections_idle: u32,
    /// The most that there may be.
    pub max_connections: u32,
    /// The breakers that are not closed.
    pub open_breakers: Vec<OpenBreaker>,
}

/// A breaker that is not closed.
#[derive(Debug, Clone)]
pub struct OpenBreaker {
    /// The provider.
    pub provider: String,
    /// The model.
    pub model: String,
}

impl Vitals {
    pub(super) fn write(&self, known: &Known, text: &mut String) {
        let mut registry = Registry::with_prefix("parley");
        let mut show = |name: &str, help: &str, value: u64| {
            let gauge = gauge(value);
            registry.register(name, help, gauge);
        };
        show(
            "ready",
            "1 if the process can do its work and will go on doing it, as far as it knows",
            self.ready.into(),
        );
        show(
            "driving",
            "1 if the process takes runs to drive them, 0 if it only serves",
            self.driving.into(),
        );
        show(
            "runs_live",
            "Runs that this process drives now",
            self.live_runs as u64,
        );
        show(
            "runs_live_limit",
            "The most runs that this process drives at the same time",
            self.max_live_runs as u64,
        );
        show(
            "subscribers",
            "Streams that are open now",
            self.subscribers as u64,
        );
        show(
            "database_connections_limit",
            "The most connections that the pool opens",
            self.max_connections.into(),
        );
        let connections = Family::<State, Level>::default();
        for (state, count) in [
            ("in_use", self.connections_in_use),
            ("idle", self.connections_idle),
        ] {
            let level = connections.get_or_create(&State { state });
            level.set(count.into());
        }
        registry.register(
            "database_connections",
            "Connections of the pool that are open now, by whether somebody uses them",
            connections,
        );
        registry.register(
            "breakers_open",
            "Models that are left alone now because they fail too often, or of which one request is let through to see",
            self.breakers(known),
        );
        let version = env!("CARGO_PKG_VERSION");
        let build = Info::new(Build { version });
        registry.register("build", "The version of the program", build);
        // Writing into a string cannot fail.
        let _ = prometheus_text::encode(text, &registry);
    }

    /// Zero where nothing is open, so that an end can be seen.
    fn breakers(&self, known: &Known) -> Family<Model, Level> {
        let family = Family::<Model, Level>::default();
        for labels in known.all() {
            drop(family.get_or_create(&labels));
        }
        for OpenBreaker { provider, model } in &self.open_breakers {
            family.get_or_create(&known.model(provider, model)).inc();
        }
        family
    }
}

type Level = Gauge<u64, std::sync::atomic::AtomicU64>;

fn gauge(value: u64) -> Level {
    let gauge = Level::default();
    gauge.set(value);
    gauge
}
