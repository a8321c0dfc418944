//! Joins what is counted with what counts it.

use std::sync::Arc;

use crate::{
    conversation::Catalogue,
    event_log::EventLog,
    models::Store,
    orchestrator::Supervisor,
    providers::Registry,
    settings::Settings,
    telemetry::{Known, Metrics, OpenBreaker, Vitals},
};

/// The metrics. The models that the settings offer or the catalogue names stand there under their own names.
pub(super) fn metrics(settings: &Settings, catalogue: &Catalogue) -> Arc<Metrics> {
    let known = settings.providers.iter().map(|provider| {
        let offered = provider.models.iter().map(String::as_str);
        let listed = catalogue.listed(&provider.name);
        let names = offered.chain(listed).map(str::to_owned);
        (provider.name.clone(), names.collect())
    });
    Arc::new(Metrics::new(Known::new(known)))
}

/// Where the vital signs are read.
pub(super) struct Sources {
    pub(super) store: Store,
    pub(super) log: EventLog,
    pub(super) registry: Registry,
    pub(super) supervisor: Supervisor,
    pub(super) max_live_runs: usize,
}

impl Sources {
    /// As they are now. Asks nobody outside.
    pub(super) fn read(&self) -> Vitals {
        let connections = self.store.connections();
        let infos = self.registry.infos();
        let open = infos.into_iter().flat_map(|provider| {
            let breakers = provider.breakers.into_iter();
            breakers.map(move |breaker| OpenBreaker {
                provider: provider.name.clone(),
                model: breaker.model,
            })
        });
        Vitals {
            ready: self.supervisor.is_ready(),
            driving: self.supervisor.is_driving(),
            live_runs: self.supervisor.live(),
            max_live_runs: self.max_live_runs,
            subscribers: self.log.readers(),
            connections_in_use: connections.open.saturating_sub(connections.idle),
            connections_idle: connections.idle,
            max_connections: connections.most,
            open_breakers: open.collect(),
        }
    }
}
