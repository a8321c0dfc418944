//! Who is asked for must be us: a name that somebody else has made point here is refused, since to a browser its pages would be ours (DNS
//! rebinding). Addresses and `localhost` are nobody else's.

use std::net::IpAddr;

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, Uri, header, uri::Authority},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use loco_rs::{Result, app::AppContext, controller::middleware::MiddlewareLayer};

use super::Guards;
use crate::views::problem::Problem;

/// Our names, in small letters; `None`: any is.
#[derive(Debug, Clone, Default)]
pub struct AllowedHosts(pub Option<Vec<String>>);

pub(super) struct Host {
    guards: Guards,
}

impl Host {
    pub(super) fn new(guards: Guards) -> Self {
        Self { guards }
    }
}

impl MiddlewareLayer for Host {
    fn name(&self) -> &'static str {
        "host"
    }

    fn is_enabled(&self) -> bool {
        self.guards.hosts.0.is_some()
    }

    fn config(&self) -> serde_json::Result<serde_json::Value> {
        let names = &self.guards.hosts.0;
        Ok(serde_json::json!({"enable": self.is_enabled(), "allowed_hosts": names}))
    }

    fn apply(&self, app: Router<AppContext>) -> Result<Router<AppContext>> {
        Ok(app.layer(from_fn_with_state(self.guards.clone(), refuse_other_hosts)))
    }
}

async fn refuse_other_hosts(
    State(guards): State<Guards>,
    request: Request,
    next: Next,
) -> Response {
    let said = request.headers().get(header::HOST);
    let said = said.map(|host| host.to_str().unwrap_or("?"));
    // Whoever asks for our health knows us by whatever name, and learns nothing else.
    let health = request.uri().path().starts_with("/_");
    if health || guards.hosts.admit(request.uri(), said) {
        return next.run(request).await;
    }
    let detail = "this server is not known by that name; if it should be, list it in settings.http.allowed_hosts";
    Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "misdirected-request",
        "Misdirected request",
        detail,
    )
    .into_response()
}

impl AllowedHosts {
    /// HTTP/2 says it in the address, HTTP/1.1 in a header; who says nothing is no browser.
    fn admit(&self, uri: &Uri, header: Option<&str>) -> bool {
        let Some(names) = &self.0 else { return true };
        let of_header = header.map(|host| host.parse::<Authority>().ok());
        let host = match (uri.host(), &of_header) {
            (Some(host), _) => host,
            (None, Some(Some(authority))) => authority.host(),
            (None, Some(None)) => return false,
            (None, None) => return true,
        };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost"
            || host.ends_with(".localhost")
            || bare.parse::<IpAddr>().is_ok()
            || names.contains(&host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_are_us() {
        let hosts = AllowedHosts(Some(vec!["parley.example".to_owned()]));
        let admits = |host| hosts.admit(&Uri::from_static("/api/run"), Some(host));
        for ours in [
            "parley.example",
            "Parley.Example:8443",
            "parley.example.",
            "localhost:5150",
            "a.localhost",
            "127.0.0.1:5150",
            "[::1]:5150",
            "192.0.2.1",
        ] {
            assert!(admits(ours), "{ours}");
        }
        for other in [
            "evil.example",
            "parley.example.evil.example",
            "evil.parley.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "notlocalhost",
            "a b",
            "?",
            "",
        ] {
            assert!(!admits(other), "{other}");
        }
        let path = Uri::from_static("/");
        assert!(hosts.admit(&path, None));
        assert!(!hosts.admit(&Uri::from_static("http://evil.example/"), None));
        assert!(!hosts.admit(
            &Uri::from_static("http://evil.example/"),
            Some("parley.example")
        ));
        assert!(AllowedHosts(None).admit(&path, Some("evil.example")));
    }
}
