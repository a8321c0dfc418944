//! Logging in by a browser: the authorization code flow of OpenID Connect (Core 1.0, section 3.1) with PKCE (RFC 7636).

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use reqwest::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use url::{Url, form_urlencoded};

use super::{
    IssuerConfig, Oidc, PATIENCE, SOON, TokenError, claims,
    fetch::{Endpoints, FetchError, whole},
    issuer::Issuer,
    now,
    token::{Members, Unverified},
};
use crate::identity::{Caller, Scope, Scopes};

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
pub struct ClientConfig {
    /// The client.
    pub client: ClientSecret,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// What whoever logs in may do, whatever the issuer says.
    pub grants: Scopes,
    /// Whether the issuer may end logins here.
    pub backchannel_logout: bool,
}

/// A login that was begun and is not over. What is in it must come back from the same browser.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::identity) struct Attempt {
    /// At whom.
    pub issuer: String,
    /// What comes back with the code (RFC 6749, section 10.12).
    pub state: String,
    /// What comes back in the ID token.
    pub nonce: String,
    /// What the code can be redeemed with alone (RFC 7636).
    pub verifier: String,
}

/// Nothing of it but whose it is: with the rest the login could be taken over.
impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// Somebody who has logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::identity) struct Person {
    /// To whom belongs what it makes.
    pub owner: String,
    /// Who has said who it is.
    pub issuer: String,
    /// Who it is there.
    pub subject: String,
    /// The issuer's own session, if it has said one.
    pub issuer_session: Option<String>,
    /// What the issuer gives it.
    pub scopes: Scopes,
}

/// Why a login did not come about. What it says goes to whoever wanted to log in: no code and no token is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// There is no such issuer, or nobody logs in there.
    #[error("nobody logs in by a browser at this issuer")]
    NoIssuer,
    /// The issuer is down, and was not there before.
    #[error("the issuer cannot be asked now")]
    Unavailable {
        /// When to try again.
        retry_after: Duration,
    },
    /// The issuer has said who it is, but the session could not be kept: the database is away. The code is spent.
    #[error("the database cannot be reached now, so your login was not kept: begin again")]
    NotKept,
    /// The issuer has refused.
    #[error("the issuer has refused the login: {0}")]
    Refused(String),
    /// What the issuer sends back belongs to no login that was begun in this browser, or it took too long.
    #[error(
        "this browser has begun no such login, or it took longer than ten minutes: begin again"
    )]
    NotBegun,
    /// Too many codes that were none came from there.
    #[error("too many wrong codes came from there")]
    TooMany {
        /// When to try again.
        retry_after: Duration,
    },
    /// The issuer has not redeemed the code.
    #[error("the issuer has not redeemed the code: {0}")]
    NotRedeemed(String),
    /// It is not who it says.
    #[error("the issuer's answer is not taken: {0}")]
    IdToken(TokenError),
}

#[derive(Deserialize)]
struct Redeemed {
    id_token: String,
    scope: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: String,
}

/// Who wants which code redeemed.
struct Asked<'a> {
    endpoints: &'a Endpoints,
    client: &'a ClientSecret,
    attempt: &'a Attempt,
    code: &'a str,
    callback: &'a str,
}

fn redeemed(asked: &Asked<'_>, status: StatusCode, body: &[u8]) -> Result<Redeemed, LoginError> {
    if status != StatusCode::OK {
        let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
        let error = error_code(&refusal.error).unwrap_or_else(|| status.to_string());
        tracing::warn!(
            issuer = asked.attempt.issuer,
            error,
            "a code was not redeemed"
        );
        return Err(LoginError::NotRedeemed(error));
    }
    let no_token = |_| LoginError::NotRedeemed("its answer has no ID token".to_owned());
    serde_json::from_slice(body).map_err(no_token)
}

impl Oidc {
    /// What the settings grant to everybody who logs in by a browser at that issuer; `None`: nobody does.
    #[must_use]
    pub fn grants(&self, issuer: &str) -> Option<Scopes> {
        let (_, _, client) = self.client(Some(issuer))?;
        Some(client.grants)
    }

    /// The issuer of that name at which people log in, or the first one.
    pub(super) fn client(
        &self,
        issuer: Option<&str>,
    ) -> Option<(&IssuerConfig, &Issuer, &ClientConfig)> {
        let mut all = self.issuers.iter().filter_map(|(config, keys)| {
            let client = config.client.as_ref()?;
            Some((config, keys, client))
        });
        all.find(|(config, ..)| issuer.is_none_or(|issuer| config.issuer == issuer))
    }

