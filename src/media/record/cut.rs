//! PURE. From frames to files: where a file starts and ends, and what is written when.
//!
//! A file with a picture starts with a key frame. It ends when it is long or large enough and a key frame comes, when the picture
//! changes its codec or size, and when the recording ends. Frames are gathered for half a second and written as one cluster.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::matroska::{self, Cluster, Cue, Format, Patch, Places, track_number};
use crate::vocab::MediaKind;

/// Longest time that a cluster gathers: what a kill can cost, with what waits in front.
const GATHER: Duration = Duration::from_millis(500);
/// And most bytes.
const MOST_GATHERED: usize = 1 << 20;
/// Sound whose picture does not come in this time is recorded without.
const ALONE: Duration = Duration::from_secs(3);
/// Where only sound is recorded, the index has a point this often.
const CUE_EVERY: u64 = 5_000;

/// One frame of the recorded stream.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub format: Arc<Format>,
    /// On one clock for picture and sound.
    pub time: Duration,
    pub key: bool,
    pub data: Bytes,
}

impl Frame {
    fn kind(&self) -> MediaKind {
        self.format.codec.kind()
    }
}

/// When files end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// Wanted length of a file.
    pub length: Duration,
    /// Wanted size.
    pub bytes: u64,
}

/// What is to be done with files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Write {
    /// A file begins with these bytes.
    Begin { head: Vec<u8>, webm: bool, at: SystemTime },
    /// A cluster is added; the file then lasts so long.
    Add { bytes: Vec<u8>, lasts: Duration },
    /// The file is complete with the index at its end and these changes.
    End { index: Vec<u8>, patches: Vec<Patch> },
}

/// Cuts a stream into files. After each call [`Self::poll`] is to be drained.
#[derive(Debug)]
pub(super) struct Cutter {
    rules: Rules,
    title: String,
    /// Which kinds the stream has.
    video: bool,
    audio: bool,
    file: Option<Open>,
    /// Sound that waits for its picture: since when.
    waiting: Option<Duration>,
    /// The picture goes on at a key frame only.
    needs_key: bool,
    out: VecDeque<Write>,
}

#[derive(Debug)]
struct Open {
    /// The time of the first frame.
    base: Duration,
    picture: Option<Arc<Format>>,
    places: Places,
    len: u64,
    cluster: Option<Cluster>,
    cues: Vec<Cue>,
    /// Milliseconds of the newest frame.
    newest: u64,
}

impl Cutter {
    /// Of a stream with picture, sound or both.
    pub fn new(rules: Rules, title: &str, video: bool, audio: bool) -> Self {
        Self { rules, title: title.into(), video, audio, file: None, waiting: None, needs_key: true, out: VecDeque::new() }
    }

    /// Takes a frame. `now` names the file that may begin with it.
    pub fn push(&mut self, now: SystemTime, frame: &Frame) {
        match frame.kind() {
            MediaKind::Video => self.push_picture(now, frame),
            MediaKind::Audio => self.push_sound(now, frame),
        }
    }

    /// Whether a key frame would be of use now.
    pub fn wants_key(&self) -> bool {
        let due = self.file.as_ref().is_some_and(|file| file.picture.is_some() && file.is_due(&self.rules));
        self.video && (self.needs_key || due)
    }

    /// Nothing came for a while: what is gathered is written.
    pub fn flush(&mut self) {
        if let Some(file) = &mut self.file {
            file.flush(&mut self.out);
        }
    }

    /// The file ends here.
    pub fn end(&mut self) {
        self.waiting = None;
        self.needs_key = true;
        if let Some(mut file) = self.file.take() {
            file.flush(&mut self.out);
            let (index, patches) = matroska::finish(&file.places, file.len, file.newest, &file.cues);
            self.out.push_back(Write::End { index, patches });
        }
    }

    /// The file is given up: nothing more can be written to it.
    pub fn abandon(&mut self) {
        self.file = None;
        self.waiting = None;
        self.needs_key = true;
        self.out.clear();
    }

    /// What is to be done next.
    #[must_use]
    pub fn poll(&mut self) -> Option<Write> {
        self.out.pop_front()
    }

