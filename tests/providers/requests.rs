//! What goes out, byte for byte but for the key.

use parley::{
    conversation::Params,
    providers::{Config, Kind, ProviderConfig, Registry, Request},
};

use super::{
    PATIENT, prompt,
    server::{Canned, CannedServer},
};

/// The request that the adapter makes for these parameters, its JSON laid out for reading.
async fn sent(kind: Kind, params: Params, key: Option<&str>) -> String {
    let server = CannedServer::start(Canned::stream("")).await;
    let base_url = if kind == Kind::OpenAi {
        format!("{}/v1/", server.base)
    } else {
        server.base.clone()
    };
    let provider = ProviderConfig {
        name: "p".into(),
        kind,
        base_url: Some(base_url),
        api_key: key.map(|key| key.to_owned().into()),
        api_key_env: "P_KEY".into(),
        simulated: false,
        models: vec![],
    };
    let registry = Registry::new(Config {
        providers: vec![provider],
        timeouts: PATIENT,
        max_event_bytes: 1 << 20,
    })
    .unwrap();
    let request = Request {
        model: "m",
        prompt: &prompt(),
        params: &params,
        cache_key: "run:0",
    };
    // The answer is no matter here.
    drop(registry.get("p").unwrap().send(request).await);
    let request = server.requests.lock().unwrap().pop().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let host = server.base.trim_start_matches("http://");
    let head = head
        .replace(host, "HOST")
        .replace("canary-key", "[key]")
        .replace("\r\n", "\n");
    let head: String = head
        .lines()
        .filter(|line| !line.starts_with("content-length"))
        .map(|line| format!("{line}\n"))
        .collect();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    format!("{head}\n{}", serde_json::to_string_pretty(&body).unwrap())
}

fn all_params() -> Params {
    Params {
        max_tokens: Some(99),
        temperature: Some(0.5),
        top_p: Some(0.9),
        stop: Some(vec!["END".into()]),
        seed: Some(7),
    }
}

#[tokio::test]
async fn chat_completions_with_every_parameter() {
    insta::assert_snapshot!(sent(Kind::OpenAi, all_params(), Some("canary-key")).await);
}

#[tokio::test]
async fn chat_completions_of_a_local_server() {
    insta::assert_snapshot!(sent(Kind::OpenAi, Params::default(), None).await);
}

#[tokio::test]
async fn messages_with_every_parameter() {
    insta::assert_snapshot!(sent(Kind::Anthropic, all_params(), Some("canary-key")).await);
}

#[tokio::test]
async fn messages_of_a_local_server() {
    insta::assert_snapshot!(sent(Kind::Anthropic, Params::default(), None).await);
}
