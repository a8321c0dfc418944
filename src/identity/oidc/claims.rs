//! What a token must say, beside what jsonwebtoken looks at (the signature, `iss`, `aud`, `exp`, `nbf`). Pure: the time is given.

use serde_json::Value;

use super::{TokenError, token::Members};
use crate::identity::Scopes;

/// OpenID Connect Core 1.0, section 2: a subject has at most 255 characters of ASCII.
const MAX_SUBJECT: usize = 255;

/// Claims that ID tokens have, and access tokens have no use for (OpenID Connect Core 1.0, sections 2 and 3.3.2.11).
const OF_ID_TOKENS: [&str; 4] = ["nonce", "at_hash", "c_hash", "s_hash"];

/// What counts of a token's claims.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claims {
    /// Who it is.
    pub(super) subject: String,
    /// What it may do.
    pub(super) scopes: Scopes,
    /// The second since 1970 at which the token ends.
    pub(super) expires: u64,
}

/// Makes sure that a token says it is an access token: by its type (RFC 9068, section 4), or, where plain tokens are taken, by not saying
/// that it is something else. One that is of use with a key alone (`DPoP`, mutual TLS) is none that anybody may bear.
///
/// # Errors
/// When it is none.
pub(super) fn check_kind(
    kind: Option<&str>,
    claims: &Members,
    accept_plain: bool,
) -> Result<(), TokenError> {
    let is = |name: &str| kind.is_some_and(|kind| kind.eq_ignore_ascii_case(name));
    if claims.get("cnf").is_some() {
        return Err(TokenError::Bound);
    }
    if is("at+jwt") || is("application/at+jwt") {
        // RFC 9068, section 2.2.
        return match claims.get("iat") {
            Some(_) => Ok(()),
            None => Err(TokenError::Claim("iat")),
        };
    }
    if !accept_plain || !(kind.is_none() || is("JWT") || is("application/jwt")) {
        return Err(TokenError::Kind);
    }
    // A logout token has events, Keycloak says by `typ` what a token is for, Amazon Cognito by `token_use`.
    let says = |claim: &str, words: &[&str]| {
        let said = claims.get(claim).and_then(Value::as_str);
        said.is_some_and(|said| words.iter().any(|word| said.eq_ignore_ascii_case(word)))
    };
    let other = OF_ID_TOKENS.iter().any(|claim| claims.get(claim).is_some())
        || claims.get("events").is_some()
        || says("typ", &["ID", "Refresh", "Offline", "Logout"])
        || says("token_use", &["id"]);
    if other { Err(TokenError::Kind) } else { Ok(()) }
}

/// Reads the claims of a token whose signature is right. `now` and `leeway` in seconds.
///
/// # Errors
/// When one of them is missing or not as it must be.
pub(super) fn read(claims: &Members, now: u64, leeway: u64) -> Result<Claims, TokenError> {
    let subject = claims.get("sub").and_then(Value::as_str);
    let subject = subject
        .filter(|subject| is_subject(subject))
        .ok_or(TokenError::Claim("sub"))?;
    if let Some(issued) = claims.get("iat") {
        let issued = seconds(issued).ok_or(TokenError::Claim("iat"))?;
        if issued > now.saturating_add(leeway) {
            return Err(TokenError::NotYetValid);
        }
    }
    let expires = claims.get("exp").and_then(seconds);
    let expires = expires.ok_or(TokenError::Claim("exp"))?;
    // At that second it is over (RFC 7519, section 4.1.4); jsonwebtoken takes it for one more.
    if now >= expires.saturating_add(leeway) {
        return Err(TokenError::Expired);
    }
    Ok(Claims {
        subject: subject.to_owned(),
        scopes: scopes(claims)?,
        expires,
    })
}

/// Whether somebody can have that name.
pub(super) fn is_subject(subject: &str) -> bool {
    !subject.is_empty() && subject.len() <= MAX_SUBJECT && !subject.contains(char::is_control)
}

/// A `NumericDate` (RFC 7519, section 2): it may have a fraction.
pub(super) fn seconds(value: &Value) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is not negative, and beyond the end of time there is no later"
    )]
    let whole = |number: f64| (number >= 0.0).then_some(number as u64);
    value.as_u64().or_else(|| value.as_f64().and_then(whole))
}

