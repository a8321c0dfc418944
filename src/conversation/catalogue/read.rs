//! A file into the catalogue, noting every mistake on the way.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    Entry, File, ParamName, Pattern, Price, Rate, Rates, Rule, Section, Shape, price::is_usual,
};
use crate::conversation::{time::Timestamp, validate::Violation};

/// Reads a file whose entries may stand under the names in `known`.
pub(super) fn file(value: &Value, known: &[&str]) -> Result<File, Vec<Violation>> {
    let mut reader = Reader::default();
    let file = reader.file(value, known);
    if reader.mistakes.is_empty() {
        Ok(file)
    } else {
        Err(reader.mistakes)
    }
}

/// Walks through a file; `at` is where it is.
#[derive(Default)]
struct Reader {
    at: Vec<String>,
    mistakes: Vec<Violation>,
}

type Members = Map<String, Value>;

impl Reader {
    fn file(&mut self, value: &Value, known: &[&str]) -> File {
        let mut file = File::new();
        for (name, section) in self.members(value).into_iter().flatten() {
            self.within(name, |reader| {
                if known.contains(&name.as_str()) {
                    file.insert(name.clone(), reader.section(section));
                } else {
                    let known = known.join(", ");
                    reader.wrong(format!("is no provider and no kind; there are: {known}"));
                }
            });
        }
        file
    }

    fn section(&mut self, value: &Value) -> Section {
        let mut section = Section::default();
        let Some(members) = self.only(value, &["params", "models"]) else {
            return section;
        };
        if let Some(params) = members.get("params") {
            section.params = self.within("params", |reader| reader.params(params));
        }
        if let Some(models) = members.get("models") {
            self.within("models", |reader| {
                for (name, entry) in reader.members(models).into_iter().flatten() {
                    let entry = reader.within(name, |reader| reader.entry(name, entry));
                    section.models.push(entry);
                }
            });
        }
        section.models.sort_by_key(|entry| entry.name.rank());
        section
    }

    fn entry(&mut self, name: &str, value: &Value) -> Entry {
        let pattern = match name.strip_suffix('*') {
            Some(begin) => Pattern::Prefix(begin.to_owned()),
            None => Pattern::Exact(name.to_owned()),
        };
        if name.is_empty() || name.trim_end_matches('*').contains('*') || name.ends_with("**") {
            self.wrong("must be a model's name, or how it begins and then a single *");
        }
        let mut entry = Entry {
            name: pattern,
            params: BTreeMap::new(),
            context_window: None,
            max_output: None,
            prices: None,
        };
        let known = ["params", "context_window", "max_output", "prices"];
        let Some(members) = self.only(value, &known) else {
            return entry;
        };
        if let Some(params) = members.get("params") {
            entry.params = self.within("params", |reader| reader.params(params));
        }
        entry.context_window = self.count(members, "context_window");
        entry.max_output = self.count(members, "max_output");
        if let Some(prices) = members.get("prices") {
            entry.prices = Some(self.within("prices", |reader| reader.prices(prices)));
        }
        entry
    }

    fn params(&mut self, value: &Value) -> BTreeMap<ParamName, Option<Rule>> {
        let mut params = BTreeMap::new();
        for (name, rule) in self.members(value).into_iter().flatten() {
            self.within(name, |reader| match (ParamName::named(name), rule) {
                (None, _) => {
                    let all = ParamName::ALL.map(ParamName::as_str).join(", ");
                    reader.wrong(format!("is no parameter; there are: {all}"));
                }
                (Some(param), Value::Bool(false)) => {
                    params.insert(param, None);
                }
                (Some(param), rule) => {
                    let rule = reader.rule(param, rule);
                    params.insert(param, rule);
                }
            });
        }
        params
    }

