//! Keys of an issuer, and tokens that are signed with them. All are made when they are needed.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use graviola::signing::rsa::{KeySize, SigningKey as NewRsaKey};
use ring::{
    rand::SystemRandom,
    rsa::KeyPair as RsaKeyPair,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
        RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
    },
};
use serde_json::{Value, json};

pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// A key that signs.
pub(crate) struct Key {
    pub(crate) id: String,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Key {
    pub(crate) fn rsa(id: &str) -> Self {
        let mut der = [0; 4096];
        let key = NewRsaKey::generate(KeySize::Rsa2048).unwrap();
        let der = key.to_pkcs1_der(&mut der).unwrap();
        Self::new(id, Pair::Rsa(RsaKeyPair::from_der(der).unwrap()))
    }

    pub(crate) fn p256(id: &str) -> Self {
        Self::new(id, Pair::P256(ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING)))
    }

    pub(crate) fn p384(id: &str) -> Self {
        Self::new(id, Pair::P384(ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING)))
    }

    pub(crate) fn ed(id: &str) -> Self {
        let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
        Self::new(id, Pair::Ed(pair))
    }

    fn new(id: &str, pair: Pair) -> Self {
        let id = id.to_owned();
        Self { id, pair }
    }

    /// The algorithms that it can sign with, its own first.
    pub(crate) fn algorithms(&self) -> &'static [&'static str] {
        match self.pair {
            Pair::Rsa(_) => &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
            Pair::P256(_) => &["ES256"],
            Pair::P384(_) => &["ES384"],
            Pair::Ed(_) => &["EdDSA"],
        }
    }

    /// Its public half, as a JWK.
    pub(crate) fn jwk(&self) -> Value {
        let point = |pair: &EcdsaKeyPair, curve| {
            let (x, y) =
                pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
            json!({"kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y)})
        };
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let public = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kty": "RSA", "n": base64url(public.n), "e": base64url(public.e)})
            }
            Pair::P256(pair) => point(pair, "P-256"),
            Pair::P384(pair) => point(pair, "P-384"),
            Pair::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(pair.public_key())})
            }
        };
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk
    }

    /// The public half's bytes, in the forms that somebody may take for a shared secret.
    pub(crate) fn public(&self) -> Vec<Vec<u8>> {
        let jwk = self.jwk();
        let raw = match &self.pair {
            Pair::Rsa(pair) => pair.public().as_ref().to_vec(),
            Pair::P256(pair) | Pair::P384(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed(pair) => pair.public_key().as_ref().to_vec(),
        };
        let member = jwk.get("n").or_else(|| jwk.get("x")).unwrap();
        let member = member.as_str().unwrap();
        vec![
            raw,
            BASE64_URL_SAFE_NO_PAD.decode(member).unwrap(),
            member.as_bytes().to_vec(),
            jwk.to_string().into_bytes(),
        ]
    }

    pub(crate) fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let encoding: &dyn RsaEncoding = match algorithm {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(encoding, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            Pair::P256(pair) | Pair::P384(pair) => {
                pair.sign(&random, message).unwrap().as_ref().to_vec()
            }
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

fn ecdsa(algorithm: &'static ring::signature::EcdsaSigningAlgorithm) -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let der = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(algorithm, der.as_ref(), &random).unwrap()
}

/// A token before it is signed.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) header: Value,
    pub(crate) claims: Value,
}

impl Token {
    /// As an issuer makes it for `ada`, who may read and write; an hour long.
    pub(crate) fn of(issuer: &str, key: &Key) -> Self {
        let now = now();
        Self {
            header: json!({"typ": "at+jwt", "alg": key.algorithms()[0], "kid": key.id}),
            claims: json!({
                "iss": issuer, "aud": "parley", "sub": "ada", "client_id": "c", "jti": "j",
                "iat": now, "exp": now + 3_600, "scope": "openid runs:read runs:write",
            }),
        }
    }

    /// With another header; null: without it.
    pub(crate) fn header(mut self, name: &str, value: Value) -> Self {
        set(&mut self.header, name, value);
        self
    }

    /// With another claim; null: without it.
    pub(crate) fn claim(mut self, name: &str, value: Value) -> Self {
        set(&mut self.claims, name, value);
        self
    }

    pub(crate) fn signed(&self, key: &Key) -> String {
        let algorithm = self.header["alg"].as_str().unwrap_or_default();
        let (header, claims) = (self.header.to_string(), self.claims.to_string());
        compact(&header, &claims, |message| key.sign(algorithm, message))
    }
}

fn set(target: &mut Value, name: &str, value: Value) {
    let members = target.as_object_mut().unwrap();
    if value.is_null() {
        members.remove(name);
    } else {
        members.insert(name.to_owned(), value);
    }
}

/// A token of these texts.
pub(crate) fn compact(header: &str, claims: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", base64url(header), base64url(claims));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", base64url(signature))
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs()
}
