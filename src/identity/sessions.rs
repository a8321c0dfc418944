//! People in a browser: they log in at an issuer, and a cookie says from then on who is asking.
//!
//! **Invariant:** the cookie has a random id and our signature, so that what somebody has made up costs no look into the database, which has
//! the id's hash alone. A login gives a new id, and ends the session that the browser had
//! before. What a login needs to remember until the issuer answers is in a cookie of its own, signed, for ten minutes: whoever begins a login
//! makes no row. Nobody is sent anywhere but to the issuer, and to a path of ours.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use cookie::{Cookie, SameSite};
use reqwest::header::{COOKIE, HeaderMap};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    Caller, ClientKey, LocalPath, Oidc, Scopes, TokenError,
    failures::Failures,
    oidc::{Attempt, LoginError, error_code},
    signer::Signer,
    ticket::now,
};
use crate::{
    conversation::Timestamp,
    models::{LiveSession, Session, Store, StoreError},
};

/// What is signed begins with it: a login that was begun, and a session's id.
const PURPOSE: &[u8] = b"parley: log in, 1:";
const ID_PURPOSE: &[u8] = b"parley: session, 1:";

/// The bytes of an id.
const ID: usize = 32;

/// How long somebody may take to log in at the issuer.
const ATTEMPT: Duration = Duration::from_secs(600);

/// So often it is noted that a session was of use, at most: a read is not to cost a write each time.
const SEEN: Duration = Duration::from_secs(60);

/// How many characters of a login's state are in the name of its cookie: several may be going on in a browser.
const NAMED: usize = 8;

/// How many older logins that it has begun a browser keeps: more would fill what it sends with each request, and whoever made it begin them
/// would lock it out.
const OLDER: usize = 3;

/// So many that it has beyond them are taken back at once, at most; whoever has more begins again.
const TAKEN_BACK: usize = 64;

/// Where people go who did not say where.
const HOME: &str = "/docs";

/// What goes for sessions.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// Our own address, as browsers have it, without a slash at its end.
    pub address: String,
    /// How long a session goes on without being of use.
    pub idle: Duration,
    /// How long it goes on at most.
    pub lifetime: Duration,
    /// How many codes that are none a client may send in a minute.
    pub failures_per_minute: u32,
}

/// Keeps sessions.
pub struct Sessions {
    store: Store,
    oidc: Arc<Oidc>,
    signer: Signer,
    ids: Signer,
    /// Codes that were none.
    wrong_codes: Failures,
    config: SessionConfig,
}

/// Where a browser goes next, and the cookies that it is to keep (`Set-Cookie`).
#[derive(Clone, PartialEq, Eq)]
pub struct Redirect {
    /// An address of the issuer's, or a path of ours.
    pub to: String,
    /// As the header has them.
    pub cookies: Vec<String>,
}

/// No cookie and no query: with them somebody could be somebody else.
impl fmt::Debug for Redirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = self.to.split(['?', '#']).next();
        f.debug_struct("Redirect")
            .field("to", &to.unwrap_or_default())
            .field("cookies", &self.cookies.len())
            .finish()
    }
}

/// What the issuer sends back through the browser (RFC 6749, section 4.1.2; RFC 9207).
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Answer {
    state: String,
    code: Option<String>,
    error: Option<String>,
    iss: Option<String>,
}

/// Neither the state nor the code.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("has_code", &self.code.is_some())
            .field("error", &self.error.as_deref().and_then(error_code))
            .field("iss", &self.iss)
            .finish_non_exhaustive()
    }
}

