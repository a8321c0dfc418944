//! Basic auth (RFC 7617) against users' bcrypt hashes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use moka::future::Cache;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;
use tokio::{sync::Semaphore, time::timeout};
use zeroize::Zeroizing;

use super::{
    Caller, ClientKey, Denied, Scopes, aside, digest::Digester, failures::Failures, password,
};

/// How long a right credential is remembered after its last use. Passwords change with the settings alone, that is with a new process.
const REMEMBERED: Duration = Duration::from_mins(10);
/// How many are remembered: few are right; more are their holders' other spellings.
const CREDENTIALS: u64 = 1_000;
/// How many checks may wait for their bcrypt, and how many of one client: each takes a core for a quarter of a second, so whoever would
/// wait longer is better told to come back.
const WAITING: usize = 128;
const WAITING_PER_CLIENT: usize = 64;
/// How long a check waits for its bcrypt: more have left by themselves soon after, and took a place until then.
const PATIENCE: Duration = Duration::from_secs(5);

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
    waiting: Waiting,
    failures: Arc<Failures>,
}

impl Users {
    /// Lets these users in. So many bcrypts run at the same time, and a client may be wrong so often in a minute.
    pub(super) fn new(
        users: Vec<BasicCredential>,
        hash_threads: usize,
        failures_per_minute: u32,
    ) -> Self {
        Self {
            users,
            remembered: Cache::builder()
                .max_capacity(CREDENTIALS)
                .time_to_idle(REMEMBERED)
                .build(),
            digester: Digester::new(),
            bcrypts: Arc::new(Semaphore::new(hash_threads)),
            waiting: Waiting::default(),
            failures: Arc::new(Failures::per_minute(failures_per_minute)),
        }
    }

    /// Who that is.
    ///
    /// # Errors
    /// Why the request is not let in.
    pub(super) async fn check(
        &self,
        given: &Credentials,
        client: ClientKey,
    ) -> Result<Caller, Denied> {
        let digest = self.digester.digest(&given.bytes);
        // Neither others' failures nor others' waiting shut out what is remembered.
        let place = match self.remembered.get(&digest).await {
            Some(place) => place,
            None => {
                self.had_enough(client)?;
                // Many who come with the same wait for one look, in one place.
                let verified = async {
                    let _waiting = self.waiting.enter(client).ok_or(Denied::Busy)?;
                    self.verify(given, client).await
                };
                let verified = self.remembered.try_get_with(digest, verified).await;
                verified.map_err(|denied| *denied)?
            }
        };
        let user = self.users.get(place).ok_or(Denied::Wrong)?;
        Ok(Caller {
            owner: user.user.clone(),
            scopes: user.scopes,
            only: None,
        })
    }

    /// The user's place in the list.
    async fn verify(&self, given: &Credentials, client: ClientKey) -> Result<usize, Denied> {
        // Nobody is there, and nobody can be found out.
        let first = self.users.first().ok_or(Denied::Wrong)?;
        // Each name is looked at, whichever it is.
        let mut known = None;
        for (place, user) in self.users.iter().enumerate() {
            if given.user().ct_eq(user.user.as_bytes()).into() {
                known = Some((place, user));
            }
        }
        // Unknown users cost a bcrypt, too: they must not be told apart by the time it takes.
        let hash = known.map_or(first, |(_, user)| user).password_hash.clone();
        let known = known.map(|(place, _)| place);
        let password = Zeroizing::new(given.password().to_vec());
        // The semaphore is never closed.
        let slot = Arc::clone(&self.bcrypts).acquire_owned();
        let slot = timeout(PATIENCE, slot).await.map_err(|_| Denied::Busy)?;
        // Those before it may have failed meanwhile.
        self.had_enough(client)?;
        let failures = Arc::clone(&self.failures);
        // The slot and the count are the work's own: it goes on where the client does not wait for it.
        let checked = aside::compute(move || {
            let _slot = slot;
            let fits = password::fits(&password, hash.expose_secret());
            let known = known.filter(|_| fits);
            if known.is_none() {
                failures.count(client);
            }
            known
        });
        // Where there was no thread for it, nobody knows whether the password is right: that is no reason to call it wrong.
        checked.await.ok_or(Denied::Busy)?.ok_or(Denied::Wrong)
    }

