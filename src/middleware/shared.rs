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
        Ok(app.layer(layer_fn(Shared::new)))
    }
}

#[derive(Clone)]
struct Shared(Arc<Route>);

impl Shared {
    fn new(route: Route) -> Self {
        Self(Arc::new(route))
    }
}

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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::{
        body::Body,
        extract::State,
        http::StatusCode,
        middleware::{Next, from_fn},
        response::IntoResponse as _,
        routing::get,
    };

    use super::*;

    /// What a handler holds, and how often it was copied.
    #[derive(Default)]
    struct Dear(Arc<AtomicUsize>);

    impl Clone for Dear {
        fn clone(&self) -> Self {
            self.0.fetch_add(1, Ordering::Relaxed);
            Self(Arc::clone(&self.0))
        }
    }

    #[tokio::test]
    async fn a_request_copies_a_route_once_however_many_layers_it_passes() {
        let copies = Arc::new(AtomicUsize::new(0));
        let mut app = Router::new()
            .route("/", get(async |State(_): State<Dear>| "well"))
            .layer(layer_fn(Shared::new))
            .layer(from_fn(async |request: Request, next: Next| match request
                .headers()
                .contains_key("authorization")
            {
                true => next.run(request).await,
                false => StatusCode::UNAUTHORIZED.into_response(),
            }));
        for _ in 0..8 {
            let on = async |request: Request, next: Next| next.run(request).await;
            app = app.layer(from_fn(on));
        }
        let app: Router = app.with_state(Dear(Arc::clone(&copies)));
        let asked = async |header: &str| {
            let before = copies.load(Ordering::Relaxed);
            let request = Request::get("/").header(header, "x").body(Body::empty());
            let answer = app.clone().oneshot(request.unwrap()).await.unwrap();
            (answer.status(), copies.load(Ordering::Relaxed) - before)
        };
        assert_eq!(asked("x-none").await, (StatusCode::UNAUTHORIZED, 0));
        let (status, few) = asked("authorization").await;
        // The rest is the handler's: a copy for each layer would be more.
        assert!(status == StatusCode::OK && few <= 4, "{few} copies");
    }
}
