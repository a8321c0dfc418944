//! Which providers there are, and which of them a run may name.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use super::{
    BreakerConfig, Config, Kind, ProviderConfig, Reply, Request, Timeouts,
    adapter::{Adapter, Outgoing, bearer},
    anthropic, client,
    gate::{Admission, Gate, Place},
    gemini, openai,
    reply::Limits,
};
use crate::conversation::{AttemptFailure, Meter, Offering, Params, ProviderInfo};

/// All kinds of APIs, one line each.
pub const KINDS: [&Kind; 3] = [&openai::KIND, &anthropic::KIND, &gemini::KIND];

/// All providers that the settings name. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    entries: Arc<BTreeMap<String, Entry>>,
}

struct Entry {
    config: Arc<ProviderConfig>,
    adapter: Arc<dyn Adapter>,
    /// `None` if it is not configured.
    provider: Option<Provider>,
}

/// A provider that runs may name. Cheap to clone.
#[derive(Clone)]
pub struct Provider {
    config: Arc<ProviderConfig>,
    gate: Arc<Gate>,
    adapter: Arc<dyn Adapter>,
    client: reqwest::Client,
    limits: Limits,
}

/// Why the providers cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The HTTP client cannot be made.
    #[error(
        "provider {name:?}: cannot set up HTTPS; a machine without root certificates needs the package ca-certificates"
    )]
    Client {
        /// The provider.
        name: String,
        /// What the client said.
        #[source]
        source: reqwest::Error,
    },
}

impl Registry {
    /// The providers of the settings. Asks none of them anything.
    ///
    /// # Errors
    /// When an HTTP client cannot be made.
    pub fn new(config: Config) -> Result<Self, RegistryError> {
        let Config {
            providers,
            timeouts,
            max_event_bytes,
            breaker,
            meter,
        } = config;
        let entries: Result<BTreeMap<_, _>, _> = providers
            .into_iter()
            .map(|config| {
                Ok((
                    config.name.clone(),
                    Entry::new(config, timeouts, max_event_bytes, breaker, meter.clone())?,
                ))
            })
            .collect();
        Ok(Self {
            entries: Arc::new(entries?),
        })
    }

    /// The provider of that name, if it is configured.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Provider> {
        self.entries.get(name)?.provider.as_ref()
    }

    /// Whether a run may name that provider.
    ///
    /// # Errors
    /// Why not, and what would help, in words for the caller of the API.
    pub fn check(&self, name: &str) -> Result<(), String> {
        match self.entries.get(name) {
            Some(Entry {
                provider: Some(_), ..
            }) => Ok(()),
            Some(Entry { config, .. }) => Err(format!(
                "is not configured: the server needs {} in its environment",
                config.api_key_env
            )),
            None => {
                let known: Vec<&str> = self.entries.keys().map(String::as_str).collect();
                Err(format!("is unknown; there are: {}", known.join(", ")))
            }
        }
    }

    /// A model of that provider, as far as the API goes by which it is asked. Empty: models in general.
    #[must_use]
    pub fn offering<'a>(&self, name: &'a str, model: &'a str) -> Option<Offering<'a>> {
        let entry = self.entries.get(name)?;
        Some(Offering {
            provider: name,
            kind: entry.config.kind.name,
            model,
            fields: entry.adapter.params(model),
            strange_words: entry.adapter.strange_words(model),
        })
    }

    /// All providers, by name.
    #[must_use]
    pub fn infos(&self) -> Vec<ProviderInfo> {
        let info = |entry: &Entry| ProviderInfo {
            name: entry.config.name.clone(),
            kind: entry.config.kind.name,
            configured: entry.provider.is_some(),
            simulated: entry.config.simulated,
            models: entry.config.models.clone(),
            all_models: entry.config.models == entry.config.kind.models,
            breakers: entry
                .provider
                .as_ref()
                .map(|provider| provider.gate.breakers())
                .unwrap_or_default(),
        };
        self.entries.values().map(info).collect()
    }
}