    /// A client that was wrong too often gets no bcrypt. What it gets beyond that are those that run at the same time.
    fn had_enough(&self, client: ClientKey) -> Result<(), Denied> {
        let wait = self.failures.wait(client);
        wait.map_or(Ok(()), |retry_after| Err(Denied::TooMany { retry_after }))
    }
}

/// Who waits for a bcrypt. A client is remembered while one of its checks waits.
#[derive(Default)]
struct Waiting(Mutex<HashMap<ClientKey, usize>>);

/// A place among those who wait, until it is dropped.
struct Waits<'a> {
    all: &'a Waiting,
    client: ClientKey,
}

impl Waiting {
    /// `None` if too many wait already.
    fn enter(&self, client: ClientKey) -> Option<Waits<'_>> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let theirs = clients.get(&client).copied().unwrap_or_default();
        // Few wait, so to count them costs nothing.
        if clients.values().sum::<usize>() >= WAITING || theirs >= WAITING_PER_CLIENT {
            return None;
        }
        clients.insert(client, theirs + 1);
        Some(Waits { all: self, client })
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut clients = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(theirs) = clients.get_mut(&self.client) {
            *theirs -= 1;
            if *theirs == 0 {
                clients.remove(&self.client);
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn users(hash_threads: usize, failures_per_minute: u32) -> Users {
        let user = |name: &str| BasicCredential {
            user: name.to_owned(),
            password_hash: SecretString::from(bcrypt::hash("right", 4).unwrap()),
            scopes: Scopes::ALL,
        };
        let users = (0..100).map(|n| user(&n.to_string())).collect();
        Users::new(users, hash_threads, failures_per_minute)
    }

    fn given(text: &str) -> Credentials {
        Credentials::read(&BASE64_STANDARD.encode(text)).unwrap()
    }

    fn client(last: u8) -> ClientKey {
        std::net::IpAddr::from([192, 0, 2, last]).into()
    }

    /// Users behind one address do not use up each other's failures.
    #[tokio::test]
    async fn who_is_right_is_no_failure() {
        let users = users(2, 1);
        for n in 0..100 {
            let right = given(&format!("{n}:right"));
            assert!(users.check(&right, client(1)).await.is_ok(), "{n}");
        }
        let wrong = |n: u8| given(&format!("{n}:wrong"));
        assert_eq!(users.check(&wrong(1), client(1)).await, Err(Denied::Wrong));
        let shut = users.check(&wrong(2), client(1)).await;
        assert!(matches!(shut, Err(Denied::TooMany { .. })), "{shut:?}");
    }

    /// With these, bcrypt takes what has more behind it for the same.
    #[tokio::test]
    async fn what_bcrypt_would_not_see_whole_is_wrong() {
        let long = "x".repeat(72);
        let user = |name: &str, password: &str| BasicCredential {
            user: name.to_owned(),
            password_hash: SecretString::from(bcrypt::hash(password, 4).unwrap()),
            scopes: Scopes::ALL,
        };
        let users = Users::new(vec![user("long", &long), user("short", "a")], 2, 100);
        for (right, wrong) in [
            (format!("long:{long}"), format!("long:{long}y")),
            ("short:a".to_owned(), "short:a\0a".to_owned()),
        ] {
            assert!(users.check(&given(&right), client(1)).await.is_ok());
            let denied = users.check(&given(&wrong), client(1)).await;
            assert_eq!(denied, Err(Denied::Wrong), "{wrong}");
        }
    }

    /// However many come at once, no more get a bcrypt than may fail, but those that run at the same time.
    #[tokio::test]
    async fn many_wrong_ones_at_once_get_few_bcrypts() {
        let users = users(2, 3);
        let wrong: Vec<Credentials> = (0..60).map(|n| given(&format!("{n}:wrong"))).collect();
        let checks = wrong.iter().map(|given| users.check(given, client(1)));
        let answers = futures_util::future::join_all(checks).await;
        let wrong = answers.iter().filter(|it| **it == Err(Denied::Wrong));
        let wrong = wrong.count();
        assert!((3..=4).contains(&wrong), "{wrong} were looked at");
    }

    #[tokio::test]
    async fn few_wait_and_a_client_does_not_take_all_places() {
        let users = users(1, 1_000);
        // Nobody gets any further.
        let slot = Arc::clone(&users.bcrypts).acquire_owned().await.unwrap();
        // Each with its own: those who come with the same wait in one place.
        let all: Vec<Credentials> = (1..4)
            .flat_map(|who| (0..100).map(move |n| format!("{n}:right{who}")))
            .map(|text| given(&text))
            .collect();
        let checks = |who: u8| {
            let own = usize::from(who - 1) * 100..usize::from(who) * 100;
            all[own].iter().map(move |given| (who, given))
        };
        let mut waiting = Vec::new();
        let mut busy = [0; 4];
        for (who, given) in (1..4).flat_map(checks) {
            let mut check = Box::pin(users.check(given, client(who)));
            match futures_util::poll!(&mut check) {
                std::task::Poll::Ready(answer) => {
                    assert_eq!(answer, Err(Denied::Busy));
                    busy[usize::from(who)] += 1;
                }
                std::task::Poll::Pending => waiting.push(check),
            }
        }
        assert_eq!(waiting.len(), WAITING);
        assert_eq!(busy, [0, 36, 36, 100]);
        // Whose credentials are being looked at already needs no place.
        let mut same = Box::pin(users.check(&all[0], client(4)));
        assert!(futures_util::poll!(&mut same).is_pending());
        waiting.push(same);
        drop(slot);
        for answer in futures_util::future::join_all(waiting).await {
            assert_eq!(answer, Err(Denied::Wrong));
        }
        assert!(users.waiting.0.lock().unwrap().is_empty());
    }

    /// However long the work of those before it takes, whoever waits hears in time that it is to come back.
    #[tokio::test(start_paused = true)]
    async fn nobody_waits_long_for_a_bcrypt() {
        let users = users(1, 1_000);
        let slot = Arc::clone(&users.bcrypts).acquire_owned().await.unwrap();
        let right = given("0:right");
        let began = tokio::time::Instant::now();
        let (first, same) = tokio::join!(
            users.check(&right, client(1)),
            users.check(&right, client(2))
        );
        assert_eq!((first, same), (Err(Denied::Busy), Err(Denied::Busy)));
        let waited = began.elapsed();
        assert!(waited >= PATIENCE && waited < 2 * PATIENCE, "{waited:?}");
        assert!(users.waiting.0.lock().unwrap().is_empty());
        drop(slot);
        assert!(users.check(&right, client(1)).await.is_ok());
    }

    /// A client that leaves does not make room for another bcrypt before its own has ended.
    #[tokio::test]
    async fn a_bcrypt_keeps_its_slot_when_its_client_leaves() {
        let mut users = users(1, 1_000);
        users.users[0].password_hash = SecretString::from(bcrypt::hash("right", 9).unwrap());
        let wrong = given("0:wrong");
        let mut check = Box::pin(users.check(&wrong, client(1)));
        while users.bcrypts.available_permits() > 0 {
            assert!(futures_util::poll!(&mut check).is_pending());
            tokio::task::yield_now().await;
        }
        drop(check);
        assert_eq!(users.bcrypts.available_permits(), 0);
        let _slot = users.bcrypts.acquire().await;
    }
}
