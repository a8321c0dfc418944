//! Basic auth (RFC 7617) against users' bcrypt hashes.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use moka::future::Cache;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use super::{Caller, ClientKey, Denied, RateLimiter, Scopes, Verdict, digest::Digester};

/// How long a right credential is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);
/// How many are remembered: few are right; more are their holders' other spellings.
const CREDENTIALS: u64 = 1_000;
/// How many bcrypts run at the same time: each takes a core for a quarter of a second.
const BCRYPTS: usize = 2;

/// A user who may log in.
#[derive(Debug, Clone)]
pub struct BasicCredential {
    /// The user's name.
    pub user: String,
    /// The bcrypt hash of the password.
    pub password_hash: SecretString,
    /// What the user may do.
    pub scopes: Scopes,
}

/// Checks names and passwords.
pub(super) struct Users {
    users: Vec<BasicCredential>,
    /// Right credentials, as keyed hashes, and whose they are. Also makes one bcrypt of many requests that come at once with the same
    /// ones.
    remembered: Cache<[u8; 32], usize>,
    digester: Digester,
    bcrypts: Arc<Semaphore>,
}

impl Users {
    /// Lets these users in.
    pub(super) fn new(users: Vec<BasicCredential>) -> Self {
        Self {
            users,
            remembered: Cache::builder()
                .max_capacity(CREDENTIALS)
                .time_to_live(REMEMBERED)
                .build(),
            digester: Digester::new(),
            bcrypts: Arc::new(Semaphore::new(BCRYPTS)),
        }
    }

    /// Who that is. Failures are counted where the client's are.
    ///
    /// # Errors
    /// Why the request is not let in.
    pub(super) async fn check(
        &self,
        given: &Credentials,
        failures: &RateLimiter,
        client: ClientKey,
    ) -> Result<Caller, Denied> {
        let verified = self.verify(given, failures, client);
        let digest = self.digester.digest(&given.bytes);
        let place = self.remembered.try_get_with(digest, verified).await;
        let user = self.users.get(place.map_err(|denied| *denied)?);
        let user = user.ok_or(Denied::Wrong)?;
        Ok(Caller {
            owner: user.user.clone(),
            scopes: user.scopes,
            only: None,
        })
    }

    /// The user's place in the list.
    async fn verify(
        &self,
        given: &Credentials,
        failures: &RateLimiter,
        client: ClientKey,
    ) -> Result<usize, Denied> {
        // Nobody is there, and nobody can be found out.
        let first = self.users.first().ok_or(Denied::Wrong)?;
        // Counted before the work, so that nobody can make us work more often than that. A credential that is remembered never
        // gets here, so others' failures do not shut it out.
        if let Verdict::Refused { retry_after } = failures.check(client) {
            return Err(Denied::TooMany { retry_after });
        }
        // Each name is looked at, whichever it is.
        let mut known = None;
        for (place, user) in self.users.iter().enumerate() {
            if given.user().ct_eq(user.user.as_bytes()).into() {
                known = Some((place, user));
            }
        }
        // Unknown users cost a bcrypt, too: they must not be told apart by the time it takes.
        let hash = known.map_or(first, |(_, user)| user).password_hash.clone();
        let password = given.password().to_vec();
        // The semaphore is never closed.
        let _slot = self.bcrypts.acquire().await;
        let fits = tokio::task::spawn_blocking(move || {
            bcrypt::verify(password, hash.expose_secret()).unwrap_or(false)
        });
        let fits = fits.await.unwrap_or(false);
        let known = known.filter(|_| fits);
        known.map(|(place, _)| place).ok_or(Denied::Wrong)
    }
}

/// A name and a password.
pub(super) struct Credentials {
    bytes: Vec<u8>,
    colon: usize,
}

impl Credentials {
    /// Decodes what follows the scheme.
    pub(super) fn read(encoded: &str) -> Option<Self> {
        let bytes = BASE64_STANDARD.decode(encoded).ok()?;
        let colon = bytes.iter().position(|byte| *byte == b':')?;
        Some(Self { bytes, colon })
    }

    fn user(&self) -> &[u8] {
        &self.bytes[..self.colon]
    }

    fn password(&self) -> &[u8] {
        &self.bytes[self.colon + 1..]
    }
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
    use super::*;

    #[test]
    fn only_passwords_that_bcrypt_takes_whole_are_hashed() {
        assert!(
            hash_password("").is_err()
                && hash_password(&"x".repeat(73)).is_err()
                && hash_password("a\0b").is_err()
        );
    }
}
