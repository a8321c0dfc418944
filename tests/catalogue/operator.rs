//! The operator's file, over ours.

use std::path::Path;

use loco_rs::{app::Hooks as _, boot::StartMode, config::Config, environment::Environment};
use parley::{app::App, simulator::Script};
use serde_json::{Value, json};

use super::ModelsFile;
use crate::support::{TestApp, talk};

/// What the boot says with these settings.
async fn boot_error(settings: Value) -> String {
    let mut config = Config::from_folder(&Environment::Test, Path::new("config")).unwrap();
    config.settings = Some(settings);
    match App::boot(StartMode::ServerOnly, &Environment::Test, config).await {
        Ok(_) => panic!("it booted"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn every_mistake_of_the_file_stops_the_boot_and_has_its_place() {
    let file = ModelsFile::new(
        "openai:\n\
         \x20 params:\n\
         \x20   temperature: {type: number, most: 1}\n\
         \x20 models:\n\
         \x20   gpt-6-sol:\n\
         \x20     context_window: large\n\
         \x20     prices: [{from: 2026-02-30, input: 0.1234567, output: 1}]\n\
         nobody: {}\n",
    );
    let said = boot_error(file.settings()).await;
    for line in [
        "has 5 mistake(s)",
        "/openai/params/temperature/most: is unknown here; there are: type, only_with, not_with, min, max",
        "/openai/models/gpt-6-sol/context_window: must be a whole number of at least 1",
        "/openai/models/gpt-6-sol/prices/0/from: must be a day such as 2026-10-07",
        "/openai/models/gpt-6-sol/prices/0/input: must be dollars for a million tokens: a number of at least 0, of at most 6 \
         digits after the point",
        "/nobody: is no provider and no kind; there are: anthropic, gemini, openai",
    ] {
        assert!(said.contains(line), "{line:?} is not in: {said}");
    }
}

#[tokio::test]
async fn a_file_that_is_none_stops_the_boot() {
    let missing = boot_error(json!({"models_file": "/nowhere/models.yaml"})).await;
    assert!(
        missing.contains("settings.models_file /nowhere/models.yaml: "),
        "{missing}"
    );
    let twice = ModelsFile::new("openai:\n  models:\n    a: {}\n    a: {}\n");
    assert!(boot_error(twice.settings()).await.contains("is no YAML"));
    let list = ModelsFile::new("- openai\n");
    assert!(
        boot_error(list.settings())
            .await
            .contains(": must be an object")
    );
    assert!(
        boot_error(json!({"models_file": 3}))
            .await
            .contains("settings.models_file")
    );
}

#[tokio::test]
async fn an_empty_file_changes_nothing() {
    let file = ModelsFile::new("# nothing yet\n");
    let app = TestApp::with(Script::default(), file.settings()).await;
    assert_eq!(app.get("/api/providers").await.status, 200);
    app.close().await;
}

#[tokio::test]
async fn what_the_operator_says_goes_over_ours_and_shows() {
    let file = ModelsFile::new(
        "openai:\n\
         \x20 params:\n\
         \x20   top_k: {type: integer, min: 0, max: 100}\n\
         \x20 models:\n\
         \x20   gpt-6-sol:\n\
         \x20     params:\n\
         \x20       temperature: {type: number, min: 0, max: 0.5}\n\
         \x20       seed: false\n\
         \x20     context_window: 1000000\n\
         \x20     max_output: 5000\n\
         \x20     prices: [{from: 2020-01-01, input: 7.000001, output: 8}]\n\
         \x20   llama: {}\n",
    );
    let app = TestApp::with(Script::text("Hello."), file.settings()).await;
    let answer = app.get("/api/providers").await;
    // Exact, digit by digit.
    assert!(answer.text.contains(r#""input":7.000001,"#));
    let providers = answer.json();
    let all = providers["providers"].as_array().unwrap();
    let openai = all.iter().find(|one| one["name"] == "openai").unwrap();
    let models = openai["models"].as_array().unwrap();
    let named = |name: &str| models.iter().find(|model| model["name"] == name).unwrap();
    assert_eq!(named("llama")["prices"], json!([]));
    let sol = named("gpt-6-sol");
    assert_eq!(
        (&sol["context_window"], &sol["max_output"]),
        (&json!(1_000_000), &json!(5000))
    );
    assert_eq!(sol["prices"].as_array().unwrap().len(), 1, "ours are gone");
    let param = |model: &Value, name: &str| {
        let all = model["params"].as_array().unwrap().iter();
        all.clone().find(|param| param["name"] == name).cloned()
    };
    assert_eq!(param(sol, "max_tokens").unwrap()["max"], 5000);
    assert_eq!(param(sol, "temperature").unwrap()["max"], 0.5);
    assert_eq!(param(sol, "top_k").unwrap()["max"], 100);
    assert_eq!(param(openai, "top_k").unwrap()["max"], 100);
    assert!(param(sol, "seed").is_none() && param(openai, "seed").is_some());

    let mut order = talk(1);
    order["bots"][0]["model"] = json!("gpt-6-sol");
    order["bots"][0]["params"] = json!({"top_k": 9, "temperature": 0.5, "max_tokens": 5000});
    let answer = app.post("/api/run", &order).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let id = answer.json()["run_id"].as_str().unwrap().to_owned();
    app.events(&id).await;
    assert_eq!(app.simulator.requests()[0].body["top_k"], 9);
    order["bots"][0]["params"] = json!({"max_tokens": 5001});
    assert_eq!(app.post("/api/run", &order).await.status, 422);
    app.close().await;
}
