//! PURE. Which recordings there are, how their files are named, and which must go.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use crate::vocab::{RoomId, StreamName};

/// Longest folder name; file systems have 255 bytes.
const MOST_NAME: usize = 200;
/// The folder of a room's mix. No stream's folder is named so: `@` is escaped in those.
const MIX: &str = "@mix";
/// Files from before this time (1 January 2020) were made while the clock was not set: their age is not known.
const CLOCK_SET: Duration = Duration::from_secs(1_577_836_800);

/// What is recorded: a stream of a room, or its mix.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Of {
    /// The room.
    pub room: RoomId,
    /// The stream; `None`: the room's mix.
    pub stream: Option<StreamName>,
}

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stream {
            Some(stream) => write!(f, "{} · {stream}", self.room),
            None => write!(f, "{} · mix", self.room),
        }
    }
}

impl Of {
    /// The two folders of its files. `None` where a name is too long for one.
    pub fn folders(&self) -> Option<[String; 2]> {
        let stream = self.stream.as_ref().map_or(MIX.into(), |stream| escape(stream.as_str()));
        let both = [escape(self.room.as_str()), stream];
        both.iter().all(|name| name.len() <= MOST_NAME).then_some(both)
    }

    /// Of the names of two folders, exactly as [`Self::folders`] gives them.
    pub fn of_folders(room: &str, stream: &str) -> Option<Self> {
        let stream_name = (stream != MIX).then(|| unescape(stream).and_then(|name| StreamName::new(&name).ok()));
        let of =
            Self { room: RoomId::new(&unescape(room)?).ok()?, stream: stream_name.map_or(Some(None), |name| name.map(Some))? };
        (of.folders()? == [room, stream]).then_some(of)
    }
}

/// Letters, digits, `-` and `_` stay, also those of other scripts; a point stays where it is not the first. All else is `%` and two
/// digits for each byte.
fn escape(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_alphanumeric() || matches!(c, '-' | '_') || (c == '.' && !out.is_empty()) {
            out.push(c);
        } else {
            let mut buffer = [0; 4];
            c.encode_utf8(&mut buffer).bytes().for_each(|byte| out.push_str(&format!("%{byte:02X}")));
        }
    }
    out
}

fn unescape(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// The name of a file: when it began (UTC), a number where there are several, and what it is.
pub(super) fn file_name(began: SystemTime, nth: u32, webm: bool) -> String {
    let began = jiff::Timestamp::try_from(began).unwrap_or_default();
    let time = began.strftime("%Y-%m-%dT%H-%M-%SZ");
    let nth = if nth == 0 { String::new() } else { format!("-{nth}") };
    format!("{time}{nth}.{}", if webm { "webm" } else { "mkv" })
}

/// When a file of that name began; `None` where the name is none of ours.
pub(super) fn began(file: &str) -> Option<SystemTime> {
    let stem = file.strip_suffix(".mkv").or(file.strip_suffix(".webm"))?;
    let (time, nth) = stem.split_at_checked("0000-00-00T00-00-00Z".len())?;
    let plain =
        nth.is_empty() || nth.strip_prefix('-').is_some_and(|nth| !nth.is_empty() && nth.bytes().all(|b| b.is_ascii_digit()));
    let (date, clock) = time.split_at_checked("0000-00-00".len())?;
    let iso = format!("{date}{}", clock.replace('-', ":"));
    let at: jiff::Timestamp = iso.parse().ok().filter(|_| plain)?;
    let name = |webm| file_name(at.into(), nth.trim_start_matches('-').parse().unwrap_or(0), webm);
    (file == name(false) || file == name(true)).then(|| at.into())
}

/// Names a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// What it is of.
    pub of: Of,
    /// Its name in the folder.
    pub file: String,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// When it began.
    pub began: SystemTime,
    /// When the newest was written.
    pub ended: SystemTime,
    /// Its length.
    pub bytes: u64,
    /// What it plays.
    pub lasts: Duration,
    /// Whether it is still written.
    pub open: bool,
}

/// What may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub size: u64,
    /// Zero: however old.
    pub age: Duration,
    /// Bytes that stay free on the disk.
    pub free: u64,
}

/// Why a file must go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// All are larger together than they may be.
    Size,
    /// It is older than it may be.
    Age,
    /// The disk is full.
    Space,
}

/// All files.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    files: BTreeMap<FileId, Listed>,
}

impl Shelf {
    pub fn put(&mut self, id: FileId, listed: Listed) {
        self.files.insert(id, listed);
    }

    pub fn remove(&mut self, id: &FileId) -> Option<Listed> {
        self.files.remove(id)
    }

    pub fn get(&self, id: &FileId) -> Option<&Listed> {
        self.files.get(id)
    }

