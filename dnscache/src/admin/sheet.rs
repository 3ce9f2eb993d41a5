//! Writes metric families: a name, a help line, a type, and one sample per set of labels.

use std::borrow::Cow;
use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

use crate::counts::HistogramReading;

/// The labels of one sample.
pub(super) type Labels<'l> = Vec<(&'static str, Cow<'l, str>)>;

/// One sample: its labels and its value.
pub(super) type Sample<'l, V> = (Labels<'l>, V);

/// A scrape in the making.
pub(super) struct Sheet<'e>(DescriptorEncoder<'e>);

impl<'e> Sheet<'e> {
    pub(super) fn new(encoder: DescriptorEncoder<'e>) -> Self {
        Self(encoder)
    }

    /// Writes counters. The encoder appends `_total`, so `name` comes without it.
    pub(super) fn counters<'l, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample<'l, V>>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, samples, |encoder, value| {
            encoder.encode_counter::<NoLabelSet, V, f64>(value, None)
        })
    }

    /// Writes gauges.
    pub(super) fn gauges<'l, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample<'l, V>>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, samples, |encoder, value| {
            encoder.encode_gauge(value)
        })
    }

    /// Writes histograms with these upper bounds; the bucket without a bound is added.
    pub(super) fn histograms<'l>(
        &mut self,
        name: &str,
        help: &str,
        bounds: &[f64],
        samples: impl IntoIterator<Item = Sample<'l, HistogramReading>>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Histogram, samples, |encoder, reading| {
            let mut buckets: Vec<_> =
                bounds.iter().copied().zip(reading.buckets.iter().copied()).collect();
            let bounded: u64 = reading.buckets.iter().sum();
            buckets.push((f64::INFINITY, reading.count.saturating_sub(bounded)));
            encoder.encode_histogram::<NoLabelSet>(reading.sum, reading.count, &buckets, None)
        })
    }

    /// Writes one counter without labels.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counters(name, help, [(Labels::new(), value)])
    }

    /// Writes one gauge without labels.
    pub(super) fn gauge<V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        value: V,
    ) -> fmt::Result {
        self.gauges(name, help, [(Labels::new(), value)])
    }

    /// Writes a family; one without samples is left out, as Prometheus clients do.
    fn family<'l, V>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        samples: impl IntoIterator<Item = Sample<'l, V>>,
        write: impl Fn(&mut MetricEncoder<'_>, &V) -> fmt::Result,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut encoder = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in samples {
            if labels.is_empty() {
                write(&mut encoder, &value)?;
            } else {
                write(&mut encoder.encode_family(&labels)?, &value)?;
            }
        }
        Ok(())
    }
}
