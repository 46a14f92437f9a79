//! Pictures of streams: what the hub shows, taken by the sources' decoders; and how many were.

use std::sync::Arc;

use async_trait::async_trait;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use crate::http::{NoStill, Still, Stills};
use crate::hub::{Hub, Shown};
use crate::media::snapshot::{Picture, SnapshotError, SnapshotFigures, Snapshots, Subject};
use crate::vocab::MediaKind;

/// Takes pictures of what rooms show.
pub(super) struct RoomStills {
    pub hub: Hub,
    pub snapshots: Snapshots,
}

#[async_trait]
impl Stills for RoomStills {
    async fn take(&self, wish: Still) -> Result<Arc<Picture>, NoStill> {
        let Still { room, member, stream, width } = wish;
        let subject = match self.hub.shown(room, member, stream).await?.map_err(NoStill::Refused)? {
            Shown::Source(source) => Subject::Source(source),
            Shown::Published(layers) => {
                let video = layers.into_iter().find(|layer| layer.format().codec.kind() == MediaKind::Video);
                Subject::Published(video.ok_or(SnapshotError::NoPicture)?)
            }
        };
        Ok(self.snapshots.take(subject, width).await?)
    }
}

/// Reads the figures when somebody looks.
#[derive(Debug)]
pub(super) struct SnapshotCollector(pub Arc<SnapshotFigures>);

impl Collector for SnapshotCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let words: Vec<&str> = self.0.all().map(|(word, _)| word).collect();
        let help = format!("Pictures of streams asked for, by `result`: {}.", words.join(", "));
        let mut metric = encoder.encode_descriptor("snapshots", &help, None, MetricType::Counter)?;
        for (word, count) in self.0.all() {
            let labels = [("result", word)];
            ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
