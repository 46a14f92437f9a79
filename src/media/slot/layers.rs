//! Which layers a source's viewers get: planned for each, made once, answered when they flow.

use std::sync::Arc;
use std::time::Instant;

use tracing::{info, warn};

use super::{Fed, Filled, Slot, Waiting};
use crate::forward::{Appetite, Layers, PacketiserError};
use crate::media::board::DecoderInput;
use crate::media::pipeline::{BranchId, Encode, opus_format};
use crate::media::plan::layering::Layering;
use crate::media::plan::{self, Choice, StreamOffer};
use crate::media::tap::Feed;
use crate::media::{PlannedTrack, SourceError, Wants, h264};
use crate::vocab::{Codec, LayerId, MediaKind, MemberId, PeerId, TrackFormat};

impl Slot {
    /// Fills a layer that viewers hold, by whatever path there now is.
    pub(super) fn refeed(&mut self, now: Instant, codec: Codec) {
        let Some(offer) = &self.offer else { return };
        let only = match codec.kind() {
            MediaKind::Video => Wants { video: vec![codec], audio: Vec::new() },
            MediaKind::Audio => Wants { video: Vec::new(), audio: vec![codec] },
        };
        let planned =
            self.with_presence(|presence| plan::plan_kind(codec.kind(), offer, &only, &self.shared.board, presence, &[]));
        match planned {
            Some(Ok(choice)) => {
                if let Err(error) = self.feed(now, &choice) {
                    self.fail(now, error);
                }
            }
            Some(Err(refusal)) => self.fail(now, SourceError::Refused(refusal)),
            None => self.fail(now, SourceError::Failed(format!("it came back without {}", codec.kind()))),
        }
    }

    pub(super) fn plan(&mut self, now: Instant, viewer: PeerId) {
        let (Some(offer), Some(waiting)) = (&self.offer, self.waiting.get(&viewer)) else { return };
        let running: Vec<Choice> = self.fed.values().map(|fed| fed.choice.clone()).collect();
        let planned = self.with_presence(|presence| plan::plan(offer, &waiting.wants, &self.shared.board, presence, &running));
        let fed = planned.map_err(SourceError::Refused).and_then(|choices| {
            choices.iter().try_for_each(|choice| match self.fed.contains_key(&choice.codec) {
                true => Ok(()),
                false => self.feed(now, choice),
            })?;
            Ok(choices)
        });
        match fed {
            Ok(choices) => {
                for choice in &choices {
                    info!(source = %self.config.name, viewer = viewer.0, codec = %choice.codec, reason = choice.reason, "path chosen");
                }
                if let Some(waiting) = self.waiting.get_mut(&viewer) {
                    waiting.choices = choices;
                }
                self.say_left_out(viewer);
                self.follow_ways(now);
                self.answer_ready(now);
            }
            Err(error) => {
                self.answer(viewer, Err(error));
                self.demand.refused(now, viewer);
                self.drop_unwanted();
            }
        }
    }

    /// Sound that is wanted and cannot be given does not refuse the viewer; it is said here.
    pub(super) fn say_left_out(&self, viewer: PeerId) {
        let (Some(offer), Some(waiting)) = (&self.offer, self.waiting.get(&viewer)) else { return };
        if waiting.choices.iter().any(|choice| choice.codec.kind() == MediaKind::Audio) {
            return;
        }
        let planned = self.with_presence(|presence| {
            plan::plan_kind(MediaKind::Audio, offer, &waiting.wants, &self.shared.board, presence, &[])
        });
        if let Some(Err(refusal)) = planned {
            warn!(source = %self.config.name, viewer = viewer.0, error = %refusal, "played without sound");
        }
    }

    /// Of a mix a member hears everybody but itself, by a layer of its own.
    fn heard_by(&self, viewer: PeerId, listener: Option<MemberId>, choice: &Choice, all: Layers) -> Layers {
        match (&self.stage, listener, choice.codec.kind()) {
            (Some(stage), Some(member), MediaKind::Audio) => stage.listen(viewer, member, all.first()).map_or(all, Layers::from),
            _ => all,
        }
    }

    /// Orders the branch of a choice, into the codec's layers if there are some.
    pub(super) fn feed(&mut self, now: Instant, choice: &Choice) -> Result<(), SourceError> {
        let codec = choice.codec;
        let encode = match &choice.encoder {
            None => None,
            Some(_) => Some(self.encode(choice, 0)?),
        };
        if !self.fed.contains_key(&codec) {
            let fed = self.lay(choice, encode.is_some()).map_err(|error| SourceError::Failed(error.to_string()))?;
            self.fed.insert(codec, fed);
        }
        if let Some(fed) = self.fed.get_mut(&codec) {
            fed.choice = choice.clone();
        }
        self.start(now, BranchId { codec, layer: 0 }, encode);
        Ok(())
    }

