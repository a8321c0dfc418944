//! What runs may ask of providers: which of them, and what their models take. Checked before anybody is asked.

use crate::{
    conversation::{Catalogue, Offer, Params, ProviderInfo, Violation},
    providers::Registry,
};

/// The providers that there are, and what is known of their models.
pub(super) struct Offers<'a> {
    pub(super) registry: &'a Registry,
    pub(super) catalogue: &'a Catalogue,
}

impl Offers<'_> {
    /// Whether a run may name that provider. `at`: where the bot is in the request.
    pub(super) fn check_provider(&self, name: &str, at: &str) -> Result<(), Vec<Violation>> {
        let refused = |reason| vec![Violation::new(format!("{at}/provider"), reason)];
        self.registry.check(name).map_err(refused)
    }

    /// Whether the provider's model takes these parameters. Of a provider that is unknown nothing is said here.
    pub(super) fn check_params(
        &self,
        provider: &str,
        model: &str,
        params: &Params,
        at: &str,
    ) -> Result<(), Vec<Violation>> {
        let Some(offering) = self.registry.offering(provider, model) else {
            return Ok(());
        };
        let facts = self.catalogue.model(offering);
        facts.check(params).map_err(|violations| {
            let placed =
                |v: Violation| Violation::new(format!("{at}/params{}", v.pointer), v.reason);
            violations.into_iter().map(placed).collect()
        })
    }

    /// All providers, with what is known of their models.
    pub(super) fn all(&self) -> Vec<Offer> {
        let infos = self.registry.infos().into_iter();
        infos.filter_map(|info| self.offer(info)).collect()
    }

    fn offer(&self, info: ProviderInfo) -> Option<Offer> {
        let mut names: Vec<&str> = info.models.iter().map(String::as_str).collect();
        for listed in self.catalogue.listed(&info.name) {
            if info.all_models && !names.contains(&listed) {
                names.push(listed);
            }
        }
        let offerings = names
            .into_iter()
            .filter_map(|name| self.registry.offering(&info.name, name));
        let models = offerings.map(|model| self.catalogue.model(model)).collect();
        let general = self.registry.offering(&info.name, "")?;
        Some(Offer {
            models,
            general: self.catalogue.general(general),
            info,
        })
    }
}