    fn rule(&mut self, param: ParamName, value: &Value) -> Option<Rule> {
        if !value.is_object() {
            self.wrong("must be false (it is refused), or an object that says what it may be");
            return None;
        }
        let own: &[&str] = match param.kind() {
            "choice" => &["choices"],
            "texts" => &["max_items"],
            "integer" => &["min", "max", "less_than"],
            _ => &["min", "max"],
        };
        let known = [&["type", "only_with", "not_with"], own].concat();
        let members = self.only(value, &known)?;
        if members.get("type").and_then(Value::as_str) != Some(param.kind()) {
            let kind = param.kind();
            self.within("type", |reader| reader.wrong(format!("must be {kind}")));
        }
        Some(Rule {
            shape: self.shape(param, members),
            only_with: self.only_with(members),
            not_with: self
                .texts(members, "not_with")
                .iter()
                .filter_map(|name| self.param_named("not_with", name))
                .collect(),
            less_than: match members.get("less_than") {
                Some(Value::String(name)) => self.param_named("less_than", name),
                Some(_) => self.param_named("less_than", ""),
                None => None,
            },
        })
    }

    fn shape(&mut self, param: ParamName, members: &Members) -> Shape {
        match param.kind() {
            "integer" => {
                let whole = "must be a whole number";
                let min = self.get(members, "min", whole, Value::as_i64);
                let max = self.get(members, "max", whole, Value::as_i64);
                self.ordered(min.is_some() && max.is_some() && min > max);
                Shape::Integer { min, max }
            }
            "number" => {
                let min = self.get(members, "min", "must be a number", Value::as_f64);
                let max = self.get(members, "max", "must be a number", Value::as_f64);
                self.ordered(min.is_some() && max.is_some() && min > max);
                Shape::Number { min, max }
            }
            "texts" => Shape::Texts {
                max_items: self.count(members, "max_items"),
            },
            _ => {
                let choices = self.texts(members, "choices");
                if !members.contains_key("choices") {
                    self.within("choices", |reader| reader.wrong("is missing"));
                }
                Shape::Choice(choices)
            }
        }
    }

    fn ordered(&mut self, reversed: bool) {
        if reversed {
            self.within("max", |reader| reader.wrong("must not be less than min"));
        }
    }

    fn only_with(&mut self, members: &Members) -> Option<(ParamName, Vec<String>)> {
        let value = members.get("only_with")?;
        self.within("only_with", |reader| {
            let with = reader.members(value)?;
            let Some((name, _)) = with.iter().next().filter(|_| with.len() == 1) else {
                reader.wrong("must name one parameter");
                return None;
            };
            let values = reader.texts(with, name);
            match ParamName::named(name).filter(|param| param.kind() == "choice") {
                Some(param) => Some((param, values)),
                None => {
                    reader.wrong("must name a parameter of the type choice");
                    None
                }
            }
        })
    }

    fn param_named(&mut self, key: &str, name: &str) -> Option<ParamName> {
        let param = ParamName::named(name);
        if param.is_none() {
            self.within(key, |reader| reader.wrong("must name a parameter"));
        }
        param
    }

    fn prices(&mut self, value: &Value) -> Vec<Price> {
        let Value::Array(items) = value else {
            self.wrong("must be a list");
            return Vec::new();
        };
        let mut prices: Vec<Price> = Vec::new();
        for (at, item) in items.iter().enumerate() {
            self.within(&at.to_string(), |reader| {
                let Some(price) = reader.price(item) else {
                    return;
                };
                let key = |p: &Price| (p.from, p.service_tier.clone(), p.max_prompt_tokens);
                if prices.iter().any(|other| key(other) == key(&price)) {
                    reader.wrong(
                        "is there twice: from, service_tier and max_prompt_tokens are the same",
                    );
                }
                prices.push(price);
            });
        }
        prices
    }

