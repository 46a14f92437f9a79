//! What a viewer's way carries, and what it gets because of that: one of a track's layers, or a pause.
//!
//! An estimate costs: eight bytes of every packet and, several times a second, the far end's word. So packets are numbered only while
//! something depends on it: while there is a choice of layers, the far end reports trouble, or its way is known to be too narrow for what
//! the encoder would give it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::sending::Sending;
use super::{Connection, lanes};
use crate::forward::{Layer, Layers, Rate};
use crate::peer::choice::{Choice, Chooser, FLOOD};
use crate::peer::estimate::{Estimator, START};
use crate::peer::guess::Guess;
use crate::peer::socket::Outbox;
use crate::vocab::MediaKind;

/// From one look at rates and estimate to the next.
const LOOK: Duration = Duration::from_millis(200);
/// How long packets stay numbered after the last trouble of a viewer whose tracks have one layer each.
const AFTER_TROUBLE: Duration = Duration::from_secs(60);
/// What may be sent again, of what the way carries, where the picture leaves nothing: one part of so many. A line that loses 15 % needs a sixth.
const AGAIN_PART: u64 = 4;
/// What was not needed of it is kept for so many looks: losses come together.
const AGAIN_LOOKS: usize = 5;
/// Packets that one look sends for a probe at most.
const PROBE_PACKETS: usize = 16;

/// How a way is judged.
enum Means {
    /// By when packets arrived.
    Numbers(Box<Estimator>),
    /// By what reports say of losses and round trips: the far end knows no transport-wide numbers.
    Reports(Guess),
}

/// The estimate of a connection.
pub(super) struct Adaptive {
    means: Means,
    /// When to look next.
    look: Instant,
    /// The last trouble reported.
    trouble: Instant,
    /// The way carries less than what whoever encodes would give it.
    short: bool,
    /// Bytes that may be sent again until the next look.
    pub(super) again: usize,
    /// What was sent again.
    pub(super) resent: Rate,
}

impl Adaptive {
    /// The transport-wide number of a packet that leaves now.
    pub(super) fn number(&mut self, now: Instant, size: usize) -> Option<u16> {
        self.estimator().map(|estimator| estimator.number(now, size))
    }

    fn estimator(&mut self) -> Option<&mut Estimator> {
        match &mut self.means {
            Means::Numbers(estimator) => Some(estimator),
            Means::Reports(_) => None,
        }
    }

    /// When to look again.
    pub(super) fn look(&self) -> Instant {
        self.look
    }
}

impl Sending {
    fn is_video(&self) -> bool {
        self.layer.format().codec.kind() == MediaKind::Video
    }

    /// The stream and number of a packet that a far end can leave out without harm.
    fn to_probe_with(&self) -> Option<(u32, u16)> {
        self.newest_kept().filter(|_| self.active && self.rtx_pt.is_some()).map(|sequence| (self.ssrc, sequence))
    }

    /// What is being sent: while a switch waits for its key frame, the layer that is left.
    pub(super) fn shown(&self) -> &Arc<Layer> {
        self.leaving.as_ref().unwrap_or(&self.layer)
    }

    /// Moves on to another layer: its frames are sent from its next key frame on; the old one's until then, unless they are most of what
    /// crowds the way.
    fn switch(&mut self, now: Instant, index: usize, flood: bool) {
        let Some(layer) = self.layers.get(index).filter(|layer| !Arc::ptr_eq(layer, &self.layer)).cloned() else { return };
        if self.leaving.as_ref().is_some_and(|leaving| Arc::ptr_eq(leaving, &layer)) {
            // back to the one that never stopped
            self.leaving = None;
        } else if flood {
            self.leaving = None;
            self.backlog.clear();
            self.rewriter.skip_to_key();
        } else if self.leaving.is_none() && !self.paused {
            self.leaving = Some(Arc::clone(&self.layer));
        }
        self.layer = layer;
        self.fresh = false;
        self.layer.request_keyframe(now);
    }

    /// Sends of other layers from now on.
    pub(super) fn feed(&mut self, layers: Layers) {
        (self.layer, self.layers) = (Arc::clone(layers.first()), layers);
        self.chooser = Chooser::default();
        self.teller = None;
        (self.paused, self.leaving, self.fresh) = (false, None, true);
    }

