//! The providers as JSON: enough of it to build a form from. Never a key.

use serde::Serialize;
use utoipa::ToSchema;

use crate::conversation::{
    BreakerInfo, ModelFacts, Offer, ParamName, Price, Rates, Rule, Shape, Timestamp,
};

/// All providers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Providers)]
pub struct ProvidersView {
    providers: Vec<ProviderView>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Provider)]
struct ProviderView {
    name: String,
    kind: &'static str,
    configured: bool,
    simulated: bool,
    models: Vec<ModelView>,
    /// What goes for all other models.
    params: Vec<ParamView>,
    breakers: Vec<BreakerView>,
}

/// A model that is not asked for a while.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Breaker)]
struct BreakerView {
    model: String,
    state: &'static str,
    retry_in_ms: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Model)]
struct ModelView {
    name: String,
    params: Vec<ParamView>,
    #[schema(required)]
    context_window: Option<u64>,
    #[schema(required)]
    max_output: Option<u64>,
    /// Those in force now; empty where none is known.
    prices: Vec<PriceView>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Param)]
struct ParamView {
    name: &'static str,
    r#type: &'static str,
    #[schema(required, value_type = Option<f64>)]
    min: Option<serde_json::Number>,
    #[schema(required, value_type = Option<f64>)]
    max: Option<serde_json::Number>,
    #[schema(required)]
    choices: Option<Vec<String>>,
    /// What the provider does without it is not known.
    #[schema(required, value_type = Value)]
    default: Option<()>,
    /// Of a list of texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_items: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    only_with: Option<WithView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_with: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    less_than: Option<&'static str>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = With)]
struct WithView {
    name: &'static str,
    values: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Price)]
struct PriceView {
    from: Timestamp,
    #[schema(required)]
    service_tier: Option<String>,
    #[schema(required)]
    max_prompt_tokens: Option<u64>,
    usd_per_million_tokens: Rates,
}

impl ProvidersView {
    /// These providers, with the prices of that moment.
    #[must_use]
    pub fn new(offers: Vec<Offer>, at: Timestamp) -> Self {
        let view = |offer: Offer| ProviderView {
            name: offer.info.name,
            kind: offer.info.kind,
            configured: offer.info.configured,
            simulated: offer.info.simulated,
            models: offer
                .models
                .into_iter()
                .map(|model| ModelView::new(model, at))
                .collect(),
            params: params(offer.general),
            breakers: offer
                .info
                .breakers
                .into_iter()
                .map(BreakerView::from)
                .collect(),
        };
        Self {
            providers: offers.into_iter().map(view).collect(),
        }
    }
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

impl ModelView {
    fn new(model: ModelFacts, at: Timestamp) -> Self {
        Self {
            prices: model.prices_at(at).into_iter().map(PriceView::of).collect(),
            name: model.name.clone(),
            context_window: model.context_window,
            max_output: model.max_output,
            params: params(model),
        }
    }
}

impl PriceView {
    fn of(price: &Price) -> Self {
        Self {
            from: price.from,
            service_tier: price.service_tier.clone(),
            max_prompt_tokens: price.max_prompt_tokens,
            usd_per_million_tokens: price.rates,
        }
    }
}

fn params(model: ModelFacts) -> Vec<ParamView> {
    let params = model.params.into_iter();
    params.map(|(name, rule)| param(name, rule)).collect()
}

fn param(name: ParamName, rule: Rule) -> ParamView {
    let Rule {
        shape,
        only_with,
        not_with,
        less_than,
    } = rule;
    let (mut min, mut max, mut choices, mut items) = (None, None, None, None);
    match shape {
        Shape::Integer {
            min: least,
            max: most,
        } => (min, max) = (least.map(Into::into), most.map(Into::into)),
        Shape::Number {
            min: least,
            max: most,
        } => {
            let number = serde_json::Number::from_f64;
            (min, max) = (least.and_then(number), most.and_then(number));
        }
        Shape::Choice(words) => choices = Some(words),
        Shape::Texts { max_items } => items = max_items,
    }
    ParamView {
        name: name.as_str(),
        r#type: name.kind(),
        min,
        max,
        choices,
        max_items: items,
        default: None,
        only_with: only_with.map(|(name, values)| WithView {
            name: name.as_str(),
            values,
        }),
        not_with: not_with.into_iter().map(ParamName::as_str).collect(),
        less_than: less_than.map(ParamName::as_str),
    }
}
