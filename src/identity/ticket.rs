//! Tickets: whoever has one may watch one run, without a login.
//!
//! `EventSource` can send no header, so a ticket stands in the address. It is made of the run's id, the moment at which it ends, and
//! HMAC-SHA256 over both (RFC 2104): nothing is stored, and any process that has the key reads it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use secrecy::SecretString;
use uuid::Uuid;

use super::signer::{SIGNATURE, Signer};
use crate::conversation::{RunId, Timestamp};

/// What is signed begins with it: a key that signs other things, too, signs no ticket by accident.
const PURPOSE: &[u8] = b"parley: watch a run, 1:";

/// The bytes of an id, and of a moment.
const ID: usize = 16;
const MOMENT: usize = 8;

/// Makes and reads tickets.
#[derive(Debug)]
pub struct Tickets {
    signer: Signer,
    lifetime: Duration,
}

/// A ticket that is genuine. Whether its time is over, its reader decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The run that may be watched.
    pub run: RunId,
    /// When it ends.
    pub expires: Timestamp,
}

impl Tickets {
    /// With these keys, of which the first one signs; without any, with one of its own, that ends with it. `lifetime`: how long a ticket
    /// is good.
    #[must_use]
    pub fn new(keys: &[SecretString], lifetime: Duration) -> Self {
        Self {
            signer: Signer::new(keys, PURPOSE),
            lifetime,
        }
    }

    /// A ticket for that run from that moment on, and when it ends. The same run and moment give the same ticket, as long as the key
    /// stays.
    #[must_use]
    pub fn issue(&self, run: RunId, from: Timestamp) -> (String, Timestamp) {
        let lifetime = i64::try_from(self.lifetime.as_millis()).unwrap_or(i64::MAX);
        let expires = Timestamp::from_millis(from.as_millis().saturating_add(lifetime));
        (self.sign(Ticket { run, expires }), expires)
    }

    /// One from now on.
    #[must_use]
    pub fn issue_now(&self, run: RunId) -> (String, Timestamp) {
        self.issue(run, now())
    }

    fn sign(&self, ticket: Ticket) -> String {
        let mut bytes = Vec::with_capacity(ID + MOMENT + SIGNATURE);
        bytes.extend(ticket.run.as_uuid().into_bytes());
        bytes.extend(ticket.expires.as_millis().to_be_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(self.signer.sign(bytes))
    }

    /// Reads a ticket; `None` if it is none of ours.
    #[must_use]
    pub fn read(&self, text: &str) -> Option<Ticket> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (id, moment) = self.signer.read(&bytes)?.split_first_chunk::<ID>()?;
        Some(Ticket {
            run: RunId::from_uuid(Uuid::from_bytes(*id)),
            expires: Timestamp::from_millis(i64::from_be_bytes(moment.try_into().ok()?)),
        })
    }
}

/// By this machine's clock.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        Ticket {
            run: RunId::from_uuid(Uuid::from_u128(7)),
            expires: Timestamp::from_millis(1_900_000_000_000),
        }
    }

    fn keys(names: &[&str]) -> Tickets {
        let keys: Vec<SecretString> = names.iter().map(|name| name.repeat(8).into()).collect();
        Tickets::new(&keys, Duration::ZERO)
    }

    #[test]
    fn a_ticket_says_what_it_was_made_for_and_nothing_else_is_one() {
        let tickets = keys(&["a key "]);
        let text = tickets.sign(ticket());
        assert_eq!(tickets.read(&text), Some(ticket()));
        assert_eq!(tickets.sign(ticket()), text);
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&text).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            let other = BASE64_URL_SAFE_NO_PAD.encode(other);
            assert_eq!(tickets.read(&other), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            let cut = BASE64_URL_SAFE_NO_PAD.encode(&bytes[..length]);
            assert_eq!(tickets.read(&cut), None, "{length} bytes");
        }
        for other in [
            "",
            "%",
            &format!("{text}A"),
            &format!("{text}="),
            &text[1..],
        ] {
            assert_eq!(tickets.read(other), None, "{other}");
        }
    }

    #[test]
    fn keys_are_changed_one_after_the_other() {
        let (old, both, new) = (keys(&["old "]), keys(&["new ", "old "]), keys(&["new "]));
        assert_eq!(both.read(&old.sign(ticket())), Some(ticket()));
        assert_eq!(new.read(&both.sign(ticket())), Some(ticket()));
        assert_eq!(new.read(&old.sign(ticket())), None);
        let own = Tickets::new(&[], Duration::ZERO);
        assert_eq!(own.read(&own.sign(ticket())), Some(ticket()));
        assert_eq!(
            Tickets::new(&[], Duration::ZERO).read(&own.sign(ticket())),
            None
        );
        assert!(!format!("{both:?}").contains("old"));
    }
}
