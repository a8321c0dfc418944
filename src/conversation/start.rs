//! What it takes to start a run.

use std::collections::HashSet;

use serde::Deserialize;
use utoipa::ToSchema;
use validator::Validate;

use super::{
    bot::{Bot, BotSpec},
    context::ContextPolicy,
    cost::{Cost, Spent},
    event::Totals,
    event_id::EventId,
    object::objects,
    record::Run,
    run::{RunId, RunStatus},
    time::Timestamp,
    trace::TraceContext,
    usage::Usage,
    validate::{Violation, check, not_blank, within_text_limit},
};

/// The order to start a run, as the caller gives it.
#[derive(Debug, Clone, PartialEq, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartRun {
    /// The opening message, from the outside world, that the first bot answers; at most 32 KiB.
    #[validate(custom(function = "within_text_limit"), custom(function = "not_blank"))]
    #[schema(min_length = 1, max_length = 32_768)]
    pub topic: String,
    /// Who takes part, 2 to 8.
    #[serde(deserialize_with = "objects")]
    #[validate(length(min = 2, max = 8, message = "must have 2 to 8 entries"), nested)]
    #[schema(min_items = 2, max_items = 8)]
    pub bots: Vec<BotSpec>,
    /// How many turns there are to be at most; the limit of the settings where it is absent.
    #[schema(minimum = 1)]
    pub max_turns: Option<u32>,
    /// Whether what the models think is shown, where their providers tell it.
    pub show_reasoning: Option<bool>,
    /// What becomes of the run if it outgrows a model's context window.
    pub context_policy: Option<ContextPolicy>,
}

/// A run that may start: every rule was checked, every default filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct RunPlan {
    /// The opening message.
    pub topic: String,
    /// Who takes part, each in version 1.
    pub bots: Vec<Bot>,
    /// How many turns there will be at most.
    pub max_turns: u32,
    /// Whether what the models think is shown.
    pub show_reasoning: bool,
    /// What becomes of the run if it outgrows a model's context window.
    pub context_policy: ContextPolicy,
    /// The place in a trace from which the run goes on.
    pub trace: Option<TraceContext>,
}

impl RunPlan {
    /// The run that was just accepted by this plan.
    #[must_use]
    pub fn accepted(&self, id: RunId, at: Timestamp) -> Run {
        Run {
            id,
            status: RunStatus::Queued,
            reason: None,
            failure: None,
            topic: self.topic.clone(),
            bots: self.bots.clone(),
            max_turns: self.max_turns,
            show_reasoning: self.show_reasoning,
            context_policy: self.context_policy,
            totals: Totals {
                turns: 0,
                usage: Usage::default(),
                cost_usd: Some(Cost::ZERO),
                cost_complete: true,
            },
            spent: vec![Spent::NOTHING; self.bots.len()],
            in_progress: None,
            last_event_id: EventId::durable(1),
            created_at: at,
            started_at: None,
            finished_at: None,
        }
    }
}

impl StartRun {
    /// Checks every rule and fills in the defaults. `limit` is `RUN_MAX_TURNS`.
    ///
    /// # Errors
    /// Every rule that the order breaks.
    pub fn plan(self, limit: u32) -> Result<RunPlan, Vec<Violation>> {
        let mut violations = check(&self).err().unwrap_or_default();
        let max_turns = self.max_turns.unwrap_or(limit);
        if !(1..=limit).contains(&max_turns) {
            violations.push(Violation::new(
                "/max_turns",
                format!("must be from 1 to {limit}"),
            ));
        }
        let bots: Vec<Bot> = (0..)
            .zip(self.bots)
            .map(|(index, spec)| Bot::from_spec(spec, index, 1))
            .collect();
        violations.extend(doubled_names(&bots));
        if violations.is_empty() {
            Ok(RunPlan {
                topic: self.topic,
                bots,
                max_turns,
                show_reasoning: self.show_reasoning.unwrap_or_default(),
                context_policy: self.context_policy.unwrap_or_default(),
                trace: None,
            })
        } else {
            Err(violations)
        }
    }
}

/// A violation for each bot whose name an earlier one has.
fn doubled_names(bots: &[Bot]) -> Vec<Violation> {
    let mut seen = HashSet::new();
    bots.iter()
        .filter(|bot| !seen.insert(bot.name.as_str()))
        .map(|bot| {
            Violation::new(
                format!("/bots/{}/name", bot.index),
                format!("another bot is called {:?}", bot.name),
            )
        })
        .collect()
}

/// Whether a changed bot's name is free: names in a run differ.
///
/// # Errors
/// The violation, if another bot has the name.
pub fn check_name_is_free(changed: &Bot, bots: &[Bot]) -> Result<(), Vec<Violation>> {
    if bots
        .iter()
        .any(|other| other.index != changed.index && other.name == changed.name)
    {
        return Err(vec![Violation::new(
            "/name",
            format!("another bot is called {:?}", changed.name),
        )]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn plan(body: Value) -> Result<RunPlan, Vec<String>> {
        let order: StartRun = serde_json::from_value(body).unwrap();
        order
            .plan(50)
            .map_err(|violations| violations.into_iter().map(|v| v.pointer).collect())
    }

    fn bot() -> Value {
        json!({"provider": "openai", "model": "m"})
    }

    #[test]
    fn fills_in_the_defaults() {
        let plan = plan(json!({"topic": "Tea?", "bots": [bot(), bot()]})).unwrap();
        assert_eq!((plan.max_turns, plan.show_reasoning), (50, false));
        assert_eq!(
            plan.bots
                .iter()
                .map(|bot| bot.name.as_str())
                .collect::<Vec<_>>(),
            ["Bot 1", "Bot 2"]
        );
    }

    #[test]
    fn names_every_broken_rule_at_once() {
        let mut long = bot();
        long["name"] = json!("x".repeat(65));
        let mut control = bot();
        control["name"] = json!("a\u{0}b");
        let mut hot = bot();
        hot["params"] = json!({"stop": ["", "x"]});
        let pointers =
            plan(json!({"topic": " ", "bots": [long, control, hot], "max_turns": 51})).unwrap_err();
        assert_eq!(
            pointers,
            [
                "/bots/0/name",
                "/bots/1/name",
                "/bots/2/params/stop",
                "/topic",
                "/max_turns"
            ]
        );
    }

    #[test]
    fn counts_bots_turns_and_bytes() {
        assert_eq!(
            plan(json!({"topic": "t", "bots": [bot()]})).unwrap_err(),
            ["/bots"]
        );
        assert_eq!(
            plan(json!({"topic": "t", "bots": vec![bot(); 9]})).unwrap_err(),
            ["/bots"]
        );
        assert_eq!(
            plan(json!({"topic": "t", "bots": vec![bot(); 8], "max_turns": 0})).unwrap_err(),
            ["/max_turns"]
        );
        assert_eq!(
            plan(json!({"topic": "é".repeat(16_385), "bots": vec![bot(); 2]})).unwrap_err(),
            ["/topic"]
        );
        assert!(
            plan(json!({"topic": "é".repeat(16_384), "bots": vec![bot(); 8], "max_turns": 50}))
                .is_ok()
        );
    }

    #[test]
    fn names_differ_also_from_the_default_ones() {
        let mut named = bot();
        named["name"] = json!("Bot 2");
        assert_eq!(
            plan(json!({"topic": "t", "bots": [named, bot()]})).unwrap_err(),
            ["/bots/1/name"]
        );
    }
}
