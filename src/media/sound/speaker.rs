//! Plays what is published in a room.
//!
//! A thread of its own: opening a sound card blocks. The card is open only while somebody publishes sound. One that cannot be opened,
//! or goes away, is tried again as long as there is something to play.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use tracing::{debug, info, warn};

use super::{CAPS, PROBE, SpeakerConfig, Timebase};
use crate::forward::Layer;
use crate::media::SourceError;
use crate::media::board::Board;
use crate::media::inlet::Inlet;
use crate::media::pipeline::{PresenceCache, make};
use crate::vocab::TrackId;

/// Pause before a card that failed is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// Most voices played at a time; more are left out. A room for talk has eight.
const MOST: usize = 32;
/// Keeps the mixer going while nobody says anything, so that the card hears silence and not nothing.
const SILENCE: &str = "audiotestsrc name=silence is-live=true wave=silence samplesperbuffer=480";

/// What the thread is told.
enum Order {
    /// These and no others are to be heard.
    Play(Vec<(TrackId, Arc<Layer>)>),
    /// The bus of a pipeline has an error; the number tells which.
    Failed(u64, String),
    Stop,
}

/// The loudspeaker.
pub(in crate::media) struct Speaker {
    orders: mpsc::Sender<Order>,
    thread: JoinHandle<()>,
}

impl Speaker {
    /// Starts the thread; nothing is opened. The probe exists from here on, so that microphones find it.
    pub fn start(config: SpeakerConfig, board: Arc<Board>, presences: Arc<PresenceCache>) -> Result<Self, SourceError> {
        let pipeline = build(&config, "alsasink name=card buffer-time=120000 latency-time=20000")?;
        if let (Some(card), Some(device)) = (pipeline.by_name("card"), &config.device) {
            card.set_property("device", device);
        }
        Self::on(pipeline, config, board, presences)
    }

    /// The same on a pipeline of [`build`].
    fn on(
        pipeline: gst::Pipeline,
        config: SpeakerConfig,
        board: Arc<Board>,
        presences: Arc<PresenceCache>,
    ) -> Result<Self, SourceError> {
        // unbounded: a word per track that comes or goes, and per failure
        let (orders, inbox) = mpsc::channel();
        let runner = Runner { config, board, presences, orders: orders.clone(), pipeline, run: 0, voices: BTreeMap::new() };
        let work = move || runner.work(&inbox);
        let thread = std::thread::Builder::new().name("speaker".into()).spawn(work);
        let thread = thread.map_err(|error| SourceError::Failed(error.to_string()))?;
        Ok(Self { orders, thread })
    }

    /// These and no others are to be heard. Never blocks.
    pub fn play(&self, voices: Vec<(TrackId, Arc<Layer>)>) {
        // after `stop` nobody listens
        let _ = self.orders.send(Order::Play(voices));
    }

    /// Ends it; the thread may still be closing the card.
    pub fn stop(self) -> JoinHandle<()> {
        let _ = self.orders.send(Order::Stop);
        self.thread
    }
}

/// The pipeline, in NULL. Its probe is found by microphones whether it plays or not.
fn build(config: &SpeakerConfig, card: &str) -> Result<gst::Pipeline, SourceError> {
    let probe = if config.echo_cancellation { format!("webrtcechoprobe name={PROBE} ! ") } else { String::new() };
    let pipeline = make::pipeline(&format!(
        "{SILENCE} ! {CAPS} ! audiomixer name=mixer latency=20000000 ! {CAPS} ! volume name=volume ! {probe}\
         audioconvert ! audioresample ! queue max-size-buffers=0 max-size-bytes=0 max-size-time=200000000 leaky=downstream ! {card}"
    ))?;
    if let Some(volume) = pipeline.by_name("volume") {
        volume.set_property("volume", f64::from(config.volume) / 100.0);
    }
    Ok(pipeline)
}

/// Somebody who is heard.
struct Voice {
    inlet: Inlet,
    /// Behind the inlet, up to the mixer.
    rest: gst::Bin,
    pad: gst::Pad,
}

struct Runner {
    config: SpeakerConfig,
    board: Arc<Board>,
    presences: Arc<PresenceCache>,
    orders: mpsc::Sender<Order>,
    pipeline: gst::Pipeline,
    /// Counts how often the card was opened; errors of an earlier time are out of date.
    run: u64,
    voices: BTreeMap<TrackId, Voice>,
}