    /// Tells whoever encodes the track, where somebody listens, that the way carries so much for it, in bit/s. Returns the rate that it
    /// would have if nothing was in the way.
    fn tell(&mut self, bps: u64) -> Option<u64> {
        let appetite = self.layers.appetite()?;
        match &self.teller {
            Some(teller) => teller.update(bps),
            None => self.teller = Some(appetite.tell(bps)),
        }
        Some(appetite.ceiling())
    }

    /// The most it would send, in bit/s.
    fn appetite(&self, now: Instant) -> u64 {
        let rates = self.layers.iter().map(|layer| layer.bitrate(now)).max().unwrap_or(0);
        rates.max(self.layers.appetite().map_or(0, |appetite| appetite.ceiling()))
    }

    fn choice(&self) -> Choice {
        match self.paused {
            true => Choice::Pause,
            false => Choice::Layer(self.layers.iter().position(|layer| Arc::ptr_eq(layer, &self.layer)).unwrap_or(0)),
        }
    }
}

/// Whether one picture has the way for itself.
fn shares_alone(pictures: usize, room: u64) -> bool {
    pictures < 2 || room == 0
}

/// What is believed of a way before packets are numbered: that it carries what it was seen to carry, in bit/s.
fn first_guess(shown: u64, trouble: bool) -> u64 {
    match (shown, trouble) {
        (0, _) => START,
        (shown, true) => shown / 10 * 7,
        (shown, false) => (shown / 4 * 5).max(START),
    }
}

impl Connection {
    /// Begins to number packets, or ends it, as what is sent asks for it.
    pub(super) fn follow_need(&mut self, now: Instant) {
        let numbered = |sending: &Sending| sending.active && sending.number_id.is_some();
        let several = self.sendings.iter().any(|sending| sending.active && sending.layers.offer_choice(now));
        let by_numbers = self.sendings.iter().any(|sending| numbered(sending) && sending.is_video());
        let paused = self.sendings.iter().any(|sending| sending.paused);
        let trouble = std::mem::take(&mut self.watch.lock().trouble);
        let shown = self.sendings.iter().filter(|sending| sending.active && sending.is_video());
        let shown: u64 = shown.map(|sending| sending.shown().bitrate(now)).sum();
        if let Some(Adaptive { means: Means::Reports(guess), .. }) = self.adaptive.as_deref_mut() {
            guess.report(now, trouble, shown);
        }
        match &mut self.adaptive {
            None if several || (trouble && by_numbers) => {
                tracing::debug!(peer = %self.peer, trouble, by_numbers, "estimates what the way carries");
                let means = match by_numbers {
                    true => Means::Numbers(Box::new(Estimator::new(now, first_guess(shown, trouble)))),
                    false => Means::Reports(Guess::new(now)),
                };
                self.adaptive = Some(Box::new(Adaptive {
                    means,
                    look: now,
                    trouble: now,
                    short: false,
                    again: usize::MAX,
                    resent: Rate::default(),
                }));
            }
            Some(adaptive) if trouble => adaptive.trouble = now,
            Some(adaptive)
                if !several && !paused && !adaptive.short && now.saturating_duration_since(adaptive.trouble) >= AFTER_TROUBLE =>
            {
                tracing::debug!(peer = %self.peer, "no trouble for a minute, estimates no more");
                self.adaptive = None;
                for sending in &mut self.sendings {
                    sending.pace.set_rate(None);
                    sending.teller = None;
                }
            }
            _ => {}
        }
    }

