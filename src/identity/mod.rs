//! Who is asking, and how much of it they may do.
//!
//! **Invariant:** passwords are compared only as bcrypt hashes, off the async threads and at most two at a time; what is kept of
//! a right one is a keyed hash, for a minute. Unknown users cost the same as wrong passwords.
//!
//! **May import:** conversation, models.

mod basic;
mod caller;
mod client;
mod limit;

pub use basic::{Authenticator, BasicCredential, Denied, hash_password};
pub use caller::{Caller, Scope, Scopes};
pub use client::{ClientKey, client_address};
pub use limit::{Claim, RateLimiter, Verdict};
