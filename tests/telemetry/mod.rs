//! What operators see, and that it is true.

mod audit;
mod logs;
mod metrics;
mod names;
mod traces;