/// What a browser keeps of a login that it has begun.
#[derive(Serialize, Deserialize)]
struct Begun {
    issuer: String,
    state: String,
    nonce: String,
    verifier: String,
    return_to: String,
    /// Milliseconds since 1970.
    until: i64,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Sessions {
    /// Keeps sessions in that store, of people who log in at those issuers. `keys`: what is handed out is signed with the first one.
    #[must_use]
    pub fn new(
        store: Store,
        oidc: Arc<Oidc>,
        keys: &[SecretString],
        config: SessionConfig,
    ) -> Self {
        Self {
            store,
            oidc,
            signer: Signer::new(keys, PURPOSE),
            ids: Signer::new(keys, ID_PURPOSE),
            wrong_codes: Failures::per_minute(config.failures_per_minute),
            config,
        }
    }

    /// Begins a login at that issuer, or the first one, in the browser that has these cookies. `return_to`: the path of ours to go to
    /// afterwards.
    ///
    /// # Errors
    /// `NoIssuer`, `Unavailable`.
    pub async fn begin(
        &self,
        issuer: Option<&str>,
        return_to: Option<&LocalPath>,
        cookies: &[&str],
    ) -> Result<Redirect, LoginError> {
        let (attempt, address) = self.oidc.begin(issuer, &self.callback()).await?;
        let name = self.attempt_cookie(&attempt.state);
        let begun = Begun {
            issuer: attempt.issuer,
            state: attempt.state,
            nonce: attempt.nonce,
            verifier: attempt.verifier,
            return_to: return_to.map_or(HOME, LocalPath::as_str).to_owned(),
            until: after(now(), ATTEMPT).as_millis(),
        };
        // What was built of texts can be written.
        let text = serde_json::to_vec(&begun).unwrap_or_default();
        let signed = BASE64_URL_SAFE_NO_PAD.encode(self.signer.sign(text));
        let mut kept = self.surplus(cookies);
        kept.retain(|other| *other != name);
        let mut kept: Vec<String> = kept
            .iter()
            .map(|name| self.cookie(name, String::new(), Duration::ZERO))
            .collect();
        kept.push(self.cookie(&name, signed, ATTEMPT));
        Ok(Redirect {
            to: address.into(),
            cookies: kept,
        })
    }

    /// The names of the cookies of logins that the browser has begun before and is not to keep: all but the newest ones.
    fn surplus(&self, cookies: &[&str]) -> Vec<String> {
        let prefix = self.attempt_cookie("");
        let ours = |name: &&str| name.strip_prefix(&prefix).is_some_and(is_state_name);
        let mut until = BTreeMap::new();
        for (name, value) in pairs(cookies).filter(|(name, _)| ours(name)) {
            let begun = self.read(value);
            let end = begun.map_or(0, |begun| begun.until);
            until.entry(name).or_insert(end);
        }
        let mut names: Vec<(i64, &str)> =
            until.into_iter().map(|(name, end)| (end, name)).collect();
        names.sort_unstable();
        names.truncate(names.len().saturating_sub(OLDER));
        let names = names.into_iter().take(TAKEN_BACK);
        names.map(|(_, name)| name.to_owned()).collect()
    }

    /// Ends a login with what the issuer has sent back: from now on the browser has a session.
    ///
    /// # Errors
    /// Why nobody has logged in; `NotKept` if the database is away.
    pub async fn complete(
        &self,
        answer: &Answer,
        cookies: &[&str],
        client: ClientKey,
    ) -> Result<Redirect, LoginError> {
        let (name, begun) = self.begun(&answer.state, cookies)?;
        let its_own = match &answer.iss {
            Some(said) => *said == begun.issuer,
            None => !self.oidc.says_who_answers(&begun.issuer).await,
        };
        if !its_own {
            return Err(LoginError::NotBegun);
        }
        let refused = |error: Option<&str>| {
            let error = error.and_then(error_code);
            LoginError::Refused(error.unwrap_or_else(|| "it says nothing of why".to_owned()))
        };
        let code = answer.code.as_deref().filter(|_| answer.error.is_none());
        let code = code.ok_or_else(|| refused(answer.error.as_deref()))?;
        let attempt = Attempt {
            issuer: begun.issuer,
            state: begun.state,
            nonce: begun.nonce,
            verifier: begun.verifier,
        };
        if let Some(retry_after) = self.wrong_codes.wait(client) {
            return Err(LoginError::TooMany { retry_after });
        }
        let redeemed = self.oidc.redeem(&attempt, code, &self.callback()).await;
        let person = redeemed.inspect_err(|error| {
            if matches!(error, LoginError::NotRedeemed(_)) {
                self.wrong_codes.count(client);
            }
        })?;
        let id = self.new_id();
        let session = Session {
            owner: person.owner,
            issuer: person.issuer,
            subject: person.subject,
            issuer_session: person.issuer_session,
            scopes: person.scopes.to_string(),
        };
        self.store
            .insert_session(&hash(&id), &session, self.config.lifetime)
            .await
            .map_err(|error| away(&error))?;
        if let Some(before) = self.id(cookies) {
            self.store
                .end_session(&hash(before))
                .await
                .map_err(|error| away(&error))?;
        }
        Ok(Redirect {
            to: begun.return_to,
            cookies: vec![
                self.cookie(&self.session_cookie(), id, self.config.lifetime),
                self.cookie(&name, String::new(), Duration::ZERO),
            ],
        })
    }

    /// Who is asking, by the cookies of its request; `None` if they say nothing that goes on.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn check(&self, cookies: &[&str]) -> Result<Option<Caller>, StoreError> {
        let Some(id) = self.id(cookies).map(hash) else {
            return Ok(None);
        };
        let Some(LiveSession { session, idle }) = self.store.session(&id).await? else {
            return Ok(None);
        };
        let grants = self.oidc.grants(&session.issuer);
        let Some(grants) = grants.filter(|_| idle < self.config.idle) else {
            return Ok(None);
        };
        if idle >= SEEN.min(self.config.idle / 2)
            && let Err(error) = self.store.see_session(&id).await
        {
            tracing::warn!(%error, cause = error.cause(), "that a session was of use could not be noted");
        }
        Ok(Some(Caller {
            owner: session.owner,
            scopes: Scopes::named(session.scopes.split(' ')).and(grants),
            only: None,
        }))
    }

