//! Who may come in, and how.

mod hashes;
mod issuers;

use std::{collections::BTreeSet, time::Duration};

use secrecy::SecretString;
use serde::Deserialize;
use url::{Host, Url};

use self::hashes::{is_bcrypt, no_hash};
use super::{
    Secret, file,
    providers::is_variable,
    read::{Reader, Told, size},
};

/// What may be done, by the names that tokens have for it.
const SCOPES: [&str; 3] = ["runs:read", "runs:write", "runs:admin"];

/// The least bytes of a secret that signs: as many as its signatures have.
const LEAST_SECRET: usize = 32;

const HASH_ENV: &str = "must be the name of an environment variable in capitals, such as EVE_PW_HASH; the hash itself does not belong \
                        into a file";

/// How one logs in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema, serde::Serialize))]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// By name and password.
    #[default]
    Basic,
    /// By an access token.
    Oidc,
    /// By either.
    Both,
    /// Not at all.
    Off,
}

/// Who may come in.
#[derive(Debug, Clone, Default)]
pub struct Auth {
    /// How. `Off` in `DEV_MODE`, and only there.
    pub mode: AuthMode,
    /// As it is written, whatever `DEV_MODE` makes of it.
    written: AuthMode,
    /// The users of Basic auth.
    pub users: Vec<BasicUser>,
    /// How many passwords are looked at at the same time.
    pub hash_threads: usize,
    /// The issuers of tokens.
    pub issuers: Vec<Issuer>,
    /// What tickets are signed with: the first one signs, all are taken.
    pub secrets: Vec<SecretString>,
    /// How long a ticket is good.
    pub ticket_lifetime: Duration,
    /// How long a login by a browser goes on without a request.
    pub session_idle: Duration,
    /// How long it goes on at most.
    pub session_lifetime: Duration,
}

/// A user of Basic auth.
#[derive(Debug, Clone)]
pub struct BasicUser {
    /// The user's name.
    pub name: String,
    /// The bcrypt hash of the password.
    pub password_hash: SecretString,
    /// What the user may do.
    pub scopes: Vec<String>,
}

/// An issuer of tokens.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// Its URL.
    pub issuer: String,
    /// Who we are for it.
    pub audience: Vec<String>,
    /// Whether tokens are taken that do not say that they are access tokens.
    pub accept_plain_jwt: bool,
    /// By how much its clock and ours may differ.
    pub leeway: Duration,
    /// Who we are where its people log in by a browser.
    pub client: Option<Client>,
    /// Who we are where it is asked what tokens are that do not say so themselves.
    pub introspection: Option<ClientSecret>,
}

/// Who we are for an issuer, and how we show it.
#[derive(Debug, Clone)]
pub struct ClientSecret {
    /// `client_id`.
    pub id: String,
    /// `client_secret`; a public client has none.
    pub secret: Option<SecretString>,
}

/// Who we are for an issuer whose people log in by a browser.
#[derive(Debug, Clone)]
pub struct Client {
    /// The client.
    pub secret: ClientSecret,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// What everybody who logs in may do.
    pub grants: Vec<String>,
    /// Whether the issuer may end logins here.
    pub backchannel_logout: bool,
}

impl Auth {
    /// Whether names and passwords are taken.
    #[must_use]
    pub fn takes_passwords(&self) -> bool {
        matches!(self.mode, AuthMode::Basic | AuthMode::Both)
    }

    /// Whether tokens are taken.
    #[must_use]
    pub fn takes_tokens(&self) -> bool {
        matches!(self.mode, AuthMode::Oidc | AuthMode::Both)
    }

    /// Whether a login is asked for that nobody has.
    #[must_use]
    pub fn lets_nobody_in(&self) -> bool {
        let users = self.takes_passwords() && !self.users.is_empty();
        let issuers = self.takes_tokens() && !self.issuers.is_empty();
        self.mode != AuthMode::Off && !users && !issuers
    }

    /// What is set, and does nothing in this mode.
    #[must_use]
    pub fn idle(&self) -> Option<&'static str> {
        match self.mode {
            AuthMode::Basic if !self.issuers.is_empty() => Some(
                "issuers of tokens are set, but settings.auth.mode is basic: their tokens are not taken",
            ),
            AuthMode::Oidc if !self.users.is_empty() => Some(
                "users of Basic auth are set, but settings.auth.mode is oidc: they cannot log in",
            ),
            _ => None,
        }
    }

    /// Whether people log in by a browser.
    #[must_use]
    pub fn takes_logins(&self) -> bool {
        self.takes_tokens() && self.issuers.iter().any(|issuer| issuer.client.is_some())
    }

    /// What is wanting where a login has to be possible, and where.
    pub(super) fn wanting(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let takes = |mode| self.written == mode || self.written == AuthMode::Both;
        let users = takes(AuthMode::Basic) && self.users.is_empty();
        let issuers = takes(AuthMode::Oidc) && self.issuers.is_empty();
        let users = users.then_some((
            "BASIC_AUTH_PW_HASH",
            "production needs a login: set BASIC_AUTH_USER and BASIC_AUTH_PW_HASH (make the hash with `parley-cli task \
             hash_password`), or settings.auth.basic.users",
        ));
        let issuers = issuers.then_some((
            "settings.auth.oidc",
            "production needs a login: list an issuer, or set OIDC_ISSUER and OIDC_AUDIENCE",
        ));
        users.into_iter().chain(issuers)
    }
}

