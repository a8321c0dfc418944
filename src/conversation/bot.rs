//! A bot: what a caller may say about it, and what a run knows of it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use validator::Validate;

use super::{
    catalogue::ParamName,
    object::{object, objects},
    target::Target,
    validate::{Violation, check, no_control, not_blank, within_text_limit},
};

/// What the caller of the API says about a bot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BotSpec {
    /// How the others call it; `Bot 1`, `Bot 2` … where it is absent. 1 to 64 characters.
    #[validate(
        length(min = 1, max = 64, message = "must have 1 to 64 characters"),
        custom(function = "no_control"),
        custom(function = "not_blank")
    )]
    #[schema(min_length = 1, max_length = 64)]
    pub name: Option<String>,
    /// Which configured provider speaks for it.
    #[validate(
        length(min = 1, max = 64, message = "must have 1 to 64 characters"),
        custom(function = "no_control")
    )]
    #[schema(min_length = 1, max_length = 64)]
    pub provider: String,
    /// The model's name, for the provider to judge.
    #[validate(
        length(min = 1, max = 256, message = "must have 1 to 256 characters"),
        custom(function = "no_control"),
        custom(function = "not_blank")
    )]
    #[schema(min_length = 1, max_length = 256)]
    pub model: String,
    /// What the bot is told about itself; at most 32 KiB.
    #[validate(custom(function = "within_text_limit"))]
    #[schema(max_length = 32_768)]
    pub system_prompt: Option<String>,
    /// What is passed on to the model.
    #[serde(default, deserialize_with = "object")]
    #[validate(nested)]
    pub params: Params,
    /// Who is asked in its place, in this order, once its own model has failed in a turn; at most 4.
    #[serde(default, deserialize_with = "objects")]
    #[validate(length(max = 4, message = "must have at most 4 entries"), nested)]
    #[schema(max_items = 4)]
    pub fallback: Vec<Target>,
}

impl BotSpec {
    /// Who is asked to speak for it: its own model first, then those that stand in for it.
    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        targets(&self.provider, &self.model, &self.fallback)
    }
}

fn targets(provider: &str, model: &str, fallback: &[Target]) -> Vec<Target> {
    let own = Target {
        provider: provider.to_owned(),
        model: model.to_owned(),
    };
    let others = fallback.iter().cloned();
    std::iter::once(own).chain(others).collect()
}

/// What is passed on to a model, each in its API's own field. Absent means: the provider's default. Which of them a model takes, and
/// in what range, is the catalogue's to say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// The most tokens that one answer may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// How random the answer is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The share of probability that the next word is drawn from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// The number of words that the next one is drawn from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Texts that end the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[validate(custom(function = "stop_sequences"))]
    pub stop: Option<Vec<String>>,
    /// Asks for the same answer again, where the provider can do that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// Keeps from what was mentioned already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
    /// Keeps from what was said often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    /// How much the model thinks before it answers, in the API's word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<String>,
    /// The most tokens that it may think.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking_budget_tokens: Option<u32>,
    /// How long-winded the answer is, in the API's word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verbosity: Option<String>,
    /// How soon the provider answers, and at which price, in the API's word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
}

/// The value of a parameter, as far as rules look at it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Given<'a> {
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// A word.
    Text(&'a str),
    /// So many texts.
    Texts(u64),
}

impl Params {
    /// Those that are given.
    pub(super) fn given(&self) -> Vec<(ParamName, Given<'_>)> {
        let integer = |value: Option<u32>| value.map(|value| Given::Integer(value.into()));
        let number = |value: Option<f64>| value.map(Given::Number);
        let texts = self
            .stop
            .as_ref()
            .map(|stop| Given::Texts(stop.len() as u64));
        let value = |name: ParamName| match name {
            ParamName::MaxTokens => integer(self.max_tokens),
            ParamName::Temperature => number(self.temperature),
            ParamName::TopP => number(self.top_p),
            ParamName::TopK => integer(self.top_k),
            ParamName::Stop => texts,
            ParamName::Seed => self.seed.map(Given::Integer),
            ParamName::PresencePenalty => number(self.presence_penalty),
            ParamName::FrequencyPenalty => number(self.frequency_penalty),
            ParamName::ReasoningEffort => self.reasoning_effort.as_deref().map(Given::Text),
            ParamName::ThinkingBudgetTokens => integer(self.thinking_budget_tokens),
            ParamName::Verbosity => self.verbosity.as_deref().map(Given::Text),
            ParamName::ServiceTier => self.service_tier.as_deref().map(Given::Text),
        };
        let given = ParamName::ALL.into_iter();
        given
            .filter_map(|name| Some((name, value(name)?)))
            .collect()
    }
}

fn stop_sequences(stop: &[String]) -> Result<(), validator::ValidationError> {
    let fine = |s: &String| !s.is_empty() && s.chars().count() <= 256 && !s.contains('\0');
    if stop.iter().all(fine) {
        return Ok(());
    }
    Err(validator::ValidationError::new("stop")
        .with_message("entries must have 1 to 256 characters and no U+0000".into()))
}

/// A participant of a run, in one version. Versions count from 1 and are never changed: a PATCH makes a new one.
#[derive(Debug, Clone, PartialEq)]
pub struct Bot {
    /// Its place in the run's list, from 0.
    pub index: u32,
    /// Which version this is, from 1.
    pub version: u32,
    /// How the others call it. Names in a run differ.
    pub name: String,
    /// Which configured provider speaks for it.
    pub provider: String,
    /// The model's name.
    pub model: String,
    /// What it is told about itself.
    pub system_prompt: Option<String>,
    /// What is passed on to the model.
    pub params: Params,
    /// Who is asked in its place once its own model has failed in a turn.
    pub fallback: Vec<Target>,
}

