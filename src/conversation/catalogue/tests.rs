use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::conversation::{Cost, Usage};

const ALL: [&str; 12] = [
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "reasoning_effort",
    "thinking_budget_tokens",
    "verbosity",
    "service_tier",
];
const KNOWN: [&str; 3] = ["kind", "p", "gateway"];

fn day(text: &str) -> Timestamp {
    format!("{text}T00:00:00Z").parse().unwrap()
}

fn offering(provider: &'static str, model: &'static str) -> Offering<'static> {
    Offering {
        provider,
        kind: "kind",
        model,
        fields: &ALL,
        strange_words: &[],
    }
}

fn catalogue(files: &[Value]) -> Catalogue {
    Catalogue::new(files, &KNOWN).unwrap()
}

fn params(value: Value) -> Params {
    serde_json::from_value(value).unwrap()
}

/// What is said against these parameters.
fn refused(facts: &ModelFacts, given: Value) -> Vec<String> {
    let broken = facts.check(&params(given)).err().unwrap_or_default();
    let line = |v: Violation| format!("{} {}", v.pointer, v.reason);
    broken.into_iter().map(line).collect()
}

fn usage(input: u64, cached: u64, written: u64, output: u64) -> Usage {
    Usage {
        input_tokens: Some(input),
        cached_input_tokens: Some(cached),
        cache_write_tokens: Some(written),
        output_tokens: Some(output),
        reasoning_tokens: None,
    }
}

/// What a request of the usual tier costs.
fn pricing(catalogue: &Catalogue, model: &str, at: &str) -> Option<Pricing> {
    catalogue.pricing("kind", model, &Params::default(), day(at))
}

fn one_price(price: &Value) -> Catalogue {
    catalogue(&[json!({"kind": {"models": {"m": {"prices": [price]}}}})])
}

#[test]
fn what_is_more_exact_goes_over_what_is_less_and_a_later_file_over_both() {
    let ours = json!({"kind": {
        "params": {
            "temperature": {"type": "number", "min": 0, "max": 2},
            "seed": {"type": "integer"},
            "verbosity": {"type": "choice", "choices": ["low", "high"]},
        },
        "models": {
            "big-9*": {"params": {"temperature": {"type": "number", "max": 1}}, "context_window": 9},
            "big-*": {"params": {"temperature": false, "seed": false}, "context_window": 5, "max_output": 4},
            "big-9-x": {"params": {"temperature": false}},
        },
    }});
    let operators = json!({
        "kind": {"params": {"top_k": {"type": "integer", "min": 0}}, "models": {"big-*": {"max_output": 7}}},
        "p": {"models": {"big-9": {"params": {"seed": {"type": "integer"}}}}},
    });
    let catalogue = catalogue(&[ours, operators]);
    let model = |name: &'static str| {
        let facts = catalogue.model(offering("p", name));
        let names: Vec<&str> = facts.params.keys().map(|name| name.as_str()).collect();
        (
            facts.known,
            names.join(" "),
            facts.context_window,
            facts.max_output,
        )
    };
    let general = "temperature top_k seed verbosity".to_owned();
    assert_eq!(model("small"), (false, general, None, None));
    assert_eq!(
        model("big-1"),
        (true, "top_k verbosity".into(), Some(5), Some(7))
    );
    let of_p = "temperature top_k seed verbosity".to_owned();
    assert_eq!(model("big-9"), (true, of_p, Some(9), Some(7)));
    let exact = "top_k verbosity".to_owned();
    assert_eq!(model("big-9-x"), (true, exact, Some(9), Some(7)));
}

