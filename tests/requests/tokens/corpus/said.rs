//! Tokens whose header or claims say what is not taken.

use serde_json::{Value, json};

use super::{Bench, Wrong};
use crate::support::{compact, now};

impl Bench {
    fn wrong_headers(&self) -> [(&'static str, Value); 8] {
        let long = "k".repeat(4_000);
        [
            (
                "alg",
                json!([
                    "none",
                    "None",
                    "NONE",
                    "nOnE",
                    "",
                    "HS256",
                    "HS384",
                    "HS512",
                    "ES384",
                    "ES512",
                    "ES256K",
                    "RS256",
                    "PS256",
                    "EdDSA",
                    "Ed25519",
                    "es256",
                    " ES256",
                    "ES256 ",
                    7,
                    true,
                    [],
                    {},
                    ["ES256"],
                    null
                ]),
            ),
            (
                "kid",
                json!([
                    "",
                    "K",
                    "k ",
                    "k\u{0}",
                    "k2",
                    "r",
                    "d",
                    "../../dev/null",
                    "' OR '1'='1",
                    "http://192.0.2.1/k",
                    long,
                    7,
                    [],
                    {},
                    ["k"],
                    null
                ]),
            ),
            (
                "typ",
                json!([
                    "JWT",
                    "",
                    "at+jwt ",
                    "id+jwt",
                    "logout+jwt",
                    "application/json",
                    "at",
                    7,
                    [],
                    null
                ]),
            ),
            ("crit", json!([["exp"], [], "exp", ["b64"], {}, 7])),
            ("jwk", json!([self.forger.jwk(), {}, "x"])),
            ("jku", json!(["https://192.0.2.1/keys", 7])),
            ("x5u", json!(["https://192.0.2.1/cert"])),
            ("x5c", json!([["MIIB"], []])),
        ]
    }

    /// Headers that say something else, signed with the issuer's key, with another, and not at all.
    pub(super) fn headers(&self) -> Wrong {
        let mut all = Wrong::new();
        for (name, values) in self.wrong_headers() {
            for value in values.as_array().unwrap() {
                let token = self.good().header(name, value.clone());
                let what = format!("header {name}: {value}");
                all.push((format!("{what}, signed"), token.signed(&self.own)));
                all.push((format!("{what}, forged"), token.signed(&self.forger)));
                let (header, claims) = (token.header.to_string(), token.claims.to_string());
                all.push((
                    format!("{what}, unsigned"),
                    compact(&header, &claims, |_| vec![]),
                ));
            }
        }
        all
    }

    fn wrong_claims(&self) -> [(&'static str, Value); 9] {
        let (issuer, now, subject) = (&self.issuer, now(), "a".repeat(256));
        [
            (
                "iss",
                json!([
                    format!("{issuer}/"),
                    issuer.to_uppercase(),
                    &issuer[1..],
                    format!("{issuer}#"),
                    "",
                    7,
                    [],
                    {},
                    [issuer],
                    "https://192.0.2.1",
                    null
                ]),
            ),
            (
                "aud",
                json!(["", "x", "PARLEY", "parley ", "parley,x", [], ["x"], [7], [["parley"]], {}, {"parley": 1}, 7, true, null]),
            ),
            (
                "exp",
                json!([
                    0,
                    1,
                    now - 60,
                    now - 3_600,
                    -1,
                    "x",
                    (now + 60).to_string(),
                    [],
                    [now + 60],
                    {},
                    true,
                    null
                ]),
            ),
            (
                "nbf",
                json!([
                    now + 60,
                    now + 3_600,
                    -1,
                    "x",
                    now.to_string(),
                    [],
                    {},
                    true,
                    1e300
                ]),
            ),
            // Of use with a key that nobody proves here (DPoP, mTLS).
            (
                "cnf",
                json!([{"jkt": "x"}, {"x5t#S256": "x"}, {"jwk": self.own.jwk()}, {}, "x"]),
            ),
            (
                "iat",
                json!([
                    null,
                    now + 60,
                    now + 3_600,
                    -1,
                    "x",
                    now.to_string(),
                    [],
                    {},
                    true,
                    1e300
                ]),
            ),
            (
                "sub",
                json!(["", 7, [], {}, true, ["ada"], "a\nb", "\u{0}", subject, null]),
            ),
            ("scope", json!([7, [], {}, true, ["runs:read"]])),
            ("scp", json!([7, {}, true, [7], [[]]])),
        ]
    }

    /// Claims that are not as they must be, signed with the issuer's key.
    pub(super) fn claims(&self) -> Wrong {
        let mut all = Wrong::new();
        for (name, values) in self.wrong_claims() {
            for value in values.as_array().unwrap() {
                let token = self.good().claim(name, value.clone());
                all.push((format!("claim {name}: {value}"), token.signed(&self.own)));
            }
        }
        all
    }
}
