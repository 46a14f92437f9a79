//! The encoders of a source: in which sizes and at which rates, within what the board can do in all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::{Fed, Slot};
use crate::forward::Layers;
use crate::media::board::EncoderCandidate;
use crate::media::budget::{ClaimId, blocks};
use crate::media::pipeline::{BranchId, BranchSpec, Encode, Order};
use crate::media::plan::layering::{self, Change, Rates};
use crate::media::plan::{self, Path, StreamOffer};
use crate::media::sources::ToOwner;
use crate::media::{EncodedLayer, Wants};
use crate::vocab::{Bitrate, Codec, MediaKind};

/// How often it is looked at what viewers' ways carry.
const LOOK: Duration = Duration::from_millis(500);

/// Names of the layers, for people.
const SIZES: [&str; Layers::MAX] = ["full", "half", "quarter"];

impl Slot {
    /// Sets the bit rate of its video encoders, now and later. What viewers' ways carry goes on to lower it.
    pub fn set_bitrate(&mut self, now: Instant, bitrate: Bitrate) {
        self.config.bitrate = bitrate;
        for codec in self.encoding() {
            if let Some(appetite) = self.fed.get(&codec).and_then(|fed| fed.layers.appetite()) {
                appetite.set_ceiling(bitrate.bps());
            }
            let needed = self.needed(codec);
            let Some(fed) = self.fed.get_mut(&codec) else { continue };
            let mut changed = Vec::new();
            for (layer, (running, rate)) in fed.layering.rates().into_iter().zip(needed).enumerate() {
                if let (Some(_), Some(rate)) = (running, rate) {
                    fed.layering.started(now, layer, rate);
                    changed.push((layer, rate));
                }
            }
            for (layer, rate) in changed {
                self.order(Order::Bitrate(BranchId { codec, layer }, Bitrate::from_bps(rate)));
            }
        }
    }

    /// Runs the layers that viewers need, at rates that their ways carry; takes a better encoder where one has become free.
    pub(super) fn follow_ways(&mut self, now: Instant) {
        let encoding = self.encoding();
        self.look_at_ways = (!encoding.is_empty()).then(|| now + LOOK);
        if self.freed != self.shared.budget.freed() {
            self.freed = self.shared.budget.freed();
            encoding.iter().for_each(|codec| self.improve(now, *codec));
        }
        for codec in encoding {
            let needed = self.needed(codec);
            let Some(fed) = self.fed.get_mut(&codec).filter(|fed| fed.up()) else { continue };
            let mut watched = [false; Layers::MAX];
            for (watched, filled) in watched.iter_mut().zip(&fed.filled) {
                *watched = filled.feed.layer().figures().sinks > 0;
            }
            let Some(appetite) = fed.layers.appetite() else { continue };
            let (full, told) = (appetite.ceiling(), appetite.told());
            for change in fed.layering.follow(now, full, needed, watched) {
                info!(source = %self.config.name, %codec, ?change, ?told, "layers follow what viewers' ways carry");
                match change {
                    Change::Start(layer, rate) => self.start_layer(now, BranchId { codec, layer }, rate),
                    Change::Rate(layer, rate) => {
                        self.order(Order::Bitrate(BranchId { codec, layer }, Bitrate::from_bps(rate)));
                    }
                    Change::Stop(layer) => self.stop_layer(BranchId { codec, layer }),
                }
            }
        }
    }

    /// Another source needs what a smaller layer uses.
    pub fn give_way(&mut self, id: ClaimId) {
        let id = BranchId { codec: id.codec, layer: id.layer };
        info!(source = %self.config.name, branch = %id, "a smaller layer ends: a picture needs its encoder");
        self.stop_layer(id);
    }

    /// What is decoded turns out to be so large: who encodes it must carry that.
    pub(super) fn decoded_as(&mut self, now: Instant, picture: (u32, u32, u32)) {
        if self.decoded.replace(picture) == Some(picture) {
            return;
        }
        for codec in self.encoding() {
            let Some(encoder) = self.encoder_of(codec).cloned() else { continue };
            if let Some(why) = self.too_large_for(&encoder) {
                info!(source = %self.config.name, %codec, element = encoder.element, why, "another encoder is needed");
                self.stop_layers(codec);
                self.refeed(now, codec);
                continue;
            }
            for layer in 0..Layers::MAX {
                if self.fed.get(&codec).is_some_and(|fed| fed.layering.rates()[layer].is_some()) {
                    self.shared.budget.claim(&encoder, self.claim(BranchId { codec, layer }), self.blocks(layer));
                }
            }
        }
    }

