//! What we hand out and want to know again: texts with HMAC-SHA256 (RFC 2104) under the keys of `PARLEY_SECRET`.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretBox, SecretString};
use sha2::Sha256;

/// The bytes of a signature.
pub(super) const SIGNATURE: usize = 32;

/// Signs, and knows its signatures again. What is signed begins with what it is for: no two kinds of texts are taken for each other.
pub(super) struct Signer {
    /// The first one signs; all are good to read.
    keys: Vec<SecretBox<[u8]>>,
    purpose: &'static [u8],
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// With these keys, of which the first one signs; without any, with one of its own, that ends with it.
    pub(super) fn new(keys: &[SecretString], purpose: &'static [u8]) -> Self {
        let own = || vec![SecretBox::new(Box::from(rand::random::<[u8; 32]>()))];
        let given = keys.iter().map(|key| {
            let bytes = key.expose_secret().as_bytes();
            SecretBox::new(Box::from(bytes))
        });
        let keys = if keys.is_empty() {
            own()
        } else {
            given.collect()
        };
        Self { keys, purpose }
    }

    /// With its signature behind it.
    pub(super) fn sign(&self, mut said: Vec<u8>) -> Vec<u8> {
        if let Some(key) = self.keys.first() {
            let signature = self.signature(key, &said).finalize().into_bytes();
            said.extend(signature);
        }
        said
    }

    /// What stands before the signature; `None` if it is none of ours.
    pub(super) fn read<'a>(&self, signed: &'a [u8]) -> Option<&'a [u8]> {
        let (said, signature) = signed.split_at_checked(signed.len().checked_sub(SIGNATURE)?)?;
        let genuine = |key| self.signature(key, said).verify_slice(signature).is_ok();
        self.keys.iter().any(genuine).then_some(said)
    }

    fn signature(&self, key: &SecretBox<[u8]>, said: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret())
            .unwrap_or_else(|_| unreachable!("HMAC takes any key"));
        mac.update(self.purpose);
        mac.update(said);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_for_one_purpose_is_nothing_for_another() {
        let keys = [SecretString::from("a key of thirty-two bytes or more")];
        let (one, other) = (Signer::new(&keys, b"one:"), Signer::new(&keys, b"other:"));
        let signed = one.sign(b"text".to_vec());
        assert_eq!(one.read(&signed), Some(&b"text"[..]));
        assert_eq!(other.read(&signed), None);
        for short in 0..signed.len() {
            assert_eq!(one.read(&signed[..short]), None);
        }
        assert!(!format!("{one:?}").contains("thirty"));
    }
}
