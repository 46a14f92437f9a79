//! Steps of a direct connection between two members, as they pass through a `mesh` room: plain W3C JSON that every dialect
//! can put into its own wire form.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::vocab::{Candidate, Framing, Sdp, SdpKind};

/// One step of a direct connection.
#[derive(Clone, Debug)]
pub struct Signal {
    /// What it is.
    pub step: Step,
    /// An `RTCSessionDescriptionInit` or `RTCIceCandidateInit` as JSON, byte for byte as the sender wrote it; whatever the
    /// sender's dialect has, where the step is [`Step::Other`].
    pub value: Box<RawValue>,
    /// Which of several connections between the two it belongs to, by the offerer's own id for it. Empty where a dialect has
    /// one connection a pair.
    pub connection: Arc<str>,
    /// How messages on the connection's data channels look. Counts in offers.
    pub framing: Framing,
    /// What else the sender's message says, for an addressee of the same dialect. `None`: the value says it all.
    pub original: Option<Original>,
}

/// What a message says beyond the value of its [`Signal`].
#[derive(Clone, Debug)]
pub struct Original {
    /// The name by which the sender's dialect called it.
    pub name: &'static str,
    /// What the value was taken out of; `None`: the value is all there was.
    pub whole: Option<Box<RawValue>>,
}

/// What a signal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A proposal.
    Offer,
    /// The answer to one.
    Answer,
    /// A candidate; an empty one or JSON `null` ends them.
    Candidate,
    /// Something that only the sender's own dialect understands.
    Other,
}

impl Signal {
    /// A description, as a dialect that has only its text gives it.
    pub fn description(sdp: &Sdp, framing: Framing) -> Self {
        #[derive(Serialize)]
        struct Description<'a> {
            r#type: SdpKind,
            sdp: &'a str,
        }
        let step = match sdp.kind {
            SdpKind::Offer => Step::Offer,
            SdpKind::Answer => Step::Answer,
        };
        let value = raw(&Description { r#type: sdp.kind, sdp: &sdp.text });
        Self { step, value, connection: "".into(), framing, original: None }
    }

    /// A candidate.
    pub fn candidate(candidate: &Candidate, framing: Framing) -> Self {
        Self { step: Step::Candidate, value: raw(candidate), connection: "".into(), framing, original: None }
    }

    /// The description in an offer or answer; `None` when it is another step or the value is not one.
    pub fn as_description(&self) -> Option<Sdp> {
        #[derive(serde::Deserialize)]
        struct Description {
            sdp: String,
        }
        let kind = match self.step {
            Step::Offer => SdpKind::Offer,
            Step::Answer => SdpKind::Answer,
            Step::Candidate | Step::Other => return None,
        };
        // a derived reader would also take an array
        let object = self.value.get().trim_start().starts_with('{');
        let read = object.then(|| serde_json::from_str::<Description>(self.value.get()).ok()).flatten()?;
        Some(Sdp { kind, text: read.sdp })
    }

    /// The candidate in a candidate step; JSON `null` reads as the end of candidates. `None` when it is another step or the
    /// value is neither.
    pub fn as_candidate(&self) -> Option<Candidate> {
        if self.step != Step::Candidate {
            return None;
        }
        let text = self.value.get().trim_start();
        if text.starts_with("null") {
            return Some(Candidate { candidate: String::new(), sdp_mid: None, sdp_mline_index: None, username_fragment: None });
        }
        text.starts_with('{').then(|| serde_json::from_str(text).ok()).flatten()
    }

    /// Bytes of text it holds.
    pub fn weight(&self) -> usize {
        let whole = self.original.as_ref().and_then(|original| original.whole.as_ref());
        self.value.get().len() + self.connection.len() + whole.map_or(0, |whole| whole.get().len())
    }
}

fn raw(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("strings and numbers always serialise")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_reads_back() {
        let sdp = Sdp::answer("v=0\r\n\"");
        let signal = Signal::description(&sdp, Framing::Free);
        assert_eq!(signal.step, Step::Answer);
        assert_eq!(signal.value.get(), r#"{"type":"answer","sdp":"v=0\r\n\""}"#);
        assert_eq!(signal.as_description(), Some(sdp));
        assert_eq!(signal.as_candidate(), None);
    }

    #[test]
    fn a_candidate_reads_back_and_null_ends_them() {
        let candidate = Candidate {
            candidate: "candidate:1 1 udp 1 192.0.2.1 9 typ host".into(),
            sdp_mid: Some("0".into()),
            sdp_mline_index: Some(0),
            username_fragment: None,
        };
        let mut signal = Signal::candidate(&candidate, Framing::Plain);
        assert_eq!(signal.as_candidate(), Some(candidate));
        signal.value = RawValue::from_string("null".into()).unwrap();
        assert_eq!(signal.as_candidate().map(|end| end.candidate), Some(String::new()));
        signal.value = RawValue::from_string("[\"x\"]".into()).unwrap();
        assert_eq!(signal.as_candidate(), None);
    }
}