    /// Why an encoder cannot take the decoder's pictures; `None` where it can, or nothing was decoded yet.
    pub(super) fn too_large_for(&self, encoder: &EncoderCandidate) -> Option<String> {
        let (width, height, framerate) = self.picture().filter(|_| encoder.codec.kind() == MediaKind::Video)?;
        let decoded = self.decoded.and_then(|_| plan::beyond(encoder, &StreamOffer::Picture { width, height, framerate }));
        decoded.or_else(|| self.shared.presences.too_large(encoder, (width, height)))
    }

    /// Starts what fills a layer, and notes what that takes of the board's encoders.
    pub(super) fn start(&mut self, now: Instant, id: BranchId, encode: Option<Encode>) {
        let Some(fed) = self.fed.get_mut(&id.codec) else { return };
        let Some(filled) = fed.filled.get_mut(id.layer) else { return };
        let feed = Arc::clone(&filled.feed);
        filled.seen = None;
        if let Some(encode) = encode.as_ref().filter(|_| id.codec.kind() == MediaKind::Video) {
            fed.layering.started(now, id.layer, encode.bitrate.bps());
            let budget = &self.shared.budget;
            budget.claim(&encode.encoder, self.claim(id), self.blocks(id.layer));
            if let Some(other) = budget.overdrawn(&encode.encoder) {
                // after the owner's end nothing needs to give way
                let _ = self.shared.orders.send(ToOwner::GiveWay(other));
            }
            self.look_at_ways.get_or_insert(now + LOOK);
        }
        self.order(Order::Add(Box::new(BranchSpec { id, feed, encode })));
    }

    /// Takes away what fills a layer.
    pub(super) fn remove(&self, id: BranchId) {
        self.release_claim(id);
        self.order(Order::Remove(id));
    }

    pub(super) fn release_claim(&self, id: BranchId) {
        self.shared.budget.release(self.claim(id));
    }

    /// Nothing is encoded any more.
    pub(super) fn release_claims(&self) {
        for (codec, fed) in &self.fed {
            (0..fed.filled.len()).for_each(|layer| self.release_claim(BranchId { codec: *codec, layer }));
        }
    }

    /// Whether an encoder of the board has room for a layer of this source.
    pub(super) fn fits(&self, encoder: &EncoderCandidate, layer: usize) -> Result<(), String> {
        let id = BranchId { codec: encoder.codec, layer };
        self.shared.budget.fits(encoder, self.claim(id), self.blocks(layer))
    }

    /// How many layers its picture has, were it encoded; 1 as long as its size is not known.
    pub(super) fn layer_count(&self) -> usize {
        self.picture().map_or(1, |(width, height, _)| layering::count(width, height))
    }

    /// The size of a layer, where it is another than the source's.
    pub(super) fn scaled(&self, encoder: &EncoderCandidate, layer: usize) -> Option<(u32, u32)> {
        let (width, height, _) = self.picture().filter(|_| layer > 0)?;
        let (width, height) = layering::size(width, height, layer);
        let align = encoder.limits.width_align.unwrap_or(1).max(1);
        Some(((width / align).max(1) * align, height))
    }

    /// Video encoders at work: the codec's layers, and which of them.
    pub(super) fn encoders(&self) -> impl Iterator<Item = (&Fed, usize)> {
        let encoded = self.fed.values().filter(|fed| fed.encodes_video());
        encoded.flat_map(|fed| (0..fed.filled.len()).filter(|layer| fed.filled[*layer].up).map(move |layer| (fed, layer)))
    }

    /// What they make.
    pub(super) fn encoded_layers(&self) -> Vec<EncodedLayer> {
        let now = Instant::now();
        let picture = self.picture();
        let view = |(fed, layer): (&Fed, usize)| {
            let size = picture.map(|(width, height, _)| layering::size(width, height, layer));
            EncodedLayer {
                codec: fed.choice.codec,
                size: SIZES[layer.min(Layers::MAX - 1)],
                width: size.map(|(width, _)| width),
                height: size.map(|(_, height)| height),
                target_bps: fed.layering.rates()[layer.min(Layers::MAX - 1)].unwrap_or_default(),
                bps: fed.filled[layer].feed.layer().bitrate(now),
            }
        };
        self.encoders().map(view).collect()
    }

