//! How many connections there may be, in all and of one client.
//!
//! **Invariant:** a client is remembered while it has a connection, and no longer: a flood of addresses takes no more memory than the
//! connections that there are.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ipnet::IpNet;

use crate::identity::ClientKey;

/// The most connections; `None`: any number.
#[derive(Debug, Clone, Default)]
pub struct ConnectionLimits {
    /// In all.
    pub all: Option<usize>,
    /// Of one client.
    pub per_client: Option<usize>,
    /// Who is no client but many: these are counted in all alone.
    pub trusted_proxies: Arc<[IpNet]>,
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    All,
    Client,
}

impl Full {
    /// Its name in the metrics and the log.
    pub(super) fn limit(self) -> &'static str {
        match self {
            Self::All => "connections",
            Self::Client => "connections_per_client",
        }
    }
}

/// The places of connections. Cheap to clone: the clones are the same places.
#[derive(Clone)]
pub(super) struct Places(Arc<Inner>);

struct Inner {
    limits: ConnectionLimits,
    /// Held for a moment, twice in a connection's life.
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    clients: HashMap<ClientKey, usize>,
}

/// The place of one connection, until it is dropped.
pub(super) struct Place {
    places: Places,
    /// `None`: nobody counts them.
    client: Option<ClientKey>,
}

impl Places {
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        let taken = Mutex::default();
        Self(Arc::new(Inner { limits, taken }))
    }

    /// Takes a place for whoever is there.
    ///
    /// # Errors
    /// Which limit leaves none.
    pub(super) fn take(&self, peer: IpAddr) -> Result<Place, Full> {
        let limits = &self.0.limits;
        let mut taken = self.taken();
        if limits.all.is_some_and(|most| taken.all >= most) {
            return Err(Full::All);
        }
        let client = limits.per_client.and_then(|most| {
            let address = peer.to_canonical();
            let proxies = &limits.trusted_proxies;
            let proxy = proxies.iter().any(|net| net.contains(&address));
            (!proxy).then(|| (ClientKey::from(address), most))
        });
        if let Some((client, most)) = client {
            let theirs = taken.clients.entry(client).or_default();
            if *theirs >= most {
                return Err(Full::Client);
            }
            *theirs += 1;
        }
        taken.all += 1;
        Ok(Place {
            places: self.clone(),
            client: client.map(|(client, _)| client),
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // What is done under it cannot panic half-way.
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        let Some(client) = self.client else { return };
        if let Some(theirs) = taken.clients.get_mut(&client) {
            *theirs -= 1;
            if *theirs == 0 {
                taken.clients.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(all: Option<usize>, per_client: Option<usize>) -> Places {
        Places::new(ConnectionLimits {
            all,
            per_client,
            trusted_proxies: ["10.0.0.0/8".parse().unwrap()].into(),
        })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let places = places(Some(2), None);
        let one = places.take(address("192.0.2.1")).unwrap();
        let _two = places.take(address("192.0.2.1")).unwrap();
        let full = || places.take(address("192.0.2.2")).err();
        assert_eq!(full(), Some(Full::All));
        drop(one);
        assert_eq!(full(), None);
    }

    #[test]
    fn each_client_has_its_own_and_a_proxy_is_none() {
        let places = places(None, Some(1));
        let _held = [
            "192.0.2.1",
            "2001:db8::1",
            "2001:db8:0:1::1",
            "10.0.0.1",
            "10.0.0.1",
            "::ffff:10.0.0.1",
        ]
        .map(|held| places.take(address(held)).ok().unwrap());
        for full in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::2"] {
            assert_eq!(places.take(address(full)).err(), Some(Full::Client));
        }
    }

    #[test]
    fn clients_are_forgotten_with_their_last_connection() {
        let places = places(Some(3), Some(2));
        for last in 0..=u8::MAX {
            let one = places.take(IpAddr::from([192, 0, 2, last])).ok().unwrap();
            let _two = places.take(IpAddr::from([192, 0, 2, last])).ok().unwrap();
            assert_eq!(places.taken().clients.len(), 1);
            drop(one);
        }
        let taken = places.taken();
        assert_eq!((taken.all, taken.clients.len()), (0, 0));
    }
}
