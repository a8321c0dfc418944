//! A provider that repeats the key it was sent.

use parley::{
    conversation::{FailureCode, Meter},
    providers::{Config, ProviderConfig, Registry},
};

use super::{END, HEAD, Hostile, PATIENT};
use crate::providers::{ANTHROPIC, BREAKER, Heard, OPENAI, RESPONSES, ask, provider};

/// Long enough to be a secret. No part of it is a word.
const KEY: &str = "sk-canary-that-nobody-may-ever-see-x";

fn with_key(kind: &str, base: &str) -> Registry {
    let provider = ProviderConfig {
        api_key: Some(KEY.to_owned().into()),
        ..provider(kind, base)
    };
    Registry::new(Config {
        providers: vec![provider],
        timeouts: PATIENT,
        max_event_bytes: 1024 * 1024,
        breaker: BREAKER,
        meter: Meter::default(),
    })
    .unwrap()
}

async fn hear(kind: &str, body: &str) -> Heard {
    let server = Hostile::saying(format!("{HEAD}{body}")).await;
    ask(&with_key(kind, &server.base)).await
}

fn frame(kind: &str, field: &str, words: &str) -> String {
    match kind {
        OPENAI => format!("data: {{\"choices\":[{{\"delta\":{{\"{field}\":\"{words}\"}}}}]}}\n\n"),
        _ => format!("data: {{\"type\":\"response.output_text.delta\",\"delta\":\"{words}\"}}\n\n"),
    }
}

/// However it is cut: what was said before and after it stays.
#[tokio::test]
async fn a_key_in_an_answers_text_is_taken_out_wherever_it_is_cut() {
    for cut in 0..=KEY.len() {
        let (one, two) = KEY.split_at(cut);
        for field in ["content", "reasoning", "refusal"] {
            let first = frame(OPENAI, field, &format!("It is {one}"));
            let second = frame(OPENAI, field, &format!("{two}, yes"));
            let heard = hear(OPENAI, &format!("{first}{second}{END}")).await;
            assert_eq!(heard.failure, None);
            let said = heard.text + &heard.reasoning + &heard.refusal;
            assert!(!said.contains("canary-0123456789"), "{cut} {said}");
            assert!(
                said.starts_with("It is ") && said.ends_with("[key], yes"),
                "{cut} {said}"
            );
        }
    }
}

#[tokio::test]
async fn a_key_one_character_at_a_time_twice_or_escaped_is_taken_out() {
    let single: String = KEY
        .chars()
        .map(|c| frame(RESPONSES, "", &c.to_string()))
        .collect();
    let done = "data: {\"type\":\"response.completed\",\"response\":{}}\n\n";
    let heard = hear(RESPONSES, &format!("{single}{single}{done}")).await;
    assert_eq!(heard.text, "sk-[key]sk-[key]");
    let escaped: String = KEY
        .chars()
        .map(|c| format!("\\u{:04x}", u32::from(c)))
        .collect();
    let heard = hear(
        OPENAI,
        &format!("{}{END}", frame(OPENAI, "content", &escaped)),
    )
    .await;
    assert_eq!(heard.text, "[key]");
}

/// What only begins like a key is text like any other; only where nothing more comes it is not known to be none.
#[tokio::test]
async fn the_beginning_of_a_key_is_no_key() {
    let most = &KEY[..KEY.len() - 1];
    for (words, at_the_end) in [
        ("s", "s"),
        ("ssk-sk-can", "ssk-sk-can"),
        (&KEY[..11], &KEY[..11]),
        (most, "sk-[key]"),
    ] {
        let said = frame(OPENAI, "content", words);
        let heard = hear(OPENAI, &format!("{said}{END}")).await;
        assert_eq!(heard.text, at_the_end);
        let more = frame(OPENAI, "content", "!");
        let heard = hear(OPENAI, &format!("{said}{more}{END}")).await;
        assert_eq!(heard.text, format!("{words}!"));
        let heard = hear(OPENAI, &said).await;
        assert_eq!(
            (heard.text.as_str(), heard.failure),
            (at_the_end, Some(FailureCode::Truncated))
        );
    }
}

#[tokio::test]
async fn a_key_in_any_message_is_taken_out() {
    let escaped: String = KEY
        .chars()
        .map(|c| format!("\\u{:04x}", u32::from(c)))
        .collect();
    for kind in [OPENAI, ANTHROPIC, RESPONSES] {
        for body in [
            format!("data: {{\"error\":{{\"message\":\"bad key {KEY}\"}}}}\n\n"),
            format!("data: {{\"error\":{{\"message\":\"bad key {escaped}\"}}}}\n\n"),
            format!("data: {KEY}\n\n"),
            format!("data: {}\ndata: {}\n\n", &KEY[..9], &KEY[9..]),
            format!("data: {}\n\ndata: {}\n\n", &KEY[..9], &KEY[9..]),
            format!("data: {{\"type\":[\"{escaped}\"],\"choices\":\"{escaped}\"}}\n\n"),
            format!("id: {KEY}\nevent: {KEY}\n: {KEY}\ndata: x\n\n"),
        ] {
            let heard = hear(kind, &body).await;
            assert!(heard.failure.is_some(), "{kind} {body}");
            assert!(
                !heard.message.contains("0123456789"),
                "{kind} {body}: {}",
                heard.message
            );
        }
    }
    for status in [200, 307, 401, 500] {
        let head = format!(
            "HTTP/1.1 {status} {KEY}\r\nx-{KEY}: {KEY}\r\ncontent-type: text/{KEY}\r\nlocation: /{KEY}\r\n"
        );
        for body in [
            format!("{{\"error\":\"no {KEY}\"}}"),
            format!(
                "{{\"error\":{{\"type\":\"{KEY}\",\"code\":\"{KEY}\",\"message\":\"{escaped}\"}}}}"
            ),
            KEY.to_owned(),
        ] {
            let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
            let server = Hostile::saying(answer).await;
            let heard = ask(&with_key(OPENAI, &server.base)).await;
            assert!(heard.failure.is_some());
            assert!(
                !heard.message.contains("0123456789"),
                "{status} {}",
                heard.message
            );
        }
    }
}
