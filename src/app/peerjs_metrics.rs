//! The figures of PeerJS brokers.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;

use crate::signalling::peerjs::PeerjsFigures;

/// Reads the figures when somebody looks.
#[derive(Debug)]
pub(super) struct PeerjsCollector(pub Arc<PeerjsFigures>);

impl Collector for PeerjsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        for (name, help, value) in self.0.totals() {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, &format!("{help}."), None, counter.metric_type())?)?;
        }
        Ok(())
    }
}
