//! Some hundred tokens that are wrong in one thing each. None comes in, none is an error of ours, none stands in a log.

mod said;

use std::{
    collections::HashSet,
    io::Write,
    sync::{Arc, Mutex},
};

use ring::hmac;
use serde_json::{Value, json};

use super::{ask, with};
use crate::support::{Issuer, Key, Token, base64url, compact, now};

/// The keys of the issuer, and one that is nobody's.
struct Bench {
    issuer: String,
    rsa: Key,
    own: Key,
    second: Key,
    large: Key,
    ed: Key,
    forger: Key,
}

/// What is wrong, and the token.
type Wrong = Vec<(String, String)>;

impl Bench {
    fn keys(&self) -> [&Key; 5] {
        [&self.rsa, &self.own, &self.second, &self.large, &self.ed]
    }

    fn good(&self) -> Token {
        Token::of(&self.issuer, &self.own)
    }

    /// A public key taken for a shared secret.
    fn confusions(&self) -> Wrong {
        let algorithms = [
            ("HS256", hmac::HMAC_SHA256),
            ("HS384", hmac::HMAC_SHA384),
            ("HS512", hmac::HMAC_SHA512),
        ];
        let mut all = Wrong::new();
        for key in self.keys() {
            for (form, secret) in key.public().into_iter().enumerate() {
                for (name, algorithm) in algorithms {
                    let secret = hmac::Key::new(algorithm, &secret);
                    for said in [name, key.algorithms()[0]] {
                        let token = Token::of(&self.issuer, key).header("alg", json!(said));
                        let (header, claims) = (token.header.to_string(), token.claims.to_string());
                        let mac = |message: &[u8]| hmac::sign(&secret, message).as_ref().to_vec();
                        let what = format!("{name} with form {form} of {}, as {said}", key.id);
                        all.push((what, compact(&header, &claims, mac)));
                    }
                }
            }
        }
        all
    }

    /// Signatures of other keys, and bytes that are none.
    fn signatures(&self) -> Wrong {
        let mut all = Wrong::new();
        for key in self.keys() {
            for algorithm in key.algorithms() {
                let token = Token::of(&self.issuer, key).header("alg", json!(algorithm));
                let (header, claims) = (token.header.to_string(), token.claims.to_string());
                let mut push = |what: &str, signature: Vec<u8>| {
                    let token = compact(&header, &claims, |_| signature.clone());
                    all.push((format!("{algorithm} of {}: {what}", key.id), token));
                };
                let message = format!("{}.{}", base64url(&header), base64url(&claims));
                let right = key.sign(algorithm, message.as_bytes());
                for (what, signature) in tricks(&right) {
                    push(&what, signature);
                }
                for other in key.algorithms().iter().filter(|other| *other != algorithm) {
                    push(other, key.sign(other, message.as_bytes()));
                }
                for other in self.keys().into_iter().chain([&self.forger]) {
                    if other.id != key.id {
                        let by = other.sign(other.algorithms()[0], message.as_bytes());
                        push(&format!("by {}", other.id), by);
                    }
                }
                push("of another message", key.sign(algorithm, b"another"));
            }
        }
        all
    }

    /// One character of a right token changed, at each place.
    fn characters(&self) -> Wrong {
        let right = self.good().signed(&self.own);
        let changed = right.char_indices().map(|(place, old)| {
            let new = match old {
                '.' => 'A',
                'A' => 'B',
                _ => 'A',
            };
            let mut token = right.clone();
            token.replace_range(place..=place, &new.to_string());
            (format!("character {place}"), token)
        });
        changed.collect()
    }

