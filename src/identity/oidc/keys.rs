//! An issuer's keys (RFC 7517), and which of them a token's signature is checked with.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

use super::token::{ALGORITHMS, Header};

/// So many keys of a set are looked at.
const MAX_KEYS: usize = 100;

const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    id: Option<String>,
    /// What it may be used with.
    algorithms: Vec<Algorithm>,
    material: Material,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    Ec(Vec<u8>),
    Ed(Vec<u8>),
}

/// The keys of an issuer that signatures can be checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys {
    usable: Vec<Key>,
    /// How many the set has, these among them.
    listed: usize,
}

/// What there is for a token.
#[derive(Debug)]
pub(super) enum Found {
    /// The key that its header names.
    Key(DecodingKey),
    /// The key is there, but for another algorithm; or it is not clear which one is meant.
    Unfit,
    /// No such key.
    Unknown,
}

impl Keys {
    /// The keys of a JWK set. Those that cannot be used are left out.
    ///
    /// # Errors
    /// When it is no JWK set.
    pub(super) fn read(json: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = serde_json::from_slice(json)?;
        let listed = set.keys.len();
        let keys = set.keys.into_iter().take(MAX_KEYS).enumerate();
        let keys = keys.filter_map(|(place, value)| {
            let read = Key::read(value);
            read.inspect_err(|reason| tracing::debug!(place, reason, "a key is left out"))
                .ok()
        });
        Ok(Self {
            usable: keys.collect(),
            listed,
        })
    }

    /// Whether there are some, and none that can be used.
    pub(super) fn are_unreadable(&self) -> bool {
        self.usable.is_empty() && self.listed > 0
    }

    /// The key for a token: the one that it names, or the only one that fits its algorithm if it names none.
    pub(super) fn find(&self, header: &Header) -> Found {
        let named = |key: &&Key| header.key_id.is_none() || key.id == header.key_id;
        let fits = |key: &&Key| key.algorithms.contains(&header.algorithm);
        let mut fitting = self.usable.iter().filter(named).filter(fits);
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Found::Key(key.material.decoding()),
            (Some(_), Some(_)) => Found::Unfit,
            (None, _) if header.key_id.is_some() && self.usable.iter().any(|key| named(&key)) => {
                Found::Unfit
            }
            (None, _) => Found::Unknown,
        }
    }
}

impl Key {
    fn read(value: Value) -> Result<Self, &'static str> {
        let jwk: Jwk = serde_json::from_value(value).map_err(|_| "of a kind that is not known")?;
        let common = &jwk.common;
        if !matches!(common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return Err("not for signatures");
        }
        let verifies = |all: &Vec<KeyOperations>| all.contains(&KeyOperations::Verify);
        if !common.key_operations.as_ref().is_none_or(verifies) {
            return Err("not to verify with");
        }
        let (material, by_kind) = Material::read(&jwk.algorithm)?;
        let algorithms = match common.key_algorithm {
            None => by_kind.to_vec(),
            Some(named) => {
                let named = named.to_string();
                let own = ALGORITHMS.iter().find(|(name, _)| *name == named);
                let own = own.filter(|(_, algorithm)| by_kind.contains(algorithm));
                vec![own.ok_or("for an algorithm that does not fit")?.1]
            }
        };
        Ok(Self {
            id: jwk.common.key_id,
            algorithms,
            material,
        })
    }
}

impl Material {
    /// The key, and the algorithms of its kind.
    fn read(
        parameters: &AlgorithmParameters,
    ) -> Result<(Self, &'static [Algorithm]), &'static str> {
        match parameters {
            AlgorithmParameters::RSA(rsa) => {
                let (modulus, exponent) = (number(&rsa.n)?, number(&rsa.e)?);
                if !(256..=1024).contains(&modulus.len()) || exponent.is_empty() {
                    return Err("not of 2048 to 8192 bits");
                }
                Ok((Self::Rsa { modulus, exponent }, RSA))
            }
            AlgorithmParameters::EllipticCurve(ec) => {
                let (size, algorithms): (_, &[Algorithm]) = match ec.curve {
                    EllipticCurve::P256 => (32, &[Algorithm::ES256]),
                    EllipticCurve::P384 => (48, &[Algorithm::ES384]),
                    EllipticCurve::P521 | EllipticCurve::Ed25519 => {
                        return Err("of a curve that is not taken");
                    }
                };
                let (x, y) = (decoded(&ec.x)?, decoded(&ec.y)?);
                if x.len() != size || y.len() != size {
                    return Err("no point of its curve");
                }
                Ok((Self::Ec([vec![4], x, y].concat()), algorithms))
            }
            AlgorithmParameters::OctetKeyPair(pair) => {
                let x = decoded(&pair.x)?;
                if pair.curve != EllipticCurve::Ed25519 || x.len() != 32 {
                    return Err("of a curve that is not taken");
                }
                Ok((Self::Ed(x), &[Algorithm::EdDSA]))
            }
            AlgorithmParameters::OctetKey(_) => Err("a shared secret"),
        }
    }

    fn decoding(&self) -> DecodingKey {
        match self {
            Self::Rsa { modulus, exponent } => {
                DecodingKey::from_rsa_raw_components(modulus, exponent)
            }
            Self::Ec(point) => DecodingKey::from_ec_der(point),
            Self::Ed(point) => DecodingKey::from_ed_der(point),
        }
    }
}

fn decoded(text: &str) -> Result<Vec<u8>, &'static str> {
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(text);
    decoded.map_err(|_| "not in base64url")
}