#[test]
fn a_refusal_names_what_is_allowed() {
    let catalogue = catalogue(&[json!({"kind": {
        "params": {
            "max_tokens": {"type": "integer", "min": 1},
            "temperature": {"type": "number", "min": 0, "max": 1, "not_with": ["top_p"]},
            "top_p": {"type": "number", "max": 1, "only_with": {"reasoning_effort": ["none", "low"]}},
            "stop": {"type": "texts", "max_items": 1},
            "reasoning_effort": {"type": "choice", "choices": ["none", "low", "high"]},
            "thinking_budget_tokens": {"type": "integer", "min": 10, "less_than": "max_tokens"},
        },
        "models": {"m": {"max_output": 100}},
    }})]);
    let facts = catalogue.model(offering("kind", "m"));
    for (given, expected) in [
        (json!({}), vec![]),
        (
            json!({"max_tokens": 0}),
            vec!["/max_tokens must be from 1 to 100"],
        ),
        (
            json!({"max_tokens": 101}),
            vec!["/max_tokens must be from 1 to 100"],
        ),
        (json!({"max_tokens": 100, "temperature": 1.0}), vec![]),
        (
            json!({"temperature": 1.5}),
            vec!["/temperature must be from 0 to 1"],
        ),
        (
            json!({"top_p": 0.5}),
            vec!["/top_p is taken only together with reasoning_effort none or low"],
        ),
        (
            json!({"top_p": 0.5, "reasoning_effort": "high"}),
            vec!["/top_p is taken only together with reasoning_effort none or low"],
        ),
        (json!({"top_p": 0.5, "reasoning_effort": "low"}), vec![]),
        (
            json!({"top_p": 1, "temperature": 1, "reasoning_effort": "none"}),
            vec!["/temperature is not taken together with top_p"],
        ),
        (
            json!({"stop": ["a", "b"], "reasoning_effort": "max"}),
            vec![
                "/stop must have at most 1 entries",
                "/reasoning_effort must be one of none, low, high",
            ],
        ),
        (json!({"thinking_budget_tokens": 50}), vec![]),
        (
            json!({"thinking_budget_tokens": 50, "max_tokens": 50}),
            vec!["/thinking_budget_tokens must be less than max_tokens, which is 50"],
        ),
        (
            json!({"seed": 1}),
            vec![
                "/seed is not taken by m; its parameters: max_tokens, temperature, top_p, stop, reasoning_effort, \
                 thinking_budget_tokens",
            ],
        ),
    ] {
        assert_eq!(refused(&facts, given.clone()), expected, "{given}");
    }
}

#[test]
fn what_the_api_has_no_field_for_is_not_taken_whatever_a_file_says() {
    let catalogue = catalogue(&[json!({"kind": {"params": {"seed": {"type": "integer"}}}})]);
    let without = Offering {
        fields: &["stop"],
        ..offering("kind", "m")
    };
    let facts = catalogue.model(without);
    assert_eq!(
        refused(&facts, json!({"seed": 1})),
        ["/seed is not taken by m; its parameters: none"]
    );
}

#[test]
fn a_word_that_the_api_does_not_know_is_no_choice_whatever_a_file_says() {
    let choices = json!({"type": "choice", "choices": ["slow", "quick", "quicker"]});
    let catalogue = catalogue(&[json!({"kind": {
        "params": {"service_tier": choices, "verbosity": choices},
        "models": {"m": {"params": {"service_tier": choices}}},
    }})]);
    let without = Offering {
        strange_words: &[("service_tier", "quicker")],
        ..offering("kind", "m")
    };
    for facts in [catalogue.model(without), catalogue.general(without)] {
        let given = json!({"service_tier": "quicker", "verbosity": "quicker"});
        assert_eq!(
            refused(&facts, given),
            ["/service_tier must be one of slow, quick"]
        );
    }
    let facts = catalogue.model(offering("kind", "m"));
    assert_eq!(refused(&facts, json!({"service_tier": "quicker"})), [""; 0]);
}

