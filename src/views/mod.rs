//! What goes out: JSON, problems, the HTTP side of streams.
//!
//! **Invariant:** rows and domain types never go on the wire as they are; names and fields here are the public contract.
//!
//! **May import:** conversation.

pub mod audit;
pub mod event;
pub mod export;
pub mod problem;
pub mod protected_resource;
pub mod providers;
pub mod rate_limit;
pub mod run;
pub mod stream;
