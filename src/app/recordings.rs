//! Recordings: where the hub says that streams are, and how many there are.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::hub::{Hub, Shown};
use crate::media::Media;
use crate::media::record::{Found, Of, Ports, Recorder, RecordingFigures, RecordingState};
use crate::room::{Report, RoomConfig};
use crate::vocab::MemberId;

/// The folder below the state directory.
const FOLDER: &str = "recordings";

/// Records what the configuration lists, and what is asked for later.
pub(super) fn start(config: &Config, hub: &Hub, media: &Arc<Media>, tasks: &TaskTracker, stop: CancellationToken) -> Recorder {
    let (to_media, to_hub) = (Arc::clone(media), hub.clone());
    let ports = Ports {
        find: Box::new(move |of, member| Box::pin(find(to_hub.clone(), of, member))),
        media: Box::new(move |order| to_media.send(order)),
    };
    let folder = crate::ops::default_state_dir().join(FOLDER);
    let recorder = Recorder::start(&config.recording, folder, config.record.clone(), ports, tasks, stop.clone());
    tasks.spawn(wake(hub.clone(), recorder.clone(), stop));
    recorder
}

async fn find(hub: Hub, of: Of, member: Option<MemberId>) -> Option<Found> {
    let Of { room, stream } = of;
    let Some(stream) = stream else { return RoomConfig::mix_source_of(&room).map(Found::Source) };
    // what is not there may come; a hub that is gone has nothing
    Some(match hub.shown(room, member, stream).await.ok()?.ok()? {
        Shown::Source(source) => Found::Source(source),
        Shown::Published(layers) => Found::Published(layers),
    })
}

/// A stream that comes or goes is looked at without waiting for the next second.
async fn wake(hub: Hub, recorder: Recorder, stop: CancellationToken) {
    let mut reports = hub.reports();
    loop {
        let report = tokio::select! {
            report = reports.recv() => report,
            () = stop.cancelled() => return,
        };
        match report {
            Ok(Report::StreamUp { .. } | Report::StreamDown { .. }) | Err(RecvError::Lagged(_)) => recorder.look_again(),
            Ok(_) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Reads the figures when somebody looks.
pub(super) struct RecordingCollector {
    /// Counts over all recordings.
    pub figures: Arc<RecordingFigures>,
    /// What runs; nothing where only the names of the figures are wanted.
    pub recorder: Option<Recorder>,
}

impl std::fmt::Debug for RecordingCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordingCollector").field("figures", &self.figures).finish_non_exhaustive()
    }
}

impl Collector for RecordingCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let running = self.recorder.as_ref().map(Recorder::recordings).unwrap_or_default();
        let (files, bytes, free) = self.recorder.as_ref().map(Recorder::total).unwrap_or_default();
        let states = RecordingState::WORDS;
        let help = format!("Recordings that were started and not stopped, by `state`: {}.", states.join(", "));
        let mut metric = encoder.encode_descriptor("recordings", &help, None, MetricType::Gauge)?;
        for state in states {
            let count = running.iter().filter(|it| it.state.as_str() == state).count();
            ConstGauge::new(count as i64).encode(metric.encode_family(&[("state", state)])?)?;
        }
        let gauge = |value: u64| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        for (name, help, value) in [
            ("recording_files", "Files of recordings.", Some(files as u64)),
            ("recording_bytes", "Bytes of all files of recordings.", Some(bytes)),
            (
                "recording_free_bytes",
                "Bytes that the disk of the recordings had left when it was looked at last; absent before.",
                free,
            ),
        ] {
            let Some(value) = value.or(self.recorder.is_none().then_some(0)) else { continue };
            gauge(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        for (name, help, value) in [
            ("recording_written_bytes", "Bytes written to recordings.", self.figures.bytes_written()),
            (
                "recording_dropped_frames",
                "Frames missing in recordings because the disk was too slow.",
                self.figures.frames_dropped(),
            ),
        ] {
            ConstCounter::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        for (name, help, counts) in [
            (
                "recording_removed_files",
                "Files of recordings removed, by the limit that they were removed for",
                self.figures.files_removed(),
            ),
            ("recording_failures", "Recordings that failed and are tried again, by what failed", self.figures.failures()),
        ] {
            let words: Vec<&str> = counts.iter().map(|(word, _)| *word).collect();
            let help = format!("{help}, `reason`: {}.", words.join(", "));
            let mut metric = encoder.encode_descriptor(name, &help, None, MetricType::Counter)?;
            for (word, count) in counts {
                ConstCounter::new(count).encode(metric.encode_family(&[("reason", word)])?)?;
            }
        }
        Ok(())
    }
}
