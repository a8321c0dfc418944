//! What goes for many routes: the login, the cross-site check, and that every error is a problem.

use serde_json::Value;
use utoipa::{
    Modify, ToResponse as _,
    openapi::{
        Content, Header, HttpMethod, ObjectBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder,
        Schema, Type,
        path::Operation,
        schema::SchemaType,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use crate::views::problem::{PROBLEM_JSON, Problem};

pub(super) struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Basic);
        let scheme = scheme.description(Some("Absent in DEV_MODE, on a developer's own machine."));
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some(
                "An access token (RFC 6750, RFC 9068), where the server takes them: `/.well-known/oauth-protected-resource` says whose. \
                 Its scopes: `runs:read` to look at one's own runs, `runs:write` to start, change, stop and delete them; `runs:admin` is both, with \
                 everybody's runs, and to see who did what with them.",
            ));
        let session = "A login by a browser, at `/auth/login`, where the server has an issuer for it; over plain HTTP, on one's own machine, its name is `parley`.";
        let session = ApiKeyValue::with_description("__Host-parley", session);
        if let Some(components) = &mut document.components {
            let session = SecurityScheme::ApiKey(ApiKey::Cookie(session));
            components.add_security_scheme("session", session);
            components.add_security_scheme("basic", SecurityScheme::Http(scheme.build()));
            components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
            components.responses.clear();
            components
                .schemas
                .values_mut()
                .for_each(forget_null_default);
        }
        for item in document.paths.paths.values_mut() {
            for (method, operation) in operations(item) {
                complete(operation, &method);
            }
        }
    }
}

/// The operations of an address that this API has.
pub(super) fn operations(
    item: &mut utoipa::openapi::PathItem,
) -> impl Iterator<Item = (HttpMethod, &mut Operation)> {
    [
        (HttpMethod::Get, &mut item.get),
        (HttpMethod::Post, &mut item.post),
        (HttpMethod::Put, &mut item.put),
        (HttpMethod::Patch, &mut item.patch),
        (HttpMethod::Delete, &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// A parameter that is absent is what null would be; to say so would make it one for those who read the document by a program.
fn forget_null_default(schema: &mut RefOr<Schema>) {
    if let RefOr::T(Schema::Object(object)) = schema {
        for member in object.properties.values_mut() {
            match member {
                RefOr::T(Schema::Object(member)) => forget(&mut member.default),
                RefOr::T(Schema::Array(member)) => forget(&mut member.default),
                _ => {}
            }
        }
    }
}

fn forget(default: &mut Option<Value>) {
    if *default == Some(Value::Null) {
        *default = None;
    }
}

/// What may be absent from a query, from the headers or as a whole body is never null there.
fn never_null(schema: &mut RefOr<Schema>) {
    let types = match schema {
        RefOr::T(Schema::OneOf(one_of)) => {
            if let Some(reference @ RefOr::Ref(_)) = one_of.items.first() {
                *schema = reference.clone();
            }
            return;
        }
        RefOr::T(Schema::Object(object)) => &mut object.schema_type,
        _ => return,
    };
    if let SchemaType::Array(several) = types
        && let Some(first) = several.first()
    {
        *types = SchemaType::Type(first.clone());
    }
}

fn complete(operation: &mut Operation, method: &HttpMethod) {
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter
            && let Some(schema) = &mut parameter.schema
        {
            never_null(schema);
        }
    }
    let has_body = operation.request_body.is_some();
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        for content in body.content.values_mut() {
            if let RefOr::T(content) = content
                && let Some(schema) = &mut content.schema
            {
                never_null(schema);
            }
        }
    }
    let mut add = |status: &str| {
        let problem = Ref::from_response_name(Problem::response().0);
        let responses = &mut operation.responses.responses;
        responses.insert(status.to_owned(), problem.into());
    };
    // What has no word of its own on it wants the login that stands for the whole document.
    if operation.security.is_none() {
        add("401");
        add("429");
        // The issuer of a token is down.
        add("503");
    }
    if has_body {
        add("408");
    }
    // A page of another site changes nothing; and runs take a scope.
    let runs = |tag: &String| tag == "runs";
    if *method != HttpMethod::Get || operation.tags.iter().flatten().any(runs) {
        add("403");
    }
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::Ref(_) = response {
            *response = RefOr::T(problem(status));
        }
    }
}

/// A problem with that status. Its description is the status's own: what is wrong in particular, its `type` and `detail` say.
fn problem(status: &str) -> Response {
    let (description, headers): (&str, &[(&str, &str)]) = match status {
        "400" => ("Not JSON, or a malformed id, cursor, query or header", &[]),
        "401" => (
            "No login, or a wrong one",
            &[(
                "WWW-Authenticate",
                "How to log in; absent where a browser would hang behind its dialog",
            )],
        ),
        "403" => (
            "The login lacks the scope, or a page of another site asks for a change",
            &[],
        ),
        "404" => ("There is no such thing", &[]),
        "408" => ("The body did not come in time", &[]),
        "409" => ("Not as the run stands", &[]),
        "412" => ("`If-Match` names another version", &[]),
        "413" => ("The body is too large", &[]),
        "415" => ("The body is no JSON by its type", &[]),
        "422" => ("Input that breaks a rule", &[]),
        "429" => (
            "Too many are made, or too many logins are wrong",
            &[RETRY_AFTER],
        ),
        "503" => (
            "Not now; the same request may succeed later",
            &[RETRY_AFTER],
        ),
        _ => ("Something went wrong on the server's side", &[]),
    };
    let mut response = ResponseBuilder::new().description(description).content(
        PROBLEM_JSON,
        Content::new(Some(Ref::from_schema_name("Problem"))),
    );
    for (name, says) in headers {
        let text = ObjectBuilder::new().schema_type(Type::String);
        let mut header = Header::new(text);
        header.description = Some((*says).to_owned());
        response = response.header(*name, header);
    }
    response.build()
}

const RETRY_AFTER: (&str, &str) = ("Retry-After", "After how many seconds to come again");