    pub fn get_mut(&mut self, id: &FileId) -> Option<&mut Listed> {
        self.files.get_mut(id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&FileId, &Listed)> {
        self.files.iter()
    }

    pub fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes).sum()
    }

    /// What must go so that `coming` bytes can be written, given what the disk has free. The oldest first; never what is still
    /// written. Where all of it would not make enough room, only what the limits want as it is.
    pub fn surplus(&self, limits: &Limits, now: SystemTime, free: u64, coming: u64) -> Vec<(FileId, Why)> {
        let mut finished: Vec<(&FileId, &Listed)> = self.files.iter().filter(|(_, file)| !file.open).collect();
        finished.sort_by_key(|(_, file)| (file.began, file.ended));
        let (mut total, mut free, mut out) = (self.bytes(), free, Vec::new());
        let removable: u64 = finished.iter().map(|(_, file)| file.bytes).sum();
        let helps = total - removable + coming <= limits.size && free.saturating_add(removable) >= limits.free + coming;
        let coming = if helps { coming } else { 0 };
        for (id, file) in finished {
            let why = if total.saturating_add(coming) > limits.size {
                Why::Size
            } else if free < limits.free.saturating_add(coming) {
                Why::Space
            } else if is_old(file, limits.age, now) {
                Why::Age
            } else {
                continue;
            };
            total = total.saturating_sub(file.bytes);
            free = free.saturating_add(file.bytes);
            out.push((id.clone(), why));
        }
        out
    }

    /// Whether `coming` bytes may be written as it is.
    pub fn fits(&self, limits: &Limits, free: u64, coming: u64) -> Result<(), Why> {
        if self.bytes().saturating_add(coming) > limits.size {
            return Err(Why::Size);
        }
        if free < limits.free.saturating_add(coming) {
            return Err(Why::Space);
        }
        Ok(())
    }
}

