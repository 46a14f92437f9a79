//! The clock of a mix: every 20 ms a block of sound, and so many times a second a picture, of what is there.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use tracing::{debug, info, warn};

use super::ear::{Ear, Voice, push_block, sound_caps};
use super::input::{Input, Tools};
use super::layout::{Seats, Size, place};
use super::part::{Heard, Order, Part, Seen, same_thing};
use super::pick::pick;
use super::scene::Scene;
use super::sound::{BLOCK_TIME, Ring, Sum};
use super::speaker::{self, Speakers};
use super::stagehand::{self, Faults, Reports, Stagehand};
use super::{Key, MixFrom, MixInput, Stage};
use crate::forward::Layer;
use crate::media::SourceError;
use crate::media::decoding::Decoding;
use crate::media::pipeline::make;
use crate::media::plan::composing::compositor_for;
use crate::vocab::{MediaKind, MemberId, MixConfig, MixLayout, PeerId};

/// A picture that is older than this is frozen: longer than the pauses of a line that loses packets, shorter than anybody's patience.
const FREEZE: Duration = Duration::from_secs(2);
/// Where nothing moves a picture is composed all the same after this time.
const STILL: Duration = Duration::from_millis(250);
/// A clock that is behind by more than this goes on from now: the machine slept, or had no time.
const BEHIND: Duration = Duration::from_millis(300);
/// Most pictures in a mix: five rows of five. Who comes beyond them is heard, not seen.
const MOST_SEEN: usize = 25;
/// How often it is looked whether another of a publisher's encodings fits its place better. It must do so twice in a row.
const PICK: Duration = Duration::from_secs(2);
/// Longest wait, at the end, for threads that close decoders.
const END: Duration = Duration::from_millis(500);

/// A mix that has been built and not started.
pub(in crate::media) struct Desk {
    stage: Arc<Stage>,
    config: MixConfig,
    tools: Tools,
    broken: HashSet<String>,
    pipeline: gst::Pipeline,
    sound: gst_app::AppSrc,
}

/// A mix at work, until this is dropped.
pub(in crate::media) struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    faults: Arc<Faults>,
}

/// The picture's size, which is even.
pub(super) fn size_of(config: &MixConfig) -> Size {
    Size { width: config.width & !1, height: config.height & !1 }
}

/// Builds the pipeline of a mix up to its tees. What puts pictures together is added when it plays; `broken` are elements that failed
/// before.
pub(in crate::media) fn build(
    stage: &Arc<Stage>,
    config: &MixConfig,
    board: &Arc<crate::media::board::Board>,
    presences: &Arc<crate::media::pipeline::PresenceCache>,
    broken: &HashSet<String>,
    decoding: &Arc<Decoding>,
) -> Result<(gst::Pipeline, Desk), SourceError> {
    compositor_for(board, &|asked| presences.get(asked)).map_err(|lacking| stagehand::none(&lacking))?;
    let pipeline = make::pipeline(&format!(
        "tee name=video allow-not-linked=true \
         appsrc name=sound format=time is-live=false caps=\"{}\" ! tee name=audio allow-not-linked=true",
        sound_caps()
    ))?;
    let sound = pipeline.by_name("sound").and_then(|it| it.downcast::<gst_app::AppSrc>().ok());
    let sound = sound.ok_or_else(|| SourceError::Failed("the mix is incomplete".into()))?;
    let desk = Desk {
        stage: Arc::clone(stage),
        config: config.clone(),
        tools: Tools { board: Arc::clone(board), presences: Arc::clone(presences), decoding: Arc::clone(decoding) },
        broken: broken.clone(),
        pipeline: pipeline.clone(),
        sound,
    };
    Ok((pipeline, desk))
}

impl Desk {
    /// Starts the clock; the pipeline plays. `offset` is what is added to its times.
    pub fn start(self, offset: Duration, reports: Reports) -> Running {
        let stop = Arc::<AtomicBool>::default();
        let (stopped, faults) = (Arc::clone(&stop), Arc::<Faults>::default());
        let noted = Arc::clone(&faults);
        let thread = std::thread::Builder::new()
            .name("mix".into())
            .spawn(move || Runner::new(self, offset, faults, reports).run(&stopped));
        if let Err(error) = &thread {
            warn!(%error, "no thread to mix on");
        }
        Running { stop, thread: thread.ok(), faults: noted }
    }
}

