//! The layers of one track.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::Layer;
use crate::vocab::TrackFormat;

/// One to [`Layers::MAX`] encodings of one track: same content and codec, different sizes. Which of them a viewer gets is decided
/// per viewer, by what they cost; so their order says nothing, but that the first is taken while nothing is known of them.
#[derive(Clone)]
pub struct Layers(Vec<Arc<Layer>>);

impl Layers {
    /// Most layers of a track: full, half and quarter size.
    pub const MAX: usize = 3;

    /// Of layers with the same format. `None` without any; what is beyond [`Self::MAX`] is left out.
    pub fn new(mut layers: Vec<Arc<Layer>>) -> Option<Self> {
        layers.truncate(Self::MAX);
        (!layers.is_empty()).then_some(Self(layers))
    }

    /// The one that is taken while nothing is known of them.
    pub fn first(&self) -> &Arc<Layer> {
        &self.0[0]
    }

    /// How they are encoded.
    pub fn format(&self) -> &TrackFormat {
        self.first().format()
    }
}

impl From<Arc<Layer>> for Layers {
    fn from(layer: Arc<Layer>) -> Self {
        Self(vec![layer])
    }
}

impl Deref for Layers {
    type Target = [Arc<Layer>];

    fn deref(&self) -> &[Arc<Layer>] {
        &self.0
    }
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|layer| layer.id())).finish()
    }
}
