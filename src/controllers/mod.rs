//! The HTTP API: each handler extracts, makes one call at the door, and answers with one view.
//!
//! **Invariant:** nothing is decided here. What is wrong with a request is said by the extractors, what is wrong with an order by
//! the door.
//!
//! **May import:** orchestrator, identity, views, conversation.

pub mod audit;
pub mod bots;
pub mod docs;
pub mod exports;
pub mod extract;
pub mod health;
mod history;
pub mod login;
pub mod metrics;
pub mod openapi;
pub mod protected_resource;
pub mod providers;
pub mod resource;
pub mod runs;
pub mod streams;
