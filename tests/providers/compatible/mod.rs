//! Servers that speak an API of others, each in its way: how they are set up, and what they insist on.

mod page;
mod strict;
