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
    pub(in crate::settings) session: Session,
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
    /// How many passwords are looked at at the same time, so how many cores a flood of logins takes at most. To look at one takes a core
    /// for a quarter of a second, on Linux at a lower priority than all else; those that were right are remembered for ten minutes after their
    /// last use. Some wait, each 5 seconds at most; whoever would wait longer, and more than those, are answered 503 with `Retry-After`.
    pub(in crate::settings) hash_threads: Limit<2, 1, 64>,
    pub(in crate::settings) users: Vec<BasicUser>,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.map(SecretString::from))
}

/// Further users of Basic auth: a list, each with these keys. No two have the same name. Their hashes should have one cost: otherwise the time
/// of an answer tells whether there is such a name, of which the boot warns.
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
    pub(in crate::settings) login: Login,
    pub(in crate::settings) introspection: Introspection,
}

/// People of this issuer log in by a browser, at `/auth/login` (authorization code flow with PKCE). The issuer must know the address
/// `/auth/callback` under the public address (`HOST`), which must be https without a path (http for loopback alone, and not in production).
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(default)]
pub(in crate::settings) struct Login {
    /// Who Parley is there, as a client. If it is not set: nobody logs in so.
    ///
    /// Environment: `OIDC_CLIENT_ID`.
    pub(in crate::settings) client_id: Option<String>,
    /// The name of the environment variable that has the client's secret. If it is not set: a public client, by PKCE alone.
    pub(in crate::settings) client_secret_env: Option<String>,
    /// What is asked for; `openid` is always among it. Whatever of `runs:read`, `runs:write` and `runs:admin` the issuer gives, the person
    /// may do. If it is not set: `openid`, `runs:read` and `runs:write`.
    pub(in crate::settings) scopes: Option<Vec<String>>,
    /// What everybody who logs in may do, whatever the issuer gives: for issuers that know no scopes but their own.
    pub(in crate::settings) grants: Vec<String>,
    /// Whether the issuer may end logins here, at `/auth/backchannel-logout` (OpenID Connect Back-Channel Logout). Its logout tokens are taken
    /// for five minutes from their `iat` on, each once by a process.
    pub(in crate::settings) backchannel_logout: bool,
}

/// Access tokens that are no JWTs: this issuer is asked what they are (RFC 7662), and its word goes for 30 seconds. Its answer must name one
/// of the audiences above. One issuer alone may have this: of a token that says nothing by itself nobody knows whose it is, so each would be
/// shown the others'.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(default)]
pub(in crate::settings) struct Introspection {
    /// Who Parley is there, as a client. If it is not set: such tokens are not taken.
    pub(in crate::settings) client_id: Option<String>,
    /// The name of the environment variable that has the client's secret.
    pub(in crate::settings) client_secret_env: Option<String>,
}

/// Logins by a browser. What the browser keeps is signed with `PARLEY_SECRET`, as tickets are: without it, logins end with the process.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(default)]
pub(in crate::settings) struct Session {
    /// How long one goes on without a request, in minutes.
    pub(in crate::settings) idle_minutes: Limit<720, 1, 525_600>,
    /// How long one goes on at most, in hours.
    pub(in crate::settings) hours: Limit<168, 1, 8_760>,
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
