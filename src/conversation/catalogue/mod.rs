//! What is known of models: which parameters each takes, how much it can read and write, and what it costs, and since when.
//!
//! The facts are data (`config/models.yaml`, and a file of the operator's that goes over it); here is what they mean. What a file
//! does not say is unknown, and stays so: no parameter, no size and no price is guessed.

mod param;
mod price;
mod read;

use std::collections::BTreeMap;

pub use param::{ParamName, Rule, Shape};
pub use price::{Price, Pricing, Rate, Rates};
use serde_json::Value;

use super::{bot::Params, time::Timestamp, validate::Violation};

/// All that is known of models. Entries stand under the name of a provider, or under the name of its kind.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// Ours first; what comes later goes over what comes earlier.
    files: Vec<File>,
}

/// What one file says, by provider or kind.
type File = BTreeMap<String, Section>;

/// What a file says about one provider or kind.
#[derive(Debug, Clone, Default)]
struct Section {
    /// What the API takes in general; `None`: refused.
    params: BTreeMap<ParamName, Option<Rule>>,
    /// Patterns before exact names, short ones before long ones, so that what is more exact goes over what is less.
    models: Vec<Entry>,
}

/// What a file says about a model, or about all whose names begin in the same way.
#[derive(Debug, Clone)]
struct Entry {
    name: Pattern,
    params: BTreeMap<ParamName, Option<Rule>>,
    context_window: Option<u64>,
    max_output: Option<u64>,
    /// `None`: nothing is said; no prices: they are not known any more.
    prices: Option<Vec<Price>>,
}

/// Which models an entry is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Pattern {
    /// All whose names begin so.
    Prefix(String),
    /// The one of that name.
    Exact(String),
}

impl Pattern {
    fn matches(&self, model: &str) -> bool {
        match self {
            Self::Prefix(begin) => model.starts_with(begin),
            Self::Exact(name) => model == name,
        }
    }

    /// What goes over what.
    fn rank(&self) -> (bool, usize) {
        match self {
            Self::Prefix(begin) => (false, begin.len()),
            Self::Exact(_) => (true, 0),
        }
    }
}

/// A model of a provider, as entries name it.
#[derive(Debug, Clone, Copy)]
pub struct Offering<'a> {
    /// The name of the provider.
    pub provider: &'a str,
    /// The name of its kind.
    pub kind: &'a str,
    /// The model.
    pub model: &'a str,
    /// The parameters that the API has a field for by which it is asked.
    pub fields: &'a [&'a str],
    /// Words of those parameters that it does not know: the parameter, and the word.
    pub strange_words: &'a [(&'a str, &'a str)],
}

/// What is known of a model of a provider.
#[derive(Debug, Clone, Default)]
pub struct ModelFacts {
    /// The model.
    pub name: String,
    /// Whether any entry is about it; otherwise this is what the API takes in general.
    pub known: bool,
    /// The parameters that it takes.
    pub params: BTreeMap<ParamName, Rule>,
    /// The most tokens of prompt and answer together.
    pub context_window: Option<u64>,
    /// The most tokens of an answer.
    pub max_output: Option<u64>,
    /// All its prices, of all times.
    pub prices: Vec<Price>,
}

impl Catalogue {
    /// The catalogue of these files, each over the one before. `known`: the names of providers and kinds, which entries may name.
    ///
    /// # Errors
    /// All mistakes of the first file that has any, each with its JSON pointer, and which file it is.
    pub fn new(files: &[Value], known: &[&str]) -> Result<Self, (usize, Vec<Violation>)> {
        let read = (0..)
            .zip(files)
            .map(|(at, file)| read::file(file, known).map_err(|mistakes| (at, mistakes)));
        Ok(Self {
            files: read.collect::<Result<_, _>>()?,
        })
    }

    /// What is known of a model.
    ///
    /// What a model takes goes by the provider's kind too: it is the same model behind a gateway. What it costs does not: only the
    /// provider's own name has prices, whatever its address.
    #[must_use]
    pub fn model(&self, offering: Offering<'_>) -> ModelFacts {
        let mut facts = self.general(offering);
        for (own, section) in self.sections(offering) {
            let entries = section.models.iter();
            for entry in entries.filter(|entry| entry.name.matches(offering.model)) {
                facts.known = true;
                lay_over(&mut facts.params, &entry.params);
                facts.context_window = entry.context_window.or(facts.context_window);
                facts.max_output = entry.max_output.or(facts.max_output);
                if let Some(prices) = entry.prices.as_ref().filter(|_| own) {
                    facts.prices.clone_from(prices);
                }
            }
        }
        only(&mut facts.params, offering);
        // An answer that may fill the window leaves no room for a question.
        let below = facts.context_window.map(|window| window.saturating_sub(1));
        let most = facts.max_output.into_iter().chain(below).min();
        if let Some(most) = most
            && let Some(rule) = facts.params.get_mut(&ParamName::MaxTokens)
        {
            rule.at_most(most);
        }
        facts
    }

