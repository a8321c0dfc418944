//! Basic auth (RFC 7617) against one user's bcrypt hash.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use moka::future::Cache;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use super::{Caller, ClientKey, RateLimiter, Scopes, Verdict};

/// How long a right credential is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);
/// How many are remembered: one is right; more are its holders' other spellings.
const CREDENTIALS: u64 = 1_000;
/// How many bcrypts run at the same time: each takes a core for a quarter of a second.
const BCRYPTS: usize = 2;

/// The user who may log in.
#[derive(Debug, Clone)]
pub struct BasicCredential {
    /// The user's name.
    pub user: String,
    /// The bcrypt hash of the password.
    pub password_hash: SecretString,
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// It has no credentials that can be read. No failure.
    NoCredentials,
    /// Its credentials are wrong.
    Wrong,
    /// Too many wrong ones came from there.
    TooMany {
        /// When to try again.
        retry_after: Duration,
    },
}

/// Checks credentials.
pub struct Authenticator {
    credential: Option<BasicCredential>,
    failures: RateLimiter,
    /// Right credentials, as keyed hashes. Also makes one bcrypt of many requests that come at once with the same ones.
    remembered: Cache<[u8; 32], ()>,
    /// New at each start, so that a remembered hash is worth nothing elsewhere.
    key: [u8; 32],
    bcrypts: Arc<Semaphore>,
}

impl Authenticator {
    /// Lets that user in, and nobody if there is none.
    #[must_use]
    pub fn new(credential: Option<BasicCredential>, failures_per_minute: u32) -> Self {
        Self {
            credential,
            failures: RateLimiter::per_minute(failures_per_minute),
            remembered: Cache::builder()
                .max_capacity(CREDENTIALS)
                .time_to_live(REMEMBERED)
                .build(),
            key: rand::random(),
            bcrypts: Arc::new(Semaphore::new(BCRYPTS)),
        }
    }

    /// Who is asking, by the `Authorization` header.
    ///
    /// # Errors
    /// Why the request is not let in.
    pub async fn check(
        &self,
        authorization: Option<&[u8]>,
        client: ClientKey,
    ) -> Result<Caller, Denied> {
        let (given, colon) = authorization.and_then(read).ok_or(Denied::NoCredentials)?;
        let Some(credential) = &self.credential else {
            return Err(Denied::Wrong);
        };
        let caller = Caller {
            owner: credential.user.clone(),
            scopes: Scopes::ALL,
        };
        let verified = self.verify(credential, &given, colon, client);
        self.remembered
            .try_get_with(self.digest(&given), verified)
            .await
            .map_err(|denied| *denied)?;
        Ok(caller)
    }

    async fn verify(
        &self,
        credential: &BasicCredential,
        given: &[u8],
        colon: usize,
        client: ClientKey,
    ) -> Result<(), Denied> {
        // Counted before the work, so that nobody can make us work more often than that. A credential that is remembered never
        // gets here, so others' failures do not shut it out.
        if let Verdict::Refused { retry_after } = self.failures.check(client) {
            return Err(Denied::TooMany { retry_after });
        }
        let user_fits: bool = given[..colon].ct_eq(credential.user.as_bytes()).into();
        let password = given[colon + 1..].to_vec();
        let hash = credential.password_hash.clone();
        // The semaphore is never closed.
        let _slot = self.bcrypts.acquire().await;
        // Done for unknown users too: they must not be told apart by the time it takes.
        let fits = tokio::task::spawn_blocking(move || {
            bcrypt::verify(password, hash.expose_secret()).unwrap_or(false)
        });
        if fits.await.unwrap_or(false) && user_fits {
            Ok(())
        } else {
            Err(Denied::Wrong)
        }
    }

    fn digest(&self, credentials: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key)
            .unwrap_or_else(|_| unreachable!("HMAC takes any key"));
        mac.update(credentials);
        mac.finalize().into_bytes().into()
    }
}

/// The decoded credentials and where their colon is.
fn read(header: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (scheme, encoded) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let credentials = BASE64_STANDARD.decode(encoded.trim()).ok()?;
    let colon = credentials.iter().position(|byte| *byte == b':')?;
    Some((credentials, colon))
}

