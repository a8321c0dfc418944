//! The providers as JSON. Never a key.

use serde::Serialize;

use crate::conversation::{BreakerInfo, ProviderInfo};

/// All providers.
#[derive(Debug, Serialize)]
pub struct ProvidersView {
    providers: Vec<ProviderView>,
}

#[derive(Debug, Serialize)]
struct ProviderView {
    name: String,
    kind: &'static str,
    configured: bool,
    simulated: bool,
    models: Vec<String>,
    params: &'static [&'static str],
    breakers: Vec<BreakerView>,
}

/// A model that is not asked for a while.
#[derive(Debug, Serialize)]
struct BreakerView {
    model: String,
    state: &'static str,
    retry_in_ms: u64,
}

impl From<BreakerInfo> for BreakerView {
    fn from(info: BreakerInfo) -> Self {
        Self {
            state: if info.retry_in.is_zero() {
                "half_open"
            } else {
                "open"
            },
            retry_in_ms: u64::try_from(info.retry_in.as_millis()).unwrap_or(u64::MAX),
            model: info.model,
        }
    }
}

impl From<Vec<ProviderInfo>> for ProvidersView {
    fn from(infos: Vec<ProviderInfo>) -> Self {
        let view = |info: ProviderInfo| {
            let ProviderInfo {
                name,
                kind,
                configured,
                simulated,
                models,
                params,
                breakers,
            } = info;
            ProviderView {
                name,
                kind,
                configured,
                simulated,
                models,
                params,
                breakers: breakers.into_iter().map(BreakerView::from).collect(),
            }
        };
        Self {
            providers: infos.into_iter().map(view).collect(),
        }
    }
}