impl Running {
    /// Takes an error of the pipeline that concerns nothing but the compositor. `text` is what it says.
    pub fn takes(&self, pipeline: &gst::Pipeline, error: &gst::message::Error, text: &str) -> bool {
        self.faults.note(pipeline, error, text)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            warn!("the mix ended by a panic");
        }
    }
}

struct Runner {
    stage: Arc<Stage>,
    config: MixConfig,
    tools: Tools,
    pipeline: gst::Pipeline,
    stagehand: Stagehand,
    /// `None` once nothing puts pictures together any more.
    scene: Option<Scene>,
    sound: gst_app::AppSrc,
    offset: Duration,
    began: Instant,
    version: Option<u64>,
    layout: MixLayout,
    parts: Vec<Part>,
    ears: Vec<(PeerId, Arc<Ear>)>,
    voices: HashMap<PeerId, Option<Voice>>,
    seats: Seats<Key>,
    speakers: Speakers<MemberId>,
    speaker: Option<MemberId>,
    composed: Option<Instant>,
    /// When encodings were last looked at.
    picked: Option<Instant>,
    /// Threads that may still be closing decoders.
    closing: Vec<JoinHandle<()>>,
}

impl Runner {
    fn new(desk: Desk, offset: Duration, faults: Arc<Faults>, reports: Reports) -> Self {
        let Desk { stage, config, tools, broken, pipeline, sound } = desk;
        let picture = (size_of(&config), config.framerate.max(1));
        let stagehand = Stagehand::new(&pipeline, tools.clone(), picture, config.names, &broken, faults, reports);
        Self {
            layout: config.layout,
            stage,
            config,
            tools,
            pipeline,
            stagehand,
            scene: None,
            sound,
            offset,
            began: Instant::now(),
            version: None,
            parts: Vec::new(),
            ears: Vec::new(),
            voices: HashMap::new(),
            seats: Seats::default(),
            speakers: Speakers::default(),
            speaker: None,
            composed: None,
            picked: None,
            closing: Vec::new(),
        }
    }

    fn run(mut self, stopped: &AtomicBool) {
        self.scene = self.stagehand.scene();
        let frame = Duration::from_secs(1) / self.config.framerate.max(1);
        let (mut next_sound, mut next_picture) = (self.began, self.began);
        while !stopped.load(Ordering::Relaxed) {
            let now = Instant::now();
            let behind = |due: &mut Instant| {
                if now.saturating_duration_since(*due) > BEHIND {
                    *due = now;
                }
            };
            behind(&mut next_sound);
            behind(&mut next_picture);
            if now >= next_sound {
                self.follow(now);
                self.mix_sound(now, next_sound - self.began);
                next_sound += BLOCK_TIME;
            }
            if now >= next_picture {
                self.mix_picture(now);
                next_picture += frame;
            }
            let due = next_sound.min(next_picture);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        self.end();
    }

    // ---- who is there ----

    /// Takes over what changed on the stage, and what sources have answered.
    fn follow(&mut self, now: Instant) {
        let changed = {
            let state = self.stage.state();
            (Some(state.version) != self.version).then(|| {
                self.version = Some(state.version);
                let ears = state.ears.iter().map(|(viewer, listening)| (*viewer, Arc::clone(&listening.ear))).collect();
                (state.inputs.clone(), state.layout, ears)
            })
        };
        if let Some((inputs, layout, ears)) = changed {
            self.ears = ears;
            if std::mem::replace(&mut self.layout, layout) != layout {
                info!(layout = layout.as_str(), "layout of the mix changed");
            }
            self.take_inputs(inputs);
        }
        for part in &mut self.parts {
            let (Some(order), MixFrom::Source(source)) = (&mut part.order, &part.input.from) else { continue };
            if order.poll(now, source, &self.stage, self.config.framerate, &self.tools) {
                let (video, audio) = (part.video.take(), part.audio.take());
                self.closing.extend(take_out(self.scene.as_ref(), video, audio));
            }
        }
        self.open_inputs();
        self.pick_encodings(now);
    }

    fn take_inputs(&mut self, inputs: Vec<MixInput>) {
        let stays = |part: &Part| inputs.iter().any(|input| same_thing(&part.input, input));
        let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.parts).into_iter().partition(stays);
        self.parts = kept;
        for part in gone {
            self.let_go(part);
        }
        for input in inputs {
            match self.parts.iter_mut().find(|part| same_thing(&part.input, &input)) {
                Some(part) => {
                    let turned = part.input.turns != input.turns;
                    part.input = input;
                    // what comes raw is upright
                    if let Some((seen, layer)) =
                        part.video.as_mut().filter(|_| turned).and_then(|seen| seen.input.layer().map(|it| (seen, it)))
                    {
                        debug!(member = %part.input.member, turns = part.input.turns, "it is held otherwise");
                        let newer = Seen::new(&layer, &part.input, self.config.framerate, &self.tools);
                        self.closing.extend(seen.go_on_with(newer));
                    }
                }
                None => {
                    debug!(member = %input.member, stream = %input.stream, "one more in the mix");
                    let order = matches!(input.from, MixFrom::Source(_)).then(Order::new);
                    self.parts.push(Part { input, order, video: None, audio: None });
                }
            }
        }
        let there: Vec<MemberId> = self.parts.iter().map(|part| part.input.member).collect();
        self.speakers.keep(|who| there.contains(who));
    }