    /// Texts that are not three parts.
    fn forms(&self) -> Wrong {
        let right = self.good().signed(&self.own);
        let parts: Vec<&str> = right.split('.').collect();
        let (header, claims, signature) = (parts[0], parts[1], parts[2]);
        let deep = format!("{{\"iss\":{}{}}}", "[".repeat(2_000), "]".repeat(2_000));
        let signed = |claims: &str| {
            let header = self.good().header.to_string();
            compact(&header, claims, |message| self.own.sign("ES256", message))
        };
        let huge = self
            .good()
            .claim("x", json!("x".repeat(8_192)))
            .signed(&self.own);
        let nested = self.good().header("cty", json!("JWT")).header.to_string();
        let nested = compact(&nested, &right, |message| self.own.sign("ES256", message));
        [
            ("no signature", format!("{header}.{claims}")),
            ("an empty signature", format!("{header}.{claims}.")),
            ("no claims", format!("{header}..{signature}")),
            ("no header", format!(".{claims}.{signature}")),
            ("dots", "...".to_owned()),
            ("two dots", "..".to_owned()),
            ("a word", "x".to_owned()),
            ("four parts", format!("{right}.x")),
            ("five parts", format!("{right}.x.y")),
            ("another order", format!("{claims}.{header}.{signature}")),
            ("padding", format!("{right}==")),
            ("padding within", format!("{header}=.{claims}.{signature}")),
            (
                "the other alphabet",
                format!("{header}.{claims}.{}", signature.replace(['-', '_'], "+")) + "/",
            ),
            ("a blank", format!("{header}.{claims}. {signature}")),
            ("twice", format!("{right} {right}")),
            ("a comma", format!("{right},{right}")),
            (
                "as JSON",
                json!({"payload": claims, "protected": header, "signature": signature}).to_string(),
            ),
            ("deep", signed(&deep)),
            ("a list of claims", signed("[]")),
            ("a text", signed("\"ada\"")),
            ("no JSON", signed("iss=ada")),
            (
                "more after it",
                signed(&format!("{} {{}}", self.good().claims)),
            ),
            ("nothing", signed("")),
            ("huge", huge),
            ("endless", "a".repeat(60_000)),
            ("nested", nested),
        ]
        .map(|(what, token)| (what.to_owned(), token))
        .into()
    }

    /// Names that stand twice, the second time also in other letters.
    fn twins(&self) -> Wrong {
        let good = self.good();
        let mut all = Wrong::new();
        for (header, names) in [
            (true, &["alg", "kid", "typ"][..]),
            (false, &["iss", "aud", "sub", "exp", "iat", "scope", "jti"]),
        ] {
            let whole = if header { &good.header } else { &good.claims };
            for name in names {
                for spelt in [(*name).to_owned(), escaped(name)] {
                    for value in [whole[*name].clone(), json!("eve"), json!(7)] {
                        let text = whole.to_string();
                        let twice = format!("{{\"{spelt}\":{value},{}", &text[1..]);
                        let (header, claims) = if header {
                            (twice, good.claims.to_string())
                        } else {
                            (good.header.to_string(), twice)
                        };
                        let token =
                            compact(&header, &claims, |message| self.own.sign("ES256", message));
                        all.push((format!("{spelt} twice: {value}"), token));
                    }
                }
            }
        }
        all
    }
}

/// The name with its first letter as JSON may write it, too.
fn escaped(name: &str) -> String {
    let first = name.as_bytes()[0];
    format!("\\u00{first:02x}{}", &name[1..])
}

/// The order of P-256.
const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

