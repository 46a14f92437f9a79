//! The mixed room: one picture and one sound of everybody who publishes in it.
//!
//! A mix is a source like a camera ([`SourceKind::Mix`](super::SourceKind)): it is opened with its first viewer and closed after the
//! last, its encoders are planned, shared and steered as those of any source. What is special about it is here: where its pictures and
//! its sound come from.
//!
//! ```text
//! publisher's layer ─► Input: inlet ─► turn, scale ─► newest picture ─┐ every frame ─► Scene: compositor ─► tee "video" ─► encoders
//! publisher's layer ─► Input: inlet ─► samples ─► Ring ─┐             └ (Runner's clock)
//!                                                       └ every 20 ms: sum ─┬─────────────────────────────► tee "audio" ─► encoder
//!                                                                           └ minus own ─► Ear's encoder
//! ```
//!
//! Nothing of it waits for a publisher: the [`Runner`](run) takes at each tick what is there. So one that is silent, frozen or slow costs
//! the others nothing, and nothing has to be restarted when somebody comes or goes.
//!
//! | file | what |
//! |---|---|
//! | `layout` `speaker` `sound` `pick` | PURE: rectangles, who speaks, sums, which of several encodings |
//! | `input` | one publisher's track, decoded by a pipeline of its own |
//! | `scene` | the compositor and its pads |
//! | `stagehand` | which compositor, and the next one when it fails |
//! | `part` | what is mixed, as the runner keeps it |
//! | `ear` | what a listener hears |
//! | `run` | the clock that drives all of them |
//! | `rehearsal` | a mix without a network, for the benchmark |

mod ear;
mod input;
mod layout;
mod part;
mod pick;
pub mod rehearsal;
mod run;
mod scene;
mod sound;
mod speaker;
mod stagehand;
#[cfg(test)]
mod tests;

pub(super) use run::{Desk, Running, build};
pub(super) use stagehand::Reports;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Instant;

use super::sources::ToOwner;
use crate::forward::{Layer, Layers};
use crate::vocab::{MemberId, MixConfig, MixLayout, PeerId, SourceName, StreamName};
use ear::Listening;

/// Something that is to be in a mix.
#[derive(Clone)]
pub struct MixInput {
    /// Whose it is; who does not hear it.
    pub member: MemberId,
    /// Which of the member's streams.
    pub stream: StreamName,
    /// Written into the picture.
    pub label: String,
    /// Where its packets come from.
    pub from: MixFrom,
    /// Quarter turns, clockwise, that put its picture upright. 0 to 3.
    pub turns: u8,
}

/// Where the packets of a [`MixInput`] come from.
#[derive(Clone)]
pub enum MixFrom {
    /// A publisher's tracks.
    Published(Vec<Layers>),
    /// A source of this gateway.
    Source(SourceName),
}

/// One of the things that are mixed. Told apart for as long as they are there.
type Key = (MemberId, StreamName);

/// What is to be mixed and who listens, kept while nobody watches as well.
pub(super) struct Stage {
    /// Where orders to sources go.
    orders: mpsc::Sender<ToOwner>,
    epoch: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Counts changes, so that the runner sees with one look whether there was one.
    version: u64,
    inputs: Vec<MixInput>,
    layout: MixLayout,
    /// By the connection that plays it. As many as there are viewers.
    ears: HashMap<PeerId, Listening>,
}

impl Stage {
    /// Nobody is in it yet. Frames' times count from `epoch`, as those of its source do.
    pub fn new(config: &MixConfig, epoch: Instant, orders: mpsc::Sender<ToOwner>) -> Self {
        let state = State { layout: config.layout, ..State::default() };
        Self { orders, epoch, state: Mutex::new(state) }
    }

    /// These from now on.
    pub fn set_inputs(&self, inputs: Vec<MixInput>) {
        let mut state = self.state();
        state.inputs = inputs;
        state.version += 1;
    }

    /// Another layout from now on.
    pub fn set_layout(&self, layout: MixLayout) {
        let mut state = self.state();
        state.layout = layout;
        state.version += 1;
    }

    /// The layout now.
    pub fn layout(&self) -> MixLayout {
        self.state().layout
    }

    /// What a member hears by a connection, instead of what `common` brings to everybody. `None` when that cannot be made.
    pub fn listen(&self, viewer: PeerId, member: MemberId, common: &Arc<Layer>) -> Option<Arc<Layer>> {
        let listening = Listening::start(member, self.epoch, common)?;
        let layer = Arc::clone(listening.ear.layer());
        let mut state = self.state();
        state.ears.insert(viewer, listening);
        state.version += 1;
        Some(layer)
    }

    /// The connection is gone.
    pub fn release(&self, viewer: PeerId) {
        let mut state = self.state();
        state.version += u64::from(state.ears.remove(&viewer).is_some());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // no code that can panic runs under the lock, and every state is valid
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