    /// Ends the browser's session. Where it goes then: to the issuer, if one logs out there.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn end(&self, cookies: &[&str]) -> Result<Redirect, StoreError> {
        let mut to = HOME.to_owned();
        if let Some(id) = self.id(cookies).map(hash) {
            let session = self.store.session(&id).await?;
            self.store.end_session(&id).await?;
            if let Some(LiveSession { session, .. }) = session
                && let Some(address) = self.oidc.logout_address(&session.issuer).await
            {
                to = address.into();
            }
        }
        let cookies = vec![self.cookie(&self.session_cookie(), String::new(), Duration::ZERO)];
        Ok(Redirect { to, cookies })
    }

    /// Ends the sessions that a logout token of an issuer names. How many.
    ///
    /// # Errors
    /// When the token is not taken, or the database is away.
    pub async fn end_by(&self, logout_token: &str) -> Result<u64, NotEnded> {
        let logout = self.oidc.logged_out(logout_token).await?;
        let ended = self.store.end_sessions(logout.issuer(), &logout.of).await?;
        self.oidc.carried_out(logout).await;
        Ok(ended)
    }

    fn callback(&self) -> String {
        format!("{}/auth/callback", self.config.address)
    }

    /// The login that the browser has begun with that state, and the name of its cookie.
    fn begun(&self, state: &str, cookies: &[&str]) -> Result<(String, Begun), LoginError> {
        let name = self.attempt_cookie(state);
        let begun = find(cookies, &name).and_then(|value| self.read(value));
        let begun = begun.filter(|begun| begun.state == state);
        Ok((name, begun.ok_or(LoginError::NotBegun)?))
    }

    /// A login that was begun here and whose time is not over.
    fn read(&self, cookie: &str) -> Option<Begun> {
        let signed = BASE64_URL_SAFE_NO_PAD.decode(cookie).ok()?;
        let begun: Begun = serde_json::from_slice(self.signer.read(&signed)?).ok()?;
        (now().as_millis() < begun.until).then_some(begun)
    }

    fn new_id(&self) -> String {
        let id: [u8; ID] = rand::random();
        BASE64_URL_SAFE_NO_PAD.encode(self.ids.sign(id.to_vec()))
    }

    /// The id of the browser's session, if it is one of ours.
    fn id<'a>(&self, cookies: &[&'a str]) -> Option<&'a str> {
        let id = find(cookies, &self.session_cookie())?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(id).ok()?;
        self.ids.read(&bytes).map(|_| id)
    }

    /// Only this host's, over TLS alone (RFC 6265bis, section 4.1.3.2); on one's own machine there is no TLS.
    fn prefix(&self) -> &'static str {
        if self.is_safe() { "__Host-" } else { "" }
    }

    fn is_safe(&self) -> bool {
        self.config.address.starts_with("https://")
    }

    fn session_cookie(&self) -> String {
        format!("{}parley", self.prefix())
    }

    fn attempt_cookie(&self, state: &str) -> String {
        let named: String = state.chars().take(NAMED).filter(of_state).collect();
        format!("{}parley-login-{named}", self.prefix())
    }

    fn cookie(&self, name: &str, value: String, lifetime: Duration) -> String {
        let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        Cookie::build((name.to_owned(), value))
            .path("/")
            .http_only(true)
            .secure(self.is_safe())
            .same_site(SameSite::Lax)
            .max_age(cookie::time::Duration::seconds(seconds))
            .build()
            .to_string()
    }
}