#[test]
fn every_mistake_of_a_file_is_told_with_its_place() {
    let file = json!({
        "opneai": {},
        "kind": {
            "params": {
                "temprature": {"type": "number"},
                "temperature": {"type": "integer", "min": "low", "choices": []},
                "top_p": {"type": "number", "min": 2, "max": 1},
                "verbosity": {"type": "choice"},
                "seed": true,
                "stop": {"type": "texts", "max_items": 0, "only_with": {"seed": ["1"]}, "not_with": ["x"]},
            },
            "model": {},
            "models": {
                "a*b": {},
                "m/1": {"context_window": -1, "max_output": 1.5, "price": 3},
                "n": {"prices": [
                    {"from": "2026-13-01", "input": 0.000_000_1, "output": -1, "cached_input": "1"},
                    {"input": 1},
                    {"from": "2026-01-01", "input": 1, "output": 2, "service_tier": "auto"},
                    {"from": "2026-01-01", "input": 1, "output": 2},
                    {"from": "2026-01-01", "input": 3, "output": 2},
                    7,
                ]},
            },
        },
    });
    let (at, mistakes) = Catalogue::new(&[json!({}), file], &KNOWN).unwrap_err();
    assert_eq!(at, 1);
    let mut pointers: Vec<&str> = mistakes.iter().map(|m| m.pointer.as_str()).collect();
    pointers.sort_unstable();
    assert_eq!(
        pointers,
        [
            "/kind/model",
            "/kind/models/a*b",
            "/kind/models/m~11/context_window",
            "/kind/models/m~11/max_output",
            "/kind/models/m~11/price",
            "/kind/models/n/prices/0/cached_input",
            "/kind/models/n/prices/0/from",
            "/kind/models/n/prices/0/input",
            "/kind/models/n/prices/0/output",
            "/kind/models/n/prices/1/from",
            "/kind/models/n/prices/1/output",
            "/kind/models/n/prices/2/service_tier",
            "/kind/models/n/prices/4",
            "/kind/models/n/prices/5",
            "/kind/params/seed",
            "/kind/params/stop/max_items",
            "/kind/params/stop/not_with",
            "/kind/params/stop/only_with",
            "/kind/params/temperature/choices",
            "/kind/params/temperature/min",
            "/kind/params/temperature/type",
            "/kind/params/temprature",
            "/kind/params/top_p/max",
            "/kind/params/verbosity/choices",
            "/opneai",
        ]
    );
    assert!(mistakes.iter().all(|mistake| !mistake.reason.is_empty()));
}

#[test]
fn prices_go_by_the_day_the_tier_and_the_length_of_the_prompt() {
    let catalogue = catalogue(&[json!({"kind": {"models": {"m": {"prices": [
        {"from": "2026-01-01", "input": 1, "output": 1},
        {"from": "2026-02-01", "input": 4, "output": 1},
        {"from": "2026-02-01", "input": 2, "output": 1, "max_prompt_tokens": 1000},
        {"from": "2026-01-01", "input": 9, "output": 1, "service_tier": "priority"},
        {"from": "2026-03-01", "input": 3, "output": 1, "max_prompt_tokens": 1000},
    ]}}}})]);
    let cost = |at: &str, tier: Option<&str>, input: u64| {
        let params = Params {
            service_tier: tier.map(Into::into),
            ..Params::default()
        };
        let pricing = catalogue.pricing("kind", "m", &params, day(at))?;
        Some(pricing.cost(usage(input, 0, 0, 0))?.picos())
    };
    assert_eq!(cost("2025-12-31", None, 10), None);
    assert_eq!(cost("2026-01-31", None, 10), Some(10_000_000));
    assert_eq!(cost("2026-02-01", None, 1000), Some(2_000_000_000));
    assert_eq!(
        cost("2026-02-01", Some("default"), 1001),
        Some(4_004_000_000)
    );
    assert_eq!(cost("2026-02-01", Some("priority"), 10), Some(90_000_000));
    assert_eq!(cost("2026-02-01", Some("flex"), 10), None);
    // The new price says nothing of long prompts, and the old one holds no more.
    assert_eq!(cost("2026-03-01", None, 1000), Some(3_000_000_000));
    assert_eq!(cost("2026-03-01", None, 1001), None);
}

