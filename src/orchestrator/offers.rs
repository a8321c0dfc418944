//! What runs may ask of providers: which of them, and what their models take. Checked before anybody is asked.

use crate::{
    conversation::{Catalogue, ModelFacts, Offer, Params, ProviderInfo, Target, Violation},
    providers::Registry,
};

/// The providers that there are, and what is known of their models.
pub(super) struct Offers<'a> {
    pub(super) registry: &'a Registry,
    pub(super) catalogue: &'a Catalogue,
}

impl Offers<'_> {
    /// A violation for each provider that no run may name among those that a bot asks: its own model first, then those that stand in
    /// for it. `at`: where the bot is in the request.
    pub(super) fn unknown(&self, targets: &[Target], at: &str) -> Vec<Violation> {
        let places = targets.iter().enumerate();
        let unknown = places.filter_map(|(index, target)| {
            let reason = self.registry.check(&target.provider).err()?;
            let place = place(index);
            Some(Violation::new(format!("{at}{place}/provider"), reason))
        });
        unknown.collect()
    }

    /// A violation for each of a bot's parameters that one of its models does not take. It is asked of all of them with the same
    /// ones: what stands in for a model must not fail where it is needed. Of a provider that is unknown nothing is said here.
    pub(super) fn refused(&self, targets: &[Target], params: &Params, at: &str) -> Vec<Violation> {
        let refused = targets.iter().enumerate().flat_map(|(index, target)| {
            let facts = self.facts(target);
            let violations = facts.and_then(|facts| facts.check(params).err());
            let placed = move |v: Violation| match index {
                0 => Violation::new(format!("{at}/params{}", v.pointer), v.reason),
                _ => stands_in(target, &v, &format!("{at}{}/model", place(index))),
            };
            violations.into_iter().flatten().map(placed)
        });
        refused.collect()
    }

    /// What is known of a model; `None`: there is no such provider.
    pub(super) fn facts(&self, target: &Target) -> Option<ModelFacts> {
        let offering = self.registry.offering(&target.provider, &target.model)?;
        Some(self.catalogue.model(offering))
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

/// Where a target is in its bot.
fn place(index: usize) -> String {
    match index.checked_sub(1) {
        None => String::new(),
        Some(at) => format!("/fallback/{at}"),
    }
}

/// What a model in the place of another does not take: it is named at its own place, as the parameter is right for others.
fn stands_in(target: &Target, violation: &Violation, pointer: &str) -> Violation {
    let Target { provider, model } = target;
    let param = violation.pointer.trim_start_matches('/');
    let reason = &violation.reason;
    Violation::new(
        pointer,
        format!("is asked with the bot's parameters; for {model} of {provider}, {param} {reason}"),
    )
}
