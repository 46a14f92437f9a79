//! Which compositor works, and the board's next one in its place when it fails.
//!
//! Only the compositor's own bin is exchanged: encoders, decoders and viewers go on, and miss the frames of that moment.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use tracing::{info, warn};

use super::input::Tools;
use super::layout::Size;
use super::scene::{self, Scene};
use crate::media::SourceError;
use crate::media::board::Candidate;
use crate::media::element::Presence;
use crate::media::pipeline::make;
use crate::media::plan::composing::{Composer, compositor_for};

/// A compositor that took no frame for this time hangs.
const STUCK: Duration = Duration::from_secs(3);
/// Longest wait for the reason of one that does not start. It is on its way from another thread.
const REASON: Duration = Duration::from_millis(200);

/// Where it is told what becomes of the mix.
pub(in crate::media) struct Reports {
    /// This one works now, and those are of no use.
    pub composes: Box<dyn Fn(Composer, Vec<String>) + Send>,
    /// Nothing here puts pictures together.
    pub fails: Box<dyn Fn(SourceError) + Send>,
}

/// What went wrong in scenes, until somebody asks: the scene's name, and the error.
#[derive(Default)]
pub(super) struct Faults(Mutex<Option<(String, String)>>);

impl Faults {
    /// Notes an error, if it comes from a scene of this pipeline.
    pub fn note(&self, pipeline: &gst::Pipeline, error: &gst::message::Error, text: &str) -> bool {
        let mut inside = error.src().cloned();
        while let Some(object) = inside {
            let parent = object.parent();
            if parent.as_ref() == Some(pipeline.upcast_ref::<gst::Object>()) {
                let name = object.name();
                let of_scene = name.starts_with(scene::NAME);
                if of_scene {
                    self.state().get_or_insert_with(|| (name.to_string(), text.to_owned()));
                }
                return of_scene;
            }
            inside = parent;
        }
        false
    }

    /// The error of a scene. Those of scenes that are gone are forgotten.
    fn of(&self, scene: &str) -> Option<String> {
        self.state().take().filter(|(name, _)| name == scene).map(|(_, text)| text)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, Option<(String, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts a compositor where there is none.
pub(super) struct Stagehand {
    pub pipeline: gst::Pipeline,
    pub tools: Tools,
    pub size: Size,
    pub framerate: u32,
    pub names: bool,
    pub faults: Arc<Faults>,
    pub reports: Reports,
    /// Those that failed, here or earlier, and why.
    failed: Vec<(String, String)>,
    /// Since when the compositor takes no frame.
    stuck: Option<Instant>,
}

impl Stagehand {
    /// `broken` are elements that failed in use before.
    pub fn new(
        pipeline: &gst::Pipeline,
        tools: Tools,
        (size, framerate): (Size, u32),
        names: bool,
        broken: &HashSet<String>,
        faults: Arc<Faults>,
        reports: Reports,
    ) -> Self {
        let failed = broken.iter().map(|element| (element.clone(), "it failed while in use".to_owned())).collect();
        Self { pipeline: pipeline.clone(), tools, size, framerate, names, faults, reports, failed, stuck: None }
    }

    /// The first that starts of those that did not fail; `None`, and told, where there is none.
    pub fn scene(&mut self) -> Option<Scene> {
        self.stuck = None;
        let board = Arc::clone(&self.tools.board);
        loop {
            let (candidate, composer) = match compositor_for(&board, &|asked| presence(&self.tools, &self.failed, asked)) {
                Ok(found) => found,
                Err(lacking) => {
                    (self.reports.fails)(none(&lacking));
                    return None;
                }
            };
            match Scene::start(&self.pipeline, candidate, self.size, self.framerate, self.names, |scene| self.reason(scene)) {
                Ok(scene) => {
                    info!(element = composer.element, reason = composer.reason, "pictures are put together");
                    (self.reports.composes)(composer, self.failed.iter().map(|(element, _)| element.clone()).collect());
                    return Some(scene);
                }
                Err(SourceError::Failed(why)) => self.pass_over(&candidate.element, &why),
                Err(error) => self.pass_over(&candidate.element, &error.to_string()),
            }
        }
    }

    /// What is wrong with a scene, if anything is. `has_room`: it takes a frame now.
    pub fn trouble(&mut self, now: Instant, scene: &Scene) -> Option<String> {
        if scene.has_room() {
            self.stuck = None;
        } else if now.saturating_duration_since(*self.stuck.get_or_insert(now)) > STUCK {
            return Some("it takes no pictures any more".into());
        }
        self.faults.of(&scene.name())
    }

    /// It is not used again.
    pub fn pass_over(&mut self, element: &str, why: &str) {
        warn!(element, error = why, "a compositor fails; another takes its place");
        self.failed.push((element.to_owned(), format!("it failed: {why}")));
    }

    fn reason(&self, scene: &str) -> Option<String> {
        let limit = Instant::now() + REASON;
        loop {
            let reason = self.faults.of(scene);
            if reason.is_some() || Instant::now() >= limit {
                return reason;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn presence(tools: &Tools, failed: &[(String, String)], asked: Candidate<'_>) -> Presence {
    match (asked, failed.iter().find(|(element, _)| element == asked.element())) {
        (Candidate::Compositor(_), Some((_, why))) => Presence::NotReady { why: why.clone() },
        _ => tools.presences.get(asked),
    }
}

/// The error where nothing puts pictures together.
pub(super) fn none(lacking: &[(String, Presence)]) -> SourceError {
    // the last is software, which a package brings
    match lacking.last() {
        Some((element, Presence::NotReady { why } | Presence::Busy { why })) => SourceError::Failed(format!("{element}: {why}")),
        Some((element, _)) => make::missing(element),
        None => make::missing("compositor"),
    }
}
