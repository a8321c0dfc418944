//! The API's answers: what clients rely on, and every bad input as a clear problem.

mod access;
mod answers;
mod audit;
mod bad_input;
mod browsers;
mod exports;
mod history;
mod hosts;
mod idempotency;
pub(crate) mod login;
mod metrics;
mod openapi;
mod pdfs;
mod quotas;
mod raw;
mod sessions;
mod statuses;
mod tokens;
mod uncounted;
