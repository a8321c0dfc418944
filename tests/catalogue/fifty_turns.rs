//! The table of `docs/cost.md`: what a talk of fifty turns costs, by our own prices, with the provider's prompt cache and without.

use parley::conversation::{Cost, Params, Timestamp, Usage};

use super::ours;
use crate::providers::{ANTHROPIC, OPENAI};

const TURNS: u64 = 50;
/// Tokens of the system prompt and the topic.
const OPENING: u64 = 200;
/// Tokens of a turn.
const TURN: u64 = 300;
/// When the page was written.
const THEN: &str = "2026-11-25T00:00:00Z";

/// The rows of the page: who is asked, from how many tokens on a prompt is cached, and whether writing into the cache is counted.
const ROWS: [(&str, &str, u64, bool); 6] = [
    (OPENAI, "gpt-6-luna", 1024, true),
    (OPENAI, "gpt-6.2-sol", 1024, true),
    (OPENAI, "gpt-5.4", 1024, false),
    (OPENAI, "gpt-4.1", 1024, false),
    (ANTHROPIC, "claude-sonnet-5-5", 1024, true),
    (ANTHROPIC, "claude-haiku-4-5", 4096, true),
];

/// What the request of that turn, from 0, sends.
fn prompt(turn: u64) -> u64 {
    OPENING + TURN * turn
}

/// What the provider counts for that turn: each bot finds what its own last request, two turns before, has left in the cache.
fn usage(turn: u64, least: u64, counts_writes: bool) -> Usage {
    let input = prompt(turn);
    let before = turn.checked_sub(2).map_or(0, prompt);
    let cached = if before >= least { before } else { 0 };
    let written = if input >= least { input - cached } else { 0 };
    Usage {
        input_tokens: Some(input),
        cached_input_tokens: Some(cached),
        cache_write_tokens: Some(if counts_writes { written } else { 0 }),
        output_tokens: Some(TURN),
        reasoning_tokens: Some(0),
    }
}

fn dollars(cost: u64) -> String {
    format!("${:.4}", cost as f64 / 1e12)
}

#[test]
fn the_tokens_of_the_page_are_those_of_its_sums() {
    let all = (0..TURNS).map(|turn| usage(turn, 1024, true));
    let sum = all.fold(Usage::default(), Usage::plus);
    assert_eq!(sum.input_tokens, Some(377_500));
    assert_eq!(sum.cached_input_tokens, Some(346_500));
    assert_eq!(sum.cache_write_tokens, Some(29_500));
    assert_eq!(sum.output_tokens, Some(15_000));
}

#[test]
fn the_rows_of_the_page_are_what_our_prices_say() {
    let page = std::fs::read_to_string("docs/cost.md").unwrap();
    let catalogue = ours();
    let at: Timestamp = THEN.parse().unwrap();
    let mut expected = String::new();
    for (provider, model, least, counts_writes) in ROWS {
        let pricing = catalogue.pricing(provider, model, &Params::default(), at);
        let pricing = pricing.unwrap_or_else(|| panic!("no price of {model}"));
        let cost = |usage: Usage| pricing.cost(usage).map(Cost::picos).unwrap();
        let with: u64 = (0..TURNS)
            .map(|turn| cost(usage(turn, least, counts_writes)))
            .sum();
        let without: u64 = (0..TURNS)
            .map(|turn| {
                cost(Usage {
                    cached_input_tokens: Some(0),
                    cache_write_tokens: Some(0),
                    ..usage(turn, least, false)
                })
            })
            .sum();
        let share = with as f64 / without as f64 * 100.0;
        let row = format!(
            "| `{model}` | {least} | {} | {} | {share:.0} % |\n",
            dollars(without),
            dollars(with)
        );
        expected.push_str(&row);
    }
    assert!(page.contains(&expected), "the rows are:\n{expected}");
}