    /// The layers of a codec, with nothing to fill them yet. What passes has the one it comes in.
    fn lay(&self, choice: &Choice, encoded: bool) -> Result<Fed, PacketiserError> {
        let codec = choice.codec;
        let video = codec.kind() == MediaKind::Video;
        let track = if video { self.video } else { self.audio };
        let place = Codec::ALL.iter().position(|it| *it == codec).unwrap_or_default();
        // what is decoded first tells its size later, and then as many of these are used as make sense
        let raw = self.offer.as_ref().is_some_and(|offer| matches!(offer.video, Some(StreamOffer::Picture { .. })));
        let count = match encoded && video {
            true if raw => self.layer_count(),
            true => Layers::MAX,
            false => 1,
        };
        let filled = (0..count).map(|layer| {
            let index = u8::try_from(place * Layers::MAX + layer).unwrap_or_default();
            let feed = Feed::new(LayerId { track, index }, self.format(codec, encoded), encoded)?;
            Ok(Filled { feed: Arc::new(feed), up: false, seen: None })
        });
        let filled = filled.collect::<Result<Vec<_>, PacketiserError>>()?;
        let first = filled.first().map(|filled| Arc::clone(filled.feed.layer()));
        let all: Vec<_> = filled.iter().map(|filled| Arc::clone(filled.feed.layer())).collect();
        let mut layers = Layers::new(all).or(first.map(Layers::from)).ok_or(PacketiserError::Codec(codec))?;
        if encoded && video {
            layers = layers.with_appetite(Appetite::new(self.config.bitrate.bps()));
        }
        Ok(Fed { choice: choice.clone(), layers, filled, layering: Layering::default(), most: Layers::MAX })
    }

    /// How a layer of a choice is encoded.
    pub(super) fn encode(&self, choice: &Choice, layer: usize) -> Result<Encode, SourceError> {
        let board = &self.shared.board;
        self.with_presence(|presence| {
            let encoder = plan::candidate(choice, board, presence).ok_or_else(|| {
                SourceError::Failed(format!("encoder {} is gone", choice.encoder.as_deref().unwrap_or_default()))
            })?;
            let coded = match self.offer.as_ref().and_then(|offer| offer.of(choice.codec.kind())) {
                Some(StreamOffer::Coded { format: Some(format), .. }) => Some(format.codec),
                _ => None,
            };
            let input = coded.map(DecoderInput::Codec);
            Ok(Encode {
                encoder: encoder.clone(),
                convert: plan::converter_for(encoder, board, presence).to_owned(),
                decoder: input.and_then(|input| plan::decoder_for(input, board, presence)).cloned(),
                bitrate: self.config.bitrate,
                size: self.scaled(encoder, layer),
                restarts: self.shared.presences.restarts_for_bitrate(encoder),
                shape: self.shape(),
            })
        })
    }

    /// How a layer is announced: as the source says for its own frames, as the encoders are set for ours.
    pub(super) fn format(&self, codec: Codec, encoded: bool) -> TrackFormat {
        let stream = self.offer.as_ref().and_then(|offer| offer.of(codec.kind()));
        match (codec, stream) {
            (_, Some(StreamOffer::Coded { format: Some(format), .. })) if !encoded => format.clone(),
            (Codec::H264, Some(&StreamOffer::Picture { width, height, framerate })) => {
                h264::baseline_format(width, height, framerate)
            }
            (Codec::H264, _) => TrackFormat::h264_baseline(),
            (Codec::Opus, _) => opus_format(),
            _ => TrackFormat::plain(codec),
        }
    }

    /// Answers those whose branches all run. What raw pictures will look like is known before the camera gives one; that it does,
    /// and is not in another program's hands, only the first one tells.
    pub(super) fn answer_ready(&mut self, now: Instant) {
        let raw = self.offer.as_ref().is_some_and(|offer| matches!(offer.video, Some(StreamOffer::Picture { .. })));
        if raw && self.last_frame.last().is_none() {
            return;
        }
        let ready = |waiting: &Waiting| {
            let up = |choice: &Choice| self.fed.get(&choice.codec).is_some_and(Fed::up);
            !waiting.choices.is_empty() && waiting.choices.iter().all(up)
        };
        let done: Vec<PeerId> = self.waiting.iter().filter(|(_, waiting)| ready(waiting)).map(|(viewer, _)| *viewer).collect();
        for viewer in done {
            let Some(waiting) = self.waiting.remove(&viewer) else { continue };
            self.demand.granted(viewer, waiting.choices.iter().map(|choice| choice.codec));
            let track = |choice: Choice| {
                let layers = self.fed.get(&choice.codec)?.layers.clone();
                let layers = self.heard_by(viewer, waiting.listener, &choice, layers);
                Some(PlannedTrack { kind: choice.codec.kind(), layers, choice })
            };
            let tracks = waiting.choices.into_iter().filter_map(track).collect();
            if waiting.reply.send(Ok(tracks)).is_err() {
                // it left without saying so
                if let Some(stage) = &self.stage {
                    stage.release(viewer);
                }
                self.demand.release(now, viewer);
            }
        }
    }
}