#[test]
fn a_gateway_takes_what_the_model_takes_and_has_prices_of_its_own() {
    let price = json!([{"from": "2026-01-01", "input": 1, "output": 1}]);
    let catalogue = catalogue(&[
        json!({"kind": {"models": {"m": {"context_window": 8, "prices": price}}}}),
        json!({"gateway": {"models": {"*": {"prices": price}}}}),
    ]);
    let at = day("2026-01-01");
    let none = Params::default();
    assert_eq!(catalogue.model(offering("p", "m")).context_window, Some(8));
    assert!(catalogue.model(offering("p", "m")).prices_at(at).is_empty());
    assert_eq!(catalogue.pricing("p", "m", &none, at), None);
    assert!(catalogue.pricing("kind", "m", &none, at).is_some());
    assert!(catalogue.pricing("gateway", "any", &none, at).is_some());
}

#[test]
fn an_operator_can_say_that_a_price_is_not_known() {
    let price = json!([{"from": "2026-01-01", "input": 1, "output": 1}]);
    let ours = json!({"kind": {"models": {"m": {"prices": price}}}});
    let gone = json!({"kind": {"models": {"m*": {"prices": []}}}});
    assert!(pricing(&catalogue(std::slice::from_ref(&ours)), "m", "2026-01-01").is_some());
    assert_eq!(pricing(&catalogue(&[ours, gone]), "m", "2026-01-01"), None);
}

#[test]
fn no_part_of_a_cost_is_guessed() {
    let catalogue = one_price(&json!({"from": "2026-01-01", "input": 1, "output": 2}));
    let cost = |usage| {
        let pricing = pricing(&catalogue, "m", "2026-01-01").unwrap();
        pricing.cost(usage).map(Cost::picos)
    };
    let said = usage(10, 0, 0, 5);
    assert_eq!(cost(said), Some(10 * 1_000_000 + 5 * 2_000_000));
    // Fields that were not sent count as nothing; those that decide do not.
    let silent = Usage {
        cached_input_tokens: None,
        cache_write_tokens: None,
        ..said
    };
    assert_eq!(cost(silent), cost(said));
    let (no_input, no_output) = (
        Usage {
            input_tokens: None,
            ..said
        },
        Usage {
            output_tokens: None,
            ..said
        },
    );
    assert_eq!((cost(no_input), cost(no_output)), (None, None));
    // No price is known for what was cached, and a part cannot be more than the whole.
    assert_eq!(cost(usage(10, 1, 0, 5)), None);
    assert_eq!(cost(usage(10, 0, 1, 5)), None);
    let priced = one_price(&json!({
        "from": "2026-01-01", "input": 1, "output": 2, "cached_input": 1, "cache_write_5m": 1,
    }));
    let pricing = pricing(&priced, "m", "2026-01-01").unwrap();
    assert_eq!(pricing.cost(usage(10, 6, 5, 1)), None);
}

proptest! {
    /// Two requests cost together what one costs that uses what both did, and nothing overflows.
    #[test]
    fn costs_add_up(
        rates in prop::array::uniform4(0u64..2_000_000_000),
        a in prop::array::uniform4(any::<u32>()),
        b in prop::array::uniform4(any::<u32>()),
        huge in prop::array::uniform4(any::<u64>()),
    ) {
        let decimal = |rate: u64| -> Value {
            serde_json::from_str(&crate::conversation::cost::decimal(rate, 6)).unwrap()
        };
        let [input, cached, written, output] = rates.map(decimal);
        let catalogue = one_price(&json!({
            "from": "2026-01-01", "input": input, "cached_input": cached, "cache_write_5m": written, "output": output,
        }));
        let pricing = pricing(&catalogue, "m", "2026-01-01").unwrap();
        let used = |[fresh, cached, written, output]: [u32; 4]| {
            let [fresh, cached, written, output] = [fresh, cached, written, output].map(u64::from);
            usage(fresh + cached + written, cached, written, output)
        };
        let (a, b) = (used(a), used(b));
        let parts = pricing.cost(a).zip(pricing.cost(b)).and_then(|(a, b)| a.plus(b));
        prop_assert_eq!(pricing.cost(a.plus(b)), parts);
        let [input, cached, written, output] = huge;
        if let Some(cost) = pricing.cost(usage(input, cached, written, output)) {
            prop_assert!(i64::try_from(cost.picos()).is_ok());
        }
    }
}
