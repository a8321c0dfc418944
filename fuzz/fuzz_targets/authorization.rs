//! `Authorization`: what is read of it, by a second reader written from the standards.
#![no_main]

use std::{
    net::Ipv4Addr,
    sync::{Arc, LazyLock},
    time::Duration,
};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use libfuzzer_sys::fuzz_target;
use parley::identity::{Authenticator, ClientKey, Denied, LoginLimits, Oidc, Tickets, TokenError};
use parley_fuzz::run;
use serde_json::{Map, Value};

/// Knows nobody, and no issuer.
static STRICT: LazyLock<Authenticator> = LazyLock::new(|| {
    let oidc = run(async { Oidc::start(Vec::new()) }).unwrap();
    let tickets = Arc::new(Tickets::new(&[], Duration::from_secs(60)));
    let limits = LoginLimits {
        failures_per_minute: 60_000_000,
        hash_threads: 1,
    };
    Authenticator::new(Some(Vec::new()), Some(Arc::new(oidc)), tickets, limits)
});

/// The signatures that there are (RFC 7518, RFC 8037): neither `none` nor a shared secret.
const ALGORITHMS: [&str; 9] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
];

/// Whether that is a name and a password.
fn is_basic(encoded: &str) -> bool {
    BASE64_STANDARD
        .decode(encoded)
        .is_ok_and(|bytes| bytes.contains(&b':'))
}

/// Whether that may be a token: the form alone.
fn may_be_token(token: &str) -> bool {
    let object = |part: &str| -> Option<Map<String, Value>> {
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
    };
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, _] = parts.as_slice() else {
        return false;
    };
    let algorithm =
        object(header).and_then(|header| header.get("alg")?.as_str().map(str::to_owned));
    algorithm.is_some_and(|name| ALGORITHMS.contains(&name.as_str())) && object(claims).is_some()
}

fuzz_target!(|header: &[u8]| {
    let client = ClientKey::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
    let denied = run(STRICT.check(Some(header), client)).expect_err("there is nobody");
    let given = std::str::from_utf8(header)
        .ok()
        .and_then(|header| header.split_once(' '));
    let Some((scheme, given)) = given else {
        return assert_eq!(denied, Denied::NoCredentials);
    };
    let given = given.trim();
    match denied {
        Denied::Wrong => assert!(scheme.eq_ignore_ascii_case("basic") && is_basic(given)),
        Denied::Token(error) => {
            assert!(scheme.eq_ignore_ascii_case("bearer") && !given.is_empty());
            // Only what is a token has an issuer to ask.
            assert!(
                error != TokenError::Issuer || may_be_token(given),
                "{given}"
            );
        }
        Denied::NoCredentials => assert!(
            !scheme.eq_ignore_ascii_case("bearer")
                && !(scheme.eq_ignore_ascii_case("basic") && is_basic(given))
                || given.is_empty(),
            "{scheme} {given}"
        ),
        other => panic!("{other:?}"),
    }

    // Any name and password can be said.
    let said = BASE64_STANDARD.encode([b"a:", header].concat());
    let denied = run(STRICT.check(Some(format!("bAsIc  {said} ").as_bytes()), client));
    assert_eq!(denied, Err(Denied::Wrong));
});
