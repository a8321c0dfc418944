//! What is kept of credentials that were right: a hash under a key that nobody knows.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Makes keyed hashes. The key is new at each start, so that a remembered hash is worth nothing elsewhere.
pub(super) struct Digester([u8; 32]);

impl Digester {
    pub(super) fn new() -> Self {
        Self(rand::random())
    }

    pub(super) fn digest(&self, credentials: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0)
            .unwrap_or_else(|_| unreachable!("HMAC takes any key"));
        mac.update(credentials);
        mac.finalize().into_bytes().into()
    }
}

impl std::fmt::Debug for Digester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digester")
    }
}
