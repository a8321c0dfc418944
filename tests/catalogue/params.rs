//! Which parameters a model takes, asked of the API: an order that names a wrong one is refused with its place.

use std::collections::BTreeMap;

use parley::{conversation::ParamName, simulator::Script};
use serde_json::{Map, Value, json};

use super::our_file;
use crate::support::{TestApp, talk};

/// The rules of our file for a model, put together by what the file's own head says: the API's, then what begins like the name,
/// short before long, then the name itself.
fn rules(section: &Value, model: &str) -> BTreeMap<String, Value> {
    let mut rules = BTreeMap::new();
    let mut lay = |over: &Value| {
        for (name, rule) in over.as_object().into_iter().flatten() {
            rules.insert(name.clone(), rule.clone());
        }
    };
    lay(&section["params"]);
    let models = section["models"].as_object().unwrap();
    let mut begins: Vec<&String> = models.keys().filter(|name| name.ends_with('*')).collect();
    begins.sort_by_key(|name| name.len());
    for name in begins {
        if model.starts_with(name.trim_end_matches('*')) {
            lay(&models[name]["params"]);
        }
    }
    lay(&models.get(model).unwrap_or(&Value::Null)["params"]);
    rules
}

fn of_a_kind(name: &str) -> Value {
    match ParamName::named(name).unwrap().kind() {
        "integer" => json!(2048),
        "number" => json!(0.5),
        "texts" => json!(["END"]),
        _ => json!("low"),
    }
}

/// A value that the rule allows, with what has to stand beside it.
fn accepted(name: &str, rule: &Value) -> Map<String, Value> {
    let mut params = Map::new();
    let value = match &rule["choices"] {
        Value::Array(choices) => choices.last().unwrap().clone(),
        _ if !rule["max"].is_null() => rule["max"].clone(),
        _ if !rule["min"].is_null() => rule["min"].clone(),
        _ => of_a_kind(name),
    };
    params.insert(name.to_owned(), value);
    for (other, values) in rule["only_with"].as_object().into_iter().flatten() {
        params.insert(other.clone(), values[0].clone());
    }
    params
}

/// Values that the rule refuses.
fn refused(name: &str, rule: &Value) -> Vec<Map<String, Value>> {
    let with = |value: Value| Map::from_iter([(name.to_owned(), value)]);
    if rule == false {
        return vec![with(of_a_kind(name))];
    }
    let mut all = Vec::new();
    let beyond = |bound: &Value, step: i64| match bound.as_i64() {
        Some(bound) if rule["type"] == "integer" => json!(bound + step),
        _ => json!(bound.as_f64().unwrap() + step as f64 / 1000.0),
    };
    if !rule["choices"].is_null() {
        all.push(with(json!("surprising")));
    }
    // Less than nothing is of a wrong type where only whole numbers from 0 on are taken: told, but as a body of another shape.
    if !rule["min"].is_null() && rule["min"] != json!(0) || rule["type"] == "number" {
        all.push(with(beyond(&rule["min"], -1)));
    }
    if !rule["max"].is_null() {
        all.push(with(beyond(&rule["max"], 1)));
    }
    if let Some(most) = rule["max_items"].as_u64() {
        all.push(with((0..=most).map(|n| n.to_string()).collect()));
    }
    if !rule["only_with"].is_null() {
        all.push(with(rule["max"].clone()));
    }
    for other in rule["not_with"].as_array().into_iter().flatten() {
        let mut both = accepted(name, rule);
        let other = other.as_str().unwrap();
        both.insert(other.to_owned(), of_a_kind(other));
        all.push(both);
    }
    if let Some(other) = rule["less_than"].as_str() {
        let mut both = with(json!(4096));
        both.insert(other.to_owned(), json!(4096));
        all.push(both);
    }
    all
}

/// What is said against bots of these parameters. The order has no topic, so that nothing is ever started.
async fn said(
    app: &TestApp,
    provider: &str,
    model: &str,
    bots: &[Map<String, Value>],
) -> Vec<String> {
    let mut pointers = Vec::new();
    for (round, some) in bots.chunks(8).enumerate() {
        let mut bots: Vec<Value> = some
            .iter()
            .map(|params| json!({"provider": provider, "model": model, "params": params}))
            .collect();
        bots.resize(
            bots.len().max(2),
            json!({"provider": provider, "model": model}),
        );
        let answer = app
            .post("/api/run", &json!({"topic": " ", "bots": bots}))
            .await;
        assert_eq!(answer.status, 422, "{model}: {}", answer.text);
        for error in answer.json()["errors"].as_array().unwrap() {
            let pointer = error["pointer"].as_str().unwrap();
            if let Some(rest) = pointer.strip_prefix("/bots/") {
                let (index, place) = rest.split_once('/').unwrap();
                let index: usize = index.parse().unwrap();
                pointers.push(format!("{} {place}", round * 8 + index));
            }
        }
    }
    pointers
}

