//! What operators see: the metrics, the traces, and how the log looks.
//!
//! **Invariant:** whatever a label says is one of a few words that this process knew when it started: names of models come from
//! callers, and what nobody has heard of is `other`. No run's id, no client and no text is a label. Nothing here is the process's:
//! each application has its own.
//!
//! **May import:** conversation. The other rooms do not know this one: they hold a [`crate::conversation::Meter`].

mod labels;
pub mod log;
mod metrics;
mod process;
mod traces;
mod vitals;

pub use labels::Known;
pub use metrics::Metrics;
pub use traces::{TraceError, TraceOptions, Tracer};
pub use vitals::{OpenBreaker, Vitals};

/// The metrics in Prometheus' text format, with what `vitals` says of this moment.
///
/// Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>, version 0.0.4.
#[must_use]
pub fn exposition(metrics: &Metrics, vitals: &Vitals) -> String {
    let mut text = String::new();
    metrics.write(&mut text);
    vitals.write(metrics.known(), &mut text);
    process::write(&mut text);
    text
}
