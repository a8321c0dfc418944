//! How many streams may be open at the same time: in all, of one client's address, and of one owner.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::ClientKey;

/// How many there may be. `None`: as many as are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlaceLimits {
    /// In all.
    pub all: Option<usize>,
    /// From one client's address.
    pub per_client: Option<usize>,
    /// Of one owner.
    pub per_owner: Option<usize>,
}

/// The places. Cheap to clone. Who has none is not remembered.
#[derive(Debug, Clone, Default)]
pub struct Places {
    limits: PlaceLimits,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    clients: HashMap<ClientKey, usize>,
    owners: HashMap<String, usize>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// So many are taken in all.
    #[error("{0} streams are open here, and there may be no more")]
    InAll(usize),
    /// So many are the client's.
    #[error("{0} streams are open to this client, and it may have no more: close one")]
    OfClient(usize),
    /// So many are the owner's.
    #[error("{0} streams of yours are open, and you may have no more: close one")]
    OfOwner(usize),
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    client: ClientKey,
    owner: String,
    taken: Arc<Mutex<Taken>>,
}

impl Places {
    /// As many as that.
    #[must_use]
    pub fn new(limits: PlaceLimits) -> Self {
        Self {
            limits,
            taken: Arc::default(),
        }
    }

    /// Takes a place. `owner`: empty for nobody, where no login is asked for.
    ///
    /// # Errors
    /// When there is none left.
    pub fn take(&self, client: ClientKey, owner: &str) -> Result<Place, NoPlace> {
        let PlaceLimits {
            all,
            per_client,
            per_owner,
        } = self.limits;
        let mut taken = lock(&self.taken);
        let full = |limit: Option<usize>, taken: usize| limit.filter(|limit| taken >= *limit);
        if let Some(limit) = full(per_owner, count(&taken.owners, owner)) {
            return Err(NoPlace::OfOwner(limit));
        }
        if let Some(limit) = full(per_client, count(&taken.clients, &client)) {
            return Err(NoPlace::OfClient(limit));
        }
        if let Some(limit) = full(all, taken.all) {
            return Err(NoPlace::InAll(limit));
        }
        taken.all += 1;
        *taken.clients.entry(client).or_default() += 1;
        if !owner.is_empty() {
            *taken.owners.entry(owner.to_owned()).or_default() += 1;
        }
        Ok(Place {
            client,
            owner: owner.to_owned(),
            taken: Arc::clone(&self.taken),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.all -= 1;
        leave(&mut taken.clients, &self.client);
        leave(&mut taken.owners, self.owner.as_str());
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    // Counts are whole after each step: nothing in between can panic.
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count<K, Q>(counts: &HashMap<K, usize>, key: &Q) -> usize
where
    K: Eq + Hash + std::borrow::Borrow<Q>,
    Q: Eq + Hash + ?Sized,
{
    counts.get(key).copied().unwrap_or(0)
}

fn leave<K, Q>(counts: &mut HashMap<K, usize>, key: &Q)
where
    K: Eq + Hash + std::borrow::Borrow<Q>,
    Q: Eq + Hash + ?Sized,
{
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn client(last: u8) -> ClientKey {
        IpAddr::from([192, 0, 2, last]).into()
    }

    #[test]
    fn each_limit_holds_by_itself_and_a_place_comes_back() {
        let places = Places::new(PlaceLimits {
            all: Some(4),
            per_client: Some(3),
            per_owner: Some(2),
        });
        let take = |last, owner| places.take(client(last), owner);
        let first = take(1, "ada").unwrap();
        let second = take(2, "ada").unwrap();
        assert_eq!(take(3, "ada").unwrap_err(), NoPlace::OfOwner(2));
        let third = take(1, "").unwrap();
        let fourth = take(1, "").unwrap();
        assert_eq!(take(1, "bob").unwrap_err(), NoPlace::OfClient(3));
        assert_eq!(take(3, "bob").unwrap_err(), NoPlace::InAll(4));
        drop(second);
        let again = take(3, "ada").unwrap();
        drop((first, third, fourth, again));
        let taken = lock(&places.taken);
        assert_eq!(
            (taken.all, taken.clients.len(), taken.owners.len()),
            (0, 0, 0)
        );
    }

    #[test]
    fn without_limits_there_is_a_place_for_everybody() {
        let places = Places::default();
        let all: Result<Vec<Place>, NoPlace> =
            (0..1_000).map(|_| places.take(client(1), "ada")).collect();
        assert_eq!(all.unwrap().len(), 1_000);
    }
}
