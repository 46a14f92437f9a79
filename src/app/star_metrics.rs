//! The figures of webrtc-star under the names of the original signalling server.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::signalling::star::StarFigures;

/// Reads the figures when somebody looks.
#[derive(Debug)]
pub(super) struct StarCollector(pub Arc<StarFigures>);

impl Collector for StarCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        for (name, help, value) in self.0.totals() {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        // counters in the original, but OpenMetrics gives every counter an ending of its own
        for (name, help, value) in self.0.gauges() {
            let gauge = ConstGauge::new(value as i64);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
