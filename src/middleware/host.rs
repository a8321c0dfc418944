//! Who is asked for must be us: a name that somebody else has made point here is refused, since to a browser its pages would be ours (DNS
//! rebinding). Addresses and `localhost` are nobody else's.
//!
//! What `host` says is asked here for all layers: two readers that take two hosts out of one request would judge two requests.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, Version, header, uri::Authority},
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
    guards: Arc<Guards>,
}

impl Host {
    pub(super) fn new(guards: Arc<Guards>) -> Self {
        Self { guards }
    }
}

impl MiddlewareLayer for Host {
    fn name(&self) -> &'static str {
        "host"
    }

    fn config(&self) -> serde_json::Result<serde_json::Value> {
        let names = &self.guards.hosts.0;
        Ok(serde_json::json!({"enable": true, "allowed_hosts": names}))
    }

    fn apply(&self, app: Router<AppContext>) -> Result<Router<AppContext>> {
        Ok(app.layer(from_fn_with_state(
            Arc::clone(&self.guards),
            refuse_other_hosts,
        )))
    }
}

async fn refuse_other_hosts(
    State(guards): State<Arc<Guards>>,
    request: Request,
    next: Next,
) -> Response {
    // Whoever asks for our health knows us by whatever name, and learns nothing else.
    let health = request.uri().path().starts_with("/_");
    if health {
        return next.run(request).await;
    }
    if is_ambiguous(&request) {
        return said_wrongly("the request must say once which host it is for");
    }
    let asked = host(request.uri(), request.headers());
    if asked.is_some_and(|asked| asked.contains('@')) {
        return said_wrongly("the host that a request is for has no user");
    }
    if guards.hosts.admit(asked) {
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

/// Which host, with its port, a request is for: HTTP/2 says it in the address, and so does a request by HTTP/1.1 that names one there (RFC
/// 9112, section 3.2.2); else a header says it. `None`: nothing is said, as no browser does.
pub(super) fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let of_header = || headers.get(header::HOST);
    let text = |host: &'a HeaderValue| host.to_str().unwrap_or("?");
    let of_address = uri.authority().map(Authority::as_str);
    of_address.or_else(|| of_header().map(text))
}

/// RFC 9112, section 3.2: by HTTP/1.1 a request has one field `Host`, and none has more.
fn is_ambiguous(request: &Request) -> bool {
    let said = request.headers().get_all(header::HOST).iter().count();
    said > 1 || (said == 0 && request.version() == Version::HTTP_11)
}

/// A request that two readers would understand in two ways.
pub(super) fn said_wrongly(detail: &str) -> Response {
    let status = StatusCode::BAD_REQUEST;
    Problem::new(status, "bad-request", "Bad request", detail).into_response()
}

impl AllowedHosts {
    fn admit(&self, asked: Option<&str>) -> bool {
        let Some(names) = &self.0 else { return true };
        let Some(asked) = asked else { return true };
        let Ok(authority) = asked.parse::<Authority>() else {
            return false;
        };
        let host = authority.host();
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
        let admits = |host| hosts.admit(Some(host));
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
        assert!(hosts.admit(None));
        assert!(AllowedHosts(None).admit(Some("evil.example")));
    }

    #[test]
    fn the_address_says_for_whom_a_request_is_before_the_header_does() {
        let mut headers = HeaderMap::new();
        let (path, whole) = (
            Uri::from_static("/api/run"),
            Uri::from_static("http://evil.example:81/api/run"),
        );
        assert_eq!(host(&path, &headers), None);
        assert_eq!(host(&whole, &headers), Some("evil.example:81"));
        headers.insert(
            header::HOST,
            HeaderValue::from_static("parley.example:5150"),
        );
        assert_eq!(host(&path, &headers), Some("parley.example:5150"));
        assert_eq!(host(&whole, &headers), Some("evil.example:81"));
        headers.insert(header::HOST, HeaderValue::from_bytes(b"parl\xe9y").unwrap());
        assert_eq!(host(&path, &headers), Some("?"));
    }
}
