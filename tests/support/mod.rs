//! What the tests stand on: the real application on a port of its own, and clients that speak to it over real sockets.

mod app;
mod cluster;
mod collector;
mod contract;
mod database;
mod fold;
mod issuer;
mod keys;
mod proxy;
mod scrape;
mod shown;
mod sse;

pub(crate) use app::{Answer, TestApp, client, free_port, merge, number, talk, within};
pub(crate) use cluster::{Cluster, is_root};
pub(crate) use collector::{Collector, attribute};
pub(crate) use contract::{Operation, contract};
pub(crate) use database::{Database, pool};
pub(crate) use fold::Fold;
pub(crate) use issuer::{Issuer, Mood};
pub(crate) use keys::{Key, Token, base64url, compact, now};
pub(crate) use proxy::{Proxy, When};
pub(crate) use scrape::Scrape;
pub(crate) use shown::{shown, shown_head};
pub(crate) use sse::{Event, SseClient, SseDecoder};