    /// Takes the far end's word and decides what it gets. Returns whether other layers are to be attached.
    pub(super) fn adapt(&mut self, now: Instant) -> bool {
        let (words, late) = {
            let mut seen = self.watch.lock();
            (std::mem::take(&mut seen.transport), seen.late())
        };
        let Some(adaptive) = &mut self.adaptive else { return false };
        if let Some(estimator) = adaptive.estimator() {
            estimator.late(late.unwrap_or_default());
            words.iter().for_each(|word| estimator.feedback(now, word));
        }
        if now < adaptive.look {
            return false;
        }
        adaptive.look = now + LOOK;
        let playing = |sending: &&Sending| sending.active && !sending.layer.is_idle();
        let sound: u64 = self
            .sendings
            .iter()
            .filter(playing)
            .filter(|sending| !sending.is_video())
            .map(|sending| sending.layer.bitrate(now))
            .sum();
        let (target, delivered) = match &mut adaptive.means {
            Means::Numbers(estimator) => {
                estimator.process(now);
                self.figures.estimate_bps = Some(estimator.target());
                (estimator.target(), estimator.delivered(now).map(|delivered| delivered.saturating_sub(sound)))
            }
            Means::Reports(guess) => (guess.rate(), None),
        };
        // what is sent again takes the place of new pictures, else a full queue would never become empty
        let resent = adaptive.resent.get(now).min(target / AGAIN_PART);
        let room = target.saturating_sub(sound).saturating_sub(resent);
        adaptive.short = false;
        let mut wanted = sound;
        let mut changed = false;
        let pictures = |sending: &&mut Sending| sending.active && !sending.layer.is_idle() && sending.is_video();
        let wants: Vec<u64> = self.sendings.iter_mut().filter(pictures).map(|sending| sending.appetite(now)).collect();
        let shares = lanes::shares(room, &wants);
        for (sending, share) in self.sendings.iter_mut().filter(pictures).zip(shares) {
            // what arrived of one picture is known of all of them together
            let delivered = delivered.map(|delivered| match shares_alone(wants.len(), room) {
                true => delivered,
                false => (u128::from(delivered) * u128::from(share) / u128::from(room)) as u64,
            });
            let room = share;
            let rates: Vec<u64> = sending.layers.iter().map(|layer| layer.bitrate(now)).collect();
            let ceiling = sending.tell(room).unwrap_or(0);
            adaptive.short |= room < ceiling;
            wanted += rates.iter().max().copied().unwrap_or(0).max(ceiling);
            // never slower than the smallest, which goes on where it does not fit: it would wait here instead of on the way
            let smallest = rates.iter().copied().filter(|rate| *rate > 0).min();
            sending.pace.set_rate(Some(target.max(smallest.unwrap_or(0))));
            let current = sending.choice();
            let choice = sending.chooser.choose(now, room, delivered, &rates, current);
            if choice == current {
                if sending.leaving.is_some() {
                    sending.layer.request_keyframe(now);
                }
                continue;
            }
            changed = true;
            if let Some(estimator) = adaptive.estimator() {
                estimator.layer_changed(now);
            }
            tracing::debug!(peer = %self.peer, ?choice, target, ?rates, "way carries another layer");
            match choice {
                Choice::Pause => {
                    (sending.paused, sending.leaving) = (true, None);
                    sending.backlog.clear();
                    sending.rewriter.skip_to_key();
                }
                Choice::Layer(index) => {
                    let shown = sending.shown().bitrate(now);
                    let flood = shown.saturating_mul(100) > room.saturating_mul(FLOOD);
                    sending.switch(now, index, flood && !sending.paused);
                    sending.fresh &= !sending.paused;
                    sending.paused = false;
                }
            }
        }
        let paused = self.sendings.iter().any(|sending| sending.active && sending.paused);
        self.figures.paused = paused;
        if let Some(estimator) = adaptive.estimator() {
            estimator.want(now, wanted);
            estimator.pause(paused);
        }
        // a crowded way is not crowded more by what was lost on it
        let sent: u64 = self
            .sendings
            .iter()
            .filter(playing)
            .filter(|sending| !sending.paused)
            .map(|sending| sending.shown().bitrate(now))
            .sum();
        let again = target.saturating_sub(sent).max(target / AGAIN_PART).saturating_mul(LOOK.as_millis() as u64) / 8000;
        let again = usize::try_from(again).unwrap_or(usize::MAX);
        adaptive.again = adaptive.again.saturating_add(again).min(again.saturating_mul(AGAIN_LOOKS));
        changed
    }

    /// When [`Self::probe`] has something to send.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        let Means::Numbers(estimator) = &self.adaptive.as_ref()?.means else { return None };
        let probe = estimator.next_probe()?;
        self.sendings.iter().find_map(Sending::to_probe_with).map(|_| probe)
    }

    /// Sends what a probe asks for: packets that were sent already, as retransmissions (RFC 4588), which a far end knows to leave out.
    pub(super) fn probe(&mut self, now: Instant, out: &mut Outbox) {
        for _ in 0..PROBE_PACKETS {
            let Some(estimator) = self.adaptive.as_deref_mut().and_then(Adaptive::estimator) else { return };
            if estimator.probe(now) == 0 {
                return;
            }
            let Some((ssrc, sequence)) = self.sendings.iter().find_map(Sending::to_probe_with) else {
                if !self.sendings.iter().any(|sending| sending.active && sending.rtx_pt.is_some()) {
                    estimator.give_up_probes();
                }
                return;
            };
            if !self.send_again(now, ssrc, sequence, out) {
                return;
            }
        }
    }
}
