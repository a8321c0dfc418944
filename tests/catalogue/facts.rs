//! Windows, longest answers and prices of our file: that they fit together, and a handful written down once more by hand.

use std::collections::BTreeSet;

use parley::{
    conversation::{Catalogue, ModelFacts, Offering, Params, Timestamp, Usage},
    simulator::Script,
};
use serde_json::{Value, json};

use super::{our_file, ours};
use crate::{
    providers::{ANTHROPIC, GEMINI, OPENAI},
    support::TestApp,
};

fn facts(catalogue: &Catalogue, provider: &str, model: &str) -> ModelFacts {
    catalogue.model(Offering {
        provider,
        kind: provider,
        model,
        fields: &["max_tokens", "service_tier"],
        strange_words: &[],
    })
}

/// What a request of that tier costs on that day, in 10⁻¹² dollars.
fn cost(model: (&str, &str), tier: Option<&str>, day: &str, usage: [u64; 4]) -> Option<u64> {
    let [input, cached, written, output] = usage.map(Some);
    let params = Params {
        service_tier: tier.map(Into::into),
        ..Params::default()
    };
    let at: Timestamp = format!("{day}T12:00:00Z").parse().unwrap();
    let pricing = ours().pricing(model.0, model.1, &params, at)?;
    let usage = Usage {
        input_tokens: input,
        cached_input_tokens: cached,
        cache_write_tokens: written,
        output_tokens: output,
        reasoning_tokens: None,
    };
    Some(pricing.cost(usage)?.picos())
}

/// A provider, a model, its window, its longest answer.
const SIZES: [(&str, &str, Option<u64>, Option<u64>); 12] = [
    (OPENAI, "gpt-6.2-sol", Some(1_050_000), Some(128_000)),
    (OPENAI, "gpt-6-luna", Some(1_050_000), Some(128_000)),
    (OPENAI, "gpt-5.4-mini", Some(400_000), Some(128_000)),
    (OPENAI, "gpt-5-pro", Some(400_000), None),
    (OPENAI, "o3", Some(200_000), Some(100_000)),
    (OPENAI, "gpt-4.1", Some(1_047_576), Some(32_768)),
    (OPENAI, "gpt-7", None, None),
    (
        ANTHROPIC,
        "claude-sonnet-5-5",
        Some(1_000_000),
        Some(128_000),
    ),
    (ANTHROPIC, "claude-haiku-4-5", Some(200_000), Some(64_000)),
    (ANTHROPIC, "claude-fable-5-2", None, None),
    (GEMINI, "gemini-3.8-flash", Some(1_048_576), Some(65_536)),
    (GEMINI, "gemini-4", None, None),
];

#[test]
fn how_much_some_models_read_and_write_written_by_hand() {
    let catalogue = ours();
    for (provider, model, window, output) in SIZES {
        let facts = facts(&catalogue, provider, model);
        let known = (facts.context_window, facts.max_output);
        assert_eq!(known, (window, output), "{model}");
    }
}

#[test]
fn what_some_models_cost_written_by_hand() {
    let day = "2026-11-24";
    let usual = |model, usage| cost(model, None, day, usage);
    let sol = (OPENAI, "gpt-6.2-sol");
    // 2 in, 0.10 cached, 2.50 written, 10 out; a prompt of more than 272,000 tokens 4, 0.20, 5 and 15, as a whole.
    assert_eq!(
        usual(sol, [272_000, 2000, 70_000, 9]),
        Some(200_000 * 2_000_000 + 2000 * 100_000 + 70_000 * 2_500_000 + 9 * 10_000_000)
    );
    assert_eq!(
        usual(sol, [272_001, 2001, 70_000, 9]),
        Some(200_000 * 4_000_000 + 2001 * 200_000 + 70_000 * 5_000_000 + 9 * 15_000_000)
    );
    // Half of it for those that can wait; nobody says what the quick tiers cost in the end.
    let terra = (OPENAI, "gpt-6.1-terra");
    let slow = cost(terra, Some("flex"), day, [10, 4, 0, 2]);
    assert_eq!(slow, Some(6 * 500_000 + 4 * 25_000 + 2 * 2_500_000));
    for tier in ["flex", "fast", "priority", "ultrafast"] {
        assert_eq!(cost(sol, Some(tier), day, [10, 0, 0, 2]), None, "{tier}");
    }
    // 8 in, 40 out; what longer prompts cost is not known.
    let astra = (OPENAI, "gpt-6.2-astra");
    assert_eq!(
        usual(astra, [10, 5, 0, 1]),
        Some(5 * 8_000_000 + 5 * 400_000 + 40_000_000)
    );
    assert_eq!(usual(astra, [272_001, 0, 0, 1]), None);
    let fable = (ANTHROPIC, "claude-fable-5-1");
    assert_eq!(
        usual(fable, [12, 8, 2, 1]),
        Some(2 * 10_000_000 + 8 * 250_000 + 2 * 12_500_000 + 50_000_000)
    );
    let older = (ANTHROPIC, "claude-sonnet-4-5");
    assert_eq!(
        usual(older, [200_000, 0, 0, 1]),
        Some(200_000 * 3_000_000 + 15_000_000)
    );
    assert_eq!(usual(older, [200_001, 0, 0, 1]), None);
    let pro = (GEMINI, "gemini-3.1-pro-preview");
    assert_eq!(
        usual(pro, [200_001, 1, 0, 1]),
        Some(200_000 * 4_000_000 + 400_000 + 18_000_000)
    );
    // The price that was promised until the end of the year, and the next one, which says nothing of what is cached.
    let flash = (GEMINI, "gemini-3.8-flash");
    let over_time = |day, cached| cost(flash, None, day, [10, cached, 0, 1]);
    assert_eq!(
        over_time("2026-12-31", 4),
        Some(6 * 750_000 + 4 * 75_000 + 3_750_000)
    );
    assert_eq!(over_time("2027-01-01", 0), Some(10 * 1_500_000 + 7_500_000));
    assert_eq!(over_time("2027-01-01", 4), None);
}

