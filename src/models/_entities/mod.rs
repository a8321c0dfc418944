//! One file a table, as `sea-orm-cli` would lay them out.

pub mod attempts;
pub mod audit;
pub mod bots;
pub mod commands;
pub mod creation_rates;
pub mod events;
pub mod idempotency_keys;
pub mod messages;
pub mod nodes;
pub mod open_streams;
pub mod runs;
pub mod sessions;
pub mod spending;
