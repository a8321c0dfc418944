//! Who is asking, and how much of it they may do.
//!
//! **Invariant:** passwords are compared only as bcrypt hashes, off the async threads and at most two at a time; what is kept of
//! a right one, or of a right token, is a keyed hash, for a minute. Unknown users cost the same as wrong passwords. A token is believed only
//! by its issuer's signature (`oidc`), a ticket by ours (`ticket`).
//!
//! **May import:** conversation, models.

mod authenticator;
mod basic;
mod caller;
mod client;
mod digest;
mod limit;
mod oidc;
mod places;
mod ticket;

pub use authenticator::{Admitted, Authenticator, Denied, Login};
pub use basic::{BasicCredential, hash_password};
pub use caller::{Caller, Scope, Scopes};
pub use client::{ClientAddress, ClientKey, Forwarded, client_address};
pub use limit::{Claim, RateLimiter, Verdict};
pub use oidc::{IssuerConfig, Oidc, TokenError};
pub use places::{NoPlace, Place, PlaceLimits, Places};
pub use ticket::{Ticket, Tickets};
