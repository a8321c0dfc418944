//! An issuer's documents: what it says of itself (OpenID Connect Discovery 1.0, section 4), and its keys.
//!
//! Each is bounded in size and time, none is looked for where a redirect points to, and only loopback is spoken to without TLS.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use url::{Host, Url};

use super::keys::Keys;

/// The most bytes of a document.
const MAX_DOCUMENT: usize = 1024 * 1024;

/// How long an issuer may take for all that is asked at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why an issuer's keys are not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("it cannot be asked")]
    Http(#[from] reqwest::Error),
    #[error("it does not answer in time")]
    TooSlow,
    #[error("it answers {0}")]
    Status(reqwest::StatusCode),
    #[error("its answer is longer than {MAX_DOCUMENT} bytes")]
    TooLarge,
    #[error("its answer is not what it must be")]
    Json(#[from] serde_json::Error),
    #[error("its document is of another issuer")]
    OtherIssuer,
    #[error("its keys are at an address that is none, or not safe")]
    Address,
    #[error("its document names no safe address for that")]
    NoEndpoint,
    #[error("it has no key that can be used")]
    NoKeys,
}

/// Where the keys of an issuer are got.
#[derive(Debug)]
pub(super) struct Source {
    issuer: String,
    client: reqwest::Client,
    /// As discovered.
    found: Option<Arc<Endpoints>>,
}

/// What an issuer says of itself: where it is asked for what. An address that is none, or not safe, is as good as none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoints {
    keys: Url,
    /// Where people log in.
    pub(super) authorization: Option<Url>,
    /// Where a code is redeemed.
    pub(super) token: Option<Url>,
    /// Where people log out.
    pub(super) end_session: Option<Url>,
    /// Where is said what a token is.
    pub(super) introspection: Option<Url>,
    /// Whether it takes a client's secret in the body alone, and not as Basic auth, which is the default (`OpenID` Connect Discovery 1.0,
    /// section 3).
    pub(super) secret_in_body: bool,
    /// Whether it says with each answer through a browser that it is its own (RFC 9207, section 3).
    pub(super) says_who_answers: bool,
}

#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    end_session_endpoint: Option<String>,
    introspection_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// A client that asks that issuer and nobody else: it follows no redirects, and waits no longer than it may.
///
/// # Errors
/// When there can be none, such as on a machine without certificates.
pub(super) fn client(issuer: &str) -> Result<reqwest::Client, reqwest::Error> {
    // reqwest takes the process's provider. An error means that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("parley/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(PATIENCE)
        .timeout(PATIENCE)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    if issuer.starts_with("http://") {
        // Without TLS, a machine without root certificates is no obstacle.
        builder = builder.tls_certs_only([]);
    }
    builder.build()
}

impl Source {
    /// The documents of that issuer.
    ///
    /// # Errors
    /// When there can be no client, such as on a machine without certificates.
    pub(super) fn new(issuer: &str) -> Result<Self, reqwest::Error> {
        Ok(Self {
            issuer: issuer.to_owned(),
            client: client(issuer)?,
            found: None,
        })
    }

    /// What the issuer has said of itself with its last keys.
    pub(super) fn endpoints(&self) -> Option<Arc<Endpoints>> {
        self.found.clone()
    }

    /// The next keys are looked for where the issuer then says that they are.
    pub(super) fn forget(&mut self) {
        self.found = None;
    }

    /// The issuer's keys, as they are now.
    ///
    /// # Errors
    /// When they cannot be had.
    pub(super) async fn keys(&mut self) -> Result<Keys, FetchError> {
        let fetched = tokio::time::timeout(PATIENCE, self.fetch()).await;
        let keys = fetched.unwrap_or(Err(FetchError::TooSlow));
        if keys.is_err() {
            self.forget();
        }
        keys
    }

    async fn fetch(&mut self) -> Result<Keys, FetchError> {
        let endpoints = match self.found.clone() {
            Some(endpoints) => endpoints,
            None => Arc::new(self.discover().await?),
        };
        let keys = Keys::read(&self.get(endpoints.keys.clone()).await?)?;
        // An empty set is an answer: it has taken all of them back.
        if keys.are_unreadable() {
            return Err(FetchError::NoKeys);
        }
        self.found = Some(endpoints);
        Ok(keys)
    }

    async fn discover(&self) -> Result<Endpoints, FetchError> {
        let base = self.issuer.trim_end_matches('/');
        let address = Url::parse(&format!("{base}/.well-known/openid-configuration"));
        let document = self.get(address.map_err(|_| FetchError::Address)?).await?;
        let said: Discovered = serde_json::from_slice(&document)?;
        if said.issuer != self.issuer {
            return Err(FetchError::OtherIssuer);
        }
        // Only who is asked without TLS itself may point to where there is none.
        let safe = |url: &Url| {
            url.scheme() == "https"
                || (self.issuer.starts_with("http://")
                    && url.scheme() == "http"
                    && is_loopback(url))
        };
        let address = |text: Option<String>| text.and_then(|it| Url::parse(&it).ok()).filter(safe);
        let methods = said
            .token_endpoint_auth_methods_supported
            .unwrap_or_default();
        let takes = |name: &str| methods.iter().any(|method| method == name);
        Ok(Endpoints {
            keys: address(Some(said.jwks_uri)).ok_or(FetchError::Address)?,
            authorization: address(said.authorization_endpoint),
            token: address(said.token_endpoint),
            end_session: address(said.end_session_endpoint),
            introspection: address(said.introspection_endpoint),
            secret_in_body: takes("client_secret_post") && !takes("client_secret_basic"),
            says_who_answers: said.authorization_response_iss_parameter_supported,
        })
    }

    async fn get(&self, address: Url) -> Result<Vec<u8>, FetchError> {
        let response = self.client.get(address).send().await?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        whole(response).await
    }
}

/// An answer's body.
///
/// # Errors
/// When it breaks off, or is longer than any that is read.
pub(super) async fn whole(mut response: reqwest::Response) -> Result<Vec<u8>, FetchError> {
    let mut document = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        document.extend_from_slice(&chunk);
        if document.len() > MAX_DOCUMENT {
            return Err(FetchError::TooLarge);
        }
    }
    Ok(document)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
