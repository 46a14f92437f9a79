//! PURE. What follows from what a trial saw.

use serde::{Deserialize, Serialize};

use super::observed::{Ending, Observed, Stage};
use crate::vocab::Codec;

/// A key frame within this many frames of the request is prompt: 300 ms at 30 frames per second.
const PROMPT_KEY: u32 = 9;
/// A viewer does not wait for a key frame longer than this: 1 s at 30 frames per second.
const LATEST_KEY: u32 = 30;
/// `profile_idc` of (constrained) baseline.
const BASELINE: u8 = 66;

/// Whether a candidate is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// It works; what is to be known of it. At most one note of each kind.
    Works {
        /// What is not as it should be, and can be lived with.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        notes: Vec<Note>,
    },
    /// It is passed over.
    Refused {
        /// Why.
        fault: Fault,
    },
}

/// Why a candidate is passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Fault {
    /// It lacks a property that the board file requires.
    Lacks {
        /// The property.
        property: String,
    },
    /// It cannot be made or opened.
    CannotOpen {
        /// In GStreamer's words.
        why: String,
    },
    /// An error after it was opened.
    Fails {
        /// In GStreamer's words.
        why: String,
        /// Frames that had come out by then.
        after: u32,
    },
    /// It did not end in time and was killed.
    Hangs {
        /// How long it was waited for.
        seconds: u64,
    },
    /// It took its process with it.
    Crashes {
        /// How that ended.
        how: String,
    },
    /// Nothing comes out.
    Silent,
    /// Frames are lost.
    Loses {
        /// Frames that came out.
        left: u32,
        /// Frames that went in.
        entered: u32,
    },
    /// The first frame is no key frame.
    NoFirstKey,
    /// No key frame, or one too late, when asked.
    NoKey {
        /// Frames until the next one; `None`: none came.
        after: Option<u32>,
    },
    /// Parameter sets never come.
    NoHeaders,
    /// Another H.264 profile than (constrained) baseline.
    Profile {
        /// `profile_idc`.
        profile: u8,
    },
    /// B-frames.
    BFrames,
    /// A decoder's pictures have another size.
    WrongSize {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
    },
}

/// What can be lived with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "kebab-case")]
pub enum Note {
    /// Key frames come, but late.
    LateKeys {
        /// Frames until one comes.
        after: u32,
    },
    /// Parameter sets are not with each key frame; the parser behind the encoder puts them there.
    BareKeys,
    /// A change of the bit rate does nothing; the encoder is started anew instead.
    BitrateIgnored,
    /// It fails at a size that its board file says it carries; the largest of the tried sizes that it carries, pixels.
    Carries {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// What happens beyond.
        why: String,
    },
    /// The bit rate is far from what is asked for.
    OffRate {
        /// bit/s.
        asked: u64,
        /// bit/s.
        measured: u64,
    },
}

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An encoder of this codec.
    Encoder(Codec),
    /// A decoder.
    Decoder,
}

impl Verdict {
    /// Judges. `Err` says why there is nothing to judge by: such a candidate stays untried.
    pub fn of(role: Role, ending: &Ending) -> Result<Self, String> {
        let fault = match ending {
            Ending::Interrupted(why) => return Err(why.clone()),
            Ending::Hung(seconds) => Some(Fault::Hangs { seconds: *seconds }),
            Ending::Crashed(signal) => Some(Fault::Crashes { how: format!("signal {signal}") }),
            Ending::Mute(Some(code)) => Some(Fault::Crashes { how: format!("exit code {code}") }),
            Ending::Mute(None) => Some(Fault::Crashes { how: "it said nothing that can be read".into() }),
            Ending::Told(observed) if observed.stage == Stage::Untried => {
                return Err(observed.error.clone().unwrap_or_else(|| "there is nothing to try it with".into()));
            }
            Ending::Told(observed) => fault(role, observed),
        };
        Ok(match (fault, ending) {
            (Some(fault), _) => Self::Refused { fault },
            (None, Ending::Told(observed)) => Self::Works { notes: notes(observed) },
            (None, _) => Self::Works { notes: Vec::new() },
        })
    }

    /// Whether an encoder that works carries a size: `Ok(None)` when it does, else what happens. `Err` as for [`Self::of`].
    pub fn at_size(ending: &Ending) -> Result<Option<String>, String> {
        // as a decoder's: what it makes is not looked at again
        Ok(Self::of(Role::Decoder, ending)?.fault().map(ToString::to_string))
    }

    /// Why a picture is too large for it, if it is.
    pub fn too_large(&self, (width, height): (u32, u32)) -> Option<String> {
        let blocks = |width: u32, height: u32| u64::from(width.div_ceil(16)) * u64::from(height.div_ceil(16));
        self.notes().iter().find_map(|note| match note {
            Note::Carries { width: most_width, height: most_height, why }
                if blocks(width, height) > blocks(*most_width, *most_height) =>
            {
                Some(format!("its trial found that it carries {most_width}x{most_height}, beyond: {why}"))
            }
            _ => None,
        })
    }

