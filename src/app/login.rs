//! Who may come in, by the settings.

use std::sync::Arc;

use loco_rs::{Error, Result, app::AppContext, config::Server};
use url::Url;

use super::parts::settings_of;
use crate::{
    identity::{
        BasicCredential, ClientConfig, ClientSecret, IssuerConfig, Oidc, Scopes, SessionConfig,
        Sessions, Tickets,
    },
    models::Store,
    settings::{self, Auth, Client, Settings, is_loopback},
    views::protected_resource::ProtectedResource,
};

/// The users of Basic auth; `None` where it is not taken.
pub(super) fn users(auth: &Auth) -> Option<Vec<BasicCredential>> {
    let users = auth.users.iter().map(|user| BasicCredential {
        user: user.name.clone(),
        password_hash: user.password_hash.clone(),
        scopes: Scopes::named(user.scopes.iter().map(String::as_str)),
    });
    auth.takes_passwords().then(|| users.collect())
}

/// Whose tokens are taken; `None` where none are. Their keys are looked for in the background.
pub(super) fn oidc(settings: &Settings) -> Result<Option<Arc<Oidc>>> {
    if !settings.auth.takes_tokens() {
        return Ok(None);
    }
    let issuers = settings.auth.issuers.iter().map(|issuer| IssuerConfig {
        issuer: issuer.issuer.clone(),
        audience: issuer.audience.clone(),
        accept_plain_jwt: issuer.accept_plain_jwt,
        leeway: issuer.leeway,
        client: issuer.client.as_ref().map(client),
        introspection: issuer.introspection.as_ref().map(secret),
    });
    let oidc = Oidc::start(issuers.collect()).map_err(Error::wrap)?;
    Ok(Some(Arc::new(oidc)))
}

fn secret(client: &settings::ClientSecret) -> ClientSecret {
    ClientSecret {
        id: client.id.clone(),
        secret: client.secret.clone(),
    }
}

fn client(client: &Client) -> ClientConfig {
    ClientConfig {
        client: secret(&client.secret),
        scopes: client.scopes.clone(),
        grants: Scopes::named(client.grants.iter().map(String::as_str)),
        backchannel_logout: client.backchannel_logout,
    }
}

/// Who keeps logins by a browser; `None` where there are none.
///
/// # Errors
/// When browsers could not keep them to themselves on their way here.
pub(super) fn sessions(
    ctx: &AppContext,
    settings: &Settings,
    store: &Store,
    oidc: Option<&Arc<Oidc>>,
) -> Result<Option<Arc<Sessions>>> {
    let Some(oidc) = oidc.filter(|_| settings.auth.takes_logins()) else {
        return Ok(None);
    };
    let address = public_address(&ctx.config.server);
    if !is_safe(&address) {
        return Err(Error::string(&format!(
            "people log in by a browser (settings.auth.oidc[].login), so HOST must be the public https address without a path \
             (http for loopback alone), and is {address:?}"
        )));
    }
    let config = SessionConfig {
        address,
        idle: settings.auth.session_idle,
        lifetime: settings.auth.session_lifetime,
        failures_per_minute: settings.failed_logins_per_minute,
    };
    let keys = &settings.auth.secrets;
    let sessions = Sessions::new(store.clone(), Arc::clone(oidc), keys, config);
    Ok(Some(Arc::new(sessions)))
}

/// Whether cookies are nobody's but ours at that address.
fn is_safe(address: &str) -> bool {
    let Ok(url) = Url::parse(address) else {
        return false;
    };
    let safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    safe && url.path() == "/" && url.query().is_none()
}

/// What makes and reads tickets; `None` where no login is asked for.
pub(super) fn tickets(settings: &Settings) -> Option<Arc<Tickets>> {
    let auth = &settings.auth;
    (!settings.dev_mode).then(|| Arc::new(Tickets::new(&auth.secrets, auth.ticket_lifetime)))
}

/// What clients are told that need a token; `None` where none are taken.
pub(super) fn protected_resource(ctx: &AppContext) -> Result<Option<Arc<ProtectedResource>>> {
    let settings = settings_of(ctx)?;
    let issuers = settings.auth.issuers.iter();
    let resource = || ProtectedResource {
        resource: public_address(&ctx.config.server),
        authorization_servers: issuers.map(|issuer| issuer.issuer.clone()).collect(),
        ..ProtectedResource::default()
    };
    Ok(settings.auth.takes_tokens().then(resource).map(Arc::new))
}

/// Where clients find this server, by `server.host`. On one's own machine that says no port.
fn public_address(server: &Server) -> String {
    let host = server.host.trim_end_matches('/');
    let own = Url::parse(host).is_ok_and(|url| {
        is_loopback(&url) && url.scheme() == "http" && url.port().is_none() && url.path() == "/"
    });
    if own {
        format!("{host}:{}", server.port)
    } else {
        host.to_owned()
    }
}

/// Where the metadata of a resource is: the well-known path goes between its host and its own path (RFC 9728, section 3.1).
pub(super) fn metadata_address(server: &Server) -> String {
    const PATH: &str = "/.well-known/oauth-protected-resource";
    let resource = public_address(server);
    let host = resource.find("://").map_or(0, |scheme| scheme + 3);
    let end = resource[host..]
        .find('/')
        .map_or(resource.len(), |slash| host + slash);
    let (origin, path) = resource.split_at(end);
    format!("{origin}{PATH}{path}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_public_address_is_the_hosts_and_has_a_port_on_ones_own_machine() {
        let metadata = "/.well-known/oauth-protected-resource";
        for (host, address, origin, path) in [
            (
                "http://localhost",
                "http://localhost:5150",
                "http://localhost:5150",
                "",
            ),
            (
                "http://127.0.0.1/",
                "http://127.0.0.1:5150",
                "http://127.0.0.1:5150",
                "",
            ),
            ("http://[::1]:81", "http://[::1]:81", "http://[::1]:81", ""),
            (
                "https://a.example",
                "https://a.example",
                "https://a.example",
                "",
            ),
            (
                "https://a.example/p/",
                "https://a.example/p",
                "https://a.example",
                "/p",
            ),
            (
                "http://a.example:8080",
                "http://a.example:8080",
                "http://a.example:8080",
                "",
            ),
        ] {
            let server = json!({"host": host, "port": 5150, "middlewares": {}});
            let server: Server = serde_json::from_value(server).unwrap();
            assert_eq!(public_address(&server), address);
            assert_eq!(
                metadata_address(&server),
                format!("{origin}{metadata}{path}")
            );
        }
    }
}
