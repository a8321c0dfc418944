//! What every request passes, as Loco middleware layers: they show in `cargo loco middleware`.
//!
//! In Loco's list a later layer meets the request earlier. A request meets, from the outside in: request id, `measure`, `cors` (a
//! preflight ends there: it never has a login), `compression`, `problem` (one log line, every error as problem+json), secure headers,
//! catch panic, `host`, `cross_site`, `auth`, `rate_limit`, `shared_routes`, the handler.
//!
//! **Invariant:** no answer with an error status leaves but as problem+json with the request's id; a 5xx is logged once.
//!
//! **May import:** orchestrator, identity, views, conversation.

mod auth;
mod catch_panic;
mod challenge;
mod compression;
mod cors;
mod cross_site;
mod host;
mod measure;
mod problem;
mod rate_limit;
mod secure_headers;
mod shared;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{Router, extract::ConnectInfo, http::Request, response::IntoResponse as _};
use ipnet::IpNet;
use loco_rs::{
    Result,
    app::AppContext,
    controller::middleware::{MiddlewareLayer, MiddlewareStackExt as _},
};

pub use cross_site::AllowedOrigins;
pub use host::AllowedHosts;

use crate::{
    conversation::{Meter, Tracing},
    identity::{Authenticator, Forwarded, Sessions, client_address},
    views::{problem::Problem, stream::StreamSettings},
};

/// What the layers work with.
pub struct Guards {
    /// Who may come in; `None` in `DEV_MODE`: everybody.
    pub authenticator: Option<Arc<Authenticator>>,
    /// Who is logged in by a browser; `None` where nobody is.
    pub sessions: Option<Arc<Sessions>>,
    /// When a browser's stream is to come back.
    pub stream: StreamSettings,
    /// Where the metadata for clients that need a token is (RFC 9728).
    pub resource_metadata: Arc<str>,
    /// How many runs a client may create in a minute, and how many of anything else; `None` in `DEV_MODE`: any number.
    pub creations_per_minute: Option<u32>,
    /// Whose word on who the client is counts.
    pub trusted_proxies: Arc<[IpNet]>,
    /// In which header.
    pub forwarded: Forwarded,
    /// Our names.
    pub hosts: Arc<AllowedHosts>,
    /// Whose pages may send unsafe requests.
    pub origins: Arc<AllowedOrigins>,
    /// Whether anybody may ask for the metrics.
    pub public_metrics: bool,
    /// Whom to tell what happens.
    pub meter: Meter,
    /// Whom to tell the way of a request.
    pub tracing: Tracing,
}

/// Puts our layers into Loco's list, and takes out those that do not suit: `ETag`s have no place on streams, the fallback is a page
/// with a style sheet from elsewhere, the payload limit answers before the rest of a body is read. Whether answers are compressed, and
/// other secure headers than ours, are said where Loco has them: `server.middlewares`.
pub fn stack(
    mut layers: Vec<Box<dyn MiddlewareLayer>>,
    guards: Guards,
) -> Vec<Box<dyn MiddlewareLayer>> {
    // Layers are copied for each request, with what they hold.
    let guards = Arc::new(guards);
    let enabled = |name| {
        let mut layers = layers.iter();
        layers.any(|layer| layer.name() == name && layer.is_enabled())
    };
    let (compression, secure_headers) = (enabled("compression"), enabled("secure_headers"));
    let catch_panic = enabled("catch_panic");
    for name in [
        "compression",
        "cors",
        "limit_payload",
        "etag",
        "remote_ip",
        "fallback",
        "logger",
        "powered_by",
    ] {
        layers.retain(|layer| layer.name() != name);
    }
    layers.replace(
        "catch_panic",
        Box::new(catch_panic::CatchPanic {
            enable: catch_panic,
        }),
    );
    if !secure_headers {
        layers.replace("secure_headers", Box::new(secure_headers::layer()));
    }
    layers.insert(0, Box::new(shared::SharedRoutes));
    layers
        .insert_before(
            "catch_panic",
            Box::new(rate_limit::RateLimit::new(Arc::clone(&guards))),
        )
        .insert_before(
            "catch_panic",
            Box::new(auth::Auth::new(Arc::clone(&guards))),
        )
        .insert_before(
            "catch_panic",
            Box::new(cross_site::CrossSite::new(Arc::clone(&guards))),
        )
        .insert_before(
            "catch_panic",
            Box::new(host::Host::new(Arc::clone(&guards))),
        )
        .insert_before(
            "request_id",
            Box::new(problem::ProblemLayer::new(guards.tracing.clone())),
        )
        .insert_before(
            "request_id",
            Box::new(compression::Compression {
                enable: compression,
            }),
        )
        .insert_before("request_id", Box::new(cors::Cors::new(Arc::clone(&guards))))
        // Outside of what packs and of what answers preflights: what is counted is what is sent.
        .insert_before(
            "request_id",
            Box::new(measure::Measure::new(guards.meter.clone())),
        );
    layers
}

/// The answer where there is no route. Set before the layers, so that they go for it too.
pub fn not_found(router: Router<AppContext>) -> Result<Router<AppContext>> {
    Ok(router.fallback(|| async {
        Problem::of_status(axum::http::StatusCode::NOT_FOUND).into_response()
    }))
}

impl Guards {
    /// The address of the request's client.
    fn client<B>(&self, request: &Request<B>) -> IpAddr {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map_or(IpAddr::from([0, 0, 0, 0]), |ConnectInfo(address)| {
            address.ip()
        });
        // Whose word does not count is not read.
        let peer = peer.to_canonical();
        if !self.trusted_proxies.iter().any(|net| net.contains(&peer)) {
            return peer;
        }
        let lines = request.headers().get_all(self.forwarded.header()).iter();
        // What is no text is no reason to leave out what a proxy has put behind it.
        let lines: Vec<_> = lines
            .map(|line| String::from_utf8_lossy(line.as_bytes()))
            .collect();
        let said = self.forwarded.addresses(lines.iter().map(AsRef::as_ref));
        client_address(peer, said, &self.trusted_proxies)
    }
}