    /// Whether that issuer says, with each answer that comes through a browser, that it is its own (RFC 9207).
    pub(in crate::identity) async fn says_who_answers(&self, issuer: &str) -> bool {
        let Some((_, issuer, _)) = self.client(Some(issuer)) else {
            return false;
        };
        let endpoints = issuer.endpoints().await;
        endpoints.is_ok_and(|endpoints| endpoints.says_who_answers)
    }

    /// Begins a login at that issuer, or the first one: what must come back, and where the browser goes.
    ///
    /// # Errors
    /// `NoIssuer`, `Unavailable`.
    pub(in crate::identity) async fn begin(
        &self,
        issuer: Option<&str>,
        callback: &str,
    ) -> Result<(Attempt, Url), LoginError> {
        let (config, issuer, client) = self.client(issuer).ok_or(LoginError::NoIssuer)?;
        let endpoints = endpoints(issuer).await?;
        let address = endpoints.authorization.clone();
        let mut address = address.ok_or_else(|| no_endpoint(&config.issuer))?;
        let attempt = Attempt {
            issuer: config.issuer.clone(),
            state: random::<16>(),
            nonce: random::<16>(),
            verifier: random::<32>(),
        };
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&attempt.verifier));
        address
            .query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &client.client.id)
            .append_pair("redirect_uri", callback)
            .append_pair("scope", &client.scopes.join(" "))
            .append_pair("state", &attempt.state)
            .append_pair("nonce", &attempt.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        Ok((attempt, address))
    }

    /// Redeems the code that has come back for that login: who has logged in.
    ///
    /// # Errors
    /// Why nobody has.
    pub(in crate::identity) async fn redeem(
        &self,
        attempt: &Attempt,
        code: &str,
        callback: &str,
    ) -> Result<Person, LoginError> {
        let found = self.client(Some(&attempt.issuer));
        let (config, issuer, client) = found.ok_or(LoginError::NoIssuer)?;
        let endpoints = endpoints(issuer).await?;
        let asked = Asked {
            endpoints: &endpoints,
            client: &client.client,
            attempt,
            code,
            callback,
        };
        let redeemed = self.ask_for_tokens(issuer, &asked).await?;
        let claims = config
            .id_token(&redeemed.id_token, issuer, client, &attempt.nonce)
            .await
            .map_err(LoginError::IdToken)?;
        let scopes = match &redeemed.scope {
            Some(scopes) => Scopes::named(scopes.split(' ')),
            // Who says nothing has given what was asked for (RFC 6749, section 5.1); not all do as they should, so never that of admins.
            None => Scopes::named(
                client
                    .scopes
                    .iter()
                    .map(String::as_str)
                    .filter(|scope| *scope != Scope::Admin.as_str()),
            ),
        };
        Ok(Person {
            owner: Caller::subject_of(&config.issuer, &claims.subject),
            issuer: config.issuer.clone(),
            subject: claims.subject,
            issuer_session: claims.session,
            scopes,
        })
    }

    async fn ask_for_tokens(
        &self,
        issuer: &Issuer,
        asked: &Asked<'_>,
    ) -> Result<Redeemed, LoginError> {
        let place = tokio::time::timeout(PATIENCE, self.redemptions.acquire()).await;
        let Ok(Ok(_place)) = place else {
            return Err(unavailable());
        };
        let asking = issuer.redemption.ask().map_err(put_off)?;
        match self.answer(asked).await {
            Ok((status, body)) => {
                asking.went_well();
                redeemed(asked, status, &body)
            }
            Err(error) => {
                let what = "codes cannot be redeemed at an issuer";
                Err(put_off(asking.failed(&asked.attempt.issuer, &error, what)))
            }
        }
    }

    /// What the issuer answers to who has a code redeemed, if it answers.
    async fn answer(&self, asked: &Asked<'_>) -> Result<(StatusCode, Vec<u8>), FetchError> {
        let address = asked
            .endpoints
            .token
            .clone()
            .ok_or(FetchError::NoEndpoint)?;
        let request = self.http.post(address);
        let request = authenticated(request, asked.endpoints, asked.client, |form| {
            form.append_pair("grant_type", "authorization_code")
                .append_pair("code", asked.code)
                .append_pair("redirect_uri", asked.callback)
                .append_pair("code_verifier", &asked.attempt.verifier);
        });
        let response = request.send().await?;
        let status = response.status();
        if status.is_server_error() {
            return Err(FetchError::Status(status));
        }
        Ok((status, whole(response).await?))
    }
}

