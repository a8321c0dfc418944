//! Who is asking, and how much of it they may do.
//!
//! **Invariant:** passwords are compared only as bcrypt hashes, off the async threads and at most two at a time; what is kept of
//! a right one is a keyed hash, for a minute. Unknown users cost the same as wrong passwords.
//!
//! **May import:** conversation, models.

mod basic;
mod client;
mod limit;

pub use basic::{Authenticator, BasicCredential, Denied, hash_password};
pub use client::{ClientKey, client_address};
pub use limit::{Claim, RateLimiter, Verdict};

/// Who is asking: the user's name, or nobody (empty) in `DEV_MODE`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject(pub String);
