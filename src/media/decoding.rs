//! Which decoders of pictures are at work for a source, for its figures.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The decoders of one source.
#[derive(Default)]
pub(super) struct Decoding(Mutex<State>);

#[derive(Default)]
struct State {
    next: u64,
    elements: BTreeMap<u64, String>,
}

/// A decoder is at work until this is dropped.
pub(super) struct AtWork {
    of: Arc<Decoding>,
    number: u64,
}

impl Decoding {
    /// An element decodes from now on.
    pub fn begin(self: &Arc<Self>, element: &str) -> AtWork {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.elements.insert(number, element.to_owned());
        AtWork { of: Arc::clone(self), number }
    }

    /// The elements that decode now, oldest first; as often as they do.
    pub fn elements(&self) -> Vec<String> {
        self.state().elements.values().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // no code that can panic runs under the lock, and every state is valid
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.of.state().elements.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_decodes_is_listed_until_it_ends_as_often_as_it_does() {
        let decoding = Arc::<Decoding>::default();
        let first = decoding.begin("vp8dec");
        let second = decoding.begin("vp8dec");
        let third = decoding.begin("openh264dec");
        assert_eq!(decoding.elements(), ["vp8dec", "vp8dec", "openh264dec"]);
        drop(first);
        assert_eq!(decoding.elements(), ["vp8dec", "openh264dec"]);
        drop((second, third));
        assert!(decoding.elements().is_empty());
    }
}