    fn price(&mut self, value: &Value) -> Option<Price> {
        let rates = [
            "input",
            "cached_input",
            "cache_write_5m",
            "cache_write_1h",
            "output",
        ];
        let known = [&["from", "service_tier", "max_prompt_tokens"], &rates[..]].concat();
        if value.is_null() {
            self.wrong("must be an object");
        }
        let members = self.only(value, &known)?;
        let day = |value: &Value| format!("{}T00:00:00Z", value.as_str()?).parse().ok();
        let from: Option<Timestamp> =
            self.get(members, "from", "must be a day such as 2026-10-07", day);
        let tier = "must be a text, and not a word for the usual tier: leave that one out";
        let service_tier = self.get(members, "service_tier", tier, |value| {
            let tier = value.as_str().filter(|tier| !is_usual(tier))?;
            Some(tier.to_owned())
        });
        let max_prompt_tokens = self.count(members, "max_prompt_tokens");
        let [input, cached_input, cache_write_5m, cache_write_1h, output] =
            rates.map(|name| self.rate(members, name));
        for needed in ["from", "input", "output"] {
            if !members.contains_key(needed) {
                self.within(needed, |reader| reader.wrong("is missing"));
            }
        }
        // A price whose place is unclear would seem to be there twice.
        let placed = |key: &str, read: bool| read || !members.contains_key(key);
        if !placed("service_tier", service_tier.is_some())
            || !placed("max_prompt_tokens", max_prompt_tokens.is_some())
        {
            return None;
        }
        Some(Price {
            from: from?,
            service_tier,
            max_prompt_tokens,
            rates: Rates {
                input: input?,
                cached_input,
                cache_write_5m,
                cache_write_1h,
                output: output?,
            },
        })
    }

    fn rate(&mut self, members: &Members, key: &str) -> Option<Rate> {
        let reason = "must be dollars for a million tokens: a number of at least 0, of at most 6 digits after the point";
        self.get(members, key, reason, |value| match value {
            // The shortest decimal that is this float: the one that stands in the file, up to 15 digits.
            Value::Number(number) => match number.as_u64() {
                Some(whole) => Rate::from_dollars(&whole.to_string()),
                None => Rate::from_dollars(&number.as_f64()?.to_string()),
            },
            _ => None,
        })
    }

    /// A number of at least 1.
    fn count(&mut self, members: &Members, key: &str) -> Option<u64> {
        let reason = "must be a whole number of at least 1";
        self.get(members, key, reason, |value| {
            value.as_u64().filter(|count| *count > 0)
        })
    }

    /// A list of texts, not empty; nothing if it is absent.
    fn texts(&mut self, members: &Members, key: &str) -> Vec<String> {
        let reason = "must be a list of texts";
        let texts = self.get(members, key, reason, |value| {
            let texts = value.as_array().filter(|items| !items.is_empty())?.iter();
            texts.map(|item| item.as_str().map(str::to_owned)).collect()
        });
        texts.unwrap_or_default()
    }

    /// A member that is read so; `None` if it is absent or wrong.
    fn get<T>(
        &mut self,
        members: &Members,
        key: &str,
        reason: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let read = read(members.get(key)?);
        if read.is_none() {
            self.within(key, |reader| reader.wrong(reason));
        }
        read
    }

    /// The members of an object, which may have only these keys.
    fn only<'v>(&mut self, value: &'v Value, keys: &[&str]) -> Option<&'v Members> {
        let members = self.members(value)?;
        for key in members.keys().filter(|key| !keys.contains(&key.as_str())) {
            let keys = keys.join(", ");
            self.within(key, |reader| {
                reader.wrong(format!("is unknown here; there are: {keys}"));
            });
        }
        Some(members)
    }

    /// The members of an object; none if nothing is written there.
    fn members<'v>(&mut self, value: &'v Value) -> Option<&'v Members> {
        match value {
            Value::Object(members) => Some(members),
            Value::Null => None,
            _ => {
                self.wrong("must be an object");
                None
            }
        }
    }

    fn within<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        self.at.push(key.replace('~', "~0").replace('/', "~1"));
        let read = read(self);
        self.at.pop();
        read
    }

    fn wrong(&mut self, reason: impl Into<String>) {
        let pointer = self
            .at
            .iter()
            .map(|token| format!("/{token}"))
            .collect::<String>();
        self.mistakes.push(Violation::new(pointer, reason));
    }
}
