//! Text is compressed on its way out where the client takes it so; streams never are, since what is held back to be packed is late.

use axum::{
    Router,
    http::{Extensions, HeaderMap, StatusCode, Version, header},
};
use loco_rs::{Result, app::AppContext, controller::middleware::MiddlewareLayer};
use tower_http::compression::{CompressionLayer, Predicate as _, predicate::SizeAbove};

/// Smaller answers fit into one packet as they are.
const LEAST_BYTES: u16 = 1_024;

/// What gains by it. A list of what does, and not of what does not: nothing is held back that nobody thought of.
const TEXTS: [&str; 8] = [
    "application/json",
    "application/problem+json",
    "image/svg+xml",
    "text/css",
    "text/html",
    "text/javascript",
    "text/markdown",
    "text/plain",
];

pub(super) struct Compression {
    pub(super) enable: bool,
}

impl MiddlewareLayer for Compression {
    fn name(&self) -> &'static str {
        "compression"
    }

    fn is_enabled(&self) -> bool {
        self.enable
    }

    fn config(&self) -> serde_json::Result<serde_json::Value> {
        Ok(serde_json::json!({"enable": self.enable, "types": TEXTS}))
    }

    fn apply(&self, app: Router<AppContext>) -> Result<Router<AppContext>> {
        let layer = CompressionLayer::new().compress_when(SizeAbove::new(LEAST_BYTES).and(is_text));
        Ok(app.layer(layer))
    }
}

fn is_text(_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    TEXTS.contains(&kind)
}
