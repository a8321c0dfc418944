use serde_json::json;

use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect()
}

fn of(status: u16, body: &Value) -> (FailureCode, bool) {
    let failure = refused(
        StatusCode::from_u16(status).unwrap(),
        &HeaderMap::new(),
        body.to_string().as_bytes(),
    );
    (failure.failure.code, failure.retryable)
}

#[test]
fn errors_are_told_apart_by_what_they_say_and_else_by_status() {
    let error =
        |kind: &str, code: Value| json!({"error": {"type": kind, "code": code, "message": "m"}});
    assert_eq!(of(401, &json!({})), (FailureCode::Auth, false));
    assert_eq!(
        of(
            404,
            &error("invalid_request_error", json!("model_not_found"))
        ),
        (FailureCode::NotFound, false)
    );
    assert_eq!(
        of(429, &error("requests", json!("rate_limit_exceeded"))),
        (FailureCode::RateLimited, true)
    );
    assert_eq!(
        of(
            429,
            &error("insufficient_quota", json!("insufficient_quota"))
        ),
        (FailureCode::Permission, false)
    );
    assert_eq!(
        of(400, &error("x", json!("context_length_exceeded"))),
        (FailureCode::ContextExceeded, false)
    );
    assert_eq!(
        of(
            400,
            &json!({"error": {"type": "exceed_context_size_error"}})
        ),
        (FailureCode::ContextExceeded, false)
    );
    assert_eq!(
        of(
            529,
            &json!({"type": "error", "error": {"type": "overloaded_error"}})
        ),
        (FailureCode::Overloaded, true)
    );
    assert_eq!(of(500, &json!("oops")), (FailureCode::Server, true));
    assert_eq!(
        of(503, &json!({"error": "Loading model"})),
        (FailureCode::Overloaded, true)
    );
    assert_eq!(
        of(400, &json!({"object": "error", "code": 400})),
        (FailureCode::InvalidRequest, false)
    );
    assert_eq!(of(307, &json!({})), (FailureCode::InvalidRequest, false));
}

#[test]
fn the_status_and_the_details_of_gemini_are_words_too() {
    let error = |status: &str, details: Value| json!({"error": {"status": status, "message": "m", "details": details}});
    for (status, code) in [
        ("UNAUTHENTICATED", FailureCode::Auth),
        ("PERMISSION_DENIED", FailureCode::Permission),
        ("FAILED_PRECONDITION", FailureCode::Permission),
        ("NOT_FOUND", FailureCode::NotFound),
        ("RESOURCE_EXHAUSTED", FailureCode::RateLimited),
        ("UNAVAILABLE", FailureCode::Overloaded),
        ("DEADLINE_EXCEEDED", FailureCode::Timeout),
        ("INVALID_ARGUMENT", FailureCode::InvalidRequest),
        ("INTERNAL", FailureCode::Server),
    ] {
        let body = error(status, Value::Null);
        let object = ErrorObject::find(&body).unwrap();
        assert_eq!(object.failure(None).failure.code, code, "{status}");
        let array = ErrorObject::find(&json!([body])).unwrap();
        assert_eq!(array.failure(None).failure.code, code, "{status}");
    }
    let reason =
        json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]);
    assert_eq!(
        of(400, &error("INVALID_ARGUMENT", reason)),
        (FailureCode::Auth, false)
    );
    let too_long = json!({"error": {"code": 400, "status": "INVALID_ARGUMENT", "message":
        "The input token count (3) exceeds the maximum number of tokens allowed (2)."}});
    assert_eq!(of(400, &too_long), (FailureCode::ContextExceeded, false));
}

#[test]
fn a_number_in_a_frame_is_a_status() {
    let frame = json!({"error": {"code": 502, "message": "worker limit"}});
    assert_eq!(
        ErrorObject::find(&frame)
            .unwrap()
            .failure(None)
            .failure
            .code,
        FailureCode::Server
    );
}

