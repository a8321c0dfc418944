//! An issuer's documents: what it says of itself (OpenID Connect Discovery 1.0, section 4), and its keys.
//!
//! Each is bounded in size and time, none is looked for where a redirect points to, and only loopback is spoken to without TLS.

use std::time::Duration;

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
    #[error("it has no key that can be used")]
    NoKeys,
}

/// Where the keys of an issuer are got.
#[derive(Debug)]
pub(super) struct Source {
    issuer: String,
    client: reqwest::Client,
    /// As discovered.
    keys_at: Option<Url>,
}

#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
}

impl Source {
    /// The documents of that issuer.
    ///
    /// # Errors
    /// When there can be no client, such as on a machine without certificates.
    pub(super) fn new(issuer: &str) -> Result<Self, reqwest::Error> {
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
        Ok(Self {
            issuer: issuer.to_owned(),
            client: builder.build()?,
            keys_at: None,
        })
    }

    /// The next keys are looked for where the issuer then says that they are.
    pub(super) fn forget(&mut self) {
        self.keys_at = None;
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
        let address = match self.keys_at.clone() {
            Some(address) => address,
            None => self.discover().await?,
        };
        let keys = Keys::read(&self.get(address.clone()).await?)?;
        if keys.is_empty() {
            return Err(FetchError::NoKeys);
        }
        self.keys_at = Some(address);
        Ok(keys)
    }

    async fn discover(&self) -> Result<Url, FetchError> {
        let base = self.issuer.trim_end_matches('/');
        let address = Url::parse(&format!("{base}/.well-known/openid-configuration"));
        let document = self.get(address.map_err(|_| FetchError::Address)?).await?;
        let said: Discovered = serde_json::from_slice(&document)?;
        if said.issuer != self.issuer {
            return Err(FetchError::OtherIssuer);
        }
        let keys = Url::parse(&said.jwks_uri).map_err(|_| FetchError::Address)?;
        // Only who is asked without TLS itself may point to where there is none.
        let safe = keys.scheme() == "https"
            || (self.issuer.starts_with("http://")
                && keys.scheme() == "http"
                && is_loopback(&keys));
        if safe {
            Ok(keys)
        } else {
            Err(FetchError::Address)
        }
    }

    async fn get(&self, address: Url) -> Result<Vec<u8>, FetchError> {
        let mut response = self.client.get(address).send().await?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let mut document = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            document.extend_from_slice(&chunk);
            if document.len() > MAX_DOCUMENT {
                return Err(FetchError::TooLarge);
            }
        }
        Ok(document)
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
