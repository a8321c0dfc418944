//! `WWW-Authenticate`: how to log in (RFC 7617, section 2; RFC 6750, section 3; RFC 9728, section 5.1).

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::Response,
};

use crate::{identity::TokenError, views::problem::Body};

/// Of Basic auth. A browser that gets it opens its dialog.
pub(super) const BASIC: HeaderValue =
    HeaderValue::from_static("Basic realm=\"parley\", charset=\"UTF-8\"");

/// Of bearer tokens. Who had none is told no error.
pub(super) fn bearer(wrong: Option<TokenError>, metadata: &str) -> HeaderValue {
    let error = wrong.map_or_else(String::new, |error| {
        format!("error=\"invalid_token\", error_description=\"{error}\", ")
    });
    value(&format!(
        "Bearer realm=\"parley\", {error}resource_metadata=\"{metadata}\""
    ))
}

/// The answer to a bearer, and where it says that the token lacks a scope, which one.
pub(super) fn with_missing_scope(mut answer: Response) -> Response {
    if answer.status() != StatusCode::FORBIDDEN {
        return answer;
    }
    let problem = answer.extensions().get::<Body>();
    let scope = problem
        .filter(|Body(problem)| problem["type"] == "/problems/insufficient-scope")
        .and_then(|Body(problem)| problem["scope"].as_str());
    let Some(scope) = scope else { return answer };
    let challenge = value(&format!(
        "Bearer realm=\"parley\", error=\"insufficient_scope\", scope=\"{scope}\""
    ));
    answer
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, challenge);
    answer
}

/// What stands in it are our own words and an address, which have no characters that a header cannot.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("Bearer realm=\"parley\""))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// RFC 6750, section 3: no quotes, no backslashes, no controls, nothing beyond ASCII.
    #[test]
    fn every_error_can_stand_in_a_header() {
        let retry_after = Duration::from_secs(1);
        for error in [
            TokenError::Malformed,
            TokenError::TooLong,
            TokenError::Algorithm,
            TokenError::Critical,
            TokenError::OwnKey,
            TokenError::Kind,
            TokenError::Bound,
            TokenError::Issuer,
            TokenError::UnknownKey,
            TokenError::Signature,
            TokenError::Audience,
            TokenError::NotYetValid,
            TokenError::Expired,
            TokenError::Claim("sub"),
            TokenError::Unavailable { retry_after },
        ] {
            let text = error.to_string();
            let fine = |byte: u8| (b' '..=b'~').contains(&byte) && !b"\"\\".contains(&byte);
            assert!(text.bytes().all(fine), "{text}");
            let challenge = bearer(Some(error), "https://a.example/x");
            assert!(challenge.to_str().unwrap().contains(&text));
        }
    }
}
