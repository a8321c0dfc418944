//! Joins what is counted with what counts it.

use std::sync::Arc;

use loco_rs::{Error, Result, controller::AppRoutes};

use crate::{
    conversation::{Catalogue, Counts, Meter, Traces, Tracing},
    event_log::EventLog,
    models::Store,
    orchestrator::Supervisor,
    providers::Registry,
    settings::Settings,
    telemetry::{Known, Metrics, OpenBreaker, TraceOptions, Tracer, Vitals, exposition},
};

/// Who counts, and who keeps spans.
#[derive(Clone)]
pub(super) struct Telemetry {
    metrics: Arc<Metrics>,
    /// Where spans are sent, if anywhere.
    tracer: Option<Arc<Tracer>>,
    /// Whom the rooms tell what happens.
    pub(super) meter: Meter,
    /// Whom they tell their way.
    pub(super) tracing: Tracing,
}

impl Telemetry {
    /// By the settings. The models that they offer or the catalogue lists stand in the metrics under their own names.
    ///
    /// # Errors
    /// When spans cannot be sent where they are to go.
    pub(super) fn new(settings: &Settings, catalogue: &Catalogue) -> Result<Self> {
        let known = settings.providers.iter().map(|provider| {
            let offered = provider.models.iter().map(String::as_str);
            let listed = catalogue.listed(&provider.name);
            let names = offered.chain(listed).map(str::to_owned);
            (provider.name.clone(), names.collect())
        });
        let metrics = Arc::new(Metrics::new(Known::new(known)));
        let tracer = settings.tracing.as_ref().map(|tracing| {
            let options = TraceOptions {
                endpoint: tracing.endpoint.clone(),
                service_name: tracing.service_name.clone(),
                record_content: tracing.record_content,
                queue: tracing.queue,
                batch: tracing.batch,
            };
            Tracer::new(&options).map(Arc::new).map_err(Error::wrap)
        });
        let tracer = tracer.transpose()?;
        let traces = tracer.clone().map(|tracer| tracer as Arc<dyn Traces>);
        Ok(Self {
            meter: Meter::new(Arc::clone(&metrics) as Arc<dyn Counts>),
            tracing: traces.map_or_else(Tracing::default, Tracing::new),
            metrics,
            tracer,
        })
    }

    /// Takes note of the routes that are served.
    pub(super) fn expect(&self, routes: &AppRoutes) {
        for route in routes.collect() {
            let methods = route.actions.iter().map(|method| method.as_str());
            self.metrics
                .expect(methods.map(|method| (method, route.uri.as_str())));
        }
    }

    /// What writes the metrics as they are at that moment.
    pub(super) fn exposition(&self, sources: Sources) -> Arc<dyn Fn() -> String + Send + Sync> {
        let metrics = Arc::clone(&self.metrics);
        Arc::new(move || exposition(&metrics, &sources.read()))
    }

    /// Sends the spans that are left.
    pub(super) async fn end(self) {
        if let Some(tracer) = self.tracer {
            // It waits for the collector, on a thread that nobody else waits for: the end of the runtime would wait for its own. If it
            // breaks down, that has been said.
            let (ended, end) = tokio::sync::oneshot::channel();
            std::thread::spawn(move || {
                tracer.end();
                ended.send(())
            });
            let _ = end.await;
        }
    }

    /// Gives up the spans that are left.
    pub(super) fn forget(&self) {
        if let Some(tracer) = &self.tracer {
            tracer.forget();
        }
    }
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
