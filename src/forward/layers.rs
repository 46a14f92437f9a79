//! The layers of one track.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use super::{Appetite, Layer};
use crate::vocab::TrackFormat;

/// One to [`Layers::MAX`] encodings of one track: same content and codec, different sizes. Which of them a viewer gets is decided
/// per viewer, by what they cost; so their order says nothing, but that the first is taken while nothing is known of them.
#[derive(Clone)]
pub struct Layers {
    layers: Vec<Arc<Layer>>,
    appetite: Option<Arc<Appetite>>,
}

impl Layers {
    /// Most layers of a track: full, half and quarter size.
    pub const MAX: usize = 3;

    /// Of layers with the same format. `None` without any; what is beyond [`Self::MAX`] is left out.
    pub fn new(mut layers: Vec<Arc<Layer>>) -> Option<Self> {
        layers.truncate(Self::MAX);
        (!layers.is_empty()).then_some(Self { layers, appetite: None })
    }

    /// Whoever encodes them listens to what viewers can take: it runs those layers that are asked for, at rates that fit.
    #[must_use]
    pub fn with_appetite(self, appetite: Arc<Appetite>) -> Self {
        Self { appetite: Some(appetite), ..self }
    }

    /// Where to tell what a way carries; `None`: nobody would follow it.
    pub fn appetite(&self) -> Option<&Arc<Appetite>> {
        self.appetite.as_ref()
    }

    /// Whether there is a choice now: more than one flows. Layers that nobody runs by what viewers tell count when they are there.
    pub fn offer_choice(&self, now: Instant) -> bool {
        match self.appetite {
            None => self.layers.len() > 1,
            Some(_) => self.layers.iter().filter(|layer| layer.bitrate(now) > 0).nth(1).is_some(),
        }
    }

    /// The one that is taken while nothing is known of them.
    pub fn first(&self) -> &Arc<Layer> {
        &self.layers[0]
    }

    /// The heaviest that flows: what a look at the track takes. The first where none does.
    pub fn flowing(&self, now: Instant) -> &Arc<Layer> {
        let heaviest = self.layers.iter().max_by_key(|layer| layer.bitrate(now));
        heaviest.filter(|layer| layer.bitrate(now) > 0).unwrap_or(self.first())
    }

    /// How they are encoded.
    pub fn format(&self) -> &TrackFormat {
        self.first().format()
    }
}

impl From<Arc<Layer>> for Layers {
    fn from(layer: Arc<Layer>) -> Self {
        Self { layers: vec![layer], appetite: None }
    }
}

impl Deref for Layers {
    type Target = [Arc<Layer>];

    fn deref(&self) -> &[Arc<Layer>] {
        &self.layers
    }
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|layer| layer.id())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::{FramePackets, KeyframeRequest, MediaPacket, Refresh};
    use crate::vocab::{Codec, LayerId, TrackId};

    struct Nobody;
    impl KeyframeRequest for Nobody {
        fn request(&self) {}
    }

    #[test]
    fn a_look_takes_the_heaviest_layer_that_flows() {
        let layer = |index| {
            let id = LayerId { track: TrackId(1), index };
            Arc::new(Layer::new(id, TrackFormat::plain(Codec::VP8), Refresh::OnRequest, Box::new(Nobody)))
        };
        let layers = Layers::new(vec![layer(0), layer(1), layer(2)]).unwrap();
        let write = |index: usize, arrived: Instant, bytes: usize| {
            let packet = MediaPacket { sequence: 0, timestamp: 0, marker: true, payload: vec![0x10; bytes].into() };
            layers[index].write(FramePackets { layer: layers[index].id(), key: false, packets: vec![packet], arrived });
        };
        let began = Instant::now();
        let index = |now| layers.flowing(now).id().index;
        assert_eq!(index(began), 0, "none flows");
        write(2, began, 1000);
        write(1, began, 500);
        assert_eq!(index(began), 2);
        let later = began + std::time::Duration::from_secs(4);
        write(0, later, 100);
        write(1, later, 200);
        assert_eq!(index(later), 1, "the heaviest has stopped");
    }
}
