//! Tokens that say nothing by themselves: their issuer is asked what they are (RFC 7662).

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::Value;
use tokio::sync::SemaphorePermit;

use super::{
    IssuerConfig, Oidc, PATIENCE, SOON, TokenError, claims,
    code::{ClientSecret, authenticated},
    fetch::{Endpoints, FetchError, whole},
    now,
};
use crate::identity::{Caller, Scopes};

/// How long what an issuer has said is remembered: so long a token may still be taken that it has revoked.
pub(super) const REMEMBERED: Duration = Duration::from_secs(30);

/// What an issuer says of a token.
#[derive(Deserialize)]
struct Said {
    active: bool,
    #[serde(default)]
    iss: Option<String>,
    #[serde(default)]
    aud: Value,
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    scope: Option<String>,
    #[serde(default)]
    exp: Option<f64>,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default)]
    token_type: Option<String>,
    /// The key that its holder would have to prove (RFC 7800): this is no bearer's.
    #[serde(default)]
    cnf: Option<Value>,
}

impl Oidc {
    /// Whether an issuer would be asked what that token is: it has not the form of one that says so itself.
    #[must_use]
    pub fn introspects(&self, token: &str) -> bool {
        let mut issuers = self.issuers.iter();
        let opaque = token.len() <= super::token::MAX_TOKEN
            && token.matches('.').count() != 2
            && token.chars().all(is_of_one);
        opaque && issuers.any(|(config, _)| config.introspection.is_some())
    }

    /// A place among those who ask what a token is.
    ///
    /// # Errors
    /// `Unavailable` when there is none in time.
    async fn place(&self) -> Result<SemaphorePermit<'_>, TokenError> {
        let place = tokio::time::timeout(PATIENCE, self.questions.acquire()).await;
        let none = TokenError::Unavailable { retry_after: SOON };
        place.map_err(|_| none)?.map_err(|_| none)
    }

    /// Whose token that is, by what its issuer says. Many who come with the same one at once wait for one question; `may_ask` is asked for who
    /// asks it, once its turn has come, and `refused` told what came of it.
    ///
    /// # Errors
    /// Why it is not taken.
    pub async fn introspect<E: Clone + Send + Sync + 'static>(
        &self,
        token: &str,
        may_ask: impl Fn() -> Result<(), E> + Send,
        refused: impl Fn(TokenError) -> E + Send + Sync,
    ) -> Result<Caller, E> {
        let digest = self.digester.digest(token.as_bytes());
        let known = self.remembered.get(&digest).await;
        if known.is_some_and(|(_, until)| until <= now()) {
            self.remembered.invalidate(&digest).await;
        }
        let asked = async {
            let _place = self.place().await.map_err(&refused)?;
            may_ask()?;
            self.ask(token).await.map_err(&refused)
        };
        let said = self.remembered.try_get_with(digest, asked).await;
        said.map(|(caller, _)| caller)
            .map_err(|error: Arc<E>| (*error).clone())
    }

    /// Who it is, and until when that is remembered.
    async fn ask(&self, token: &str) -> Result<(Caller, u64), TokenError> {
        let mut issuers = self.issuers.iter();
        let asked = issuers.find_map(|(config, issuer)| {
            let client = config.introspection.as_ref()?;
            Some((config, issuer, client))
        });
        let (config, issuer, client) = asked.ok_or(TokenError::Inactive)?;
        let endpoints = issuer.endpoints().await?;
        let asking = issuer.introspection.ask()?;
        match self.said(&endpoints, client, token).await {
            Ok(said) => {
                asking.went_well();
                said.check(config)
            }
            Err(error) => {
                let what = "an issuer cannot be asked what a token is";
                Err(asking.failed(&config.issuer, &error, what))
            }
        }
    }

    async fn said(
        &self,
        endpoints: &Endpoints,
        client: &ClientSecret,
        token: &str,
    ) -> Result<Said, FetchError> {
        let address = endpoints.introspection.clone();
        let address = address.ok_or(FetchError::NoEndpoint)?;
        let request = authenticated(self.http.post(address), endpoints, client, |form| {
            form.append_pair("token", token)
                .append_pair("token_type_hint", "access_token");
        });
        let response = request.send().await?;
        if response.status() != reqwest::StatusCode::OK {
            // 401: it does not know us. That is no fault of the token's.
            return Err(FetchError::Status(response.status()));
        }
        Ok(serde_json::from_slice(&whole(response).await?)?)
    }
}

impl Said {
    fn check(self, config: &IssuerConfig) -> Result<(Caller, u64), TokenError> {
        if !self.active {
            return Err(TokenError::Inactive);
        }
        if self.iss.is_some_and(|issuer| issuer != config.issuer) {
            return Err(TokenError::Issuer);
        }
        let ours = |name: &Value| {
            let mut audience = config.audience.iter();
            audience.any(|ours| name == ours.as_str())
        };
        // Without one, tokens for other servers would be taken, too.
        if !(ours(&self.aud)
            || self
                .aud
                .as_array()
                .is_some_and(|names| names.iter().any(ours)))
        {
            return Err(TokenError::Audience);
        }
        let bearer = |kind: &String| kind.eq_ignore_ascii_case("bearer");
        if !self.token_type.as_ref().is_none_or(bearer) || self.cnf.is_some() {
            return Err(TokenError::Bound);
        }
        let (now, leeway) = (now(), config.leeway.as_secs());
        let seconds = |time: f64| std::time::Duration::try_from_secs_f64(time).unwrap_or_default();
        let ends = self.exp.map(|end| seconds(end).as_secs());
        if ends.is_some_and(|end| end.saturating_add(leeway) <= now) {
            return Err(TokenError::Expired);
        }
        let begins = self.nbf.map(|begin| seconds(begin).as_secs());
        if begins.is_some_and(|begin| begin > now.saturating_add(leeway)) {
            return Err(TokenError::NotYetValid);
        }
        let subject = self.sub.filter(|subject| claims::is_subject(subject));
        let subject = subject.ok_or(TokenError::Claim("sub"))?;
        let caller = Caller {
            owner: Caller::subject_of(&config.issuer, &subject),
            scopes: Scopes::named(self.scope.unwrap_or_default().split(' ')),
            only: None,
        };
        let until = now + REMEMBERED.as_secs();
        Ok((caller, ends.unwrap_or(until).min(until)))
    }
}

/// RFC 6750, section 2.1.
fn is_of_one(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~+/=".contains(c)
}
