//! What goes out, byte for byte but for the key.

use parley::{
    conversation::Params,
    providers::{ProviderConfig, Request},
};

use super::{
    ANTHROPIC, GEMINI, OPENAI, PATIENT, RESPONSES, prompt, provider, registry_of,
    server::{Canned, CannedServer},
};

/// The request that the adapter makes for these parameters, its JSON laid out for reading.
async fn sent(kind: &str, params: Params, key: Option<&str>) -> String {
    sent_by(kind, params, key, |_| {}).await
}

/// The same by a provider that is set up in another way.
async fn sent_by(
    kind: &str,
    params: Params,
    key: Option<&str>,
    change: impl FnOnce(&mut ProviderConfig),
) -> String {
    let server = CannedServer::start(Canned::stream("")).await;
    let mut provider = ProviderConfig {
        api_key: key.map(|key| key.to_owned().into()),
        ..provider(kind, &server.base)
    };
    // A slash at the end of the address is no matter.
    provider.base_url.as_mut().unwrap().push('/');
    change(&mut provider);
    let registry = registry_of(provider, PATIENT);
    let request = Request {
        model: "m",
        prompt: &prompt(),
        params: &params,
        cache_key: "run:0",
        show_reasoning: false,
        trace: None,
    };
    // The answer is no matter here.
    drop(super::send(&registry, request).await);
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
        max_tokens: Some(2048),
        temperature: Some(0.5),
        top_p: Some(0.9),
        top_k: Some(40),
        stop: Some(vec!["END".into()]),
        seed: Some(7),
        presence_penalty: Some(-0.5),
        frequency_penalty: Some(1.5),
        reasoning_effort: Some("low".into()),
        thinking_budget_tokens: Some(1024),
        verbosity: Some("high".into()),
        service_tier: Some("auto".into()),
    }
}

#[tokio::test]
async fn chat_completions_with_every_parameter() {
    insta::assert_snapshot!(sent(OPENAI, all_params(), Some("canary-key")).await);
}

#[tokio::test]
async fn chat_completions_of_a_local_server() {
    insta::assert_snapshot!(sent(OPENAI, Params::default(), None).await);
}

#[tokio::test]
async fn responses_with_every_parameter() {
    insta::assert_snapshot!(sent(RESPONSES, all_params(), Some("canary-key")).await);
}

#[tokio::test]
async fn responses_of_a_local_server() {
    insta::assert_snapshot!(sent(RESPONSES, Params::default(), None).await);
}

#[tokio::test]
async fn messages_with_every_parameter() {
    insta::assert_snapshot!(sent(ANTHROPIC, all_params(), Some("canary-key")).await);
}

#[tokio::test]
async fn messages_of_a_local_server() {
    insta::assert_snapshot!(sent(ANTHROPIC, Params::default(), None).await);
}

#[tokio::test]
async fn contents_with_every_parameter() {
    insta::assert_snapshot!(sent(GEMINI, all_params(), Some("canary-key")).await);
}

#[tokio::test]
async fn contents_of_a_local_server() {
    insta::assert_snapshot!(sent(GEMINI, Params::default(), None).await);
}

/// A model's name may stand in an address: none of them leads to another one, and a query of the settings is added to ours.
#[tokio::test]
async fn a_model_in_the_address_names_a_model_and_nothing_else() {
    for (model, path) in [
        ("models/gemini-3.8-flash", "gemini-3.8-flash"),
        ("../../v1/files", "..%2F..%2Fv1%2Ffiles"),
        ("m?alt=json#", "m%3Falt%3Djson%23"),
        ("m:deleteModel", "m%3AdeleteModel"),
        ("a b\r\nx-evil: 1", "a%20b%0D%0Ax-evil%3A%201"),
    ] {
        let server = CannedServer::start(Canned::stream("")).await;
        let mut provider = provider(GEMINI, &server.base);
        provider.query = vec![("user".into(), "a b".into())];
        let registry = registry_of(provider, PATIENT);
        let request = Request {
            model,
            prompt: &prompt(),
            params: &Params::default(),
            show_reasoning: false,
            trace: None,
            cache_key: "run:0",
        };
        drop(super::send(&registry, request).await);
        let request = server.requests.lock().unwrap().pop().unwrap();
        assert_eq!(
            request.lines().next().unwrap(),
            format!("POST /v1beta/models/{path}:streamGenerateContent?alt=sse&user=a+b HTTP/1.1")
        );
    }
}

/// Azure wants a version in the query and the key in a header of its own; `OpenRouter` likes to be told who asks.
#[tokio::test]
async fn a_provider_may_want_a_query_and_headers() {
    let request = sent_by(OPENAI, Params::default(), Some("canary-key"), |provider| {
        provider.query = vec![("api-version".into(), "2026-10 preview".into())];
        provider.headers = vec![("x-title".into(), "Parley".into())];
        provider.key_header = Some("api-key".into());
    })
    .await;
    let head = request.split("\n\n").next().unwrap();
    insta::assert_snapshot!(head, @r"
    POST /v1/chat/completions?api-version=2026-10+preview HTTP/1.1
    content-type: application/json
    accept: text/event-stream
    x-title: Parley
    api-key: [key]
    user-agent: parley/0.1.0
    host: HOST
    ");
}

/// A gateway may want the key as a bearer's where the kind has a header of its own, and another version; each header comes once.
#[tokio::test]
async fn a_header_of_the_settings_stands_in_place_of_ours() {
    let request = sent_by(
        ANTHROPIC,
        Params::default(),
        Some("canary-key"),
        |provider| {
            provider.headers = vec![("Anthropic-Version".into(), "2026-10-21".into())];
            provider.key_header = Some("Authorization".into());
        },
    )
    .await;
    let head = request.split("\n\n").next().unwrap();
    insta::assert_snapshot!(head, @r"
    POST /v1/messages HTTP/1.1
    content-type: application/json
    accept: text/event-stream
    anthropic-version: 2026-10-21
    authorization: Bearer [key]
    user-agent: parley/0.1.0
    host: HOST
    ");
}
