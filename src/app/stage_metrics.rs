//! How long frames take through the gateway.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::forward::Stages;

/// Reads the histograms when somebody looks.
#[derive(Debug)]
pub(super) struct StageCollector(pub Arc<Stages>);

impl Collector for StageCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let help = "How long a frame of video takes in each `stage`: capture, encode, packetise, send";
        let mut metric = encoder.encode_descriptor("stage", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (stage, durations) in self.0.all() {
            let view = durations.view();
            let labels = [("stage", stage)];
            let mut family = metric.encode_family(&labels)?;
            family.encode_histogram::<NoLabelSet>(view.sum, view.count(), &view.buckets, None)?;
        }
        Ok(())
    }
}