/// Some write a zero before it.
fn number(text: &str) -> Result<Vec<u8>, &'static str> {
    let bytes = decoded(text)?.into_iter();
    Ok(bytes.skip_while(|byte| *byte == 0).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn encoded(length: usize) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(vec![0x81; length])
    }

    fn read(keys: &Value) -> Keys {
        Keys::read(json!({"keys": keys}).to_string().as_bytes()).unwrap()
    }

    fn header(key_id: Option<&str>, algorithm: Algorithm) -> Header {
        Header {
            algorithm,
            key_id: key_id.map(str::to_owned),
            kind: None,
        }
    }

    #[test]
    fn keys_that_cannot_be_used_are_left_out() {
        let (n, x, long) = (encoded(256), encoded(32), encoded(48));
        let keys = read(&json!([
            {"kty": "RSA", "n": n, "e": "AQAB", "use": "enc"},
            {"kty": "RSA", "n": n, "e": "AQAB", "alg": "RSA-OAEP"},
            {"kty": "RSA", "n": n, "e": "AQAB", "alg": "ES256"},
            {"kty": "RSA", "n": n, "e": "AQAB", "alg": "HS256"},
            {"kty": "RSA", "n": n, "e": "AQAB", "key_ops": ["encrypt"]},
            {"kty": "RSA", "n": encoded(128), "e": "AQAB"},
            {"kty": "RSA", "n": "+/==", "e": "AQAB"},
            {"kty": "RSA", "n": n},
            {"kty": "EC", "crv": "P-256", "x": x, "y": long},
            {"kty": "EC", "crv": "P-521", "x": x, "y": x},
            {"kty": "EC", "crv": "secp256k1", "x": x, "y": x},
            {"kty": "OKP", "crv": "X25519", "x": x},
            {"kty": "oct", "k": x},
            {"kty": "new"}, {}, null, 7, [], "key",
        ]));
        assert!(keys.are_unreadable(), "{keys:?}");
        let none = read(&json!([]));
        assert!(!none.are_unreadable() && none.usable.is_empty());
        for wrong in ["", "[]", "{}", "{\"keys\": 1}", "<html>"] {
            assert!(Keys::read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_goes_with_its_name_and_its_algorithms_alone() {
        let (n, x, long) = (encoded(256), encoded(32), encoded(48));
        let keys = read(&json!([
            {"kid": "r", "kty": "RSA", "n": n, "e": "AQAB", "use": "sig"},
            {"kid": "r1", "kty": "RSA", "n": n, "e": "AQAB", "alg": "PS512", "key_ops": ["verify"]},
            {"kid": "e", "kty": "EC", "crv": "P-256", "x": x, "y": x},
            {"kid": "e3", "kty": "EC", "crv": "P-384", "x": long, "y": long, "alg": "ES384"},
            {"kid": "d", "kty": "OKP", "crv": "Ed25519", "x": x},
        ]));
        for (id, fits) in [
            ("r", RSA),
            ("r1", &[Algorithm::PS512][..]),
            ("e", &[Algorithm::ES256]),
            ("e3", &[Algorithm::ES384]),
            ("d", &[Algorithm::EdDSA]),
            ("x", &[]),
        ] {
            for (name, algorithm) in ALGORITHMS {
                let found = keys.find(&header(Some(id), *algorithm));
                match found {
                    Found::Key(_) => assert!(fits.contains(algorithm), "{id} {name}"),
                    Found::Unfit => assert!(id != "x" && !fits.contains(algorithm), "{id} {name}"),
                    Found::Unknown => assert_eq!(id, "x", "{name}"),
                }
            }
        }
    }

    #[test]
    fn without_a_name_the_only_one_that_fits_is_meant() {
        let x = encoded(32);
        let keys = read(&json!([
            {"kty": "EC", "crv": "P-256", "x": x, "y": x},
            {"kid": "a", "kty": "OKP", "crv": "Ed25519", "x": x},
            {"kid": "b", "kty": "OKP", "crv": "Ed25519", "x": x},
        ]));
        let find = |algorithm| keys.find(&header(None, algorithm));
        assert!(matches!(find(Algorithm::ES256), Found::Key(_)));
        assert!(matches!(find(Algorithm::EdDSA), Found::Unfit));
        assert!(matches!(find(Algorithm::RS256), Found::Unknown));
    }
}
