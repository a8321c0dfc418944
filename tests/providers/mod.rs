//! The adapters, through a real HTTP server of bytes: every recorded body, every deviation, every way to break off.

mod compatible;
mod deviations;
pub(crate) mod hostile;
pub(crate) mod recorded;
mod requests;
mod responses;
mod server;
mod talks;
mod think_tags;

use std::time::Duration;

use parley::{
    conversation::{
        AttemptFailure, FailureCode, Meter, Params, Prompt, PromptMessage, Role, StopReason, Usage,
    },
    providers::{
        Api, BreakerConfig, Config, Dialect, Kind, Part, ProviderConfig, Registry, Reply, Request,
        Timeouts,
    },
};
pub(crate) use server::read_request;
use server::{Canned, CannedServer};

use crate::support::within;

pub(crate) const OPENAI: &str = "openai";
pub(crate) const ANTHROPIC: &str = "anthropic";
pub(crate) const GEMINI: &str = "gemini";
/// `OpenAI`'s kind, asked by its other API.
pub(crate) const RESPONSES: &str = "openai by responses";

/// What an answer came to.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Heard {
    pub(crate) text: String,
    pub(crate) reasoning: String,
    pub(crate) refusal: String,
    pub(crate) usage: Usage,
    pub(crate) finished: Option<StopReason>,
    pub(crate) failure: Option<FailureCode>,
    pub(crate) message: String,
}

pub(crate) fn registry(kind: &str, base: &str, timeouts: Timeouts) -> Registry {
    registry_of(provider(kind, base), timeouts)
}

pub(crate) fn provider(kind: &str, base: &str) -> ProviderConfig {
    let (kind, api) = match kind {
        RESPONSES => (OPENAI, Api::Responses),
        other => (other, Api::Auto),
    };
    let kind = Kind::named(kind).unwrap();
    let base_url = format!("{base}{}", kind.path);
    ProviderConfig {
        name: "p".into(),
        kind,
        api,
        query: vec![],
        headers: vec![],
        key_header: None,
        dialect: Dialect::default(),
        think_tags: false,
        max_concurrent: None,
        requests_per_minute: None,
        base_url: Some(base_url),
        api_key: Some("canary-key".to_owned().into()),
        api_key_env: "P_KEY".into(),
        simulated: false,
        models: vec![],
    }
}

pub(crate) fn registry_of(provider: ProviderConfig, timeouts: Timeouts) -> Registry {
    Registry::new(Config {
        providers: vec![provider],
        timeouts,
        max_event_bytes: 1024 * 1024,
        breaker: BREAKER,
        meter: Meter::default(),
    })
    .unwrap()
}

pub(crate) const PATIENT: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    first_delta: Duration::from_secs(20),
    idle: Duration::from_secs(20),
    usage: Duration::from_secs(2),
};

pub(crate) const BREAKER: BreakerConfig = BreakerConfig {
    failures: 10,
    window: Duration::from_secs(30),
    open: Duration::from_secs(10),
};

pub(crate) fn prompt() -> Prompt {
    let message = |role, text: &str| PromptMessage {
        role,
        text: text.into(),
    };
    Prompt {
        system: Some("Be brief.".into()),
        messages: vec![
            message(Role::User, "Tea?"),
            message(Role::Assistant, "Yes."),
            message(Role::User, "Why?"),
        ],
    }
}

/// Asks, and listens to the end.
pub(crate) async fn ask(registry: &Registry) -> Heard {
    let mut heard = Heard::default();
    let params = Params::default();
    let request = Request {
        model: "m",
        prompt: &prompt(),
        params: &params,
        cache_key: "run:0",
        show_reasoning: false,
        trace: None,
    };
    let listened = within("the answer", listen(registry, request, &mut heard)).await;
    if let Err(AttemptFailure { failure, .. }) = listened {
        heard.failure = Some(failure.code);
        heard.message = failure.message;
    }
    heard
}

/// Asks without waiting for the answer's end.
pub(crate) async fn send(
    registry: &Registry,
    request: Request<'_>,
) -> Result<Reply, AttemptFailure> {
    let provider = registry.get("p").unwrap();
    let place = provider.admitted(request.model).await;
    provider.send(place, request).await
}

async fn listen(
    registry: &Registry,
    request: Request<'_>,
    heard: &mut Heard,
) -> Result<(), AttemptFailure> {
    let mut reply = send(registry, request).await?;
    listen_to(&mut reply, heard).await
}

pub(crate) async fn listen_to(reply: &mut Reply, heard: &mut Heard) -> Result<(), AttemptFailure> {
    while let Some(part) = reply.next().await? {
        match part {
            Part::Text(text) => {
                assert!(heard.finished.is_none() && !text.is_empty());
                heard.text.push_str(&text);
            }
            Part::Reasoning(text) => heard.reasoning.push_str(&text),
            Part::Refusal(text) => heard.refusal.push_str(&text),
            Part::Usage(usage) => heard.usage = heard.usage.updated_by(usage),
            Part::Finished(reason) => {
                assert!(heard.finished.replace(reason).is_none(), "finished twice");
            }
        }
    }
    Ok(())
}

