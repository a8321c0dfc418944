//! Figures: percentiles, medians and ranges.

use serde::Serialize;

/// Added latency, in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Latency {
    /// Of nanoseconds, which are put in order.
    pub(crate) fn of(nanoseconds: &mut [u64]) -> Self {
        nanoseconds.sort_unstable();
        Self {
            p50: percentile(nanoseconds, 0.5),
            p99: percentile(nanoseconds, 0.99),
            p999: percentile(nanoseconds, 0.999),
            max: percentile(nanoseconds, 1.0),
        }
    }
}

/// A percentile of nanoseconds that are in order, in microseconds.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures of some digits"
)]
pub(crate) fn percentile(ordered: &[u64], share: f64) -> f64 {
    let last = ordered.len().saturating_sub(1);
    let index = (last as f64 * share).round() as usize;
    ordered
        .get(index)
        .map_or(f64::NAN, |value| *value as f64 / 1000.0)
}

/// A figure of several repetitions.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Figure {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let middle = f64::midpoint(at(values.len().saturating_sub(1) / 2), at(values.len() / 2));
        Self {
            median: middle,
            least: at(0),
            most: at(values.len().saturating_sub(1)),
        }
    }

    pub(crate) fn one(value: f64) -> Self {
        Self {
            median: value,
            least: value,
            most: value,
        }
    }
}
