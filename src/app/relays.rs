//! Figures of the gateway's own relays.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::peer::{NoRelay, RelayFigures, Shards};

/// Writes what they are now.
#[derive(Debug)]
pub(super) struct RelayCollector(pub Option<Arc<Shards>>);

impl Collector for RelayCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let RelayFigures { held, refused } = self.0.as_ref().map(|shards| shards.relays()).unwrap_or_default();
        let help = "Relays at TURN servers that the gateway has for its own connections.";
        let gauge = ConstGauge::new(i64::try_from(held).unwrap_or(i64::MAX));
        gauge.encode(encoder.encode_descriptor("relays", help, None, MetricType::Gauge)?)?;
        let help = format!("How often a TURN server gave the gateway no relay, by `reason`: {}.", NoRelay::WORDS.join(", "));
        let mut metric = encoder.encode_descriptor("relays_refused", &help, None, MetricType::Counter)?;
        for (reason, count) in NoRelay::WORDS.into_iter().zip(refused) {
            ConstCounter::new(count).encode(metric.encode_family(&[("reason", reason)])?)?;
        }
        Ok(())
    }
}