    fn start_layer(&mut self, now: Instant, id: BranchId, rate: u64) {
        let Some(choice) = self.fed.get(&id.codec).map(|fed| fed.choice.clone()) else { return };
        match self.encode(&choice, id.layer) {
            Ok(encode) => self.start(now, id, Some(Encode { bitrate: Bitrate::from_bps(rate), ..encode })),
            Err(error) => {
                warn!(source = %self.config.name, branch = %id, %error, "layer cannot be encoded");
                if let Some(fed) = self.fed.get_mut(&id.codec) {
                    fed.layering.ended(id.layer);
                    fed.most = fed.most.min(id.layer.max(1));
                }
            }
        }
    }

    pub(super) fn stop_layer(&mut self, id: BranchId) {
        let Some(fed) = self.fed.get_mut(&id.codec) else { return };
        fed.layering.ended(id.layer);
        if let Some(filled) = fed.filled.get_mut(id.layer) {
            filled.up = false;
        }
        self.remove(id);
    }

    fn stop_layers(&mut self, codec: Codec) {
        let layers = self.fed.get(&codec).map_or(0, |fed| fed.filled.len());
        (0..layers).for_each(|layer| self.stop_layer(BranchId { codec, layer }));
    }

    /// What encodes a codec of its picture now.
    fn encoder_of(&self, codec: Codec) -> Option<&EncoderCandidate> {
        let element = self.fed.get(&codec)?.choice.encoder.as_deref()?;
        self.shared.board.encoders_of(codec).find(|it| it.element == element)
    }

    /// Codecs that its picture is encoded to.
    fn encoding(&self) -> Vec<Codec> {
        self.fed.iter().filter(|(_, fed)| fed.encodes_video()).map(|(codec, _)| *codec).collect()
    }

    /// What is needed of a codec's layers now.
    fn needed(&self, codec: Codec) -> Rates {
        let Some(fed) = self.fed.get(&codec) else { return Rates::default() };
        let Some(appetite) = fed.layers.appetite() else { return Rates::default() };
        let told = appetite.told();
        let joining = self.waiting.values().filter(|waiting| waiting.choices.iter().any(|choice| choice.codec == codec)).count();
        let viewers = self.demand.users(codec) + joining;
        layering::needed(appetite.ceiling(), &told, viewers > told.len(), self.affordable(fed))
    }

    /// How many layers the board's encoder can carry, with what others use of it.
    fn affordable(&self, fed: &Fed) -> usize {
        let encoder = self.encoder_of(fed.choice.codec);
        let running = fed.layering.rates();
        let fits = |layer: &usize| running[*layer].is_some() || encoder.is_some_and(|encoder| self.fits(encoder, *layer).is_ok());
        let count = fed.filled.len().min(fed.most).min(self.strain().degree.most_layers()).min(self.layer_count());
        1 + (1..count).take_while(fits).count()
    }

    /// Better encoders may be had than before.
    pub fn improve_all(&mut self, now: Instant) {
        for codec in self.encoding() {
            self.improve(now, codec);
        }
    }

    /// Moves a picture to hardware that has become free. Its viewers see no more of that than a key frame.
    fn improve(&mut self, now: Instant, codec: Codec) {
        let Some(offer) = &self.offer else { return };
        if !self.fed.get(&codec).is_some_and(|fed| fed.up() && fed.choice.path == Path::Software) {
            return;
        }
        let only = Wants { video: vec![codec], audio: Vec::new() };
        let board = &self.shared.board;
        let planned = self.with_presence(|presence| plan::plan_kind(MediaKind::Video, offer, &only, board, presence, &[]));
        let Some(Ok(choice)) = planned.filter(|planned| planned.as_ref().is_ok_and(|choice| choice.path < Path::Software)) else {
            return;
        };
        info!(source = %self.config.name, %codec, reason = choice.reason, "moves to a better encoder");
        self.stop_layers(codec);
        if let Err(error) = self.feed(now, &choice) {
            self.fail(now, error);
        }
    }

    /// Width, height and frames a second, where they are known: of what is decoded first, only then.
    pub(super) fn picture(&self) -> Option<(u32, u32, u32)> {
        match self.offer.as_ref()?.video.as_ref()? {
            &StreamOffer::Picture { width, height, framerate } => Some((width, height, framerate)),
            _ => self.decoded,
        }
    }

    /// Macroblocks a second of a layer; 0 where that is not known.
    fn blocks(&self, layer: usize) -> u64 {
        let Some((width, height, framerate)) = self.picture() else { return 0 };
        let (width, height) = layering::size(width, height, layer);
        blocks(width, height, framerate)
    }

    fn claim(&self, id: BranchId) -> ClaimId {
        ClaimId { owner: self.id.0, codec: id.codec, layer: id.layer }
    }
}