impl Runner {
    fn work(mut self, inbox: &mpsc::Receiver<Order>) {
        let mut wanted: Vec<(TrackId, Arc<Layer>)> = Vec::new();
        let mut retry = None::<Instant>;
        let mut said = false;
        loop {
            let order = match retry {
                Some(at) => inbox.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => inbox.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
            };
            match order {
                Ok(Order::Play(voices)) => {
                    wanted = voices;
                    wanted.truncate(MOST);
                }
                Ok(Order::Failed(run, error)) if run == self.run => {
                    if !std::mem::replace(&mut said, true) {
                        warn!(device = self.config.device, error, "the speaker cannot play; it is tried again");
                    }
                    self.close();
                    retry = Some(Instant::now() + RETRY);
                    continue;
                }
                Ok(Order::Failed(..)) => continue,
                Ok(Order::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => return self.close(),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            if wanted.is_empty() {
                (retry, said) = (None, false);
                self.close();
                continue;
            }
            if retry.is_some_and(|at| Instant::now() < at) {
                continue;
            }
            retry = None;
            if self.voices.is_empty() && !self.is_open() {
                match self.open() {
                    Ok(()) => info!(device = self.config.device, voices = wanted.len(), again = said, "the speaker plays"),
                    // the bus tells why, and that leads to the next try
                    Err(error) => debug!(%error, "speaker not opened"),
                }
            }
            self.hear(&wanted);
        }
    }

    fn is_open(&self) -> bool {
        self.pipeline.current_state() != gst::State::Null
    }

    fn open(&mut self) -> Result<(), gst::StateChangeError> {
        self.run += 1;
        let (run, orders) = (self.run, Mutex::new(self.orders.clone()));
        if let Some(bus) = self.pipeline.bus() {
            bus.set_sync_handler(move |_, message| {
                if let gst::MessageView::Error(error) = message.view() {
                    let text = error.error().message().to_owned();
                    let _ = orders.lock().unwrap_or_else(PoisonError::into_inner).send(Order::Failed(run, text));
                }
                gst::BusSyncReply::Drop
            });
        }
        let timebase = Timebase::get();
        timebase.apply(&self.pipeline);
        if let Some(silence) = self.pipeline.by_name("silence") {
            let now = i64::try_from(timebase.running_time().nseconds()).unwrap_or(i64::MAX);
            silence.set_property("timestamp-offset", now);
        }
        self.pipeline.set_state(gst::State::Playing).map(drop)
    }

    fn close(&mut self) {
        if self.pipeline.set_state(gst::State::Null).is_err() {
            debug!("speaker did not close cleanly");
        }
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
        for (_, voice) in std::mem::take(&mut self.voices) {
            self.forget(voice);
        }
    }

    /// Adds who is new and takes away who is gone.
    fn hear(&mut self, wanted: &[(TrackId, Arc<Layer>)]) {
        let gone: Vec<TrackId> =
            self.voices.keys().copied().filter(|track| wanted.iter().all(|(other, _)| other != track)).collect();
        for track in gone {
            if let Some(voice) = self.voices.remove(&track) {
                self.forget(voice);
            }
        }
        for (track, layer) in wanted {
            if self.voices.contains_key(track) {
                continue;
            }
            match self.voice(layer) {
                Ok(voice) => {
                    voice.inlet.open();
                    self.voices.insert(*track, voice);
                }
                Err(error) => warn!(%error, "somebody is not heard on the speaker"),
            }
        }
    }

    fn voice(&self, layer: &Arc<Layer>) -> Result<Voice, SourceError> {
        let failed = |error: &dyn std::fmt::Display| SourceError::Failed(error.to_string());
        let inlet = Inlet::new(Arc::clone(layer), &self.board, &self.presences, &Default::default())?;
        let rest =
            make::bin(&format!("audioconvert name=entry ! audioresample ! {CAPS} ! queue name=exit max-size-time=200000000"))?;
        let mixer = self.pipeline.by_name("mixer").ok_or_else(|| failed(&"the mixer is gone"))?;
        let pad = mixer.request_pad_simple("sink_%u").ok_or_else(|| failed(&"the mixer takes no more"))?;
        let bins = [inlet.bin().upcast_ref::<gst::Element>(), rest.upcast_ref()];
        let added = self.pipeline.add_many(bins).map_err(|error| failed(&error));
        let linked = added.and_then(|()| inlet.bin().link(&rest).map_err(|error| failed(&error))).and_then(|()| {
            let out = rest.static_pad("src").ok_or_else(|| failed(&"no way out"))?;
            out.link(&pad).map(drop).map_err(|error| failed(&error))
        });
        let voice = Voice { inlet, rest, pad };
        let started = linked.and_then(|()| {
            voice
                .rest
                .sync_state_with_parent()
                .and_then(|()| voice.inlet.bin().sync_state_with_parent())
                .map_err(|error| failed(&error))
        });
        match started {
            Ok(()) => Ok(voice),
            Err(error) => {
                self.forget(voice);
                Err(error)
            }
        }
    }

    fn forget(&self, voice: Voice) {
        for bin in [voice.inlet.bin(), &voice.rest] {
            // a bin in NULL gives and takes nothing: it can be unlinked as it is
            let _ = bin.set_state(gst::State::Null);
            let _ = self.pipeline.remove(bin);
        }
        if let Some(mixer) = self.pipeline.by_name("mixer") {
            mixer.release_request_pad(&voice.pad);
        }
    }
}

#[cfg(test)]
mod tests {
    use gstreamer_app as gst_app;

    use super::*;
    use crate::media::tests::support::{Bench, PATIENCE, track};
    use crate::vocab::{Codec, MediaKind};

    /// Mean square of 16-bit samples.
    fn power(sample: &gst::Sample) -> f64 {
        let map = sample.buffer().unwrap().map_readable().unwrap();
        let values = map.chunks_exact(2).map(|pair| f64::from(i16::from_le_bytes([pair[0], pair[1]])));
        values.map(|value| value * value).sum::<f64>() / (map.len() / 2).max(1) as f64
    }

    #[test]
    fn who_publishes_is_heard_and_the_card_is_free_when_nobody_does() {
        // of one tone twice nothing may be left: two that differ add up whatever their phases
        let source = |name: &str, tone: u32| {
            format!("[[source]]\nname = '{name}'\ntype = 'test'\nwidth = 160\nheight = 120\nframerate = 5\ntone = {tone}\n")
        };
        let mut bench = Bench::new(&(source("test", 440) + &source("other", 1000)));
        let mut tone = |name: &str| {
            let (_, tracks) = bench.play(name, &[Codec::VP8]);
            Arc::clone(track(&tracks, MediaKind::Audio).layers.first())
        };
        let (tone, other) = (tone("test"), tone("other"));
        let config = SpeakerConfig { volume: 50, ..SpeakerConfig::default() };
        let card = "audioconvert ! audio/x-raw,format=S16LE,channels=1 ! appsink name=card sync=true max-buffers=4 drop=true";
        let pipeline = build(&config, card).unwrap();
        let heard: gst_app::AppSink = pipeline.by_name("card").unwrap().downcast().unwrap();
        let speaker = Speaker::on(pipeline.clone(), config, Arc::new(Board::generic()), Arc::default()).unwrap();
        assert_eq!(pipeline.current_state(), gst::State::Null);
        let until = |what: &str, fits: &dyn Fn() -> bool| {
            let limit = Instant::now() + PATIENCE;
            while !fits() {
                assert!(Instant::now() < limit, "not in time: {what}");
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        let loud = || heard.try_pull_sample(gst::ClockTime::from_mseconds(100)).map_or(0.0, |sample| power(&sample));
        let voice = (TrackId::next(), tone);
        speaker.play(vec![voice.clone()]);
        // the tone is at 20 % of full scale, and played at half of that
        until("the tone is heard", &|| (500_000.0..8_000_000.0).contains(&loud()));
        // somebody else comes and goes: nothing begins anew
        speaker.play(vec![voice.clone(), (TrackId::next(), other)]);
        until("two voices are louder than one", &|| loud() > 8_000_000.0);
        speaker.play(vec![voice]);
        until("one is left", &|| (500_000.0..8_000_000.0).contains(&loud()));
        speaker.play(Vec::new());
        until("the card is closed", &|| pipeline.current_state() == gst::State::Null);
        speaker.stop().join().unwrap();
        bench.media.stop();
    }
}
