//! What callers ask for, held against what is offered.

use serde_json::{Map, Value};

use super::Inner;
use crate::{
    conversation::{
        BotChange, RunError, RunPlan, StartRun, Violation, check_name_is_free, next_turn_of,
    },
    models::Locked,
    orchestrator::offers::Offers,
};

impl Inner {
    /// Checks an order.
    pub(super) fn plan(&self, order: StartRun) -> Result<RunPlan, RunError> {
        let offers = self.offers();
        let bots = (0..).zip(&order.bots);
        let refused = bots.flat_map(|(index, bot): (u32, _)| {
            let (at, targets) = (format!("/bots/{index}"), bot.targets());
            let mut refused = offers.unknown(&targets, &at);
            refused.extend(offers.refused(&targets, &bot.params, &at));
            refused
        });
        let refused: Vec<Violation> = refused.collect();
        match order.plan(self.config.max_turns) {
            Ok(plan) if refused.is_empty() => Ok(plan),
            Ok(_) => Err(RunError::Invalid(refused)),
            Err(violations) => Err(RunError::Invalid(
                violations.into_iter().chain(refused).collect(),
            )),
        }
    }

    pub(super) fn offers(&self) -> Offers<'_> {
        Offers {
            registry: &self.registry,
            catalogue: &self.config.catalogue,
        }
    }

    /// What the patch makes of the bot, by what the locked run says.
    pub(super) fn patched(
        &self,
        locked: &Locked,
        index: u32,
        patch: &Map<String, Value>,
        if_match: Option<&[u32]>,
    ) -> Result<BotChange, RunError> {
        let run = &locked.run;
        let bots = u32::try_from(run.bots.len()).unwrap_or(u32::MAX);
        let bot = run
            .bots
            .iter()
            .find(|bot| bot.index == index)
            .ok_or(RunError::NoSuchBot { index, bots })?;
        if if_match.is_some_and(|versions| !versions.contains(&bot.version)) {
            return Err(RunError::VersionMismatch {
                version: bot.version,
            });
        }
        let next = bot.patched(patch).map_err(RunError::Invalid)?;
        check_name_is_free(&next, &run.bots).map_err(RunError::Invalid)?;
        let (targets, offers) = (next.targets(), self.offers());
        let mut refused = Vec::new();
        if (&next.provider, &next.fallback) != (&bot.provider, &bot.fallback) {
            refused = offers.unknown(&targets, "");
        }
        // As a whole: another model may refuse what the old one took. What changes nothing breaks nothing.
        if next != *bot {
            refused.extend(offers.refused(&targets, &next.params, ""));
        }
        if !refused.is_empty() {
            return Err(RunError::Invalid(refused));
        }
        let started = run.totals.turns + u32::from(run.in_progress.is_some());
        Ok(BotChange {
            effective_from_turn: next_turn_of(index, started, run.max_turns, bots),
            bot: next,
        })
    }
}
