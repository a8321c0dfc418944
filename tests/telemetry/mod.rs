//! What operators see, and that it is true.

mod logs;
mod metrics;
mod names;
mod traces;