    /// Every part decodes the layers that it has now.
    fn open_inputs(&mut self) {
        let mut seen = self.parts.iter().filter(|part| part.video.is_some()).count();
        for part in &mut self.parts {
            if let Some(taken) = part.order.as_ref().and_then(Order::taken) {
                if taken.kinds.contains(&MediaKind::Video) && part.video.is_none() && seen < MOST_SEEN {
                    seen += 1;
                    part.video = Some(Seen::raw(&taken.eye));
                }
                if taken.kinds.contains(&MediaKind::Audio) && part.audio.is_none() {
                    part.audio = Some(Heard { input: Input::raw(), ring: Arc::clone(&taken.ring) });
                }
                continue;
            }
            let layers: Vec<Arc<Layer>> = match (&part.input.from, &part.order) {
                (MixFrom::Published(tracks), _) => tracks.iter().map(|track| Arc::clone(track.first())).collect(),
                (MixFrom::Source(_), Some(order)) => order.tracks.clone(),
                (MixFrom::Source(_), None) => Vec::new(),
            };
            let of = |kind| layers.iter().find(|layer| layer.format().codec.kind() == kind);
            if let Some(layer) = of(MediaKind::Video)
                && part.video.is_none()
                && seen < MOST_SEEN
            {
                seen += 1;
                part.video = Some(Seen::new(layer, &part.input, self.config.framerate, &self.tools));
            }
            if let Some(layer) = of(MediaKind::Audio)
                && !part.audio.as_ref().is_some_and(|heard| heard.input.is_of(layer))
            {
                let ring = Arc::<Mutex<Ring>>::default();
                let input = Input::sound(layer, &self.tools, Arc::clone(&ring));
                if let Some(heard) = part.audio.replace(Heard { input, ring }) {
                    self.closing.extend(heard.input.stop());
                }
            }
        }
        self.closing.retain(|thread| !thread.is_finished());
    }

    /// Where a publisher sends several encodings, the one that fits its place is decoded.
    fn pick_encodings(&mut self, now: Instant) {
        if self.picked.is_some_and(|at| now.saturating_duration_since(at) < PICK) {
            return;
        }
        self.picked = Some(now);
        for part in &mut self.parts {
            let (MixFrom::Published(tracks), Some(seen)) = (&part.input.from, &mut part.video) else { continue };
            let Some(track) = tracks.iter().find(|track| track.format().codec.kind() == MediaKind::Video) else { continue };
            let bitrates: Vec<u64> = track.iter().map(|layer| layer.bitrate(now)).collect();
            let better = pick(seen.share, &bitrates).filter(|index| !seen.input.is_of(&track[*index]));
            let again = better.is_some() && seen.better == better;
            seen.better = better;
            if let Some(index) = better.filter(|_| again) {
                debug!(member = %part.input.member, layer = index, "another encoding is decoded");
                let newer = Seen::new(&track[index], &part.input, self.config.framerate, &self.tools);
                self.closing.extend(seen.go_on_with(newer));
            }
        }
    }