/// A rate of a price, where it has one.
fn rate(price: &Value, name: &str) -> Option<f64> {
    price.get(name).map(|rate| rate.as_f64().unwrap())
}

/// What is read from a cache costs less than what is not, what is written there more, and what comes out the most.
fn rates_fit(model: &str, price: &Value) {
    let input = rate(price, "input").unwrap();
    let above = |name: &str| rate(price, name).is_none_or(|rate| rate > input);
    let cached = rate(price, "cached_input").is_none_or(|rate| rate < input);
    let fit = cached
        && ["cache_write_5m", "cache_write_1h", "output"]
            .into_iter()
            .all(above);
    assert!(fit, "{model}: {price}");
}

/// A price for prompts up to some length is the only such one of its day and tier, its bound is within the window, and the price for
/// longer ones, where there is one, is higher in each of its rates.
fn bounds_fit(model: &str, window: Option<u64>, prices: &[Value]) {
    let mut bounded = BTreeSet::new();
    for price in prices {
        let Some(most) = price["max_prompt_tokens"].as_u64() else {
            continue;
        };
        let key = |price: &Value| format!("{} {}", price["from"], price["service_tier"]);
        assert!(bounded.insert(key(price)), "{model}: {price}");
        assert!(
            window.is_none_or(|window| most <= window),
            "{model}: {price}"
        );
        let unbounded = |other: &&Value| other["max_prompt_tokens"].is_null();
        let mut longer = prices.iter().filter(unbounded);
        let longer = longer.find(|other| key(other) == key(price));
        for name in ["input", "cached_input", "cache_write_5m", "output"] {
            let both = longer
                .and_then(|longer| rate(longer, name))
                .zip(rate(price, name));
            assert!(
                both.is_none_or(|(long, short)| long > short),
                "{model} {name}"
            );
        }
    }
}

#[test]
fn the_facts_of_our_file_fit_together() {
    let file = our_file();
    let (mut sizes, mut all_prices) = (0, 0);
    for section in file.as_object().unwrap().values() {
        for (model, entry) in section["models"].as_object().unwrap() {
            let size = |name: &str| entry[name].as_u64();
            let (window, output) = (size("context_window"), size("max_output"));
            if let (Some(window), Some(output)) = (window, output) {
                assert!(output < window, "{model}");
                sizes += 1;
            }
            let none = Vec::new();
            let prices = entry["prices"].as_array().unwrap_or(&none);
            for price in prices {
                rates_fit(model, price);
            }
            bounds_fit(model, window, prices);
            all_prices += prices.len();
        }
    }
    assert!(
        sizes > 50 && all_prices > 70,
        "{sizes} sizes, {all_prices} prices"
    );
}

#[tokio::test]
async fn the_quickest_tier_is_taken_where_responses_is_asked_and_only_there() {
    for (api, taken) in [("responses", true), ("chat_completions", false)] {
        let settings = json!({"providers": {"openai": {"api": api}}});
        let app = TestApp::with(Script::text("Hello."), settings).await;
        let all = app.get("/api/providers").await.json();
        let mut all = all["providers"].as_array().unwrap().iter();
        let openai = all.find(|one| one["name"] == "openai").unwrap();
        let tiers = |view: &Value| {
            let params = view["params"].as_array().unwrap();
            let tier = params.iter().find(|param| param["name"] == "service_tier");
            let choices = tier.unwrap()["choices"].as_array().unwrap();
            choices.contains(&json!("ultrafast"))
        };
        assert_eq!(tiers(openai), taken, "{api}");
        for (model, has_it) in [("gpt-6.2-sol", taken), ("gpt-6-luna", false)] {
            let bot = json!({
                "provider": "openai", "model": model,
                "params": {"reasoning_effort": "low", "service_tier": "ultrafast"},
            });
            let order = json!({"topic": "Tea.", "bots": [bot.clone(), bot], "max_turns": 1});
            let answer = app.post("/api/run", &order).await;
            if has_it {
                let id = answer.json()["run_id"].as_str().unwrap().to_owned();
                app.events(&id).await;
                let requests = app.simulator.requests();
                let body = &requests.last().unwrap().body;
                assert_eq!(body["service_tier"], "ultrafast");
            } else {
                assert_eq!(answer.status, 422, "{api} {model}");
                let pointer = &answer.json()["errors"][0]["pointer"];
                assert_eq!(pointer, "/bots/0/params/service_tier", "{api} {model}");
            }
        }
        app.close().await;
    }
}