pub(crate) async fn hear(kind: &str, canned: Canned) -> Heard {
    let server = CannedServer::start(canned).await;
    ask(&registry(kind, &server.base, PATIENT)).await
}

#[tokio::test]
async fn endless_lines_and_huge_events_are_cut_off() {
    for body in [
        format!("data: {}", "x".repeat(3_000_000)),
        "x".repeat(3_000_000),
        format!(": {}", "x".repeat(3_000_000)),
    ] {
        let heard = hear(
            OPENAI,
            Canned {
                piece: 65_536,
                ..Canned::stream(body)
            },
        )
        .await;
        assert_eq!(
            heard.failure,
            Some(FailureCode::Malformed),
            "{}",
            heard.message
        );
    }
}

#[tokio::test]
async fn what_is_no_stream_is_malformed_whatever_it_says() {
    let page = |content_type: &str, body: &str| Canned {
        headers: vec![("content-type".into(), content_type.into())],
        ..Canned::stream(body)
    };
    assert_eq!(
        hear(OPENAI, page("text/html", "<html>")).await.failure,
        Some(FailureCode::Malformed)
    );
    assert_eq!(
        hear(ANTHROPIC, page("application/json", "{}"))
            .await
            .failure,
        Some(FailureCode::Malformed)
    );
    assert_eq!(
        hear(OPENAI, Canned::stream("\u{0}\u{1}garbage\n\n"))
            .await
            .failure,
        Some(FailureCode::Truncated)
    );
    assert_eq!(
        hear(
            OPENAI,
            Canned::stream(vec![b'd', b'a', b't', b'a', b':', 0xff, 0xfe, b'\n', b'\n'])
        )
        .await
        .failure,
        Some(FailureCode::Malformed)
    );
}

#[tokio::test]
async fn silence_ends_by_its_timeout_and_comments_do_not_count_as_words() {
    let short = |first: u64, idle: u64| Timeouts {
        first_delta: Duration::from_millis(first),
        idle: Duration::from_millis(idle),
        usage: Duration::from_millis(50),
        ..PATIENT
    };
    let word = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
    let end = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    for (body, timeouts, expected) in [
        (String::new(), short(80, 5_000), Err(FailureCode::Timeout)),
        (
            ": ping\n\n".to_owned(),
            short(80, 5_000),
            Err(FailureCode::Timeout),
        ),
        (word.to_owned(), short(5_000, 80), Err(FailureCode::Timeout)),
        (
            format!("{word}{end}"),
            short(5_000, 5_000),
            Ok(StopReason::EndTurn),
        ),
    ] {
        let server = CannedServer::start(Canned {
            stays_open: true,
            ..Canned::stream(body.clone())
        })
        .await;
        let heard = ask(&registry(OPENAI, &server.base, timeouts)).await;
        assert_eq!(
            heard.failure.map_or(Ok(heard.finished), Err),
            expected.map(Some),
            "{body:?}"
        );
    }
}

#[tokio::test]
async fn dropping_an_answer_closes_its_connection() {
    let word = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
    let mut server = CannedServer::start(Canned {
        stays_open: true,
        ..Canned::stream(word)
    })
    .await;
    let registry = registry(OPENAI, &server.base, PATIENT);
    let params = Params::default();
    let request = Request {
        model: "m",
        prompt: &prompt(),
        params: &params,
        cache_key: "run:0",
        show_reasoning: false,
        trace: None,
    };
    let mut reply = send(&registry, request).await.unwrap();
    assert_eq!(reply.next().await.unwrap(), Some(Part::Text("Hi".into())));
    assert_eq!(*server.closed.borrow(), 0);
    drop(reply);
    within(
        "the connection to close",
        server.closed.wait_for(|closed| *closed == 1),
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn a_refused_connection_and_a_wrong_address_are_told_apart() {
    let refused = ask(&registry(OPENAI, "http://127.0.0.1:1", PATIENT)).await;
    assert_eq!(
        (refused.failure, refused.message.as_str()),
        (
            Some(FailureCode::Timeout),
            "the provider cannot be reached: it refuses the connection"
        )
    );
    let redirect = Canned {
        status: 307,
        headers: vec![("location".into(), "http://127.0.0.1:1/".into())],
        ..Canned::stream("")
    };
    let heard = hear(OPENAI, redirect).await;
    assert_eq!(heard.failure, Some(FailureCode::InvalidRequest));
    assert!(heard.message.contains("redirect"), "{}", heard.message);
}
