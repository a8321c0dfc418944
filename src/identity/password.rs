//! Passwords against bcrypt hashes (Provos and Mazières, *A Future-Adaptable Password Scheme*, USENIX 1999), a piece at a time.
//!
//! The crate `bcrypt` works in one go, for a quarter of a second at today's cost. Who streams on the same core waits until the system takes
//! it away, which is milliseconds later, whatever the priorities. So the rounds are turned here, over the cipher that the crate takes, and
//! after each of them whoever waits for the core has it.

use std::{
    ops::RangeInclusive,
    thread,
    time::{Duration, Instant},
};

use base64::{
    Engine as _,
    alphabet::BCRYPT,
    engine::general_purpose::{GeneralPurpose, NO_PAD},
};
use bcrypt::HashParts;
use blowfish::Blowfish;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// For how long others are let by after each round. Linux takes a thread that does so for one that wants next to nothing: on a machine that
/// is busy with something else, a login would take half a minute.
const POLITE: Duration = Duration::from_secs(1);

/// The costs that there are: the base-2 logarithms of the number of rounds.
const COSTS: RangeInclusive<u32> = 4..=31;

/// How a hash writes its bytes.
const BASE64: GeneralPurpose = GeneralPurpose::new(&BCRYPT, NO_PAD);

/// The text that is enciphered in the end.
const TEXT: &[u8; 24] = b"OrpheanBeholderScryDoubt";

/// Whether the password is that of the hash. Takes a core for a while, and the same time for any password.
pub(super) fn fits(password: &[u8], hash: &str) -> bool {
    let (Ok(parts), Some(digest)) = (hash.parse::<HashParts>(), hash.get(29..)) else {
        return false;
    };
    let (Ok(digest), true) = (BASE64.decode(digest), COSTS.contains(&parts.get_cost())) else {
        return false;
    };
    let found = bcrypt_in_pieces(parts.get_cost(), &parts.get_salt_raw(), password);
    // What bcrypt would not see whole is wrong, and is told by no other time than what is wrong otherwise.
    bool::from(found.ct_eq(&digest)) && is_seen_whole(password)
}

/// The 23 bytes that a hash keeps.
fn bcrypt_in_pieces(cost: u32, salt: &[u8; 16], password: &[u8]) -> [u8; 23] {
    // With the zero that ends it, as far as bcrypt looks.
    let mut key = Zeroizing::new([password, &[0]].concat());
    key.truncate(72);
    let mut state: Blowfish = Blowfish::bc_init_state();
    state.salted_expand_key(salt, &key);
    let began = Instant::now();
    for _ in 0..1_u32 << cost {
        if began.elapsed() < POLITE {
            thread::yield_now();
        }
        state.bc_expand_key(&key);
        state.bc_expand_key(salt);
    }
    let mut digest = [0; 23];
    for (text, found) in TEXT.chunks(8).zip(digest.chunks_mut(8)) {
        let half = |at: usize| {
            text[at..at + 4]
                .iter()
                .fold(0, |word, byte| word << 8 | u32::from(*byte))
        };
        let mut block = [half(0), half(4)];
        for _ in 0..64 {
            block = state.bc_encrypt(block);
        }
        let bytes = (u64::from(block[0]) << 32 | u64::from(block[1])).to_be_bytes();
        found.copy_from_slice(&bytes[..found.len()]);
    }
    digest
}

/// bcrypt looks at the first 72 bytes, and takes one that is zero for the end, from which it begins anew: others would be as good.
fn is_seen_whole(password: &[u8]) -> bool {
    password.len() <= 72 && !password.contains(&0)
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
    if !is_seen_whole(password.as_bytes()) {
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_passwords_that_bcrypt_takes_whole_are_hashed() {
        assert!(
            hash_password("").is_err()
                && hash_password(&"x".repeat(73)).is_err()
                && hash_password("a\0b").is_err()
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// The crate has hashed them, and says the same of them.
        #[test]
        fn what_fits_is_what_the_crate_finds_so(
            password in prop::collection::vec(1_u8..=255, 1..=72),
            other in prop::collection::vec(1_u8..=255, 1..=72),
            cost in 4_u32..=6,
        ) {
            let hash = bcrypt::hash(&password, cost).unwrap();
            prop_assert!(fits(&password, &hash));
            prop_assert_eq!(fits(&other, &hash), bcrypt::verify(&other, &hash).unwrap());
        }
    }

    /// Of John the Ripper's test vectors, by each version's name.
    #[test]
    fn hashes_of_others_fit() {
        for hash in [
            "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
        ] {
            assert!(fits(b"U*U", hash), "{hash}");
            assert!(!fits(b"U*U*", hash), "{hash}");
        }
    }

    #[test]
    fn what_is_no_hash_fits_nothing() {
        let hash = bcrypt::hash("right", 4).unwrap();
        for wrong in [
            "",
            "right",
            &hash[..59],
            &hash.replace("$04$", "$03$"),
            &hash.replace("$04$", "$32$"),
            &hash.replace("$2b$", "$2c$"),
        ] {
            assert!(!fits(b"right", wrong), "{wrong}");
        }
    }
}
