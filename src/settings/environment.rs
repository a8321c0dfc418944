//! The only reader of the process's environment and of `.env`.

use std::{collections::BTreeMap, fmt, path::Path};

use secrecy::{ExposeSecret as _, SecretString};

/// Names and values: those of the process, and beneath them those of `.env`. An empty value counts as not set.
///
/// Values of `.env` are taken as they stand, without substitution of variables: a bcrypt hash (`$2b$12$…`) comes through whole,
/// quoted or not. One pair of single quotes around a value of the process's environment is taken off: of those that read
/// environment files, systemd and compose take them off themselves, and compose needs them for a `$`; `docker run --env-file` and
/// `kubectl` hand them on. The process's environment is never written to.
#[derive(Clone, Default)]
pub struct Environment {
    /// Any of them may be a secret.
    values: BTreeMap<String, SecretString>,
}

/// A line of `.env` that is no `NAME=value`.
#[derive(Debug, thiserror::Error)]
#[error(".env, line {line}: not of the form NAME=value (quote values with blanks)")]
pub struct InvalidLine {
    /// The line, counted from 1.
    pub line: usize,
}

impl Environment {
    /// The process's environment over the `.env` of the working directory, if there is one.
    ///
    /// # Errors
    /// When a line of `.env` cannot be read.
    pub fn from_process() -> Result<Self, InvalidLine> {
        let mut values = match std::fs::read(Path::new(".env")) {
            Ok(bytes) => parse(&String::from_utf8_lossy(&bytes))?,
            Err(_) => BTreeMap::new(),
        };
        values.extend(std::env::vars_os().filter_map(|(name, value)| {
            let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
            Some((name, given(&value)?))
        }));
        Ok(Self::of(values))
    }

    /// An environment of these names and values alone.
    #[must_use]
    pub fn from_pairs<const N: usize>(pairs: [(&str, &str); N]) -> Self {
        Self::of(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())))
    }

    pub(super) fn of(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let pairs = pairs.into_iter();
        Self {
            values: pairs.map(|(name, value)| (name, value.into())).collect(),
        }
    }

    /// The value of that name, if it is set and not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values
            .get(name)
            .map(|value| value.expose_secret().trim())
            .filter(|value| !value.is_empty())
    }
}

/// Names only: values may be secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// What a value of the process's environment says; nothing, if it is empty.
fn given(value: &str) -> Option<String> {
    let value = value.trim();
    let quoted = value
        .strip_prefix('\'')
        .and_then(|value| value.strip_suffix('\''));
    Some(quoted.unwrap_or(value).to_owned()).filter(|value| !value.is_empty())
}

fn parse(text: &str) -> Result<BTreeMap<String, String>, InvalidLine> {
    let mut values = BTreeMap::new();
    for (line, content) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let literal = without_substitution(content.trim_end());
        for pair in dotenvy::from_read_iter(literal.as_bytes()) {
            let (name, value) = pair.map_err(|_| InvalidLine { line })?;
            values.insert(name, value);
        }
    }
    Ok(values)
}

/// The line with every `$` escaped that dotenvy would take for a variable.
fn without_substitution(line: &str) -> String {
    let value = line
        .split_once('=')
        .map_or("", |(_, value)| value.trim_start());
    if value.starts_with('\'') {
        return line.to_owned();
    }
    let mut literal = String::with_capacity(line.len() + 4);
    let mut escaped = false;
    for c in line.chars() {
        if c == '$' && !escaped {
            literal.push('\\');
        }
        escaped = c == '\\' && !escaped;
        literal.push(c);
    }
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2b$12$abcdefghijklmnopqrstuuAbCdEfGhIjKlMnOpQrStUvWxYz01234";

    #[test]
    fn a_hash_comes_through_however_it_is_quoted() {
        for line in [
            format!("H={HASH}"),
            format!("H='{HASH}'"),
            format!("H=\"{HASH}\""),
            format!("H=\"{}\"", HASH.replace('$', "\\$")),
            format!("export H={HASH} # the seed's\r"),
            format!("\u{feff}# first\r\n\r\nH={HASH}\r\n"),
        ] {
            assert_eq!(
                parse(&line).unwrap().get("H").map(String::as_str),
                Some(HASH),
                "{line}"
            );
        }
    }

    /// As `docker run --env-file` and `kubectl create secret --from-env-file` hand it on.
    #[test]
    fn one_pair_of_single_quotes_is_no_part_of_a_value() {
        assert_eq!(given(&format!("'{HASH}'")).as_deref(), Some(HASH));
        assert_eq!(given(HASH).as_deref(), Some(HASH));
        for (value, said) in [
            ("''a''", "'a'"),
            ("'a", "'a"),
            ("it's", "it's"),
            ("\"a\"", "\"a\""),
            (" 'a b' ", "a b"),
            ("'", "'"),
        ] {
            assert_eq!(given(value).as_deref(), Some(said), "{value}");
        }
        for empty in ["", " ", "''"] {
            assert_eq!(given(empty), None, "{empty:?}");
        }
    }

    #[test]
    fn a_line_that_is_none_is_named_without_its_content() {
        let error = parse("A=1\nnonsense here\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            ".env, line 2: not of the form NAME=value (quote values with blanks)"
        );
    }

    #[test]
    fn empty_is_not_set_and_debug_shows_no_value() {
        let env = Environment::from_pairs([("A", ""), ("B", "canary")]);
        assert_eq!(
            (env.get("A"), env.get("B"), env.get("C")),
            (None, Some("canary"), None)
        );
        assert_eq!(format!("{env:?}"), "{\"A\", \"B\"}");
    }
}