fn is_old(file: &Listed, most: Duration, now: SystemTime) -> bool {
    let set = SystemTime::UNIX_EPOCH + CLOCK_SET;
    !most.is_zero() && file.ended > set && now.duration_since(file.ended).is_ok_and(|age| age > most)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000 + seconds)
    }

    fn of(room: &str, stream: Option<&str>) -> Of {
        Of { room: RoomId::new(room).unwrap(), stream: stream.map(|name| StreamName::new(name).unwrap()) }
    }

    #[test]
    fn folders_are_plain_and_name_what_is_in_them() {
        assert_eq!(of("main", Some("camera.1")).folders().unwrap(), ["main", "camera.1"]);
        assert_eq!(of("../etc", Some("a/b")).folders().unwrap(), ["%2E.%2Fetc", "a%2Fb"]);
        assert_eq!(of("кухня", None).folders().unwrap(), ["кухня", "@mix"]);
        assert_eq!(of("a", Some("@mix")).folders().unwrap(), ["a", "%40mix"]);
        assert_eq!(of(&"ы".repeat(101), None).folders(), None, "too long for a folder");
        for (room, stream) in
            [("..", "a"), ("a", ".."), ("a/b", "c"), ("a", "%2e"), ("a", "%41"), ("", "a"), ("a", "%zz"), ("a", "%")]
        {
            assert_eq!(Of::of_folders(room, stream), None, "{room} {stream}");
        }
    }

    #[test]
    fn names_of_files_tell_their_time() {
        let name = file_name(at(0), 0, true);
        assert_eq!(name, "2026-09-21T14-13-20Z.webm");
        assert_eq!(began(&name), Some(at(0)));
        assert_eq!(began(&file_name(at(5), 2, false)), Some(at(5)));
        for bad in [
            "x.mkv",
            "2026-09-21T14-13-20Z.mp4",
            "2026-09-21T14-13-20Z-.mkv",
            "2026-09-21T14-13-20Z-01.mkv",
            "2026-13-21T14-13-20Z.mkv",
            "../2026-09-21T14-13-20Z.mkv",
        ] {
            assert_eq!(began(bad), None, "{bad}");
        }
    }

    fn file(began: u64, bytes: u64, open: bool) -> Listed {
        Listed { began: at(began), ended: at(began + 10), bytes, lasts: Duration::from_secs(10), open }
    }

    fn shelf(files: &[Listed]) -> Shelf {
        let mut shelf = Shelf::default();
        for (n, listed) in files.iter().enumerate() {
            // names that sort otherwise than times
            let file = format!("{}", files.len() - n);
            shelf.put(FileId { of: of("a", None), file }, listed.clone());
        }
        shelf
    }

    #[test]
    fn the_oldest_goes_first_and_what_is_written_stays() {
        let shelf = shelf(&[file(0, 100, true), file(10, 100, false), file(20, 100, false), file(30, 100, false)]);
        let names = |limits, free| -> Vec<(String, Why)> {
            shelf.surplus(&limits, at(40), free, 50).into_iter().map(|(id, why)| (id.file, why)).collect()
        };
        let roomy = Limits { size: 1000, age: Duration::ZERO, free: 10 };
        assert_eq!(names(roomy, 1000), []);
        assert_eq!(names(Limits { size: 320, ..roomy }, 1000), [("3".into(), Why::Size), ("2".into(), Why::Size)]);
        assert_eq!(names(roomy, 0), [("3".into(), Why::Space)]);
        let greedy = |limits| shelf.surplus(&limits, at(40), 0, 1000);
        assert_eq!(greedy(Limits { size: 10_000, free: 0, ..roomy }), [], "it would not help");
        assert_eq!(names(Limits { age: Duration::from_secs(15), ..roomy }, 1000), [("3".into(), Why::Age)]);
        assert_eq!(shelf.fits(&Limits { size: 449, ..roomy }, 1000, 50), Err(Why::Size));
        assert_eq!(shelf.fits(&roomy, 59, 50), Err(Why::Space));
        assert_eq!(shelf.fits(&roomy, 60, 50), Ok(()));
    }

    #[test]
    fn what_was_made_before_the_clock_was_set_has_no_age() {
        let early = Listed {
            began: SystemTime::UNIX_EPOCH,
            ended: SystemTime::UNIX_EPOCH + Duration::from_secs(60),
            ..file(0, 1, false)
        };
        let limits = Limits { size: 1000, age: Duration::from_secs(1), free: 0 };
        assert_eq!(shelf(&[early]).surplus(&limits, at(0), 1000, 0), []);
        assert_eq!(shelf(&[file(60, 1, false)]).surplus(&limits, at(0), 1000, 0), [], "made in the future");
    }

    fn any_file() -> impl Strategy<Value = Listed> {
        (0..1000u64, 0..500u64, any::<bool>()).prop_map(|(began, bytes, open)| file(began, bytes, open))
    }

    proptest! {
        /// What stays obeys the limits as far as what is still written lets it, and nothing goes that need not.
        #[test]
        fn limits_hold(files in proptest::collection::vec(any_file(), 0..20), size in 0..4000u64, age in 0..500u64, free in 0..1000u64, coming in 0..500u64) {
            let mut shelf = shelf(&files);
            let limits = Limits { size, age: Duration::from_secs(age), free: 300 };
            let gone = shelf.surplus(&limits, at(1000), free, coming);
            let mut now_free = free;
            for (id, why) in &gone {
                let before = (shelf.fits(&limits, now_free, coming), *why);
                let listed = shelf.remove(id).unwrap();
                prop_assert!(!listed.open);
                prop_assert!(matches!(before, (Err(_), _) | (_, Why::Age)), "{before:?} need not go");
                now_free += listed.bytes;
            }
            prop_assert_eq!(shelf.surplus(&limits, at(1000), now_free, coming), vec![], "a second look finds nothing");
            let left_open = shelf.iter().all(|(_, file)| file.open);
            prop_assert!(left_open || shelf.fits(&limits, now_free, 0).is_ok());
            let removable: u64 = files.iter().filter(|file| !file.open).map(|file| file.bytes).sum();
            let open: u64 = files.iter().filter(|file| file.open).map(|file| file.bytes).sum();
            if open + coming <= size && free + removable >= limits.free + coming {
                prop_assert_eq!(shelf.fits(&limits, now_free, coming), Ok(()));
            }
            let oldest_kept = shelf.iter().filter(|(_, file)| !file.open).map(|(_, file)| file.began).min();
            let limits = Limits { age: Duration::ZERO, ..limits };
            for (id, _) in gone.iter().filter(|(_, why)| *why != Why::Age) {
                let index = files.len() - id.file.parse::<usize>().unwrap();
                prop_assert!(oldest_kept.is_none_or(|kept| files[index].began <= kept), "a younger one went: {limits:?}");
            }
        }

        /// Whatever rooms and streams are called, their folders are two plain names that lead back.
        #[test]
        fn folders_lead_back(room in "\\PC{1,40}", stream in proptest::option::of("\\PC{1,20}")) {
            let of = Of { room: RoomId::new(&room).unwrap(), stream: stream.map(|name| StreamName::new(&name).unwrap()) };
            if let Some([room, stream]) = of.folders() {
                for name in [&room, &stream] {
                    prop_assert!(!name.contains(['/', '\0']) && !name.starts_with('.') && !name.is_empty(), "{name}");
                }
                prop_assert_eq!(Of::of_folders(&room, &stream), Some(of));
            }
        }
    }
}