/// Why sessions were not ended.
#[derive(Debug, thiserror::Error)]
pub enum NotEnded {
    /// The token is not taken.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The database is away.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a login's state has in the name of its cookie.
fn of_state(c: &char) -> bool {
    c.is_ascii_alphanumeric() || *c == '-' || *c == '_'
}

fn is_state_name(name: &str) -> bool {
    name.len() <= NAMED && name.chars().all(|c| of_state(&c))
}

/// The names of cookies, and what they hold.
fn pairs<'a>(cookies: &[&'a str]) -> impl Iterator<Item = (&'a str, &'a str)> {
    let pairs = cookies.iter().flat_map(|line| line.split(';'));
    pairs.filter_map(|pair| pair.trim().split_once('='))
}

/// The lines of a request's cookies. What is no text is none of ours.
#[must_use]
pub fn cookies(headers: &HeaderMap) -> Vec<&str> {
    let lines = headers.get_all(COOKIE).iter();
    lines.filter_map(|line| line.to_str().ok()).collect()
}

/// The value of the first cookie of that name.
fn find<'a>(cookies: &[&'a str], name: &str) -> Option<&'a str> {
    let mut named = pairs(cookies).filter(|(given, value)| *given == name && !value.is_empty());
    named.next().map(|(_, value)| value)
}

/// What the database knows a session by.
fn hash(id: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(id))
}

fn after(at: Timestamp, time: Duration) -> Timestamp {
    let time = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(at.as_millis().saturating_add(time))
}

fn away(error: &StoreError) -> LoginError {
    tracing::warn!(%error, cause = error.cause(), "a login could not be kept");
    LoginError::NotKept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_that_lets_in() {
        let redirect = Redirect {
            to: "https://a/authorize?state=canary".to_owned(),
            cookies: vec!["parley=canary".to_owned()],
        };
        let query =
            r#"{"state": "canary", "code": "canary", "error": "\"canary", "iss": "https://a"}"#;
        let answer: Answer = serde_json::from_str(query).unwrap();
        let shown = format!("{redirect:?} {answer:?}");
        assert!(
            shown.contains("https://a") && !shown.contains("canary"),
            "{shown}"
        );
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let lines = ["a=1; parley=x=y", "__Host-parley=z;parley-login=;b"];
        assert_eq!(find(&lines, "parley"), Some("x=y"));
        assert_eq!(find(&lines, "__Host-parley"), Some("z"));
        assert_eq!(find(&lines, "parley-login"), None);
        assert_eq!(find(&lines, "b"), None);
        assert_eq!(find(&[], "a"), None);
    }
}
