//! People in a browser: they log in at an issuer, and a cookie says from then on who is asking.
//!
//! **Invariant:** the cookie has a random id and our signature, so that what somebody has made up costs no look into the database, which has
//! the id's hash alone. A login gives a new id, and ends the session that the browser had
//! before. What a login needs to remember until the issuer answers is in a cookie of its own, signed, for ten minutes: whoever begins a login
//! makes no row. Nobody is sent anywhere but to the issuer, and to a path of ours.

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use cookie::{Cookie, SameSite};
use reqwest::header::{COOKIE, HeaderMap};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::{
    Caller, ClientKey, Oidc, Scopes, TokenError,
    failures::Failures,
    oidc::{Attempt, LoginError, error_code},
    signer::Signer,
    ticket::now,
};
use crate::{
    conversation::Timestamp,
    models::{Session, Store, StoreError},
};

/// What is signed begins with it: a login that was begun, and a session's id.
const PURPOSE: &[u8] = b"parley: log in, 1:";
const ID_PURPOSE: &[u8] = b"parley: session, 1:";

/// The bytes of an id.
const ID: usize = 32;

/// The longest path that is gone to: a cookie has its bounds.
const MAX_PATH: usize = 1_024;

/// How long somebody may take to log in at the issuer.
const ATTEMPT: Duration = Duration::from_secs(600);

/// So often it is noted that a session was of use, at most: a read is not to cost a write each time.
const SEEN: Duration = Duration::from_secs(60);

/// How many characters of a login's state are in the name of its cookie: several may be going on in a browser.
const NAMED: usize = 8;

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// An address of the issuer's, or a path of ours.
    pub to: String,
    /// As the header has them.
    pub cookies: Vec<String>,
}

/// What the issuer sends back through the browser (RFC 6749, section 4.1.2; RFC 9207).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Answer {
    state: String,
    code: Option<String>,
    error: Option<String>,
    iss: Option<String>,
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

    /// Begins a login at that issuer, or the first one. `return_to`: the path of ours to go to afterwards.
    ///
    /// # Errors
    /// `NoIssuer`, `Unavailable`.
    pub async fn begin(
        &self,
        issuer: Option<&str>,
        return_to: Option<&LocalPath>,
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
        Ok(Redirect {
            to: address.into(),
            cookies: vec![self.cookie(&name, signed, ATTEMPT)],
        })
    }

    /// Ends a login with what the issuer has sent back: from now on the browser has a session.
    ///
    /// # Errors
    /// Why nobody has logged in; `Unavailable` also if the database is away.
    pub async fn complete(
        &self,
        answer: &Answer,
        cookies: &[&str],
        client: ClientKey,
    ) -> Result<Redirect, LoginError> {
        let (name, begun) = self.begun(&answer.state, cookies)?;
        if answer
            .iss
            .as_ref()
            .is_some_and(|said| *said != begun.issuer)
        {
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
        let (id, at) = (self.new_id(), now());
        let session = Session {
            owner: person.owner,
            issuer: person.issuer,
            subject: person.subject,
            issuer_session: person.issuer_session,
            scopes: person.scopes.to_string(),
            seen: at,
            expires: after(at, self.config.lifetime),
        };
        self.store
            .insert_session(&hash(&id), &session)
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
        let Some(session) = self.store.session(&id).await? else {
            return Ok(None);
        };
        let at = now();
        let grants = self.oidc.grants(&session.issuer);
        let goes_on = at < session.expires && at < after(session.seen, self.config.idle);
        let Some(grants) = grants.filter(|_| goes_on) else {
            return Ok(None);
        };
        if at >= after(session.seen, SEEN.min(self.config.idle / 2))
            && let Err(error) = self.store.see_session(&id, at).await
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
            if let Some(session) = session
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
        let (issuer, of) = self.oidc.logged_out(logout_token).await?;
        Ok(self.store.end_sessions(&issuer, &of).await?)
    }

    fn callback(&self) -> String {
        format!("{}/auth/callback", self.config.address)
    }

    /// The login that the browser has begun with that state, and the name of its cookie.
    fn begun(&self, state: &str, cookies: &[&str]) -> Result<(String, Begun), LoginError> {
        let name = self.attempt_cookie(state);
        let read = || {
            let signed = BASE64_URL_SAFE_NO_PAD.decode(find(cookies, &name)?).ok()?;
            let begun: Begun = serde_json::from_slice(self.signer.read(&signed)?).ok()?;
            let goes_on = begun.state == state && now().as_millis() < begun.until;
            goes_on.then_some(begun)
        };
        let begun = read().ok_or(LoginError::NotBegun)?;
        Ok((name, begun))
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
        let of_one = |c: &char| c.is_ascii_alphanumeric() || *c == '-' || *c == '_';
        let named: String = state.chars().take(NAMED).filter(of_one).collect();
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

/// A path of ours, with its query: where a browser may be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalPath(String);

impl LocalPath {
    /// As it stands behind the host.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for LocalPath {
    type Err = NotLocal;

    /// As browsers read it: what begins with two slashes, or with what they take for such, is another server's.
    fn from_str(text: &str) -> Result<Self, NotLocal> {
        const OURS: &str = "https://parley.invalid";
        let printable =
            text.starts_with('/') && text.len() <= MAX_PATH && !text.contains(char::is_control);
        let base = Url::parse(OURS).map_err(|_| NotLocal)?;
        let url = base.join(text).map_err(|_| NotLocal)?;
        let path = url.as_str().strip_prefix(OURS).filter(|_| printable);
        let path = path.filter(|path| path.starts_with('/') && !path.starts_with("//"));
        path.map(|path| Self(path.to_owned())).ok_or(NotLocal)
    }
}

/// A text that is no path of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a path on this server, such as /docs")]
pub struct NotLocal;

/// The lines of a request's cookies. What is no text is none of ours.
#[must_use]
pub fn cookies(headers: &HeaderMap) -> Vec<&str> {
    let lines = headers.get_all(COOKIE).iter();
    lines.filter_map(|line| line.to_str().ok()).collect()
}

/// The value of the first cookie of that name.
fn find<'a>(cookies: &[&'a str], name: &str) -> Option<&'a str> {
    let pairs = cookies.iter().flat_map(|line| line.split(';'));
    let pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
    let mut named = pairs.filter(|(given, value)| *given == name && !value.is_empty());
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
    LoginError::Unavailable {
        retry_after: Duration::from_secs(5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_ours_are_gone_to() {
        let read = |text: &str| text.parse::<LocalPath>().map(|path| path.0);
        for fine in ["/", "/docs", "/a/b?c=d&e#f", "/a//b", "/%2F%2Fevil.example"] {
            assert_eq!(read(fine).as_deref(), Ok(fine));
        }
        assert_eq!(read("/a/../b").as_deref(), Ok("/b"));
        for evil in [
            "",
            "docs",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "\t//evil.example",
            " //evil.example",
            "/..//evil.example",
            "/a/..//evil.example",
            "/.//evil.example",
            "/%2e%2e//evil.example",
            "https://evil.example",
            "https:evil.example",
            "javascript:alert(1)",
            "http:///evil.example",
            "@evil.example",
            ".evil.example",
        ] {
            assert_eq!(read(evil), Err(NotLocal), "{evil:?}");
        }
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
