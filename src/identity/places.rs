//! How many of a thing, of streams and of connections, may be open at the same time: in all, of one client's address, and of one owner.
//!
//! **Invariant:** who is counted is remembered while it has a place, and no longer: a flood of addresses takes no more memory than what is open.

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

/// The places. Cheap to clone: the clones are the same places.
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

/// Which limit leaves no place, and how much it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// So many are taken in all.
    InAll(usize),
    /// So many are the client's.
    OfClient(usize),
    /// So many are the owner's.
    OfOwner(usize),
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    /// `None`: nobody counts them.
    client: Option<ClientKey>,
    owner: Option<String>,
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

    /// Takes a place. `client`: `None` for who is many, such as a proxy. `owner`: empty for nobody, where no login is asked for. Neither is
    /// counted by itself then.
    ///
    /// # Errors
    /// When there is none left.
    pub fn take(&self, client: Option<ClientKey>, owner: &str) -> Result<Place, NoPlace> {
        let PlaceLimits {
            all,
            per_client,
            per_owner,
        } = self.limits;
        let client = client.zip(per_client);
        let owner = Some(owner).filter(|owner| !owner.is_empty()).zip(per_owner);
        let mut taken = lock(&self.taken);
        if let Some((owner, most)) = owner
            && count(&taken.owners, owner) >= most
        {
            return Err(NoPlace::OfOwner(most));
        }
        if let Some((client, most)) = client
            && count(&taken.clients, &client) >= most
        {
            return Err(NoPlace::OfClient(most));
        }
        if let Some(most) = all.filter(|most| taken.all >= *most) {
            return Err(NoPlace::InAll(most));
        }
        taken.all += 1;
        let client = client.map(|(client, _)| client);
        let owner = owner.map(|(owner, _)| owner.to_owned());
        if let Some(client) = client {
            *taken.clients.entry(client).or_default() += 1;
        }
        if let Some(owner) = &owner {
            *taken.owners.entry(owner.clone()).or_default() += 1;
        }
        Ok(Place {
            client,
            owner,
            taken: Arc::clone(&self.taken),
        })
    }
}

impl Places {
    /// How many the owner has here.
    pub(super) fn of_owner(&self, owner: &str) -> usize {
        count(&lock(&self.taken).owners, owner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.all -= 1;
        if let Some(client) = &self.client {
            leave(&mut taken.clients, client);
        }
        if let Some(owner) = &self.owner {
            leave(&mut taken.owners, owner.as_str());
        }
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
        let take = |last, owner| places.take(Some(client(last)), owner);
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
        let all: Result<Vec<Place>, NoPlace> = (0..1_000)
            .map(|_| places.take(Some(client(1)), "ada"))
            .collect();
        assert_eq!(all.unwrap().len(), 1_000);
    }

    #[test]
    fn clients_are_forgotten_with_their_last_place() {
        let places = Places::new(PlaceLimits {
            all: Some(3),
            per_client: Some(2),
            per_owner: None,
        });
        for last in 0..=u8::MAX {
            let one = places.take(Some(client(last)), "").unwrap();
            let _two = places.take(Some(client(last)), "").unwrap();
            assert_eq!(lock(&places.taken).clients.len(), 1);
            drop(one);
        }
        let taken = lock(&places.taken);
        assert_eq!((taken.all, taken.clients.len()), (0, 0));
    }
}