    /// What the API takes in general: what goes for models of which nothing else is known.
    #[must_use]
    pub fn general(&self, offering: Offering<'_>) -> ModelFacts {
        let mut params = BTreeMap::new();
        for (_, section) in self.sections(offering) {
            lay_over(&mut params, &section.params);
        }
        only(&mut params, offering);
        ModelFacts {
            name: offering.model.to_owned(),
            params,
            ..ModelFacts::default()
        }
    }

    /// The models that are listed under the provider's own name, file by file.
    pub fn listed(&self, provider: &str) -> impl Iterator<Item = &str> {
        let sections = self.files.iter().filter_map(move |file| file.get(provider));
        let entries = sections.flat_map(|section| &section.models);
        entries.filter_map(|entry| match &entry.name {
            Pattern::Exact(name) => Some(name.as_str()),
            Pattern::Prefix(_) => None,
        })
    }

    /// What a request costs that begins at that moment; `None` where no price is known.
    #[must_use]
    pub fn pricing(
        &self,
        provider: &str,
        model: &str,
        params: &Params,
        at: Timestamp,
    ) -> Option<Pricing> {
        let named = self.files.iter().filter_map(|file| file.get(provider));
        let prices = named
            .flat_map(|section| &section.models)
            .filter(|entry| entry.name.matches(model))
            .filter_map(|entry| entry.prices.as_ref())
            .next_back()?;
        Pricing::at(prices, params.service_tier.as_deref(), at)
    }

    /// What goes for the provider, in order, and whether it stands under the provider's own name.
    fn sections(&self, offering: Offering<'_>) -> impl Iterator<Item = (bool, &Section)> {
        let Offering { provider, kind, .. } = offering;
        self.files.iter().flat_map(move |file| {
            let of_kind = file.get(kind).filter(|_| kind != provider);
            let of_kind = of_kind.map(|section| (false, section));
            let own = file.get(provider).map(|section| (true, section));
            of_kind.into_iter().chain(own)
        })
    }
}

/// What the API has no field and no word for is not taken, whatever a file says.
fn only(params: &mut BTreeMap<ParamName, Rule>, offering: Offering<'_>) {
    params.retain(|name, _| offering.fields.contains(&name.as_str()));
    for (name, rule) in params {
        let strange = |word: &str| offering.strange_words.contains(&(name.as_str(), word));
        rule.without(strange);
    }
}

fn lay_over(params: &mut BTreeMap<ParamName, Rule>, over: &BTreeMap<ParamName, Option<Rule>>) {
    for (name, rule) in over {
        match rule {
            Some(rule) => params.insert(*name, rule.clone()),
            None => params.remove(name),
        };
    }
}

impl ModelFacts {
    /// Whether the model takes these parameters.
    ///
    /// # Errors
    /// What it does not take, and what it takes instead; pointers count from the parameters.
    pub fn check(&self, params: &Params) -> Result<(), Vec<Violation>> {
        let given = params.given();
        let broken: Vec<Violation> = given
            .iter()
            .filter_map(|(name, value)| {
                let reason = match self.params.get(name) {
                    Some(rule) => rule.check(value, &given)?,
                    None => self.refusal(),
                };
                Some(Violation::new(format!("/{}", name.as_str()), reason))
            })
            .collect();
        if broken.is_empty() {
            Ok(())
        } else {
            Err(broken)
        }
    }

    fn refusal(&self) -> String {
        let taken: Vec<&str> = self.params.keys().map(|name| name.as_str()).collect();
        let taken = if taken.is_empty() {
            "none".to_owned()
        } else {
            taken.join(", ")
        };
        format!("is not taken by {}; its parameters: {taken}", self.name)
    }

    /// The prices that are in force at that moment.
    #[must_use]
    pub fn prices_at(&self, at: Timestamp) -> Vec<&Price> {
        price::in_force(&self.prices, at)
    }
}

#[cfg(test)]
mod tests;
