//! `<think>` tags in the text: reasoning for a provider that is set up so, plain text for all others.

use parley::{
    conversation::{FailureCode, StopReason},
    providers::ProviderConfig,
};

use super::{
    ANTHROPIC, Heard, OPENAI, PATIENT, ask, provider,
    recorded::{canned, check, kind_of, manifest},
    registry_of,
    server::{Canned, CannedServer},
};

/// What a provider whose tags mark reasoning is heard to say.
async fn hear_tagged(kind: &str, canned: Canned) -> Heard {
    let server = CannedServer::start(canned).await;
    let provider = ProviderConfig {
        think_tags: true,
        ..provider(kind, &server.base)
    };
    ask(&registry_of(provider, PATIENT)).await
}

/// Chat chunks with these pieces of text, and what follows them.
fn chat(pieces: &[&str], end: &str) -> Canned {
    let chunk = |piece: &&str| {
        let content = serde_json::Value::from(*piece);
        format!("data: {{\"choices\":[{{\"delta\":{{\"content\":{content}}}}}]}}\n\n")
    };
    let chunks: String = pieces.iter().map(chunk).collect();
    Canned::stream(chunks + end)
}

const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";

/// The body with the tags gives its thoughts apart; all others are heard as ever.
#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_body_is_the_same_but_the_one_with_tags() {
    let mut manifest = manifest();
    let tagged = manifest.get_mut("openai_compat/think_tags.sse").unwrap();
    assert_eq!(tagged["text"], "<think>plan</think>\n\nHi");
    tagged["reasoning"] = "plan".into();
    tagged["text"] = "Hi".into();
    let all = manifest
        .iter()
        .flat_map(|(name, entry)| [usize::MAX, 7, 1].map(|piece| (name, entry, piece)));
    let checks = all.map(|(name, entry, piece)| async move {
        let body = Canned {
            piece,
            ..canned(name)
        };
        let heard = hear_tagged(kind_of(entry), body).await;
        check(&format!("{name} in pieces of {piece}"), entry, &heard);
    });
    futures_util::future::join_all(checks).await;
}

#[tokio::test]
async fn what_is_held_back_is_told_before_the_end_and_before_a_failure() {
    for (pieces, reasoning, text) in [
        (&["<think>plan</thi"][..], "plan</thi", ""),
        (&["  <thi"], "", "  <thi"),
        (&["<think>pl", "an"], "plan", ""),
        (&["<", "think>plan<", "/think>", " \n", " Hi"], "plan", "Hi"),
    ] {
        let heard = hear_tagged(OPENAI, chat(pieces, STOP)).await;
        assert_eq!(
            (heard.reasoning.as_str(), heard.text.as_str()),
            (reasoning, text)
        );
        assert_eq!(heard.finished, Some(StopReason::EndTurn));
        for (end, code) in [
            ("", FailureCode::Truncated),
            ("data: garbage\n\n", FailureCode::Malformed),
        ] {
            let heard = hear_tagged(OPENAI, chat(pieces, end)).await;
            assert_eq!(
                (heard.reasoning.as_str(), heard.text.as_str()),
                (reasoning, text)
            );
            assert_eq!(heard.failure, Some(code));
        }
    }
}

#[tokio::test]
async fn tags_mean_the_same_in_every_kind() {
    let body = concat!(
        "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"<think>pl\"}}\n\n",
        "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"an</think>Hi\"}}\n\n",
        "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n",
        "data: {\"type\":\"message_stop\"}\n\n",
    );
    let heard = hear_tagged(ANTHROPIC, Canned::stream(body)).await;
    assert_eq!(
        (heard.reasoning.as_str(), heard.text.as_str(), heard.failure),
        ("plan", "Hi", None)
    );
}
