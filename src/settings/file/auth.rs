//! `settings.auth`, as it is written.

use secrecy::SecretString;
use serde::{Deserialize, Deserializer};

use super::Limit;
use crate::settings::AuthMode;

/// How one logs in.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(default)]
pub(in crate::settings) struct Auth {
    /// `basic`: name and password. `oidc`: access tokens of the issuers below. `both`: either. `off`: nobody has to, which goes with
    /// `DEV_MODE` alone; with `DEV_MODE` it is `off`, whatever stands here.
    ///
    /// Environment: `AUTH_MODE`.
    pub(in crate::settings) mode: AuthMode,
    /// How long a ticket lets whoever has it watch its run (`POST /api/stream/{run_id}/ticket`), in hours. Tickets are signed with
    /// `PARLEY_SECRET` of the environment: 32 bytes or more, the same in all processes. Several, with commas between, change it without
    /// a break: the first signs, all are taken. Without it each process makes one at its start, so its tickets end with it.
    pub(in crate::settings) ticket_hours: Limit<168, 24, 8_760>,
    pub(in crate::settings) basic: Basic,
    pub(in crate::settings) oidc: Vec<Issuer>,
}

/// Basic auth. Nobody may log in so if no user is set: then, in the mode `basic`, the API answers 401 to all, and production does not start.
/// These two keys are one user, who may do all, `runs:admin` included.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(default)]
pub(in crate::settings) struct Basic {
    /// The user's name, without a colon.
    ///
    /// Environment: `BASIC_AUTH_USER`.
    pub(in crate::settings) user: Option<String>,
    /// The bcrypt hash of the password: `cargo loco task hash_password` makes it. Better kept in the environment, or in a file of its own,
    /// than here.
    ///
    /// Environment: `BASIC_AUTH_PW_HASH`.
    #[serde(deserialize_with = "secret")]
    #[cfg_attr(test, serde(skip_serializing), schemars(with = "Option<String>"))]
    pub(in crate::settings) password_hash: Option<SecretString>,
    pub(in crate::settings) users: Vec<BasicUser>,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.map(SecretString::from))
}

/// Further users of Basic auth: a list, each with these keys. No two have the same name.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(default)]
pub(in crate::settings) struct BasicUser {
    /// The user's name, without a colon. What the user starts belongs to this name.
    pub(in crate::settings) name: String,
    /// The name of the environment variable that has the bcrypt hash of the password; with `_FILE` behind it, the one that names a file
    /// that has it. The hash itself does not belong here.
    pub(in crate::settings) password_hash_env: String,
    /// What the user may do: `runs:read` (look at its own runs), `runs:write` (start, change, stop and delete them), `runs:admin` (both,
    /// with everybody's).
    pub(in crate::settings) scopes: Vec<String>,
}

impl Default for BasicUser {
    fn default() -> Self {
        Self {
            name: String::new(),
            password_hash_env: String::new(),
            scopes: vec!["runs:read".to_owned(), "runs:write".to_owned()],
        }
    }
}

/// The issuers whose access tokens are taken: a list, each with these keys. A token says by `scope` or `scp` what it may do, as the users
/// above; what it starts belongs to its issuer and its `sub`.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(default)]
pub(in crate::settings) struct Issuer {
    /// The issuer's URL, exactly as it stands in its tokens. Its keys are found from there (OpenID Connect Discovery); `http` is for
    /// loopback alone.
    ///
    /// Environment: `OIDC_ISSUER`.
    pub(in crate::settings) issuer: String,
    /// Who Parley is for this issuer, one or several names: one of them must be in a token's `aud`.
    ///
    /// Environment: `OIDC_AUDIENCE`.
    #[serde(deserialize_with = "one_or_many")]
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub(in crate::settings) audience: Vec<String>,
    /// Whether tokens are taken whose type (`typ`) is `JWT` or absent. Access tokens by the standard (RFC 9068) say `at+jwt`, and nothing
    /// else tells them from ID tokens for sure; but many issuers do not write it. Then the audience must be one that no ID token has.
    pub(in crate::settings) accept_plain_jwt: bool,
    /// By how much the issuer's clock and ours may differ.
    pub(in crate::settings) leeway_seconds: Limit<30, 0, 300>,
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a text or a list of texts is expected")]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
    })
}
