//! Who may come in, by the settings.

use std::sync::Arc;

use loco_rs::{Error, Result, app::AppContext, config::Server, environment::Environment};
use url::Url;

use super::{boot::works_only, parts::settings_of};
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
///
/// # Errors
/// When the public address does not suit.
pub(super) fn oidc(ctx: &AppContext, settings: &Settings) -> Result<Option<Arc<Oidc>>> {
    // Whoever only drives is asked by nobody.
    if !works_only() {
        let production = ctx.environment == Environment::Production;
        let checked = check_address(settings, &ctx.config.server, production);
        checked.map_err(|reason| Error::string(&reason))?;
    }
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

/// Makes sure that the public address is one in production, that clients find by it what they look for, and that browsers keep their logins to themselves on their way
/// there.
///
/// # Errors
/// Why it does not suit.
pub(super) fn check_address(
    settings: &Settings,
    server: &Server,
    production: bool,
) -> std::result::Result<(), String> {
    let address = public_address(server);
    let url = Url::parse(&address).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !settings.auth.takes_tokens() {
        // From an address that is none no name could be taken, and any would go.
        if production && url.is_none() {
            return Err(format!(
                "HOST must be the public address, such as https://parley.example: its name is the one that requests may have. It is {address:?}"
            ));
        }
        return Ok(());
    }
    let url = url.filter(|url| url.path() == "/" && url.query().is_none());
    let Some(url) = url else {
        return Err(format!(
            "tokens are taken (settings.auth.mode), so HOST must be the public address, such as https://parley.example, without a path: \
             clients look for /.well-known/oauth-protected-resource there. It is {address:?}"
        ));
    };
    let local = !production && url.scheme() == "http" && is_loopback(&url);
    if settings.auth.takes_logins() && url.scheme() != "https" && !local {
        let but = if production {
            "in production, where cookies must never go in the clear"
        } else {
            "http for loopback alone"
        };
        return Err(format!(
            "people log in by a browser (settings.auth.oidc[].login), so HOST must be the public https address without a path ({but}), and \
             is {address:?}"
        ));
    }
    Ok(())
}

/// Who keeps logins by a browser; `None` where there are none.
pub(super) fn sessions(
    ctx: &AppContext,
    settings: &Settings,
    store: &Store,
    oidc: Option<&Arc<Oidc>>,
) -> Option<Arc<Sessions>> {
    let oidc = oidc.filter(|_| settings.auth.takes_logins())?;
    let address = public_address(&ctx.config.server);
    let config = SessionConfig {
        address,
        idle: settings.auth.session_idle,
        lifetime: settings.auth.session_lifetime,
        failures_per_minute: settings.failed_logins_per_minute,
    };
    let keys = &settings.auth.secrets;
    let sessions = Sessions::new(store.clone(), Arc::clone(oidc), keys, config);
    Some(Arc::new(sessions))
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

/// Where the metadata of a resource without a path is (RFC 9728, section 3.1): `check_address` lets no other one be one.
pub(super) fn metadata_address(server: &Server) -> String {
    format!(
        "{}/.well-known/oauth-protected-resource",
        public_address(server)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_public_address_is_the_hosts_and_has_a_port_on_ones_own_machine() {
        for (host, address) in [
            ("http://localhost", "http://localhost:5150"),
            ("http://127.0.0.1/", "http://127.0.0.1:5150"),
            ("http://[::1]:81", "http://[::1]:81"),
            ("https://a.example", "https://a.example"),
            ("http://a.example:8080/", "http://a.example:8080"),
        ] {
            let server = server(host);
            assert_eq!(public_address(&server), address);
            let metadata = format!("{address}/.well-known/oauth-protected-resource");
            assert_eq!(metadata_address(&server), metadata);
        }
    }

    fn server(host: &str) -> Server {
        let server = json!({"host": host, "port": 5150, "middlewares": {}});
        serde_json::from_value(server).unwrap()
    }

    /// What takes tokens is found at its address, and what keeps cookies is reached by TLS.
    #[test]
    fn the_public_address_suits_what_is_done_there() {
        let settings = |login: serde_json::Value| {
            let issuer =
                json!({"issuer": "https://i.example", "audience": "parley", "login": login});
            let yaml = json!({"auth": {"mode": "oidc", "oidc": [issuer]}});
            let env = settings::Environment::default();
            Settings::load(Some(&yaml), &env, &[], false).unwrap()
        };
        let tokens = settings(json!({}));
        let logins = settings(json!({"client_id": "parley"}));
        let passwords = Settings::load(None, &settings::Environment::default(), &[], false);
        let passwords = passwords.unwrap();
        let passwords_suit = |host: &str| {
            let server = server(host);
            let suits = |production| check_address(&passwords, &server, production).is_ok();
            assert!(suits(false), "{host}");
            suits(true)
        };
        for wrong in [
            "parley.example",
            "parley.example:5150",
            "ftp://parley.example",
            "https://a b",
            "https://",
            "",
        ] {
            assert!(!passwords_suit(wrong), "{wrong}");
        }
        for (host, taken, kept, in_production) in [
            ("https://a.example", true, true, true),
            ("https://a.example/", true, true, true),
            ("https://a.example/p", false, false, false),
            ("https://a.example/?a", false, false, false),
            ("http://localhost", true, true, false),
            ("http://127.0.0.1:81", true, true, false),
            ("http://a.example", true, false, false),
            ("a.example", false, false, false),
            ("ftp://a.example", false, false, false),
        ] {
            let server = server(host);
            let suits = |settings, production| {
                let checked = check_address(settings, &server, production);
                assert!(
                    checked
                        .as_ref()
                        .err()
                        .is_none_or(|why| why.contains("HOST"))
                );
                checked.is_ok()
            };
            assert_eq!(suits(&tokens, true), taken, "{host}");
            assert_eq!(suits(&logins, false), kept, "{host}");
            assert_eq!(suits(&logins, true), in_production, "{host}");
            assert_eq!(passwords_suit(host), host.starts_with("http"), "{host}");
        }
    }
}