#[test]
fn the_provider_says_when_to_come_back() {
    assert_eq!(
        retry_after(&headers(&[("retry-after", "12")])),
        Some(Duration::from_secs(12))
    );
    assert_eq!(
        retry_after(&headers(&[("retry-after", "0.5")])),
        Some(Duration::from_millis(500))
    );
    assert_eq!(
        retry_after(&headers(&[("retry-after", "9"), ("retry-after-ms", "250")])),
        Some(Duration::from_millis(250))
    );
    assert_eq!(
        retry_after(&headers(&[(
            "retry-after",
            "Thu, 01 Jan 1970 00:00:00 GMT"
        )])),
        Some(Duration::ZERO)
    );
    assert_eq!(retry_after(&headers(&[("retry-after", "soon")])), None);
    assert_eq!(retry_after(&headers(&[("retry-after", "-1")])), None);
    let delayed = |delay: &str| {
        let details = json!([{}, {"retryDelay": delay}]);
        let body = json!({"error": {"details": details}}).to_string();
        let status = StatusCode::TOO_MANY_REQUESTS;
        refused(status, &HeaderMap::new(), body.as_bytes()).retry_after
    };
    assert_eq!(delayed("37.5s"), Some(Duration::from_millis(37_500)));
    for none in ["37", "-1s", "soon", "s"] {
        assert_eq!(delayed(none), None, "{none}");
    }
}

#[test]
fn a_key_that_the_provider_repeats_is_not_passed_on_not_even_half_of_it() {
    let key = Secret::new(&"Bearer canary-key".to_owned().into()).unwrap();
    for before in [0, MAX_MESSAGE - 4] {
        let message = format!("{}canary-key {}", "x".repeat(before), "y".repeat(900));
        let failure = AttemptFailure::new(FailureCode::Auth, message);
        let message = told(failure, Some(&key)).failure.message;
        assert!(
            !message.contains("can") && message.chars().count() <= MAX_MESSAGE + 1,
            "{message}"
        );
    }
}

/// What is wrong may be a list, and has to be read for the field that it names.
#[test]
fn a_message_that_is_no_text_is_told_as_it_is() {
    let wrong = json!([{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]);
    for body in [
        json!({"object": "error", "message": {"detail": wrong}, "type": "invalid_request_error", "code": null}),
        json!({"object": "Error", "detail": wrong, "message": wrong, "type": "invalid_request_error", "code": 3001}),
        json!({"object": "error", "message": json!({"detail": wrong}).to_string(), "type": "internal_error_proxy", "code": "1000"}),
        json!({"detail": wrong}),
        json!({"error": {"message": null, "detail": wrong}}),
    ] {
        let bytes = body.to_string();
        let failure = refused(
            StatusCode::UNPROCESSABLE_ENTITY,
            &HeaderMap::new(),
            bytes.as_bytes(),
        );
        assert_eq!(failure.failure.code, FailureCode::InvalidRequest, "{body}");
        let message = failure.failure.message;
        assert!(message.contains("stream_options"), "{message}");
    }
    let plain = refused(
        StatusCode::NOT_FOUND,
        &HeaderMap::new(),
        b"{\"detail\":\"Not Found\"}",
    );
    assert_eq!(plain.failure.message, "Not Found");
}

/// Such lists repeat what was sent, and that is the prompt.
#[test]
fn what_a_server_repeats_of_the_request_is_left_out() {
    let wrong = json!([{
        "type": "string_too_long", "loc": ["body", "messages", 0], "msg": "String should have at most 5 characters",
        "input": "quince", "ctx": {"max_length": 5, "value": "quince"},
    }]);
    for body in [
        json!({"detail": wrong}),
        json!({"message": {"detail": wrong}}),
        json!({"error": {"message": json!({"detail": wrong}).to_string()}}),
    ] {
        let told = refused(
            StatusCode::UNPROCESSABLE_ENTITY,
            &HeaderMap::new(),
            body.to_string().as_bytes(),
        );
        let message = told.failure.message;
        assert!(
            message.contains("at most 5") && message.contains("loc") && !message.contains("quince"),
            "{message}"
        );
    }
    let plain = json!({"error": {"message": "[1, 2] is {no} list"}}).to_string();
    let plain = refused(StatusCode::BAD_REQUEST, &HeaderMap::new(), plain.as_bytes());
    assert_eq!(plain.failure.message, "[1, 2] is {no} list");
}