/// How `run.started` presents a bot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BotIntro {
    /// Its place in the run's list, from 0.
    pub index: u32,
    /// How the others call it.
    pub name: String,
    /// Which configured provider speaks for it.
    pub provider: String,
    /// The model's name.
    pub model: String,
}

impl Bot {
    /// The bot that the caller described, at this place and in this version.
    #[must_use]
    pub fn from_spec(spec: BotSpec, index: u32, version: u32) -> Self {
        Self {
            index,
            version,
            name: spec.name.unwrap_or_else(|| format!("Bot {}", index + 1)),
            provider: spec.provider,
            model: spec.model,
            system_prompt: spec.system_prompt,
            params: spec.params,
            fallback: spec.fallback,
        }
    }

    /// Who is asked in a turn: its own model first.
    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        targets(&self.provider, &self.model, &self.fallback)
    }

    /// How `run.started` presents it.
    #[must_use]
    pub fn intro(&self) -> BotIntro {
        BotIntro {
            index: self.index,
            name: self.name.clone(),
            provider: self.provider.clone(),
            model: self.model.clone(),
        }
    }

    /// The members that a PATCH may change, as the caller sees them.
    #[must_use]
    pub fn members(&self) -> Map<String, Value> {
        let mut members = Map::new();
        members.insert("name".into(), Value::from(self.name.clone()));
        members.insert("provider".into(), Value::from(self.provider.clone()));
        members.insert("model".into(), Value::from(self.model.clone()));
        members.insert(
            "system_prompt".into(),
            self.system_prompt.clone().map_or(Value::Null, Value::from),
        );
        members.insert(
            "params".into(),
            serde_json::to_value(&self.params).unwrap_or_default(),
        );
        members.insert(
            "fallback".into(),
            serde_json::to_value(&self.fallback).unwrap_or_default(),
        );
        members
    }

    /// This bot after a JSON merge patch (RFC 7396): its next version, or itself where the patch changes nothing.
    ///
    /// # Errors
    /// Every rule that the patched bot as a whole breaks.
    pub fn patched(&self, patch: &Map<String, Value>) -> Result<Self, Vec<Violation>> {
        let mut merged = Value::Object(self.members());
        merge(&mut merged, &Value::Object(patch.clone()));
        let spec: BotSpec = serde_path_to_error::deserialize(merged)
            .map_err(|error| vec![Violation::from_serde(&error)])?;
        check(&spec)?;
        let next = Self::from_spec(spec, self.index, self.version);
        if next == *self {
            return Ok(next);
        }
        Ok(Self {
            version: self.version + 1,
            ..next
        })
    }

    /// The members in which this version differs from an earlier one, with their new values.
    #[must_use]
    pub fn changes_since(&self, earlier: &Self) -> Map<String, Value> {
        let before = earlier.members();
        self.members()
            .into_iter()
            .filter(|(key, value)| before.get(key) != Some(value))
            .collect()
    }
}

/// RFC 7396, section 2: null removes, objects merge, all else replaces.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(members) = target else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            members.remove(key);
        } else {
            merge(members.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bot() -> Bot {
        Bot {
            index: 1,
            version: 3,
            name: "Ada".into(),
            provider: "openai".into(),
            model: "m".into(),
            system_prompt: Some("Be brief.".into()),
            params: Params {
                temperature: Some(0.5),
                ..Params::default()
            },
            fallback: Vec::new(),
        }
    }

    fn patch(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn merges_as_the_rfc_says() {
        // The table of RFC 7396, appendix A, where the target is an object.
        for (mut target, with, expected) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (
                json!({"a":{"b":"c"}}),
                json!({"a":{"b":"d","c":null}}),
                json!({"a":{"b":"d"}}),
            ),
            (
                json!({"a":"foo"}),
                json!({"a":{"bb":{"ccc":null}}}),
                json!({"a":{"bb":{}}}),
            ),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
        ] {
            merge(&mut target, &with);
            assert_eq!(target, expected);
        }
    }

    #[test]
    fn a_patch_makes_the_next_version_and_names_what_changed() {
        let next = bot()
            .patched(&patch(
                json!({"name": null, "params": {"temperature": null, "seed": 7}}),
            ))
            .unwrap();
        assert_eq!((next.version, next.name.as_str()), (4, "Bot 2"));
        assert_eq!(
            next.params,
            Params {
                seed: Some(7),
                ..Params::default()
            }
        );
        assert_eq!(
            Value::Object(next.changes_since(&bot())),
            json!({"name": "Bot 2", "params": {"seed": 7}})
        );
    }

    #[test]
    fn a_patch_that_changes_nothing_makes_no_version() {
        assert_eq!(bot().patched(&patch(json!({"model": "m"}))).unwrap(), bot());
    }

    #[test]
    fn a_patch_is_judged_as_a_whole() {
        for (bad, pointer) in [
            (json!({"provider": null}), ""),
            (json!({"nam": "x"}), ""),
            (json!({"name": ""}), "/name"),
            (json!({"params": {"stop": [""]}}), "/params/stop"),
            (json!({"params": {"top_p": "x"}}), "/params/top_p"),
        ] {
            let violations = bot().patched(&patch(bad.clone())).unwrap_err();
            assert!(
                violations[0].pointer.starts_with(pointer),
                "{bad} -> {violations:?}"
            );
        }
    }
}
