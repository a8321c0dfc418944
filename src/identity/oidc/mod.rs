//! OAuth 2.0 / OpenID Connect as a resource server: bearer tokens (RFC 6750) that are JWTs (RFC 7519) of an issuer that the settings name.
//!
//! The way of a token: remembered? else its form (`token`), its issuer, its kind (`claims`), its key (`issuer`, `keys`), then by jsonwebtoken
//! over ring (`crypto`) its signature, `iss`, `aud`, `exp` and `nbf`, and at last the claims that say who it is and what it may do.
//!
//! **Invariant:** nothing that a token says is believed before its signature is right, but whose keys it is checked with, and those are found
//! by the issuer's exact name among the few of the settings. What is kept of a token is a keyed hash, until it ends and for a minute at most.

mod claims;
mod code;
mod crypto;
mod fetch;
mod introspection;
mod issuer;
mod keys;
mod line;
mod logout;
mod pace;
mod token;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Validation, errors::ErrorKind};
use moka::future::Cache;
use serde::de::IgnoredAny;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(super) use self::code::{Attempt, error_code};
pub use self::code::{ClientConfig, ClientSecret, LoginError};
use self::{claims::Claims, issuer::Issuer, token::Unverified};
use super::{Caller, digest::Digester};

/// How long a token that was right is remembered, at most.
const REMEMBERED: Duration = Duration::from_secs(60);
/// How many questions of a kind may be open at issuers at once.
const AT_ONCE: usize = 16;
/// How long a question to an issuer may wait for its place.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon to try again, where nobody knows.
const SOON: Duration = Duration::from_secs(5);
/// How many are remembered.
const TOKENS: u64 = 10_000;

/// Whose tokens are taken, and which of them.
#[derive(Debug, Clone)]
pub struct IssuerConfig {
    /// The issuer's URL, exactly as it stands in `iss`.
    pub issuer: String,
    /// Who we are for it: one of these must be in `aud`.
    pub audience: Vec<String>,
    /// Whether tokens are taken that do not say by their type that they are access tokens (RFC 9068).
    pub accept_plain_jwt: bool,
    /// By how much its clock and ours may differ.
    pub leeway: Duration,
    /// Who we are where its people log in by a browser; `None`: they do not.
    pub client: Option<ClientConfig>,
    /// Who we are where it is asked what tokens are that do not say so themselves; `None`: those are not taken. At most one has it: another
    /// one would be shown its tokens.
    pub introspection: Option<ClientSecret>,
}

/// Why a token is not taken. What it says goes to whoever sent the token: nothing of the token is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It has not the form of one.
    #[error("the token is malformed")]
    Malformed,
    /// It is longer than any that is looked at.
    #[error("the token is too long")]
    TooLong,
    /// Its algorithm is not taken, or does not fit its key.
    #[error("the algorithm of the token is not taken, or does not fit its key")]
    Algorithm,
    /// It wants something of its reader that this one does not know (RFC 7515, section 4.1.11).
    #[error("the token has critical headers, which are not taken")]
    Critical,
    /// It brings the key that it is to be checked with.
    #[error("the token brings a key of its own")]
    OwnKey,
    /// It is an ID token or something else, or does not say what it is.
    #[error(
        "this is no access token by its type, at+jwt; if the issuer writes JWT there, set accept_plain_jwt for it"
    )]
    Kind,
    /// It is of use with a key of its holder's alone (RFC 7800), which nobody proves here: this is no bearer's.
    #[error("the token is bound to a key (cnf), and only bearer tokens are taken")]
    Bound,
    /// It is of an issuer that is not known.
    #[error("the issuer of the token is not known")]
    Issuer,
    /// The issuer has no such key.
    #[error("the issuer has no such key")]
    UnknownKey,
    /// Its signature is wrong.
    #[error("the signature of the token is wrong")]
    Signature,
    /// It is for somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// It begins later.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// It was right, and is over.
    #[error("the token has expired")]
    Expired,
    /// A claim is missing or not as it must be.
    #[error("the claim {0} is missing or not as it must be")]
    Claim(&'static str),
    /// Its issuer does not know it, or not any longer.
    #[error("the token is not active")]
    Inactive,
    /// The issuer is down, and without it nobody can know.
    #[error("the keys of the issuer cannot be had now")]
    Unavailable {
        /// When to try again.
        retry_after: Duration,
    },
}

/// Checks tokens.
#[derive(Debug)]
pub struct Oidc {
    issuers: Vec<(IssuerConfig, Issuer)>,
    remembered: Cache<[u8; 32], (Caller, u64)>,
    /// Logout tokens that were carried out, by issuer and `jti`.
    carried_out: Cache<(String, String), ()>,
    digester: Digester,
    /// Asks issuers to redeem codes, and what tokens are.
    http: reqwest::Client,
    /// The places of those who ask what a token is, and of those who have a code redeemed.
    questions: Semaphore,
    redemptions: Semaphore,
    tasks: TaskTracker,
    ended: CancellationToken,
}

