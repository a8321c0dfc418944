//! Secrets of the environment, which may come from files: `NAME` has the secret itself, `NAME_FILE` the path of a file that has it.
//!
//! **Invariant:** what is wrong with one is told by the variable and by what the system says, never by a value: what stands where a path
//! belongs may be the secret itself, put there by mistake.

use std::{fs::File, io::Read as _};

use secrecy::{ExposeSecret as _, SecretString};

use super::{Environment, Mistake};

/// The most bytes of such a file: more is something else, put there by mistake.
const MOST: u64 = 64 * 1024;

/// What a variable is called that names a file.
const FILE: &str = "_FILE";

/// Names of ours that hold no secret, and so are never taken from a file. Beside them: `<NAME>_BASE_URL`.
pub(super) const PLAIN: &[&str] = &[
    "LOCO_ENV",
    "LOCO_CONFIG_FOLDER",
    "PORT",
    "BINDING",
    "HOST",
    "LOG_LEVEL",
    "RUST_LOG",
    "DEV_MODE",
    "BASIC_AUTH_USER",
    "AUTH_MODE",
    "OIDC_ISSUER",
    "OIDC_AUDIENCE",
    "OIDC_CLIENT_ID",
    "RUN_MAX_TURNS",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_SERVICE_NAME",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_SDK_DISABLED",
    "OTEL_TRACES_EXPORTER",
];

/// A secret, and the variable that has it or names its file.
#[derive(Debug, Clone)]
pub struct Secret {
    /// `NAME` or `NAME_FILE`.
    pub variable: String,
    /// The secret itself.
    pub value: SecretString,
}

impl Environment {
    /// The secret of that name, if it is set: as it is, or in a file.
    pub(super) fn secret(&self, name: &str) -> Result<Option<Secret>, Mistake> {
        let by_file = format!("{name}{FILE}");
        let mistake = |reason| Mistake {
            path: by_file.clone(),
            reason,
        };
        let (variable, value) = match (self.get(name), self.get(&by_file)) {
            (None, None) => return Ok(None),
            (Some(value), None) => (name.to_owned(), SecretString::from(value)),
            (Some(_), Some(_)) => {
                return Err(mistake(format!("{name} is set, too: unset one")));
            }
            (None, Some(path)) => {
                let wrong = |wrong| mistake(format!("the file that it names {wrong}"));
                let value = read(path).map_err(wrong)?;
                (by_file, value)
            }
        };
        Ok(Some(Secret { variable, value }))
    }

    /// The same; `None` also where something is wrong with it.
    #[must_use]
    pub fn secret_if_right(&self, name: &str) -> Option<Secret> {
        self.secret(name).ok().flatten()
    }

    /// The variable that names a file for that name, which is taken from none; if it is set.
    pub(super) fn file_in_vain(&self, name: &str) -> Option<String> {
        let by_file = format!("{name}{FILE}");
        self.get(&by_file).is_some().then_some(by_file)
    }
}

impl Secret {
    /// Whether it stands in a file.
    pub(super) fn is_from_file(&self) -> bool {
        self.variable.ends_with(FILE)
    }

    /// The secret itself, to be looked at.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.value.expose_secret()
    }
}

/// What the file has, but for one end of line after it.
fn read(path: &str) -> Result<SecretString, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read ({})", error.kind());
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    // A byte more tells that there is too much; what is endless has an end here.
    file.take(MOST + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MOST {
        return Err(format!("has more than {} KiB", MOST / 1024));
    }
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What that content, in a file that `KEY_FILE` names, is read as; and the path.
    fn of_file(content: &[u8]) -> (Result<String, String>, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, content).unwrap();
        let path = path.to_str().unwrap();
        let env = Environment::from_pairs([("KEY_FILE", path)]);
        let read = match env.secret("KEY") {
            Ok(secret) => {
                let secret = secret.unwrap();
                assert_eq!(secret.variable, "KEY_FILE");
                Ok(secret.expose().to_owned())
            }
            Err(wrong) => {
                assert_eq!(wrong.path, "KEY_FILE");
                Err(wrong.reason)
            }
        };
        (read, path.to_owned())
    }

    #[test]
    fn a_file_has_the_secret_and_perhaps_one_end_of_line() {
        for (content, secret) in [
            ("canary", "canary"),
            ("canary\n", "canary"),
            ("canary\r\n", "canary"),
            ("canary\n\n", "canary\n"),
            (" can ary ", " can ary "),
            ("'canary'\n", "'canary'"),
        ] {
            assert_eq!(of_file(content.as_bytes()).0.as_deref(), Ok(secret));
        }
        let most = vec![b'x'; 64 * 1024];
        assert_eq!(of_file(&most).0.unwrap().len(), most.len());
    }

    #[test]
    fn a_file_that_is_none_is_told_by_its_variable_alone() {
        for (content, word) in [
            (Vec::new(), "is empty"),
            (b"\n".to_vec(), "is empty"),
            (b" \t\n".to_vec(), "is empty"),
            (b"canary\xff".to_vec(), "not UTF-8"),
            (b"canary".repeat(11_000), "64 KiB"),
        ] {
            let (read, path) = of_file(&content);
            let reason = read.unwrap_err();
            assert!(reason.contains(word), "{reason}");
            assert!(
                !reason.contains(&path) && !reason.contains("canary"),
                "{reason}"
            );
        }
        for (path, why) in [
            ("/nowhere/at/all", "entity not found"),
            ("/", "is a directory"),
            ("./nowhere", "entity not found"),
        ] {
            let wrong = Environment::from_pairs([("KEY_FILE", path)]).secret("KEY");
            let told = format!("the file that it names cannot be read ({why})");
            assert_eq!(wrong.unwrap_err().reason, told);
        }
    }

    #[test]
    fn what_has_no_end_is_not_read_to_it() {
        let endless = Environment::from_pairs([("KEY_FILE", "/dev/zero")]);
        assert!(endless.secret("KEY").unwrap_err().reason.contains("64 KiB"));
    }

    #[test]
    fn both_are_one_too_many_and_empty_ones_are_none() {
        let both = Environment::from_pairs([("KEY", "canary"), ("KEY_FILE", "/run/secrets/key")]);
        let wrong = both.secret("KEY").unwrap_err();
        assert_eq!(wrong.path, "KEY_FILE");
        assert_eq!(wrong.reason, "KEY is set, too: unset one");
        let given = Environment::from_pairs([("KEY", "canary"), ("KEY_FILE", " ")]);
        let secret = given.secret("KEY").unwrap().unwrap();
        assert_eq!(
            (secret.variable.as_str(), secret.expose()),
            ("KEY", "canary")
        );
        let none = Environment::from_pairs([("KEY", ""), ("KEY_FILE", "")]);
        assert!(none.secret("KEY").unwrap().is_none());
    }

    /// A key that was put where its file's path belongs: keys of some kinds begin as paths do.
    #[test]
    fn a_secret_in_the_place_of_a_path_is_not_told() {
        for key in ["sk-canary", "/canary+key==", "./canary"] {
            for env in [
                Environment::from_pairs([("KEY_FILE", key)]),
                Environment::from_pairs([("KEY_FILE", key), ("KEY", "another")]),
            ] {
                let wrong = env.secret("KEY").unwrap_err();
                assert!(!format!("{wrong:?}").contains("canary"), "{wrong:?}");
                assert_eq!(wrong.path, "KEY_FILE");
            }
        }
    }
}
