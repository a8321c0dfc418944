//! A token's text (RFC 7515, compact): what it says of itself before anybody knows whether that is true.

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::Value;

use super::TokenError;

/// The longest token that is looked at.
pub(super) const MAX_TOKEN: usize = 8 * 1024;

/// The only algorithms that are taken: signatures with a key of which the other half is the issuer's alone.
pub(super) const ALGORITHMS: &[(&str, Algorithm)] = &[
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// Headers by which a token would bring its own key along (RFC 8725, section 3.10). No issuer that publishes its keys has a use for them.
const OWN_KEYS: [&str; 4] = ["jwk", "jku", "x5u", "x5c"];

/// The members of an object. One that has a name twice is none: two readers would read two things (RFC 7515, section 4; RFC 7519, section 4).
#[derive(Debug, Default)]
pub(super) struct Members(BTreeMap<String, Value>);

impl Members {
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    fn decode(part: &str) -> Result<Self, TokenError> {
        let json = BASE64_URL_SAFE_NO_PAD.decode(part);
        let json = json.map_err(|_| TokenError::Malformed)?;
        serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OnlyOnce)
    }
}

struct OnlyOnce;

impl<'de> Visitor<'de> for OnlyOnce {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a name stands twice"));
            }
        }
        Ok(Members(members))
    }
}

/// What a token's header says.
#[derive(Debug)]
pub(super) struct Header {
    /// `alg`.
    pub(super) algorithm: Algorithm,
    /// `kid`.
    pub(super) key_id: Option<String>,
    /// `typ`.
    pub(super) kind: Option<String>,
}

impl Header {
    fn read(members: &Members) -> Result<Self, TokenError> {
        if members.get("crit").is_some() {
            return Err(TokenError::Critical);
        }
        if OWN_KEYS.iter().any(|name| members.get(name).is_some()) {
            return Err(TokenError::OwnKey);
        }
        let text = |name| match members.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(TokenError::Malformed),
        };
        let named = text("alg")?.ok_or(TokenError::Algorithm)?;
        let algorithm = ALGORITHMS.iter().find(|(name, _)| *name == named);
        Ok(Self {
            algorithm: algorithm.ok_or(TokenError::Algorithm)?.1,
            key_id: text("kid")?,
            kind: text("typ")?,
        })
    }
}

/// A token that was read, and of which nothing is proven.
#[derive(Debug)]
pub(super) struct Unverified {
    pub(super) header: Header,
    pub(super) claims: Members,
}

impl Unverified {
    /// Reads a token.
    ///
    /// # Errors
    /// When it has not the form of one, or its header says what is not taken.
    pub(super) fn read(token: &str) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::TooLong);
        }
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Malformed);
        };
        Ok(Self {
            header: Header::read(&Members::decode(header)?)?,
            claims: Members::decode(claims)?,
        })
    }

    /// Whose token it says it is.
    pub(super) fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, claims: &str) -> String {
        let encoded = |text| BASE64_URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.c2ln", encoded(header), encoded(claims))
    }

    #[test]
    fn a_header_says_no_more_than_it_may() {
        let read = |header: &str| Unverified::read(&token(header, "{}")).map(|read| read.header);
        let good = read(r#"{"alg":"ES256","kid":"k","typ":"at+jwt","x5t":"a"}"#).unwrap();
        assert_eq!(
            (good.algorithm, good.key_id.as_deref(), good.kind.as_deref()),
            (Algorithm::ES256, Some("k"), Some("at+jwt"))
        );
        for (header, error) in [
            (r#"{"kid":"k"}"#, TokenError::Algorithm),
            (r#"{"alg":"none"}"#, TokenError::Algorithm),
            (r#"{"alg":"None"}"#, TokenError::Algorithm),
            (r#"{"alg":""}"#, TokenError::Algorithm),
            (r#"{"alg":"HS256"}"#, TokenError::Algorithm),
            (r#"{"alg":"es256"}"#, TokenError::Algorithm),
            (r#"{"alg":"ES512"}"#, TokenError::Algorithm),
            (r#"{"alg":["ES256"]}"#, TokenError::Malformed),
            (r#"{"alg":"ES256","alg":"ES256"}"#, TokenError::Malformed),
            (r#"{"alg":"ES256","a":1,"a":1}"#, TokenError::Malformed),
            (r#"{"alg":"ES256","kid":7}"#, TokenError::Malformed),
            (r#"{"alg":"ES256","typ":null}"#, TokenError::Malformed),
            (r#"{"alg":"ES256","crit":["b64"]}"#, TokenError::Critical),
            (r#"{"alg":"ES256","crit":null}"#, TokenError::Critical),
            (r#"{"alg":"ES256","jwk":{}}"#, TokenError::OwnKey),
            (r#"{"alg":"ES256","jku":"https://a"}"#, TokenError::OwnKey),
            (r#"["ES256"]"#, TokenError::Malformed),
            (r#"{"alg":"ES256"} x"#, TokenError::Malformed),
        ] {
            assert_eq!(read(header).unwrap_err(), error, "{header}");
        }
    }

    #[test]
    fn a_token_is_three_parts_of_base64url() {
        let good = token(r#"{"alg":"EdDSA"}"#, r#"{"iss":"https://a"}"#);
        assert_eq!(Unverified::read(&good).unwrap().issuer(), Some("https://a"));
        let (head, _) = good.rsplit_once('.').unwrap();
        for wrong in [
            "",
            "a",
            "..",
            head,
            &format!("{good}.x"),
            &good.replacen('.', "=.", 1),
            &format!(" {good}"),
            &token(r#"{"alg":"EdDSA"}"#, r#"{"iss":"a","iss":"b"}"#),
            &token(r#"{"alg":"EdDSA"}"#, "7"),
        ] {
            let error = Unverified::read(wrong).unwrap_err();
            assert_eq!(error, TokenError::Malformed, "{wrong}");
        }
        let long = "a".repeat(MAX_TOKEN + 1);
        assert_eq!(Unverified::read(&long).unwrap_err(), TokenError::TooLong);
    }
}