impl Oidc {
    /// Takes tokens of these issuers. Their keys are looked for in the background: nothing is waited for.
    ///
    /// # Errors
    /// When there can be no HTTP client.
    pub fn start(configs: Vec<IssuerConfig>) -> Result<Self, reqwest::Error> {
        crypto::install();
        let (tasks, ended) = (TaskTracker::new(), CancellationToken::new());
        // With the certificates of this machine, if any issuer wants them.
        let safe = configs
            .iter()
            .find(|config| !config.issuer.starts_with("http://"));
        let http = fetch::client(safe.map_or("http://", |config| &config.issuer))?;
        let mut issuers = Vec::new();
        for config in configs {
            let (issuer, keeper) = Issuer::new(&config.issuer)?;
            tasks.spawn(ended.clone().run_until_cancelled_owned(keeper.keep()));
            issuers.push((config, issuer));
        }
        Ok(Self {
            issuers,
            remembered: Cache::builder()
                .max_capacity(TOKENS)
                .time_to_live(REMEMBERED)
                .build(),
            carried_out: Cache::builder()
                .max_capacity(TOKENS)
                .time_to_live(logout::REMEMBERED)
                .build(),
            digester: Digester::new(),
            http,
            questions: Semaphore::new(AT_ONCE),
            redemptions: Semaphore::new(AT_ONCE),
            tasks,
            ended,
        })
    }

    /// Ends what goes on in the background.
    pub async fn end(&self) {
        self.ended.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Whose token that is.
    ///
    /// # Errors
    /// Why it is not taken.
    pub async fn check(&self, token: &str) -> Result<Caller, TokenError> {
        if token.len() > token::MAX_TOKEN {
            return Err(TokenError::TooLong);
        }
        let digest = self.digester.digest(token.as_bytes());
        if let Some((caller, until)) = self.remembered.get(&digest).await
            && now() < until
        {
            return Ok(caller);
        }
        let unverified = Unverified::read(token)?;
        let mut issuers = self.issuers.iter();
        let named = unverified.issuer();
        let (config, issuer) = issuers
            .find(|(config, _)| Some(config.issuer.as_str()) == named)
            .ok_or(TokenError::Issuer)?;
        let claims = config.verify(token, &unverified, issuer).await?;
        let caller = Caller {
            owner: Caller::subject_of(&config.issuer, &claims.subject),
            scopes: claims.scopes,
            only: None,
        };
        let until = claims.expires.saturating_add(config.leeway.as_secs());
        self.remembered
            .insert(digest, (caller.clone(), until))
            .await;
        Ok(caller)
    }
}

impl Drop for Oidc {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

impl IssuerConfig {
    async fn verify(
        &self,
        token: &str,
        unverified: &Unverified,
        issuer: &Issuer,
    ) -> Result<Claims, TokenError> {
        let Unverified { header, claims } = unverified;
        claims::check_kind(header.kind.as_deref(), claims, self.accept_plain_jwt)?;
        let required = ["iss", "aud", "exp", "sub"];
        self.signed(token, unverified, issuer, &self.audience, &required)
            .await?;
        claims::read(claims, now(), self.leeway.as_secs())
    }

    /// Makes sure that the issuer has signed it for one of these audiences, that it goes now, and that it has these claims.
    async fn signed(
        &self,
        token: &str,
        unverified: &Unverified,
        issuer: &Issuer,
        audience: &[String],
        required: &[&str],
    ) -> Result<(), TokenError> {
        let key = issuer.key(&unverified.header).await?;
        let mut rules = Validation::new(unverified.header.algorithm);
        rules.set_issuer(&[&self.issuer]);
        rules.set_audience(audience);
        rules.set_required_spec_claims(required);
        rules.validate_nbf = true;
        rules.leeway = self.leeway.as_secs();
        // What it says was read already; this is whether it is true.
        let decoded = jsonwebtoken::decode::<IgnoredAny>(token, &key, &rules);
        decoded.map(drop).map_err(|error| {
            let error = refused(error.kind());
            if error == TokenError::Signature {
                issuer.doubt();
            }
            error
        })
    }
}

/// What jsonwebtoken found, in our words.
fn refused(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::NotYetValid,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidKeyFormat => TokenError::Algorithm,
        ErrorKind::MissingRequiredClaim(name) | ErrorKind::InvalidClaimFormat(name) => {
            let names = ["iss", "aud", "exp", "nbf", "sub"];
            let name = names.into_iter().find(|known| known == name);
            name.map_or(TokenError::Malformed, TokenError::Claim)
        }
        _ => TokenError::Malformed,
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
