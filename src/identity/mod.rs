//! Who is asking, and how much of it they may do.
//!
//! **Invariant:** passwords are compared only as bcrypt hashes, off the async threads and as many at a time as the settings say, however
//! many ask; what is kept of a right one, or of a right token, is a keyed hash, for a minute. Unknown users cost the same as wrong passwords. A token is believed only
//! by its issuer's signature (`oidc`), a ticket by ours (`ticket`).
//!
//! **May import:** conversation, models.

mod aside;
mod authenticator;
mod basic;
mod caller;
mod client;
mod digest;
mod failures;
mod limit;
mod local_path;
mod oidc;
mod password;
mod places;
mod sessions;
mod shared_places;
mod signer;
mod ticket;

pub use authenticator::{Admitted, Authenticator, Denied, Login, LoginLimits};
pub use basic::BasicCredential;
pub use caller::{Caller, Scope, Scopes};
pub use client::{ClientAddress, ClientKey, Forwarded, client_address};
pub use limit::{Claim, RateLimiter, Verdict};
pub use local_path::{LocalPath, NotLocal};
pub use oidc::{ClientConfig, ClientSecret, IssuerConfig, LoginError, Oidc, TokenError};
pub use password::hash_password;
pub use places::{NoPlace, Place, PlaceLimits, Places};
pub use sessions::{Answer, NotEnded, Redirect, SessionConfig, Sessions, cookies};
pub use shared_places::{SharedPlace, SharedPlaces};
pub use ticket::{Ticket, Tickets};
