//! Examples: answers that the tests have got, by operation and status, and bodies that they have sent. What stands under `every route` is
//! for all that have no other.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::{
    Modify,
    openapi::{Content, OpenApi, RefOr},
};

use super::common::operations;

/// `{operation: {status or "request": body}}`.
const EXAMPLES: &str = include_str!("examples.json");

pub(super) struct Examples;

impl Modify for Examples {
    fn modify(&self, document: &mut OpenApi) {
        // The tests fail if it cannot be read: every example in it is held against an answer.
        let mut examples: BTreeMap<String, BTreeMap<String, Value>> =
            serde_json::from_str(EXAMPLES).unwrap_or_default();
        let for_all = examples.remove("every route").unwrap_or_default();
        for item in document.paths.paths.values_mut() {
            for (_, operation) in operations(item) {
                let id = operation.operation_id.clone().unwrap_or_default();
                let examples = examples.remove(&id).unwrap_or_default();
                if let Some(RefOr::T(body)) = &mut operation.request_body {
                    show(body.content.iter_mut(), examples.get("request"));
                }
                for (status, response) in &mut operation.responses.responses {
                    if let RefOr::T(response) = response {
                        let example = examples.get(status).or_else(|| for_all.get(status));
                        show(response.content.iter_mut(), example);
                    }
                }
            }
        }
    }
}

/// An example is JSON, so it is none of another form that the answer may have.
fn show<'a>(
    contents: impl Iterator<Item = (&'a String, &'a mut RefOr<Content>)>,
    example: Option<&Value>,
) {
    for (kind, content) in contents {
        if let RefOr::T(content) = content
            && (kind.ends_with("json") || kind == "text/event-stream")
            && example.is_some()
        {
            content.example = example.cloned();
        }
    }
}
