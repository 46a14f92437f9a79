//! What bridges are given of the rest of the gateway, and their figures.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::sync::oneshot;

use crate::bridge::{BridgeKind, Flow, FlowPort, StateWord, Totals};
use crate::peer::{PeerCommand, Shards};
use crate::vocab::PeerId;

/// Threads that do not answer in this time have nothing to show.
const PATIENCE: Duration = Duration::from_secs(1);

/// What passed over connections, asked of the threads that carry it.
pub(super) fn flows(shards: &Arc<Shards>) -> FlowPort {
    let shards = Arc::clone(shards);
    Arc::new(move |peers: Vec<PeerId>| {
        let shards = Arc::clone(&shards);
        Box::pin(async move {
            let wanted: HashSet<u64> = peers.into_iter().map(|peer| peer.0).collect();
            let (reply, answer) = oneshot::channel();
            shards.send(PeerCommand::Figures { peer: None, reply });
            let all = tokio::time::timeout(PATIENCE, answer).await.ok().and_then(Result::ok).unwrap_or_default();
            let flow = |figures: crate::peer::PeerFigures| Flow {
                packets_sent: figures.packets_sent,
                bytes_sent: figures.bytes_sent,
                packets_received: figures.packets_received,
                bytes_received: figures.bytes_received,
            };
            let found = all.into_iter().filter(|figures| wanted.contains(&figures.peer));
            found.map(|figures| (PeerId(figures.peer), flow(figures))).collect()
        })
    })
}

/// What the bridges had counted when they were asked last.
pub(super) type LatestTotals = Arc<Mutex<Totals>>;

/// Writes what was asked last; whoever writes the page asks first.
#[derive(Debug)]
pub(super) struct BridgeCollector(pub LatestTotals);

impl Collector for BridgeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let totals = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let help = "Bridges now, by `state`: off, waiting, connecting, connected.";
        let mut metric = encoder.encode_descriptor("bridges", help, None, MetricType::Gauge)?;
        for state in StateWord::ALL {
            let count = totals.states.get(&state).copied().unwrap_or_default();
            let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            gauge.encode(metric.encode_family(&[("state", state.as_str())])?)?;
        }
        let counted = |kind| totals.counted.get(&kind).copied().unwrap_or_default();
        let kinds = |value: fn(&crate::bridge::Counted) -> u64| {
            BridgeKind::ALL.map(|kind| (kind.as_str(), value(&counted(kind)))).to_vec()
        };
        let all: Flow = totals.counted.values().fold(Flow::default(), |sum, kind| sum + kind.flow);
        let families = [
            (
                "bridge_attempts",
                "How often bridges asked the far side, by `kind`: whip, whep, tribe, peerjs, portico.",
                "kind",
                kinds(|it| it.attempts),
            ),
            (
                "bridge_connections",
                "Connections of bridges that came to be, by `kind`: whip, whep, tribe, peerjs, portico.",
                "kind",
                kinds(|it| it.connections),
            ),
            (
                "bridge_rtp_packets",
                "RTP packets over bridges, by `direction`: sent, received.",
                "direction",
                vec![("sent", all.packets_sent), ("received", all.packets_received)],
            ),
            (
                "bridge_rtp_bytes",
                "RTP payload bytes over bridges, by `direction`: sent, received.",
                "direction",
                vec![("sent", all.bytes_sent), ("received", all.bytes_received)],
            ),
        ];
        for (name, help, key, values) in families {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (word, value) in values {
                ConstCounter::new(value).encode(metric.encode_family(&[(key, word)])?)?;
            }
        }
        Ok(())
    }
}