impl Entry {
    fn new(
        config: ProviderConfig,
        timeouts: Timeouts,
        max_event_bytes: usize,
        breaker: BreakerConfig,
        meter: Meter,
    ) -> Result<Self, RegistryError> {
        let adapter = (config.kind.adapter)(&config);
        let config = Arc::new(config);
        // Local servers want no key; the vendor's own address does.
        let provider = if config.api_key.is_some() || config.base_url.is_some() {
            let url = config.base_url.as_deref().unwrap_or("https://");
            let client = client::build(&config.name, url, &timeouts)?;
            let limits = Limits {
                timeouts,
                max_event_bytes,
            };
            Some(Provider {
                config: Arc::clone(&config),
                gate: Arc::new(
                    Gate::new(breaker, config.max_concurrent, config.requests_per_minute)
                        .telling(&config.name, meter),
                ),
                adapter: Arc::clone(&adapter),
                client,
                limits,
            })
        } else {
            None
        };
        Ok(Self {
            config,
            adapter,
            provider,
        })
    }
}

impl Provider {
    /// The name that bots use.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// The most tokens that an answer may have, where a limit is sent.
    #[must_use]
    pub fn max_tokens(&self, model: &str, params: &Params) -> Option<u32> {
        let default = || self.adapter.default_max_tokens(model, params);
        params.max_tokens.or_else(default)
    }

    /// Whether that model may be asked now.
    #[must_use]
    pub fn admit(&self, model: &str) -> Admission {
        self.gate.admit(model)
    }

    /// Waits until that model may be asked.
    pub async fn admitted(&self, model: &str) -> Place {
        self.gate.admitted(model).await
    }

    /// Makes one request and returns its answer as it begins to come.
    ///
    /// # Errors
    /// When the provider cannot be reached, refuses, or answers with something that is no stream.
    pub async fn send(
        &self,
        mut place: Place,
        request: Request<'_>,
    ) -> Result<Reply, AttemptFailure> {
        let answer = match self.open(&mut place, &request).await {
            Err(failure) if self.adapter.learns_from(&failure) => {
                self.open(&mut place, &request).await
            }
            answer => answer,
        };
        answer.map(|reply| reply.holding(place))
    }

    async fn open(
        &self,
        place: &mut Place,
        request: &Request<'_>,
    ) -> Result<Reply, AttemptFailure> {
        let mut outgoing = self.dressed(self.adapter.outgoing(request));
        if let Some(trace) = request.trace {
            let headers = [
                ("traceparent", trace.traceparent()),
                ("tracestate", trace.tracestate()),
            ];
            let said = headers.into_iter().filter(|(_, value)| !value.is_empty());
            let said = said.map(|(name, value)| (Cow::Borrowed(name), value.to_owned()));
            outgoing.headers.extend(said);
        }
        let converter = self.adapter.converter(request);
        let think_tags = self.config.think_tags;
        Reply::open(
            &self.client,
            place,
            outgoing,
            converter,
            think_tags,
            &self.limits,
        )
        .await
    }

    /// The request with what this provider wants beside or in place of its kind's own: Azure's query, `OpenRouter`'s headers.
    fn dressed(&self, mut outgoing: Outgoing) -> Outgoing {
        let ProviderConfig {
            query,
            headers,
            key_header,
            api_key,
            ..
        } = self.config.as_ref();
        if !query.is_empty()
            && let Ok(url) = url::Url::parse_with_params(&outgoing.url, query)
        {
            outgoing.url = url.into();
        }
        for (name, value) in headers {
            // In place of the kind's own: a header that comes twice is read by some in one way, by some in the other.
            let own = &mut outgoing.headers;
            own.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
            own.push((Cow::Owned(name.clone()), value.clone()));
        }
        if let (Some(header), Some(key)) = (key_header, api_key) {
            let value = match header.eq_ignore_ascii_case("authorization") {
                true => bearer(key),
                false => key.clone(),
            };
            outgoing.auth = Some((Cow::Owned(header.clone()), value));
        }
        outgoing
    }
}
