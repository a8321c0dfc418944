//! How many connections there may be, in all and of one client.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;

use crate::identity::{ClientKey, NoPlace, Place, PlaceLimits, Places};

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

/// The places of connections.
pub(super) struct Connections {
    places: Places,
    trusted_proxies: Arc<[IpNet]>,
}

impl Connections {
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        let places = Places::new(PlaceLimits {
            all: limits.all,
            per_client: limits.per_client,
            per_owner: None,
        });
        Self {
            places,
            trusted_proxies: limits.trusted_proxies,
        }
    }

    /// Takes a place for whoever is there.
    ///
    /// # Errors
    /// Which limit leaves none.
    pub(super) fn take(&self, peer: IpAddr) -> Result<Place, Full> {
        let address = peer.to_canonical();
        let mut proxies = self.trusted_proxies.iter();
        let is_proxy = proxies.any(|net| net.contains(&address));
        let client = (!is_proxy).then(|| ClientKey::from(address));
        self.places.take(client, "").map_err(|full| match full {
            NoPlace::InAll(_) => Full::All,
            NoPlace::OfClient(_) | NoPlace::OfOwner(_) => Full::Client,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(all: Option<usize>, per_client: Option<usize>) -> Connections {
        Connections::new(ConnectionLimits {
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
}
