//! Rust source text as tokens, as far as paths need them: words and punctuation, without comments and literals.

/// A word, or a piece of punctuation: `::`, or a single character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    /// Counted from 1.
    pub(super) line: usize,
}

impl Token<'_> {
    pub(super) fn is_word(&self) -> bool {
        self.text
            .starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// Splits a source into tokens.
pub(super) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while let Some(first) = rest.chars().next() {
        let length = match skipped(rest) {
            0 => {
                let length = token(rest, first);
                let text = rest[..length].trim_start_matches("r#");
                tokens.push(Token { text, line });
                length
            }
            skipped => skipped,
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// The length of the token that begins here.
fn token(rest: &str, first: char) -> usize {
    let raw = if rest.starts_with("r#") { 2 } else { 0 };
    match word(&rest[raw..]) {
        0 if rest.starts_with("::") => 2,
        0 => first.len_utf8(),
        length => raw + length,
    }
}

/// The length of the word (or number) that begins here.
fn word(rest: &str) -> usize {
    rest.find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(rest.len())
}

/// The length of what says nothing and begins here: white space, a comment, a literal, a lifetime. Zero if there is none.
fn skipped(rest: &str) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if rest.starts_with('\'') {
        return quote(rest);
    }
    let prefix = ["br", "cr", "b", "c", "r"]
        .into_iter()
        .find(|prefix| opens_literal(rest, prefix))
        .unwrap_or("");
    let body = &rest[prefix.len()..];
    match body.chars().next() {
        Some('"' | '#') if prefix.ends_with('r') => prefix.len() + raw_string(body),
        Some('"') => prefix.len() + string(body),
        Some('\'') if prefix == "b" => prefix.len() + quote(body),
        Some(_) if prefix.is_empty() => rest.len() - rest.trim_start().len(),
        _ => 0,
    }
}

/// Whether the prefix stands before a quote, and not before a word such as the raw identifier `r#type`.
fn opens_literal(rest: &str, prefix: &str) -> bool {
    let Some(body) = rest.strip_prefix(prefix) else {
        return false;
    };
    let body = if prefix.ends_with('r') {
        body.trim_start_matches('#')
    } else {
        body
    };
    body.starts_with('"') || (prefix == "b" && body.starts_with('\''))
}

/// Block comments nest.
fn block_comment(rest: &str) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < rest.len() {
        let ahead = &rest.as_bytes()[at..];
        match ahead {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    rest.len()
}

fn raw_string(rest: &str) -> usize {
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let end = format!("\"{}", "#".repeat(hashes));
    rest[hashes + 1..]
        .find(&end)
        .map_or(rest.len(), |at| hashes + 1 + at + end.len())
}

/// A character literal, or a lifetime or label: `'a'` against `'a`.
fn quote(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some(_)) => chars
            .find(|(_, c)| *c == '\'')
            .map_or(rest.len(), |(at, _)| at + 1),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1 + word(&rest[1..]),
    }
}

#[test]
fn comments_and_literals_are_no_tokens() {
    let source = r####"
use a; // not::this "nor \" this
/* nor /* nested */ this::one */ let s = "x::\"y\\"; let b = b'\''; let c = '"';
fn f<'a>(x: &'a str) -> char { '\u{1F600}' } let r = r##"m::"# n"##; br"\"; r#type::z '\\' 'é'
"####;
    let found: Vec<(&str, usize)> = tokens(source)
        .into_iter()
        .filter(Token::is_word)
        .map(|token| (token.text, token.line))
        .collect();
    let on = |line: usize, words: &str| -> Vec<(String, usize)> {
        words
            .split(' ')
            .map(|word| (word.to_owned(), line))
            .collect()
    };
    let expected = [
        on(2, "use a"),
        on(3, "let s let b let c"),
        on(4, "fn f x str char let r type z"),
    ]
    .concat();
    let expected: Vec<(&str, usize)> = expected.iter().map(|(w, l)| (w.as_str(), *l)).collect();
    assert_eq!(found, expected);
}
