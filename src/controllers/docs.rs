//! `/docs`: the document of the API to look at and to try, by Swagger UI, whose files are in the program.

use std::sync::{Arc, LazyLock};

use axum::{
    extract::{Path, rejection::PathRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Redirect, Response},
};
use loco_rs::{controller::Routes, prelude::get};
use utoipa_swagger_ui::Config;

use super::extract::undecodable;
use crate::views::problem::Problem;

/// Only what this server sends, and nothing that stands in the page itself. The icons of the viewer's style sheet are data.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);

/// The files are the program's own: what a browser keeps of them for a while is not old.
const KEPT: HeaderValue = HeaderValue::from_static("private, max-age=600");

/// The viewer of the document
#[utoipa::path(
    get,
    path = "/docs",
    tag = "documentation",
    responses((status = 307, description = "Where its page is"))
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn show_docs() -> Redirect {
    Redirect::temporary("/docs/index.html")
}

/// A file of the viewer
#[utoipa::path(
    get,
    path = "/docs/{file}",
    tag = "documentation",
    params(("file" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "The file", content(("text/html"), ("text/css"), ("text/javascript"), ("image/png"), ("application/json"))),
        (status = 400, response = Problem),
        (status = 404, response = Problem),
    )
)]
#[axum::debug_handler(state = loco_rs::app::AppContext)]
pub(super) async fn show_docs_file(
    file: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
        let config = Config::from("/openapi.json").try_it_out_enabled(true);
        Arc::new(config.use_base_layout())
    });
    let Path(name) = file.map_err(|_| undecodable())?;
    let missing = || Problem::of_status(StatusCode::NOT_FOUND);
    let found = utoipa_swagger_ui::serve(&name, Arc::clone(&CONFIG));
    let file = found.ok().flatten().ok_or_else(missing)?;
    let kind = HeaderValue::from_str(&file.content_type).map_err(|_| missing())?;
    let mut response = file.bytes.into_owned().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::CACHE_CONTROL, KEPT);
    Ok(response)
}

/// The routes.
pub fn routes() -> Routes {
    Routes::new()
        .add("/docs", get(show_docs))
        .add("/docs/{file}", get(show_docs_file))
}
