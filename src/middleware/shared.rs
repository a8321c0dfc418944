//! What lies within the layers is one for all requests.
//!
//! axum copies a route for each request, and once more at each layer that the request passes; with it goes the handler's state, in which
//! Loco keeps the whole configuration. Here the copying ends: who is turned away at a layer has cost a count, who gets through one copy.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{Router, extract::Request, response::Response, routing::Route};
use loco_rs::{Result, app::AppContext, controller::middleware::MiddlewareLayer};
use tower::{Service, ServiceExt as _, layer::layer_fn, util::Oneshot};

pub(super) struct SharedRoutes;

impl MiddlewareLayer for SharedRoutes {
    fn name(&self) -> &'static str {
        "shared_routes"
    }

    fn config(&self) -> serde_json::Result<serde_json::Value> {
        Ok(serde_json::json!({"enable": true}))
    }

    fn apply(&self, app: Router<AppContext>) -> Result<Router<AppContext>> {
        Ok(app.layer(layer_fn(|route| Shared(Arc::new(route)))))
    }
}

#[derive(Clone)]
struct Shared(Arc<Route>);

impl Service<Request> for Shared {
    type Response = Response;
    type Error = Infallible;
    type Future = Oneshot<Route, Request>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        Route::clone(&self.0).oneshot(request)
    }
}
