//! Every answer that a test gets is held against the document of the API: the status, the content type, the body.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex},
};

use jsonschema::{Draft, Validator};
use parley::controllers::openapi::document;
use serde_json::{Value, json};

use super::{Answer, Event};

/// The document, with what checks bodies by it.
pub(crate) struct Contract {
    pub(crate) document: Value,
    /// By the JSON pointer of the schema.
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

/// The one of this process.
pub(crate) fn contract() -> &'static Contract {
    static CONTRACT: LazyLock<Contract> = LazyLock::new(|| Contract {
        document: serde_json::from_str(document()).expect("the document is JSON"),
        validators: Mutex::default(),
    });
    &CONTRACT
}

/// A part of the document: what an address answers to a method.
#[derive(Clone, Copy)]
pub(crate) struct Operation {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) value: &'static Value,
}

impl Operation {
    pub(crate) fn id(&self) -> &'static str {
        self.value["operationId"].as_str().unwrap()
    }

    /// The documented statuses.
    pub(crate) fn statuses(&self) -> Vec<u16> {
        let responses = self.value["responses"].as_object().unwrap();
        responses
            .keys()
            .map(|status| status.parse().unwrap())
            .collect()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.value["security"] == json!([{}])
    }

    /// The document's example of a body for it, with its media type.
    pub(crate) fn request(&self) -> Option<(&'static str, &'static Value)> {
        let content = self.value["requestBody"]["content"].as_object()?;
        let (kind, body) = content.iter().next()?;
        Some((kind, &body["example"]))
    }
}

impl Contract {
    pub(crate) fn operations(&'static self) -> impl Iterator<Item = Operation> {
        let paths = self.document["paths"].as_object().unwrap();
        paths.iter().flat_map(|(path, item)| {
            let item = item.as_object().unwrap().iter();
            item.map(move |(method, value)| Operation {
                method,
                path,
                value,
            })
        })
    }

    /// What the document says of that request. A HEAD is what the GET is, without its body.
    pub(crate) fn operation(&'static self, method: &str, path: &str) -> Option<Operation> {
        let method = if method == "HEAD" { "GET" } else { method };
        self.operations().find(|operation| {
            operation.method.eq_ignore_ascii_case(method) && fits(operation.path, path)
        })
    }

    /// Fails if the document does not say that such a request is answered in this way.
    pub(crate) fn check(&'static self, method: &str, path: &str, answer: &Answer) {
        let told = || format!("{method} {path}: {} {}", answer.status, answer.text);
        let kind = answer.header("content-type").split(';').next().unwrap();
        if method == "OPTIONS" && answer.status == 204 {
            // A preflight is between a browser and the server, and no part of the API.
            return;
        }
        let Some(operation) = self.operation(method, path) else {
            assert!(
                matches!(answer.status, 401 | 403 | 404 | 405 | 429),
                "an address that the document does not have answers: {}",
                told()
            );
            if method != "HEAD" {
                self.check_body("/components/schemas/Problem", answer, &told());
            }
            return;
        };
        let responses = operation.value["responses"].as_object().unwrap();
        let Some(response) = responses.get(&answer.status.to_string()) else {
            panic!("the document does not name this status: {}", told());
        };
        let Some(content) = response["content"].as_object() else {
            assert_eq!(answer.text, "", "a body that is not documented: {}", told());
            return;
        };
        assert!(
            content.contains_key(kind),
            "the document does not name the type {kind:?}: {}",
            told()
        );
        if method != "HEAD" && kind.ends_with("json") && content[kind].get("schema").is_some() {
            let part = format!(
                "/paths/{}/{}/responses/{}/content/{}/schema",
                escaped(operation.path),
                operation.method,
                answer.status,
                escaped(kind)
            );
            self.check_body(&part, answer, &told());
        }
    }

    fn check_body(&self, schema: &str, answer: &Answer, told: &str) {
        let errors = self.errors(schema, &answer.json());
        assert!(errors.is_empty(), "{errors:?} in {told}");
    }

    /// Fails if the document does not describe this event.
    pub(crate) fn check_event(&self, event: &Event) {
        let data = event.json();
        assert_eq!(data["type"], event.name, "{event:?}");
        let mapping =
            &self.document["components"]["schemas"]["StreamEvent"]["discriminator"]["mapping"];
        let Some(schema) = mapping[&event.name].as_str() else {
            panic!("the document does not name this event: {event:?}");
        };
        let errors = self.errors(schema.strip_prefix('#').unwrap(), &data);
        assert!(errors.is_empty(), "{errors:?} in {event:?}");
    }

    /// What is wrong with a value by the schema there.
    pub(crate) fn errors(&self, schema: &str, value: &Value) -> Vec<String> {
        let validator = self.validator(schema);
        let errors = validator.iter_errors(value);
        errors
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect()
    }

    fn validator(&self, schema: &str) -> Arc<Validator> {
        let mut validators = self.validators.lock().unwrap();
        let validator = validators.entry(schema.to_owned()).or_insert_with(|| {
            let mut whole = self.document.pointer(schema).expect("a schema").clone();
            whole["components"] = self.document["components"].clone();
            let options = jsonschema::options().with_draft(Draft::Draft202012);
            let built = options.should_validate_formats(true).build(&whole);
            Arc::new(built.expect("a schema that can be read"))
        });
        Arc::clone(validator)
    }
}

fn escaped(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

/// Whether a path is one of those that a template stands for.
fn fits(template: &str, path: &str) -> bool {
    let (mut asked, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (asked.next(), path.next()) {
            (None, None) => return true,
            (Some(asked), Some(part)) if asked == part => {}
            (Some(asked), Some(part)) if asked.contains('{') && !part.is_empty() => {}
            _ => return false,
        }
    }
}

#[test]
fn a_body_that_is_not_documented_is_found() {
    let problem = json!({"type": "/problems/x", "title": "X", "status": 404, "detail": "x", "request_id": "x"});
    let schema = "/components/schemas/Problem";
    assert_eq!(contract().errors(schema, &problem), Vec::<String>::new());
    for (member, other) in [
        ("status", json!(200)),
        ("type", json!("x")),
        ("title", json!(1)),
    ] {
        let mut wrong = problem.clone();
        wrong[member] = other;
        assert_eq!(contract().errors(schema, &wrong).len(), 1, "{member}");
    }
    let run = "/components/schemas/RunId";
    assert_eq!(contract().errors(run, &json!("no uuid")).len(), 1);
    let found = |method, path| contract().operation(method, path).map(|found| found.id());
    assert_eq!(found("GET", "/api/run/x"), Some("get_run"));
    assert_eq!(found("HEAD", "/api/export/x.json"), Some("export_run"));
    assert_eq!(found("GET", "/api/run/x/y"), None);
    assert_eq!(found("PUT", "/api/run"), None);
}
