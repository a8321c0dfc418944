//! The providers as JSON. Never a key.

use serde::Serialize;

use crate::conversation::ProviderInfo;

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
            } = info;
            ProviderView {
                name,
                kind,
                configured,
                simulated,
                models,
                params,
            }
        };
        Self {
            providers: infos.into_iter().map(view).collect(),
        }
    }
}
