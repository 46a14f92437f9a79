//! The figures of the data channels.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::ConstCounter;

use crate::channel::Figures;

/// What the desk had counted when it was asked last.
pub(super) type LatestFigures = Arc<Mutex<Figures>>;

/// Writes what was asked last; whoever writes the page asks first.
#[derive(Debug)]
pub(super) struct DeskCollector(pub LatestFigures);

impl Collector for DeskCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let figures = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, help, value) in figures.totals() {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, &format!("{help}."), None, counter.metric_type())?)?;
        }
        let reasons = "forbidden, malformed, no_route, no_place, too_large, queue_full";
        let help = format!("Messages of data channels not handed on, by `reason`: {reasons}");
        family(&mut encoder, "channel_messages_refused", &help, "reason", &figures.refused())?;
        let help = "Requests of members for local services, by `outcome`: answered, refused, limited, failed, timed_out";
        family(&mut encoder, "rpc_requests", help, "outcome", &figures.requests.outcomes())
    }
}

/// One counter for each word.
fn family(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    key: &'static str,
    values: &[(&'static str, u64)],
) -> Result<(), std::fmt::Error> {
    let mut metric = encoder.encode_descriptor(name, &format!("{help}."), None, <ConstCounter<u64> as TypedMetric>::TYPE)?;
    for (word, value) in values {
        ConstCounter::new(*value).encode(metric.encode_family(&[(key, *word)])?)?;
    }
    Ok(())
}