    /// The fault of a candidate that is passed over.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Works { .. } => None,
            Self::Refused { fault } => Some(fault),
        }
    }

    /// What is to be known of one that works.
    pub fn notes(&self) -> &[Note] {
        match self {
            Self::Works { notes } => notes,
            Self::Refused { .. } => &[],
        }
    }

    /// Whether the encoder must be started anew for another bit rate.
    pub fn restarts_for_bitrate(&self) -> bool {
        self.notes().contains(&Note::BitrateIgnored)
    }
}

fn fault(role: Role, seen: &Observed) -> Option<Fault> {
    if let Some(property) = &seen.lacks {
        return Some(Fault::Lacks { property: property.clone() });
    }
    let why = || seen.error.clone().unwrap_or_else(|| "it does not say why".into());
    if seen.stage < Stage::Opened {
        return Some(Fault::CannotOpen { why: why() });
    }
    if role == Role::Encoder(Codec::H264) && seen.bare_keys > 0 && seen.profile.is_none() {
        // the parser behind the encoder made an error of it
        return Some(Fault::NoHeaders);
    }
    if seen.error.is_some() || seen.stage < Stage::Ended {
        return Some(Fault::Fails { why: why(), after: seen.left });
    }
    let (left, entered) = (seen.left, seen.entered);
    if left == 0 {
        return Some(Fault::Silent);
    }
    if u64::from(left) * 10 < u64::from(entered) * 9 {
        return Some(Fault::Loses { left, entered });
    }
    match role {
        Role::Decoder => match (seen.size, seen.size_in) {
            (Some(out), Some(into)) if out != into => Some(Fault::WrongSize { width: out.0, height: out.1 }),
            _ => None,
        },
        Role::Encoder(codec) => stream_fault(codec, seen),
    }
}

fn stream_fault(codec: Codec, seen: &Observed) -> Option<Fault> {
    if codec == Codec::H264 {
        match seen.profile {
            None => return Some(Fault::NoHeaders),
            Some(BASELINE) => {}
            Some(profile) => return Some(Fault::Profile { profile }),
        }
        if seen.b_frames > 0 {
            return Some(Fault::BFrames);
        }
    }
    if !seen.first_key {
        return Some(Fault::NoFirstKey);
    }
    match seen.key_after {
        Some(after) if after <= LATEST_KEY => None,
        after => Some(Fault::NoKey { after }),
    }
}

fn notes(seen: &Observed) -> Vec<Note> {
    let mut notes = Vec::new();
    if let Some(after) = seen.key_after.filter(|after| *after > PROMPT_KEY) {
        notes.push(Note::LateKeys { after });
    }
    if seen.bare_keys > 0 {
        notes.push(Note::BareKeys);
    }
    if let Some([before, after]) = seen.rates {
        // where the picture did not even fill the lower rate, nothing can be said
        let filled = before.measured > after.asked + after.asked / 4;
        if filled && after.measured.saturating_mul(10) > before.measured.saturating_mul(7) {
            notes.push(Note::BitrateIgnored);
        }
        let far = |asked: u64, measured: u64| measured > asked.saturating_mul(3) || measured < asked / 8;
        if far(before.asked, before.measured) {
            notes.push(Note::OffRate { asked: before.asked, measured: before.measured });
        }
    }
    notes
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lacks { property } => write!(f, "it has no property `{property}`"),
            Self::CannotOpen { why } => write!(f, "it cannot be opened: {why}"),
            Self::Fails { why, after } => write!(f, "it failed after {after} frames: {why}"),
            Self::Hangs { seconds } => write!(f, "it hung and was killed after {seconds} s"),
            Self::Crashes { how } => write!(f, "it crashed ({how})"),
            Self::Silent => f.write_str("nothing came out"),
            Self::Loses { left, entered } => write!(f, "of {entered} frames {left} came out"),
            Self::NoFirstKey => f.write_str("its first frame is no key frame"),
            Self::NoKey { after: None } => f.write_str("it gave no key frame when asked"),
            Self::NoKey { after: Some(after) } => write!(f, "when asked for a key frame it gave one {after} frames later"),
            Self::NoHeaders => f.write_str("its stream has no parameter sets"),
            Self::Profile { profile } => write!(f, "it makes H.264 of profile {profile} instead of baseline"),
            Self::BFrames => f.write_str("it makes B-frames, which WebRTC receivers do not put in order"),
            Self::WrongSize { width, height } => write!(f, "its pictures are {width}x{height}, which is not what went in"),
        }
    }
}