/// `scope`, with spaces between (RFC 9068, section 2.2.3), and `scp`, so or as a list, as Entra and Okta have it.
fn scopes(claims: &Members) -> Result<Scopes, TokenError> {
    let mut names = Vec::new();
    for claim in ["scope", "scp"] {
        match claims.get(claim) {
            None => {}
            Some(Value::String(list)) => names.extend(list.split(' ')),
            Some(Value::Array(list)) if claim == "scp" => {
                for name in list {
                    names.push(name.as_str().ok_or(TokenError::Claim("scp"))?);
                }
            }
            Some(_) => return Err(TokenError::Claim(claim)),
        }
    }
    Ok(Scopes::named(names))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn members(value: &Value) -> Members {
        serde_json::from_str(&value.to_string()).unwrap()
    }

    fn with(over: &Value) -> Result<Claims, TokenError> {
        let mut claims = json!({"sub": "ada", "exp": 2_000, "iat": 1_000, "scope": "runs:read"});
        for (name, value) in over.as_object().unwrap() {
            claims[name] = value.clone();
        }
        read(&members(&claims), 1_000, 30)
    }

    #[test]
    fn a_subject_is_a_text_of_some_length() {
        assert_eq!(with(&json!({})).unwrap().subject, "ada");
        assert!(with(&json!({"sub": "a".repeat(255)})).is_ok());
        for wrong in [
            json!(""),
            json!(7),
            json!(null),
            json!(["ada"]),
            json!("a\nb"),
            json!("a".repeat(256)),
        ] {
            let error = with(&json!({"sub": wrong})).unwrap_err();
            assert_eq!(error, TokenError::Claim("sub"), "{wrong}");
        }
        let none = members(&json!({"exp": 2_000}));
        assert_eq!(read(&none, 0, 0), Err(TokenError::Claim("sub")));
    }

    #[test]
    fn times_are_numbers_and_none_is_made_in_the_future() {
        for (issued, outcome) in [
            (json!(1_030), None),
            (json!(1_030.9), None),
            (json!(1_031), Some(TokenError::NotYetValid)),
            (json!(1e300), Some(TokenError::NotYetValid)),
            (json!("1000"), Some(TokenError::Claim("iat"))),
            (json!(-1), Some(TokenError::Claim("iat"))),
            (json!(null), Some(TokenError::Claim("iat"))),
        ] {
            assert_eq!(with(&json!({"iat": issued})).err(), outcome, "{issued}");
        }
        assert_eq!(with(&json!({"exp": 2_000.5})).unwrap().expires, 2_000);
        // 1000 seconds, and the leeway of 30.
        for (expires, outcome) in [
            (json!(971), None),
            (json!(970.9), Some(TokenError::Expired)),
            (json!(970), Some(TokenError::Expired)),
        ] {
            assert_eq!(with(&json!({"exp": expires})).err(), outcome, "{expires}");
        }
        assert_eq!(with(&json!({"exp": 1e300})).unwrap().expires, u64::MAX);
    }

    #[test]
    fn scopes_stand_in_scope_or_in_scp() {
        let scopes = |over: Value| with(&over).map(|claims| claims.scopes.to_string());
        for (claims, held) in [
            (json!({}), "runs:read"),
            (
                json!({"scope": "openid  runs:write runs:read"}),
                "runs:read runs:write",
            ),
            (json!({"scope": "", "scp": "runs:write"}), "runs:write"),
            (
                json!({"scope": "", "scp": ["runs:admin", "x"]}),
                "runs:admin",
            ),
            (json!({"scope": ""}), ""),
            (json!({"scope": "runs:read,runs:write"}), ""),
        ] {
            assert_eq!(scopes(claims), Ok(held.to_owned()));
        }
        for (claims, wrong) in [
            (json!({"scope": ["runs:read"]}), "scope"),
            (json!({"scope": 7}), "scope"),
            (json!({"scp": [7]}), "scp"),
            (json!({"scp": {}}), "scp"),
        ] {
            assert_eq!(scopes(claims), Err(TokenError::Claim(wrong)));
        }
    }

    #[test]
    fn only_access_tokens_are_taken() {
        let check = |kind: Option<&str>, claims: Value, plain| {
            check_kind(kind, &members(&claims), plain).is_ok()
        };
        for plain in [false, true] {
            for kind in ["at+jwt", "application/at+jwt", "AT+JWT"] {
                assert!(check(Some(kind), json!({"iat": 1}), plain));
                assert!(!check(Some(kind), json!({}), plain));
            }
            for kind in ["logout+jwt", "dpop+jwt", "at+jwt ", "", "JWS"] {
                assert!(!check(Some(kind), json!({}), plain), "{kind}");
            }
        }
        for kind in [None, Some("JWT"), Some("jwt")] {
            assert!(!check(kind, json!({}), false));
            assert!(check(
                kind,
                json!({"typ": "Bearer", "token_use": "access"}),
                true
            ));
            for mark in [
                json!({"nonce": "n"}),
                json!({"at_hash": "h"}),
                json!({"events": {}}),
                json!({"typ": "ID"}),
                json!({"typ": "Refresh"}),
                json!({"token_use": "id"}),
            ] {
                assert!(!check(kind, mark.clone(), true), "{mark}");
            }
        }
        for cnf in [json!({"jkt": "x"}), json!({"x5t#S256": "x"}), json!({})] {
            let claims = members(&json!({"iat": 1, "cnf": cnf}));
            for kind in [None, Some("JWT"), Some("at+jwt")] {
                assert_eq!(check_kind(kind, &claims, true), Err(TokenError::Bound));
            }
        }
    }
}