/// Signatures that are not that one, though some readers have taken them for it.
fn tricks(right: &[u8]) -> Vec<(String, Vec<u8>)> {
    let half = right.len() / 2;
    let (r, s) = right.split_at(half);
    let order: Vec<u8> = (0..32)
        .map(|place| u8::from_str_radix(&ORDER[2 * place..2 * place + 2], 16).unwrap())
        .collect();
    let zero = vec![0; half];
    let mut one = zero.clone();
    one[half - 1] = 1;
    let der = |r: &[u8], s: &[u8]| {
        let integer =
            |number: &[u8]| [&[2, u8::try_from(number.len() + 1).unwrap_or(0), 0], number].concat();
        let body = [integer(r), integer(s)].concat();
        [&[0x30, u8::try_from(body.len()).unwrap_or(0)], &body[..]].concat()
    };
    let mut all: Vec<(String, Vec<u8>)> = [
        ("none", vec![]),
        ("zeros", [&zero[..], &zero].concat()),
        ("r is 0", [&zero[..], s].concat()),
        ("s is 0", [r, &zero].concat()),
        ("ones", [&one[..], &one].concat()),
        ("all bits", vec![0xff; right.len()]),
        ("r and s changed places", [s, r].concat()),
        ("the order", [&order[..], &order].concat()),
        ("s is the order", [r, &order].concat()),
        ("DER", der(r, s)),
        ("half", r.to_vec()),
        ("longer", [right, &[0]].concat()),
        ("a zero before", [&[0], right].concat()),
        ("shorter", right[..right.len() - 1].to_vec()),
        ("twice", [right, right].concat()),
    ]
    .map(|(what, signature)| (what.to_owned(), signature))
    .into();
    for place in 0..right.len().min(64) {
        let mut flipped = right.to_vec();
        flipped[place] ^= 1 << (place % 8);
        all.push((format!("a bit of byte {place}"), flipped));
    }
    all
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_token_that_is_wrong_comes_in() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // A process's only subscriber is not asked about a callsite that another thread comes upon first, and then never hears of it
    // (tracing-core 0.1, `Rebuilder::JustOne`); of two, each is.
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());
    let _listening = tracing::subscriber::set_default(subscriber);
    let mut bench = Bench {
        issuer: String::new(),
        rsa: Key::rsa("r"),
        own: Key::p256("k"),
        second: Key::p256("k2"),
        large: Key::p384("e3"),
        ed: Key::ed("d"),
        forger: Key::p256("f"),
    };
    let issuer = Issuer::start(&bench.rsa).await;
    bench.issuer.clone_from(&issuer.url);
    issuer.publish(&bench.keys().map(Key::jwk));
    let app = with(&issuer, json!({"leeway_seconds": 0}), json!({})).await;
    let right = bench.good().signed(&bench.own);
    assert_eq!(ask(&app, &right).await.status, 200);
    let groups = [
        ("headers", bench.headers()),
        ("claims", bench.claims()),
        ("confusions", bench.confusions()),
        ("signatures", bench.signatures()),
        ("characters", bench.characters()),
        ("forms", bench.forms()),
        ("twins", bench.twins()),
    ];
    let mut sent = 0;
    for (group, tokens) in &groups {
        assert!(tokens.len() > 20, "{group}: {}", tokens.len());
        for (what, token) in tokens {
            let answer = ask(&app, token).await;
            assert_eq!(answer.status, 401, "{group}: {what}: {}", answer.text);
            let challenge = answer.header("www-authenticate");
            assert!(
                challenge.contains("error=\"invalid_token\""),
                "{what}: {challenge}"
            );
            sent += 1;
        }
    }
    assert!(sent > 1_000, "{sent}");
    assert_eq!(ask(&app, &right).await.status, 200);
    app.close().await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("request answered"), "the log was not heard");
    let loud = log.lines().find(|line| line.contains(" ERROR "));
    assert_eq!(loud, None);
    let of_tokens = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let words: HashSet<&str> = log.split(|c| !of_tokens(c)).collect();
    let tokens = groups.iter().flat_map(|(_, tokens)| tokens);
    let mut parts = tokens.flat_map(|(_, token)| token.split('.'));
    let told = parts.find(|part| part.len() > 40 && words.contains(part));
    assert_eq!(told, None, "it stands in the log");
}

/// The corpus is made of what is taken as long as nothing is wrong with it.
#[tokio::test]
async fn what_the_wrong_tokens_are_made_of_is_right() {
    let key = Key::p256("k");
    let issuer = Issuer::start(&key).await;
    let app = with(&issuer, json!({"leeway_seconds": 0}), json!({})).await;
    let good = Token::of(&issuer.url, &key);
    for token in [
        good.clone(),
        good.clone().header("x5t", json!("abc")),
        good.clone().header("typ", json!("application/at+jwt")),
        good.clone().header("kid", Value::Null),
        good.clone().claim("nbf", json!(now() - 1)),
        good.clone().claim("scope", Value::Null),
        good.clone()
            .claim("aud", json!(["x", "https://parley.example"])),
        good.claim("sub", json!("ädä 😀")),
    ] {
        let answer = ask(&app, &token.signed(&key)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    app.close().await;
}