#[tokio::test]
async fn each_parameter_of_each_model_is_taken_and_refused_as_the_file_says() {
    let file = our_file();
    let app = TestApp::spawn(Script::default()).await;
    let mut checks = 0;
    for (provider, section) in file.as_object().unwrap() {
        let models = section["models"].as_object().unwrap();
        let names = models.keys().map(|name| name.replace('*', "-of-tomorrow"));
        for model in names.chain(["unheard-of".to_owned()]) {
            let rules = rules(section, &model);
            let (mut fine, mut wrong) = (Vec::new(), Vec::new());
            for name in ParamName::ALL.map(ParamName::as_str) {
                let rule = rules.get(name).cloned().unwrap_or(json!(false));
                if rule != false {
                    fine.push(accepted(name, &rule));
                }
                wrong.extend(refused(name, &rule).into_iter().map(|bot| (name, bot)));
            }
            let against = said(&app, provider, &model, &fine).await;
            assert_eq!(against, [""; 0], "{provider} {model}: {fine:?}");
            let bots: Vec<_> = wrong.iter().map(|(_, bot)| bot.clone()).collect();
            let against = said(&app, provider, &model, &bots).await;
            for (at, (name, bot)) in wrong.iter().enumerate() {
                let expected = format!("{at} params/{name}");
                assert!(against.contains(&expected), "{provider} {model}: {bot:?}");
            }
            checks += fine.len() + wrong.len();
        }
    }
    assert!(checks > 700, "{checks} checks");
    assert!(app.simulator.requests().is_empty());
    app.close().await;
}

/// A provider, a model, parameters, and those of them that are refused.
const BY_HAND: &str = r#"
anthropic claude-sonnet-5-5 {"temperature": 1} -> temperature
anthropic claude-sonnet-5-5 {"top_k": 5, "thinking_budget_tokens": 2000} -> top_k thinking_budget_tokens
anthropic claude-haiku-4-5 {"temperature": 0.5, "top_k": 5, "thinking_budget_tokens": 2000} -> temperature top_k
anthropic claude-haiku-4-5 {"top_p": 0.95, "thinking_budget_tokens": 2000} ->
gemini gemini-of-tomorrow {"reasoning_effort": "low", "thinking_budget_tokens": 0} -> thinking_budget_tokens
anthropic claude-sonnet-5-5 {"reasoning_effort": "max", "max_tokens": 9, "stop": ["a"]} ->
anthropic claude-sonnet-5-5 {"reasoning_effort": "none"} -> reasoning_effort
anthropic claude-unheard-of {"top_p": 1} -> top_p
anthropic claude-haiku-4-5-20251001 {"temperature": 1} ->
anthropic claude-haiku-4-5-20251001 {"temperature": 1.1} -> temperature
anthropic claude-haiku-4-5-20251001 {"temperature": 1, "top_p": 1} -> temperature top_p
anthropic claude-haiku-4-5-20251001 {"thinking_budget_tokens": 1023} -> thinking_budget_tokens
anthropic claude-haiku-4-5-20251001 {"thinking_budget_tokens": 1024, "max_tokens": 1024} -> thinking_budget_tokens
anthropic claude-haiku-4-5-20251001 {"thinking_budget_tokens": 1024, "max_tokens": 1025} ->
anthropic claude-haiku-4-5-20251001 {"seed": 1, "verbosity": "low"} -> seed verbosity
openai gpt-5.1 {"temperature": 0.2} -> temperature
openai gpt-5.1 {"temperature": 0.2, "top_p": 0.2, "reasoning_effort": "none"} ->
openai gpt-5.1 {"temperature": 0.2, "reasoning_effort": "low"} -> temperature
openai gpt-5.1 {"stop": ["a"]} -> stop
openai gpt-6-luna {"temperature": 1, "reasoning_effort": "none"} -> temperature
openai gpt-6.2-sol {"temperature": 1, "reasoning_effort": "none"} -> temperature reasoning_effort
openai gpt-6.2-sol {"max_tokens": 128000, "service_tier": "fast"} ->
openai gpt-6.2-sol {"max_tokens": 128001, "service_tier": "ultrafast"} -> max_tokens service_tier
openai gpt-5.5-pro {"reasoning_effort": "xhigh", "verbosity": "low", "service_tier": "flex"} ->
openai gpt-5.5-pro {"reasoning_effort": "low", "stop": ["a"], "seed": 1, "presence_penalty": 1} -> stop seed presence_penalty reasoning_effort
openai gpt-5.1-codex {"reasoning_effort": "low", "seed": 1, "frequency_penalty": 1} -> seed frequency_penalty
openai gpt-6.2-sol {"reasoning_effort": "xhigh", "verbosity": "low", "service_tier": "flex", "max_tokens": 1} ->
openai gpt-6.2-sol {"service_tier": "standard_only"} -> service_tier
openai gpt-4.1-mini {"temperature": 2, "top_p": 1, "stop": ["a", "b", "c", "d"], "seed": -1, "presence_penalty": -2} ->
openai gpt-4.1-mini {"reasoning_effort": "low", "frequency_penalty": 2.5} -> frequency_penalty reasoning_effort
openai model-a {"temperature": 2, "reasoning_effort": "minimal", "stop": ["a"]} ->
openai model-a {"top_k": 1, "thinking_budget_tokens": 2000} -> top_k thinking_budget_tokens
anthropic model-b {"temperature": 1, "top_p": 1, "top_k": 1, "thinking_budget_tokens": 2000} ->
"#;

