//! What is run by `cargo loco task NAME`.
//!
//! **Invariant:** a task goes through the same doors as the API does; what it prints for people goes to standard output, logs go
//! to standard error.
//!
//! **May import:** all rooms but controllers.

pub mod converse;
pub mod hash_password;
pub mod healthcheck;
pub mod prune;
pub mod simulate;