    fn push_picture(&mut self, now: SystemTime, frame: &Frame) {
        if frame.key {
            self.needs_key = false;
            let goes_on = self.file.as_ref().is_some_and(|file| file.takes(&frame.format) && !file.is_due(&self.rules));
            if !goes_on {
                self.end();
                self.needs_key = false;
                self.begin(now, frame);
            }
        } else if self.file.as_ref().is_some_and(|file| !file.takes(&frame.format)) {
            // another picture whose beginning was missed
            self.needs_key = true;
        }
        if self.needs_key {
            return;
        }
        if let Some(file) = &mut self.file {
            file.add(frame, &mut self.out);
            if file.is_overdue(&self.rules) {
                // no key frame comes: the limits hold all the same
                self.end();
            }
        }
    }

    fn push_sound(&mut self, now: SystemTime, frame: &Frame) {
        if self.file.is_none() {
            let since = *self.waiting.get_or_insert(frame.time);
            if self.video && frame.time.saturating_sub(since) < ALONE {
                return;
            }
            self.begin(now, frame);
        }
        let alone = self.file.as_ref().is_some_and(|file| file.picture.is_none() && file.is_due(&self.rules));
        if alone {
            self.end();
            self.begin(now, frame);
        }
        if let Some(file) = &mut self.file {
            file.add(frame, &mut self.out);
            if file.is_overdue(&self.rules) {
                // the picture has stopped, and with it the key frames
                self.end();
            }
        }
    }

    fn begin(&mut self, now: SystemTime, first: &Frame) {
        self.waiting = None;
        let picture = (first.kind() == MediaKind::Video).then(|| Arc::clone(&first.format));
        let opus = Format::opus();
        let mut formats: Vec<&Format> = picture.as_deref().into_iter().collect();
        formats.extend(self.audio.then_some(&opus));
        let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (head, places) = matroska::head(&formats, &self.title, since_1970);
        let webm = matroska::is_webm(&formats);
        let len = head.len() as u64;
        self.out.push_back(Write::Begin { head, webm, at: now });
        let (base, cluster, cues, newest) = (first.time, None, Vec::new(), 0);
        self.file = Some(Open { base, picture, places, len, cluster, cues, newest });
    }
}

impl Open {
    /// Whether the picture of that format goes on in this file.
    fn takes(&self, format: &Arc<Format>) -> bool {
        self.picture.as_ref().is_some_and(|picture| Arc::ptr_eq(picture, format) || picture == format)
    }

    fn bytes(&self) -> u64 {
        self.len + self.cluster.as_ref().map_or(0, |cluster| cluster.bytes() as u64)
    }

    fn is_due(&self, rules: &Rules) -> bool {
        u128::from(self.newest) >= rules.length.as_millis() || self.bytes() >= rules.bytes
    }

    /// Twice what is wanted.
    fn is_overdue(&self, rules: &Rules) -> bool {
        u128::from(self.newest) >= 2 * rules.length.as_millis() || self.bytes() >= 2 * rules.bytes
    }

    fn add(&mut self, frame: &Frame, out: &mut VecDeque<Write>) {
        // what is older than the file belongs to no file
        let Some(since) = frame.time.checked_sub(self.base) else { return };
        let time = u64::try_from((since.as_micros() + 500) / 1000).unwrap_or(u64::MAX);
        let track = track_number(frame.kind());
        let starts = frame.key && frame.kind() == MediaKind::Video;
        let gathered = self.cluster.as_ref().is_some_and(|cluster| {
            let far = u128::from(time.saturating_sub(cluster.time())) >= GATHER.as_millis();
            starts || far || cluster.bytes() + frame.data.len() > MOST_GATHERED
        });
        if gathered {
            self.flush(out);
        }
        let added = match &mut self.cluster {
            Some(cluster) => cluster.add(time, track, frame.key, &frame.data),
            None => {
                self.cluster = Some(Cluster::new(time, track, frame.key, &frame.data));
                true
            }
        };
        if !added {
            // a time that a cluster cannot say is a fault of the clock: the frame is left out
            return;
        }
        self.newest = self.newest.max(time);
    }

    fn flush(&mut self, out: &mut VecDeque<Write>) {
        let Some(cluster) = self.cluster.take() else { return };
        let kind = if self.picture.is_some() { MediaKind::Video } else { MediaKind::Audio };
        let (time, track) = (cluster.time(), track_number(kind));
        let far = self.cues.last().is_none_or(|last| kind == MediaKind::Video || time >= last.time + CUE_EVERY);
        if cluster.starts_with_key_of(track) && far {
            self.cues.push(Cue { time, cluster: self.len, track });
        }
        let bytes = cluster.finish();
        self.len += bytes.len() as u64;
        out.push_back(Write::Add { bytes, lasts: Duration::from_millis(self.newest) });
    }
}