#[tokio::test]
async fn what_some_models_take_written_by_hand() {
    let app = TestApp::spawn(Script::default()).await;
    for line in BY_HAND.lines().filter(|line| !line.is_empty()) {
        let (bot, refused) = line.split_once(" ->").unwrap();
        let [provider, model, params] = bot.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
        let params: Map<String, Value> = serde_json::from_str(params).unwrap();
        let expected: Vec<String> = refused
            .split_whitespace()
            .map(|name| format!("0 params/{name}"))
            .collect();
        let said = said(&app, provider, model, &[params]).await;
        assert_eq!(said, expected, "{line}");
    }
    app.close().await;
}

#[tokio::test]
async fn a_refusal_says_what_is_allowed_before_anybody_is_asked() {
    let app = TestApp::spawn(Script::default()).await;
    let mut order = talk(1);
    order["bots"][1] =
        json!({"provider": "anthropic", "model": "claude-opus-5-5", "params": {"temperature": 1}});
    let answer = app.post("/api/run", &order).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (422, "validation-failed")
    );
    assert_eq!(
        answer.json()["errors"],
        json!([{
            "pointer": "/bots/1/params/temperature",
            "reason": "is not taken by claude-opus-5-5; its parameters: max_tokens, stop, reasoning_effort, service_tier",
        }])
    );
    order["bots"][1]["params"] = json!({"reasoning_effort": "minimal"});
    assert_eq!(
        app.post("/api/run", &order).await.json()["errors"],
        json!([{
            "pointer": "/bots/1/params/reasoning_effort",
            "reason": "must be one of low, medium, high, xhigh, max",
        }])
    );
    assert!(app.simulator.requests().is_empty());
    app.close().await;
}

#[tokio::test]
async fn a_changed_bot_is_judged_as_a_whole() {
    let app = TestApp::spawn(Script::silent()).await;
    let mut order = talk(2);
    order["bots"][1]["params"] = json!({"temperature": 0.5});
    let id = app.post("/api/run", &order).await.json()["run_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/api/run/{id}/bot/1");
    let pointers = |patch: Value| {
        let (app, path) = (&app, &path);
        async move {
            let answer = app.patch(path, &patch).await;
            let errors = answer.json()["errors"].clone();
            let errors = errors.as_array().into_iter().flatten();
            let pointers = errors.map(|error| error["pointer"].as_str().unwrap().to_owned());
            (answer.status, pointers.collect::<Vec<_>>())
        }
    };
    let refused = |pointer: &str| (422, vec![pointer.to_owned()]);
    let taken = (200, Vec::new());
    // The model alone, the provider alone, a parameter alone.
    let sonnet = json!({"model": "claude-sonnet-5-5"});
    assert_eq!(
        pointers(sonnet.clone()).await,
        refused("/params/temperature")
    );
    let other = json!({"provider": "openai", "model": "gpt-6-luna"});
    assert_eq!(pointers(other).await, refused("/params/temperature"));
    let seed = json!({"params": {"seed": 1}});
    assert_eq!(pointers(seed.clone()).await, refused("/params/seed"));
    assert_eq!(pointers(json!({"provider": "openai"})).await, taken);
    assert_eq!(pointers(seed).await, taken);
    assert_eq!(
        pointers(json!({"provider": "anthropic"})).await,
        refused("/params/seed")
    );
    let both = json!({"provider": "anthropic", "model": "claude-sonnet-5-5", "params": null});
    assert_eq!(pointers(both).await, taken);
    app.stop(&id).await;
    app.close().await;
}

