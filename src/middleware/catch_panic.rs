//! A handler that panics is answered for. In the place of Loco's layer of the same name, which puts something around each body: a stream
//! is polled for each delta.

use std::panic::AssertUnwindSafe;

use axum::{
    Router,
    extract::Request,
    http::StatusCode,
    middleware::{Next, from_fn},
    response::{IntoResponse as _, Response},
};
use futures_util::FutureExt as _;
use loco_rs::{Result, app::AppContext, controller::middleware::MiddlewareLayer};

pub(super) struct CatchPanic {
    pub(super) enable: bool,
}

impl MiddlewareLayer for CatchPanic {
    fn name(&self) -> &'static str {
        "catch_panic"
    }

    fn is_enabled(&self) -> bool {
        self.enable
    }

    fn config(&self) -> serde_json::Result<serde_json::Value> {
        Ok(serde_json::json!({"enable": self.enable}))
    }

    fn apply(&self, app: Router<AppContext>) -> Result<Router<AppContext>> {
        Ok(app.layer(from_fn(caught)))
    }
}

async fn caught(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        // What it said, the process's hook has told, without what stands in it of somebody's text.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, routing::get};
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn who_panics_is_answered_for_and_others_are_left_as_they_are() {
        async fn bad() -> &'static str {
            panic!("a test's")
        }
        let app: Router = Router::new()
            .route("/bad", get(bad))
            .route("/good", get(async || "well"))
            .layer(from_fn(caught));
        for (path, status) in [("/bad", 500), ("/good", 200), ("/bad", 500)] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let answer = app.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), status, "{path}");
        }
    }
}