impl Reader<'_> {
    pub(super) fn auth(&mut self, file: &file::Auth, dev_mode: bool) -> Auth {
        let written = self.mode(file.mode, dev_mode);
        let mut users: Vec<BasicUser> = self.basic_auth(&file.basic).into_iter().collect();
        let mut names: BTreeSet<String> = users.iter().map(|user| user.name.clone()).collect();
        for (place, user) in file.basic.users.iter().enumerate() {
            if !user.name.is_empty() && !names.insert(user.name.clone()) {
                let place = format!("settings.auth.basic.users[{place}].name");
                let reason = "is there before: names must be different from each other, and from BASIC_AUTH_USER";
                self.mistakes.add(place, reason);
            }
            users.extend(self.user(place, user));
        }
        Auth {
            mode: if dev_mode { AuthMode::Off } else { written },
            written,
            users,
            hash_threads: size(file.basic.hash_threads.0),
            issuers: self.issuers(&file.oidc),
            secrets: self.secrets(),
            ticket_lifetime: Duration::from_hours(file.ticket_hours.0),
            session_idle: Duration::from_mins(file.session.idle_minutes.0),
            session_lifetime: Duration::from_hours(file.session.hours.0),
        }
    }

    fn secrets(&mut self) -> Vec<SecretString> {
        let Ok(Some(given)) = self.secret("PARLEY_SECRET") else {
            return Vec::new();
        };
        let secrets = given.expose().split(',').map(str::trim);
        let secrets = secrets.filter(|it| !it.is_empty());
        let secrets: Vec<&str> = secrets.collect();
        if secrets.iter().any(|secret| secret.len() < LEAST_SECRET) {
            let reason = format!(
                "must have {LEAST_SECRET} bytes or more, each of several; `openssl rand -base64 48` makes one"
            );
            self.mistakes.add(given.variable.as_str(), reason);
        }
        secrets.into_iter().map(SecretString::from).collect()
    }

    fn mode(&mut self, file: AuthMode, dev_mode: bool) -> AuthMode {
        let (place, mode) = match self.env.get("AUTH_MODE").map(str::to_ascii_lowercase) {
            None => ("settings.auth.mode", file),
            Some(word) => {
                let mode = match word.as_str() {
                    "basic" => AuthMode::Basic,
                    "oidc" => AuthMode::Oidc,
                    "both" => AuthMode::Both,
                    "off" => AuthMode::Off,
                    _ => {
                        self.mistakes
                            .add("AUTH_MODE", "must be one of basic, oidc, both, off");
                        file
                    }
                };
                ("AUTH_MODE", mode)
            }
        };
        if mode == AuthMode::Off && !dev_mode {
            self.mistakes
                .add(place, "may be off only with DEV_MODE, on your own machine");
        }
        mode
    }

    /// The user that has names of the environment.
    fn basic_auth(&mut self, file: &file::Basic) -> Option<BasicUser> {
        const HASH: &str = "BASIC_AUTH_PW_HASH";
        let user = self.env.get("BASIC_AUTH_USER").map(str::to_owned);
        let user = user.or_else(|| file.user.clone());
        let hash = self.secret(HASH).ok()?.or_else(|| {
            let value = file.password_hash.clone()?;
            let variable = HASH.to_owned();
            Some(Secret { variable, value })
        });
        let (name, hash) = match (user, hash) {
            (None, None) => return None,
            (Some(user), Some(hash)) => (user, hash),
            (Some(_), None) => {
                self.mistakes
                    .add(HASH, "is missing, while BASIC_AUTH_USER is set");
                return None;
            }
            (None, Some(hash)) => {
                let reason = format!("is missing, while {} is set", hash.variable);
                self.mistakes.add("BASIC_AUTH_USER", reason);
                return None;
            }
        };
        self.check_name("BASIC_AUTH_USER", &name);
        if !is_bcrypt(hash.expose()) {
            self.mistakes.add(hash.variable.as_str(), no_hash(&hash));
        }
        Some(BasicUser {
            name,
            password_hash: hash.value,
            scopes: SCOPES.map(str::to_owned).to_vec(),
        })
    }

    fn user(&mut self, place: usize, file: &file::BasicUser) -> Option<BasicUser> {
        let place = |key| format!("settings.auth.basic.users[{place}].{key}");
        if file.name.is_empty() {
            self.mistakes.add(place("name"), "is missing");
        }
        self.check_name(&place("name"), &file.name);
        let unknown = |scope: &&String| !SCOPES.contains(&scope.as_str());
        if file.scopes.iter().any(|scope| unknown(&scope)) {
            let reason = format!("must be of {}", SCOPES.join(", "));
            self.mistakes.add(place("scopes"), reason);
        }
        if file.scopes.is_empty() {
            let reason = "must name one at least: without any, the user may do nothing";
            self.mistakes.add(place("scopes"), reason);
        }
        let variable = &file.password_hash_env;
        if !is_variable(variable) {
            // The value is not repeated: it may be the hash itself, put here by mistake.
            self.mistakes.add(place("password_hash_env"), HASH_ENV);
            return None;
        }
        match self.secret(variable) {
            Err(Told) => None,
            Ok(None) => {
                let reason = format!("names {variable}, which is not set in the environment");
                self.mistakes.add(place("password_hash_env"), reason);
                None
            }
            Ok(Some(hash)) if !is_bcrypt(hash.expose()) => {
                self.mistakes.add(hash.variable.as_str(), no_hash(&hash));
                None
            }
            Ok(Some(hash)) => Some(BasicUser {
                name: file.name.clone(),
                password_hash: hash.value,
                scopes: file.scopes.clone(),
            }),
        }
    }

    fn check_name(&mut self, place: &str, name: &str) {
        if name.contains(':') || name.chars().any(char::is_control) {
            let reason =
                "must not contain a colon or control characters: Basic auth cannot carry them";
            self.mistakes.add(place, reason);
        }
    }
}

/// Whether that is this machine, to which nobody listens on the way.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests;
