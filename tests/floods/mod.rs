//! Clients that take more than their part, or nothing at all: floods of connections, of requests, of logins; readers that do not read.

mod connections;
mod h2;
mod logins;
mod resets;
mod slow_readers;
