//! Places in lists, opaque to clients: an id, and a sum that tells mistakes.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The place after that id in that list, as clients see it.
pub(super) fn to_text(id: Uuid, list: &str) -> String {
    let id = id.into_bytes();
    let mut bytes = id.to_vec();
    bytes.extend(check(&id, list));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The id after which a page of that list begins; `None` if the text was altered, or belongs to another list.
pub(super) fn read(text: &str, list: &str) -> Option<Uuid> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (id, sum) = bytes.split_first_chunk::<16>()?;
    (sum == check(id, list)).then(|| Uuid::from_bytes(*id))
}

/// It is no secret.
fn check(id: &[u8; 16], list: &str) -> [u8; 8] {
    let mut hash = Sha256::new();
    hash.update(id);
    hash.update(list);
    let mut sum = [0; 8];
    sum.copy_from_slice(&hash.finalize()[..8]);
    sum
}