    fn let_go(&mut self, part: Part) {
        debug!(member = %part.input.member, stream = %part.input.stream, "one less in the mix");
        if let (Some(order), MixFrom::Source(source)) = (&part.order, &part.input.from) {
            order.release(source, &self.stage);
        }
        self.closing.extend(take_out(self.scene.as_ref(), part.video, part.audio));
    }

    fn end(mut self) {
        // elements stop with the pipeline, and must not be waited for here
        for part in std::mem::take(&mut self.parts) {
            if let (Some(order), MixFrom::Source(source)) = (&part.order, &part.input.from) {
                order.release(source, &self.stage);
            }
            self.closing.extend(part.video.and_then(|seen| seen.input.stop()));
            self.closing.extend(part.audio.and_then(|heard| heard.input.stop()));
        }
        let limit = Instant::now() + END;
        while self.closing.iter().any(|thread| !thread.is_finished()) {
            if Instant::now() >= limit {
                warn!("a decoder of the mix did not close in time");
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    // ---- sound ----

    fn mix_sound(&mut self, now: Instant, time: Duration) {
        let mut said: Vec<(MemberId, Vec<i16>)> = Vec::new();
        let mut sum = Sum::default();
        for part in &self.parts {
            let Some(heard) = &part.audio else { continue };
            let block = heard.ring.lock().unwrap_or_else(PoisonError::into_inner).block();
            let level = block.as_deref().map_or(f32::NEG_INFINITY, speaker::level);
            self.speakers.hear(now, &part.input.member, level);
            if let Some(block) = block {
                sum.add(&block);
                said.push((part.input.member, block));
            }
        }
        self.speaker = self.speakers.speaker(now).copied();
        push_block(&self.sound, &sum.all(), time);
        self.follow_ears();
        for (viewer, ear) in &self.ears {
            if let Some(Some(voice)) = self.voices.get(viewer) {
                let own = said.iter().filter(|(member, _)| *member == ear.member).map(|(_, block)| block.as_slice());
                voice.say(&sum.without(own), time);
            }
        }
    }

    /// Who gives sound has an encoder of its own; who does not gets what everybody hears.
    fn follow_ears(&mut self) {
        let gives = |ear: &Ear| self.parts.iter().any(|part| part.audio.is_some() && part.input.member == ear.member);
        let wanted: HashMap<PeerId, Arc<Ear>> =
            self.ears.iter().filter(|(_, ear)| gives(ear)).map(|(viewer, ear)| (*viewer, Arc::clone(ear))).collect();
        let gone: Vec<PeerId> = self.voices.keys().filter(|viewer| !wanted.contains_key(viewer)).copied().collect();
        for viewer in gone {
            if let Some(Some(voice)) = self.voices.remove(&viewer) {
                voice.stop(&self.pipeline);
            }
            if let Some((_, ear)) = self.ears.iter().find(|(other, _)| *other == viewer) {
                ear.set_common(true);
            }
        }
        for (viewer, ear) in wanted {
            self.voices.entry(viewer).or_insert_with(|| {
                // before there is an encoder: nobody hears itself
                ear.set_common(false);
                let voice = Voice::start(&self.pipeline, &ear, &self.tools.board, &self.tools.presences, self.offset);
                voice.map_err(|error| warn!(%error, "a listener who speaks hears nothing")).ok()
            });
        }
    }

    // ---- picture ----

    fn mix_picture(&mut self, now: Instant) {
        self.look_at_scene(now);
        if !self.scene.as_ref().is_some_and(Scene::has_room) {
            return;
        }
        let mut news = self.open_panes();
        news |= self.arrange(now);
        let moved = |part: &Part| {
            let seen = part.video.as_ref().filter(|seen| seen.pane.is_some());
            seen.is_some_and(|seen| seen.newest().is_some_and(|newest| Seen::mark(&newest) != seen.composed))
        };
        news |= self.parts.iter().any(moved);
        if !news && self.composed.is_some_and(|at| now.saturating_duration_since(at) < STILL) {
            return;
        }
        self.composed = Some(now);
        let mut shown = Vec::with_capacity(self.parts.len());
        for seen in self.parts.iter_mut().filter_map(|part| part.video.as_mut()) {
            let Some(newest) = seen.newest() else { continue };
            let (mark, picture) = (Seen::mark(&newest), newest.1);
            if seen.eye.newest().is_some() {
                seen.before = None;
            }
            seen.composed = mark;
            if let Some(pane) = &seen.pane {
                shown.push((pane, picture));
            }
        }
        if let Some(scene) = &mut self.scene {
            scene.compose(now.saturating_duration_since(self.began), shown.into_iter());
        }
    }

    /// A compositor that fails gives way to the board's next one.
    fn look_at_scene(&mut self, now: Instant) {
        let Some(why) = self.scene.as_ref().and_then(|scene| self.stagehand.trouble(now, scene)) else { return };
        let Some(scene) = self.scene.take() else { return };
        self.stagehand.pass_over(scene.element(), &why);
        // its panes go with it
        for seen in self.parts.iter_mut().filter_map(|part| part.video.as_mut()) {
            (seen.pane, seen.composed) = (None, None);
        }
        scene.end();
        self.scene = self.stagehand.scene();
        self.composed = None;
    }

    /// Who gave its first picture gets a place. Returns whether somebody did.
    fn open_panes(&mut self) -> bool {
        let mut news = false;
        for part in &mut self.parts {
            let Some(seen) = part.video.as_mut().filter(|seen| seen.pane.is_none()) else { continue };
            if seen.newest().is_none() {
                continue;
            }
            match self.scene.as_ref().map(|scene| scene.add(&part.input.label)) {
                None => {}
                Some(Ok(pane)) => (seen.pane, news) = (Some(pane), true),
                Some(Err(error)) => warn!(%error, "a publisher has no place in the mix"),
            }
        }
        news
    }

    /// Puts everybody in its place. Returns whether anything changed.
    fn arrange(&mut self, now: Instant) -> bool {
        // before its first picture as well, so that places do not depend on who is decoded first
        let there: Vec<Key> = self.parts.iter().filter(|part| part.is_seen()).map(Part::key).collect();
        self.seats.seat(self.layout, &there);
        if self.layout != MixLayout::Grid
            && let Some(speaks) = self.speaker.and_then(|who| there.iter().find(|(member, _)| *member == who))
        {
            self.seats.promote(speaks);
        }
        let (frame, seats) = (size_of(&self.config), self.seats.len());
        let mut news = false;
        for (seat, key) in self.seats.taken() {
            let Some(part) = self.parts.iter_mut().find(|part| part.input.member == key.0 && part.input.stream == key.1) else {
                continue;
            };
            let Some(seen) = part.video.as_mut() else { continue };
            let Some((eye, picture)) = seen.newest() else { continue };
            let rect = place(self.layout, frame, seats, seat).fit(eye.size());
            let frozen = now.saturating_duration_since(picture.at) > FREEZE;
            seen.share = f64::from(rect.size.height) / f64::from(frame.height.max(1));
            seen.eye.want(rect.size);
            let Some(pane) = seen.pane.as_mut() else { continue };
            news |= pane.show(rect, frozen);
            news |= match frozen {
                true => pane.write(&format!("{} \u{2759}\u{2759}", part.input.label)),
                false => pane.write(&part.input.label),
            };
        }
        news
    }
}

/// Takes somebody's picture and sound out of the mix. What is returned may still be closing a decoder.
fn take_out(scene: Option<&Scene>, video: Option<Seen>, audio: Option<Heard>) -> impl Iterator<Item = JoinHandle<()>> {
    let input = video.map(|seen| {
        if let (Some(pane), Some(scene)) = (seen.pane, scene) {
            scene.remove(pane);
        }
        seen.input
    });
    input.into_iter().chain(audio.map(|heard| heard.input)).filter_map(Input::stop)
}