/// A form for the issuer, in which the client says who it is (RFC 6749, section 2.3).
pub(super) fn authenticated(
    mut request: reqwest::RequestBuilder,
    endpoints: &Endpoints,
    client: &ClientSecret,
    fill: impl FnOnce(&mut form_urlencoded::Serializer<'_, String>),
) -> reqwest::RequestBuilder {
    let mut form = form_urlencoded::Serializer::new(String::new());
    fill(&mut form);
    match &client.secret {
        Some(secret) if !endpoints.secret_in_body => {
            // Both are encoded as in a form before (section 2.3.1).
            let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect();
            let (id, secret): (String, String) =
                (encoded(&client.id), encoded(secret.expose_secret()));
            request = request.basic_auth(id, Some(secret));
        }
        Some(secret) => {
            form.append_pair("client_id", &client.id)
                .append_pair("client_secret", secret.expose_secret());
        }
        None => {
            form.append_pair("client_id", &client.id);
        }
    }
    request
        .header("content-type", "application/x-www-form-urlencoded")
        .header("accept", "application/json")
        .body(form.finish())
}

/// What counts of an ID token.
struct IdToken {
    subject: String,
    session: Option<String>,
}

impl IssuerConfig {
    /// Reads an ID token (`OpenID` Connect Core 1.0, section 3.1.3.7).
    async fn id_token(
        &self,
        token: &str,
        issuer: &Issuer,
        client: &ClientConfig,
        nonce: &str,
    ) -> Result<IdToken, TokenError> {
        let unverified = Unverified::read(token)?;
        let kind = unverified.header.kind.as_deref();
        if !kind.is_none_or(|kind| kind.eq_ignore_ascii_case("JWT")) {
            return Err(TokenError::Kind);
        }
        let required = ["iss", "aud", "exp", "sub"];
        let audience = [client.client.id.clone()];
        self.signed(token, &unverified, issuer, &audience, &required)
            .await?;
        let said = &unverified.claims;
        let text = |name: &str| said.get(name).and_then(Value::as_str);
        if text("nonce") != Some(nonce) {
            return Err(TokenError::Claim("nonce"));
        }
        if !is_for(said, &client.client.id) {
            return Err(TokenError::Claim("azp"));
        }
        let claims = claims::read(said, now(), self.leeway.as_secs())?;
        Ok(IdToken {
            subject: claims.subject,
            session: text("sid").map(str::to_owned),
        })
    }
}

/// Whether a token for several is for us: the one for whom it was made is named in `azp`.
fn is_for(claims: &Members, client: &str) -> bool {
    let others = claims.get("aud").and_then(Value::as_array);
    let several = others.is_some_and(|names| names.len() > 1);
    match claims.get("azp") {
        Some(party) => party == client,
        None => !several,
    }
}

async fn endpoints(issuer: &Issuer) -> Result<Arc<Endpoints>, LoginError> {
    issuer.endpoints().await.map_err(put_off)
}

fn put_off(error: TokenError) -> LoginError {
    match error {
        TokenError::Unavailable { retry_after } => LoginError::Unavailable { retry_after },
        _ => unavailable(),
    }
}

/// Its document says nothing of where, or nothing safe: logins wait until it does.
fn no_endpoint(issuer: &str) -> LoginError {
    tracing::warn!(issuer, "the issuer names no safe address for logins");
    unavailable()
}

fn unavailable() -> LoginError {
    LoginError::Unavailable { retry_after: SOON }
}

/// An error of OAuth as it may be told: a short text of the characters that it may have (RFC 6749, section 4.1.2.1).
#[must_use]
pub(in crate::identity) fn error_code(text: &str) -> Option<String> {
    let may = |c: char| matches!(c, ' '..='~') && c != '"' && c != '\\';
    (!text.is_empty() && text.len() <= 64 && text.chars().all(may)).then(|| text.to_owned())
}

/// That many random bytes, as text.
fn random<const BYTES: usize>() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(std::array::from_fn::<u8, BYTES, _>(|_| rand::random()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_a_login_shows_whose_it_is_alone() {
        let attempt = Attempt {
            issuer: "https://a".to_owned(),
            state: "canary-state".to_owned(),
            nonce: "canary-nonce".to_owned(),
            verifier: "canary-verifier".to_owned(),
        };
        let shown = format!("{attempt:?}");
        assert!(
            shown.contains("https://a") && !shown.contains("canary"),
            "{shown}"
        );
    }
}
