//! Integration tests: one binary, so that the application is linked once.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that meets what it does not expect is to fail there and then"
)]

mod architecture;
mod canary;
mod catalogue;
mod commands;
mod crashes;
mod event_log;
mod floods;
mod load;
mod models;
mod providers;
mod requests;
mod runs;
mod simulator;
mod streams;
mod support;
mod telemetry;
mod trouble;
mod workers;
