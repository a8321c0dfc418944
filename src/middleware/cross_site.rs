//! No page of another site may make a browser change anything here.
//!
//! A browser sends cached Basic credentials with a cross-site form, and a POST without a body needs no preflight. So every unsafe
//! method is judged by `Sec-Fetch-Site`, which pages cannot forge, or without it by `Origin`. A request with neither is no
//! browser's.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use loco_rs::{Result, app::AppContext, controller::middleware::MiddlewareLayer};

use super::{Guards, host::host};
use crate::views::problem::Problem;

/// Whose pages may send unsafe requests, beside our own.
#[derive(Debug, Clone, Default)]
pub struct AllowedOrigins {
    /// Origins, as browsers write them.
    pub list: Vec<String>,
    /// Whether any other origin of the same site may.
    pub same_site: bool,
}

pub(super) struct CrossSite {
    guards: Arc<Guards>,
}

impl CrossSite {
    pub(super) fn new(guards: Arc<Guards>) -> Self {
        Self { guards }
    }
}

impl MiddlewareLayer for CrossSite {
    fn name(&self) -> &'static str {
        "cross_site"
    }

    fn config(&self) -> serde_json::Result<serde_json::Value> {
        let AllowedOrigins { list, same_site } = self.guards.origins.as_ref();
        Ok(
            serde_json::json!({"enable": true, "allowed_origins": list, "allow_same_site": same_site}),
        )
    }

    fn apply(&self, app: Router<AppContext>) -> Result<Router<AppContext>> {
        Ok(app.layer(from_fn_with_state(
            Arc::clone(&self.guards),
            refuse_cross_site,
        )))
    }
}

async fn refuse_cross_site(
    State(guards): State<Arc<Guards>>,
    request: Request,
    next: Next,
) -> Response {
    let admitted =
        request.method().is_safe() || guards.origins.admit(request.uri(), request.headers());
    if admitted {
        return next.run(request).await;
    }
    let detail = "a page of another site may not do this; if it should, list its origin in settings.http.allowed_origins";
    Problem::new(
        StatusCode::FORBIDDEN,
        "cross-site",
        "Cross-site request refused",
        detail,
    )
    .into_response()
}

impl AllowedOrigins {
    /// Whether the list has that `Origin`.
    pub(super) fn lists(&self, origin: &HeaderValue) -> bool {
        let mut list = self.list.iter();
        list.any(|allowed| allowed.as_bytes() == origin.as_bytes())
    }

    fn admit(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let origin = text("origin");
        let listed = headers
            .get(header::ORIGIN)
            .is_some_and(|origin| self.lists(origin));
        match (text("sec-fetch-site"), origin) {
            (Some("same-origin" | "none"), _) => true,
            (Some("same-site"), _) => self.same_site || listed,
            (Some(_), _) => listed,
            (None, Some(origin)) => listed || is_own(origin, host(uri, headers)),
            (None, None) => true,
        }
    }
}

/// Whether the origin is the address that the request went to.
fn is_own(origin: &str, host: Option<&str>) -> bool {
    let address = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    address.is_some_and(|address| host.is_some_and(|host| host.eq_ignore_ascii_case(address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(same_site: bool, headers: &[(&'static str, &str)]) -> bool {
        let origins = AllowedOrigins {
            list: vec!["https://app.example".into()],
            same_site,
        };
        origins.admit(
            &Uri::from_static("/api/run"),
            &headers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect(),
        )
    }

    #[test]
    fn browsers_are_judged_by_where_the_page_is_from() {
        assert!(admitted(false, &[]));
        assert!(admitted(false, &[("sec-fetch-site", "same-origin")]));
        assert!(admitted(false, &[("sec-fetch-site", "none")]));
        assert!(!admitted(false, &[("sec-fetch-site", "cross-site")]));
        assert!(!admitted(
            false,
            &[("sec-fetch-site", "cross-site"), ("origin", "null")]
        ));
        assert!(admitted(
            false,
            &[
                ("sec-fetch-site", "cross-site"),
                ("origin", "https://app.example")
            ]
        ));
        assert!(!admitted(false, &[("sec-fetch-site", "same-site")]));
        assert!(admitted(true, &[("sec-fetch-site", "same-site")]));
        assert!(!admitted(true, &[("sec-fetch-site", "surprise")]));
    }

    #[test]
    fn older_browsers_are_judged_by_origin() {
        let host = ("host", "localhost:5150");
        assert!(admitted(
            false,
            &[host, ("origin", "http://localhost:5150")]
        ));
        assert!(admitted(false, &[host, ("origin", "https://app.example")]));
        for other in [
            "http://localhost:5151",
            "https://evil.example",
            "null",
            "localhost:5150",
            "https://app.example.evil",
        ] {
            assert!(!admitted(false, &[host, ("origin", other)]), "{other}");
        }
    }

    /// By HTTP/2 there is no header that says the host.
    #[test]
    fn our_own_origin_is_ours_by_http_2_too() {
        let origins = AllowedOrigins::default();
        let address = Uri::from_static("http://localhost:5150/api/run");
        for (origin, own) in [
            ("http://localhost:5150", true),
            ("http://localhost:5151", false),
            ("https://evil.example", false),
        ] {
            let headers = [(header::ORIGIN, HeaderValue::from_static(origin))];
            assert_eq!(origins.admit(&address, &headers.into_iter().collect()), own);
        }
    }
}