/// The bcrypt hash of a password, at today's usual cost.
///
/// # Errors
/// When the password is empty, has U+0000, or is longer than the 72 bytes that bcrypt looks at: what lies beyond would not count.
pub fn hash_password(password: &str) -> Result<String, String> {
    if password.is_empty() {
        return Err("the password is empty".to_owned());
    }
    if password.contains('\0') {
        return Err("the password has a U+0000, which bcrypt cannot take".to_owned());
    }
    if password.len() > 72 {
        return Err(format!(
            "the password has {} bytes; bcrypt looks at the first 72 only",
            password.len()
        ));
    }
    bcrypt::hash(password, bcrypt::DEFAULT_COST)
        .map_err(|error| format!("cannot hash the password: {error}"))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn authenticator(failures_per_minute: u32) -> Authenticator {
        let hash = bcrypt::hash("secret: pässword", 4).unwrap();
        let credential = BasicCredential {
            user: "ada".into(),
            password_hash: SecretString::from(hash),
        };
        Authenticator::new(Some(credential), failures_per_minute)
    }

    fn header(credentials: &str) -> Vec<u8> {
        format!("Basic {}", BASE64_STANDARD.encode(credentials)).into_bytes()
    }

    fn client(last: u8) -> ClientKey {
        IpAddr::from([192, 0, 2, last]).into()
    }

    #[tokio::test]
    async fn the_right_credentials_are_let_in_and_no_others() {
        let auth = authenticator(60);
        let right = auth
            .check(Some(&header("ada:secret: pässword")), client(1))
            .await;
        assert_eq!(right.map(|caller| caller.owner), Ok("ada".to_owned()));
        for wrong in [
            "ada:secret",
            "bob:secret: pässword",
            "ada:",
            ":",
            "Ada:secret: pässword",
        ] {
            assert_eq!(
                auth.check(Some(&header(wrong)), client(1)).await,
                Err(Denied::Wrong),
                "{wrong}"
            );
        }
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_no_failure() {
        let auth = authenticator(1);
        for unreadable in [
            None,
            Some(&b"Bearer x"[..]),
            Some(b"Basic"),
            Some(b"Basic %%%"),
            Some(b"Basic YWRh"),
            Some(b"\xff"),
        ] {
            assert_eq!(
                auth.check(unreadable, client(1)).await,
                Err(Denied::NoCredentials)
            );
        }
        assert!(
            auth.check(Some(&header("ada:secret: pässword")), client(1))
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn failures_shut_out_their_client_but_no_remembered_credential() {
        let auth = authenticator(3);
        let right = header("ada:secret: pässword");
        assert!(auth.check(Some(&right), client(1)).await.is_ok());
        for _ in 0..2 {
            assert_eq!(
                auth.check(Some(&header("ada:x")), client(1)).await,
                Err(Denied::Wrong)
            );
        }
        assert!(matches!(
            auth.check(Some(&header("ada:x")), client(1)).await,
            Err(Denied::TooMany { .. })
        ));
        assert!(auth.check(Some(&right), client(1)).await.is_ok());
        assert_eq!(
            auth.check(Some(&header("ada:x")), client(2)).await,
            Err(Denied::Wrong)
        );
    }

    #[tokio::test]
    async fn many_at_once_with_the_same_credentials_cost_one_bcrypt() {
        let auth = Arc::new(authenticator(1));
        let checks = (0..50).map(|_| {
            let auth = Arc::clone(&auth);
            async move {
                auth.check(Some(&header("ada:secret: pässword")), client(1))
                    .await
                    .is_ok()
            }
        });
        assert!(
            futures_util::future::join_all(checks)
                .await
                .into_iter()
                .all(|ok| ok)
        );
    }

    #[tokio::test]
    async fn without_a_user_nobody_gets_in() {
        let auth = Authenticator::new(None, 60);
        assert_eq!(
            auth.check(Some(&header("ada:x")), client(1)).await,
            Err(Denied::Wrong)
        );
    }

    #[test]
    fn only_passwords_that_bcrypt_takes_whole_are_hashed() {
        assert!(
            hash_password("").is_err()
                && hash_password(&"x".repeat(73)).is_err()
                && hash_password("a\0b").is_err()
        );
    }
}