impl Fault {
    /// What to do about it, for people.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Lacks { .. } => "the element is of another version than this entry of the board file is for",
            Self::CannotOpen { .. } | Self::Fails { .. } => {
                "see the driver's messages (`dmesg`), and whether the user portico may open its device (groups video, render)"
            }
            Self::Hangs { .. } | Self::Crashes { .. } => {
                "update the driver and its GStreamer plugin, then `portico doctor --refresh`"
            }
            Self::Silent | Self::Loses { .. } => "see the driver's messages (`dmesg`); memory for pictures may be short (`cma=`)",
            Self::NoFirstKey | Self::NoKey { .. } => "set `key_frame` or a shorter distance of key frames in the board file",
            Self::NoHeaders | Self::Profile { .. } | Self::BFrames => {
                "set the element's properties for baseline without B-frames, headers with each key frame, in the board file"
            }
            Self::WrongSize { .. } => "the driver does not crop; update it, or leave it to software",
        }
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::LateKeys { after } => write!(f, "key frames come {after} frames after they were asked for"),
            Self::BareKeys => f.write_str("headers are not with each key frame: they are put there"),
            Self::BitrateIgnored => f.write_str("it ignores changes of the bit rate: it is started anew for them"),
            Self::Carries { width, height, why } => {
                write!(f, "it carries {width}x{height} and nothing larger: {why}")
            }
            Self::OffRate { asked, measured } => {
                write!(f, "asked for {} kbit/s it gives {} kbit/s", asked / 1000, measured / 1000)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::observed::Rate;
    use super::*;

    const H264: Role = Role::Encoder(Codec::H264);

    fn good() -> Observed {
        Observed {
            stage: Stage::Ended,
            entered: 90,
            left: 90,
            first_key: true,
            key_after: Some(0),
            keys: 3,
            profile: Some(66),
            rates: Some([Rate { asked: 1_200_000, measured: 1_100_000 }, Rate { asked: 400_000, measured: 390_000 }]),
            ..Observed::default()
        }
    }

    fn judged(role: Role, change: impl FnOnce(&mut Observed)) -> Verdict {
        let mut seen = good();
        change(&mut seen);
        Verdict::of(role, &Ending::Told(Box::new(seen))).unwrap()
    }

    fn refused(change: impl FnOnce(&mut Observed)) -> Fault {
        judged(H264, change).fault().cloned().expect("it is refused")
    }

    #[test]
    fn what_does_everything_works_without_a_note() {
        assert_eq!(judged(H264, |_| {}), Verdict::Works { notes: vec![] });
        assert_eq!(judged(Role::Encoder(Codec::VP8), |seen| seen.profile = None).fault(), None);
    }

    #[test]
    fn each_fault_is_named() {
        assert_eq!(refused(|seen| seen.lacks = Some("bps".into())), Fault::Lacks { property: "bps".into() });
        assert!(matches!(refused(|seen| seen.stage = Stage::Made), Fault::CannotOpen { .. }));
        assert_eq!(
            refused(|seen| (seen.error, seen.left) = (Some("no memory".into()), 12)),
            Fault::Fails { why: "no memory".into(), after: 12 }
        );
        assert!(matches!(refused(|seen| seen.stage = Stage::Started), Fault::Fails { .. }));
        assert_eq!(refused(|seen| seen.left = 0), Fault::Silent);
        assert_eq!(refused(|seen| seen.left = 80), Fault::Loses { left: 80, entered: 90 });
        assert_eq!(refused(|seen| seen.first_key = false), Fault::NoFirstKey);
        assert_eq!(refused(|seen| seen.key_after = None), Fault::NoKey { after: None });
        assert_eq!(refused(|seen| seen.key_after = Some(40)), Fault::NoKey { after: Some(40) });
        assert_eq!(refused(|seen| seen.profile = None), Fault::NoHeaders);
        let stuck = |seen: &mut Observed| (seen.profile, seen.bare_keys, seen.left, seen.error) = (None, 1, 0, Some("x".into()));
        assert_eq!(refused(stuck), Fault::NoHeaders);
        assert_eq!(refused(|seen| seen.profile = Some(100)), Fault::Profile { profile: 100 });
        assert_eq!(refused(|seen| seen.b_frames = 1), Fault::BFrames);
        let decoder = judged(Role::Decoder, |seen| (seen.size_in, seen.size) = (Some((640, 352)), Some((640, 368))));
        assert_eq!(decoder.fault(), Some(&Fault::WrongSize { width: 640, height: 368 }));
    }

    #[test]
    fn what_the_gateway_can_mend_is_a_note() {
        assert_eq!(judged(H264, |seen| seen.bare_keys = 2).notes(), [Note::BareKeys]);
        assert_eq!(judged(H264, |seen| seen.key_after = Some(20)).notes(), [Note::LateKeys { after: 20 }]);
        let rates = |before, after| {
            judged(H264, |seen| {
                seen.rates = Some([Rate { asked: 1_200_000, measured: before }, Rate { asked: 400_000, measured: after }])
            })
        };
        assert!(rates(1_200_000, 1_150_000).restarts_for_bitrate());
        assert!(!rates(1_200_000, 600_000).restarts_for_bitrate());
        assert!(!rates(300_000, 300_000).restarts_for_bitrate(), "the picture was too simple to tell");
        let kilo = rates(1_200, 400);
        assert_eq!(kilo.notes(), [Note::OffRate { asked: 1_200_000, measured: 1_200 }]);
    }

    #[test]
    fn a_size_that_fails_limits_what_it_is_used_for() {
        let told = |change: &dyn Fn(&mut Observed)| {
            let mut seen =
                Observed { stage: Stage::Ended, entered: 15, left: 15, size_in: Some((1920, 1080)), ..Observed::default() };
            change(&mut seen);
            Verdict::at_size(&Ending::Told(Box::new(seen))).unwrap()
        };
        assert_eq!(told(&|_| {}), None);
        assert!(told(&|seen| (seen.error, seen.left) = (Some("no memory".into()), 0)).unwrap().contains("no memory"));
        assert!(told(&|seen| seen.left = 3).is_some());
        assert!(Verdict::at_size(&Ending::Hung(20)).unwrap().is_some());
        assert!(Verdict::at_size(&Ending::Interrupted("needed".into())).is_err());
        let limited = Verdict::Works { notes: vec![Note::Carries { width: 1280, height: 720, why: "no memory".into() }] };
        assert_eq!(
            (limited.too_large((1280, 720)), limited.too_large((640, 480)), limited.too_large((720, 1280))),
            (None, None, None)
        );
        assert!(limited.too_large((1600, 900)).unwrap().contains("no memory"));
        assert_eq!(Verdict::Works { notes: vec![] }.too_large((3840, 2160)), None);
    }

    #[test]
    fn a_hang_and_a_crash_are_verdicts_and_an_interruption_is_none() {
        let of = |ending| Verdict::of(H264, &ending);
        assert_eq!(of(Ending::Hung(20)).unwrap().fault(), Some(&Fault::Hangs { seconds: 20 }));
        assert_eq!(of(Ending::Crashed(11)).unwrap().fault(), Some(&Fault::Crashes { how: "signal 11".into() }));
        assert!(of(Ending::Mute(Some(101))).unwrap().fault().is_some());
        assert_eq!(of(Ending::Interrupted("a source opened".into())), Err("a source opened".into()));
        assert!(of(Ending::Told(Box::default())).is_err());
    }

    fn any_seen() -> impl Strategy<Value = Observed> {
        let stage = prop_oneof![Just(Stage::Made), Just(Stage::Opened), Just(Stage::Started), Just(Stage::Ended)];
        let stream = (0u32..4, 0u32..100, any::<bool>(), proptest::option::of(0u32..90), 0u32..3);
        let h264 = (proptest::option::of(prop_oneof![Just(66u8), any::<u8>()]), 0u32..2, any::<u64>(), any::<u64>());
        (stage, stream, h264).prop_map(|(stage, (lost, entered, first_key, key_after, bare_keys), (profile, b_frames, a, b))| {
            Observed {
                stage,
                entered,
                left: entered.saturating_sub(lost),
                first_key,
                key_after,
                bare_keys,
                profile,
                b_frames,
                rates: Some([Rate { asked: 1_200_000, measured: a }, Rate { asked: 400_000, measured: b }]),
                ..Observed::default()
            }
        })
    }

    proptest! {
        /// Whatever works came to its end with its frames, gives key frames, and has nothing that receivers cannot take; every
        /// verdict can be told and is read back from the cache as it was.
        #[test]
        fn only_what_viewers_can_play_works(seen in any_seen()) {
            let verdict = Verdict::of(H264, &Ending::Told(Box::new(seen.clone()))).unwrap();
            match &verdict {
                Verdict::Works { notes } => {
                    prop_assert!(seen.stage == Stage::Ended && seen.left > 0 && seen.left * 10 >= seen.entered * 9);
                    prop_assert!(seen.first_key && seen.key_after.is_some_and(|it| it <= LATEST_KEY));
                    prop_assert!(seen.profile == Some(66) && seen.b_frames == 0 && notes.len() <= 4);
                }
                Verdict::Refused { fault } => prop_assert!(!fault.to_string().is_empty() && !fault.help().is_empty()),
            }
            let text = serde_json::to_string(&verdict).unwrap();
            prop_assert_eq!(serde_json::from_str::<Verdict>(&text).unwrap(), verdict);
        }
    }
}
