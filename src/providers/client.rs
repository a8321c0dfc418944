//! HTTP clients: one pool a provider.

use super::{Timeouts, registry::RegistryError};

/// The client of one provider.
///
/// No total timeout: an answer may take as long as it keeps coming. No redirects: a request that carries a key goes where the
/// settings say and nowhere else. No automatic retries: whether a request is paid for twice is for the turn to decide.
pub(super) fn build(
    name: &str,
    url: &str,
    timeouts: &Timeouts,
) -> Result<reqwest::Client, RegistryError> {
    // reqwest takes the process's provider; sqlx names its own. An error means that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("parley/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(timeouts.connect)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .tcp_nodelay(true)
        .no_proxy();
    if url.starts_with("http://") {
        // Without TLS, a machine without root certificates is no obstacle.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|source| RegistryError::Client {
        name: name.to_owned(),
        source,
    })
}
