//! Kinds of metrics, beside the library's own, and how they come into the registry.

use std::{fmt::Error, hash::Hash, time::Duration};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric, family::Family, histogram::Histogram},
    registry::{Metric, Registry},
};

use crate::conversation::Tally;

/// Histograms of durations.
pub(super) type Timed<L> = Family<L, Histogram, fn() -> Histogram>;

/// A metric that the registry shows under that name.
pub(super) fn register<M: Metric + Clone + Default>(
    registry: &mut Registry,
    name: &str,
    help: &str,
) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// The same of a duration.
pub(super) fn timed<L>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    new: fn() -> Histogram,
) -> Timed<L>
where
    Timed<L>: Metric + Clone,
    L: Clone + Hash + Eq,
{
    let family = Timed::<L>::new_with_constructor(new);
    registry.register(name, help, family.clone());
    family
}

pub(super) fn observe<L: Clone + Hash + Eq>(family: &Timed<L>, labels: &L, took: Duration) {
    family.get_or_create(labels).observe(took.as_secs_f64());
}

/// A sum that is added to without a look at the registry.
#[derive(Debug, Clone, Default)]
pub(super) struct Sum(pub(super) Tally);

impl TypedMetric for Sum {
    const TYPE: MetricType = MetricType::Counter;
}

impl EncodeMetric for Sum {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), Error> {
        encoder.encode_counter::<NoLabelSet, _, u64>(&self.0.sum(), None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// Money: summed up in whole 10⁻¹² dollars, so that the sum of many small amounts is exact.
#[derive(Debug, Clone, Default)]
pub(super) struct Dollars(pub(super) Tally);

impl TypedMetric for Dollars {
    const TYPE: MetricType = MetricType::Counter;
}

impl EncodeMetric for Dollars {
    #[expect(clippy::cast_precision_loss, reason = "the format has floats only")]
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), Error> {
        let dollars = self.0.sum() as f64 / 1e12;
        encoder.encode_counter::<NoLabelSet, _, u64>(&dollars, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}