#[tokio::test]
async fn what_is_taken_goes_out_in_each_apis_own_field() {
    let app = TestApp::spawn(Script::text("Hello.")).await;
    let mut order = talk(2);
    order["bots"][0]["params"] = json!({
        "presence_penalty": -1, "frequency_penalty": 0.5, "reasoning_effort": "minimal", "verbosity": "low", "service_tier": "flex",
    });
    order["bots"][1]["params"] = json!({
        "top_k": 7, "reasoning_effort": "high", "thinking_budget_tokens": 2000, "service_tier": "standard_only",
    });
    let id = app.post("/api/run", &order).await.json()["run_id"]
        .as_str()
        .unwrap()
        .to_owned();
    app.events(&id).await;
    let bodies: Vec<Value> = app
        .simulator
        .requests()
        .into_iter()
        .map(|request| request.body)
        .collect();
    let picked = |body: &Value, names: &[&str]| -> Value {
        names.iter().map(|name| body[*name].clone()).collect()
    };
    assert_eq!(
        picked(
            &bodies[0],
            &[
                "presence_penalty",
                "frequency_penalty",
                "reasoning_effort",
                "verbosity",
                "service_tier"
            ]
        ),
        json!([-1.0, 0.5, "minimal", "low", "flex"])
    );
    assert_eq!(
        picked(
            &bodies[1],
            &[
                "top_k",
                "output_config",
                "thinking",
                "service_tier",
                "max_tokens"
            ]
        ),
        json!([7, {"effort": "high"}, {"type": "enabled", "budget_tokens": 2000}, "standard_only", 16_384 + 2000]),
        "thinking leaves as much room for the answer as without it"
    );
    app.close().await;
}

#[tokio::test]
async fn what_stands_in_for_a_model_has_to_take_the_same_parameters() {
    let app = TestApp::spawn(Script::silent()).await;
    let mut order = talk(2);
    order["bots"][0]["params"] = json!({"temperature": 1.5, "seed": 1});
    let stand_ins = json!([
        {"provider": "openai", "model": "gpt-4.1-mini"},
        {"provider": "anthropic", "model": "claude-haiku-4-5"},
    ]);
    order["bots"][0]["fallback"] = stand_ins.clone();
    let answer = app.post("/api/run", &order).await;
    assert_eq!(answer.status, 422, "{}", answer.text);
    let asked = "is asked with the bot's parameters; for claude-haiku-4-5 of anthropic,";
    let taken = "max_tokens, temperature, top_p, top_k, stop, reasoning_effort, thinking_budget_tokens, service_tier";
    assert_eq!(
        answer.json()["errors"],
        json!([
            {"pointer": "/bots/0/fallback/1/model", "reason": format!("{asked} temperature must be from 0 to 1")},
            {
                "pointer": "/bots/0/fallback/1/model",
                "reason": format!("{asked} seed is not taken by claude-haiku-4-5; its parameters: {taken}"),
            },
        ])
    );
    order["bots"][0]["fallback"] = json!([stand_ins[0]]);
    let id = app.start(&order).await;
    let path = format!("/api/run/{id}/bot/0");
    let answer = app.patch(&path, &json!({"fallback": stand_ins})).await;
    let errors = answer.json()["errors"].clone();
    assert_eq!(errors[0]["pointer"], "/fallback/1/model");
    assert_eq!(errors.as_array().map(Vec::len), Some(2), "{errors}");
    let both = json!({"fallback": stand_ins, "params": {"temperature": 1, "seed": null}});
    assert_eq!(app.patch(&path, &both).await.status, 200);
    app.stop(&id).await;
    app.close().await;
}
