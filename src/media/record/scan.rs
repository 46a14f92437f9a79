//! What a file of ours holds, and how one that was cut off is made whole: everything up to its last whole cluster is kept.
//!
//! Reads what the disk has after a power cut, which may be anything: nothing of it is believed unchecked.

use std::io::{self, Read, Seek, SeekFrom};

use super::matroska::{self, Cue, Patch, Places, id};

/// Most clusters that are looked at: a week of half seconds.
const MOST_CLUSTERS: usize = 1_209_600;
/// Most bytes of heads that are read at once: CodecPrivate and names are far smaller.
const MOST_HEAD: u64 = 1 << 20;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scan {
    /// Whether it was finished: its length is written down.
    pub finished: bool,
    /// Milliseconds.
    pub lasts: u64,
    /// Bytes up to the end of the last whole cluster (of a finished file: all).
    pub good: u64,
    places: Places,
    cues: Vec<Cue>,
}

impl Scan {
    /// What makes it whole.
    pub fn repair(&self) -> (Vec<u8>, Vec<Patch>) {
        matroska::finish(&self.places, self.good, self.lasts, &self.cues)
    }
}

/// Looks through a file. `None`: it is none of ours, or nothing of it can be played.
pub(super) fn scan(file: &mut (impl Read + Seek)) -> io::Result<Option<Scan>> {
    let len = file.seek(SeekFrom::End(0))?;
    let mut at = At { file, at: 0, len };
    at.file.seek(SeekFrom::Start(0))?;
    let Some(ebml) = at.element()? else { return Ok(None) };
    if ebml.id != id::EBML || ebml.end() > len {
        return Ok(None);
    }
    at.go(ebml.end())?;
    let Some(segment) = at.element()? else { return Ok(None) };
    if segment.id != id::SEGMENT {
        return Ok(None);
    }
    let finished = segment.len.is_some_and(|inside| segment.data.checked_add(inside) == Some(len));
    let (mut info, mut tracks, mut duration, mut picture) = (None, None, None, false);
    let (mut clusters, mut good) = (Vec::new(), 0);
    at.go(segment.data)?;
    while let Some(element) = at.element()? {
        let Some(inside) = element.len else { break };
        if element.end() > len {
            break;
        }
        match element.id {
            id::INFO if inside <= MOST_HEAD => {
                info = Some(element.at);
                duration = at.duration(element.data, element.end())?;
            }
            id::TRACKS if inside <= MOST_HEAD => {
                tracks = Some(element.at);
                picture = at.has_picture(element.data, element.end())?;
            }
            id::CLUSTER if finished && let Some((room, Some(lasts))) = duration => {
                let (Some(info), Some(tracks)) = (info, tracks) else { return Ok(None) };
                let places = Places { inside: segment.data, info, tracks, duration: room };
                return Ok(Some(Scan { finished, lasts, good: len, places, cues: Vec::new() }));
            }
            id::CLUSTER if clusters.len() < MOST_CLUSTERS => {
                let Some(first) = at.first_block(element.data, element.end())? else { break };
                clusters.push((element, first));
                good = element.end();
            }
            id::SEEK_HEAD | id::VOID | id::CUES => {}
            _ => break,
        }
        at.go(element.end())?;
    }
    let (Some(info), Some(tracks), Some((room, _))) = (info, tracks, duration) else { return Ok(None) };
    let Some((last, _)) = clusters.last() else { return Ok(None) };
    let lasts = at.last_time(last.data, last.end())?;
    let places = Places { inside: segment.data, info, tracks, duration: room };
    let track = if picture { 1 } else { 2 };
    let starts = clusters.iter().filter(|(_, first)| first.key && first.track == track);
    let cues = starts.map(|(cluster, first)| Cue { time: first.cluster_time, cluster: cluster.at, track }).collect();
    Ok(Some(Scan { finished: false, lasts, good, places, cues }))
}

#[derive(Clone, Copy, Debug)]
struct Element {
    id: u32,
    /// Where its id is.
    at: u64,
    /// Where its content is.
    data: u64,
    /// `None`: not known yet.
    len: Option<u64>,
}

impl Element {
    fn end(&self) -> u64 {
        self.data.saturating_add(self.len.unwrap_or(u64::MAX))
    }
}

/// The first block of a cluster.
#[derive(Clone, Copy, Debug)]
struct First {
    cluster_time: u64,
    track: u8,
    key: bool,
}

struct At<'a, F> {
    file: &'a mut F,
    at: u64,
    len: u64,
}

impl<F: Read + Seek> At<'_, F> {
    fn go(&mut self, to: u64) -> io::Result<()> {
        self.at = to.min(self.len);
        self.file.seek(SeekFrom::Start(self.at)).map(drop)
    }

    /// Up to `count` bytes from here.
    fn bytes(&mut self, count: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.by_ref().take(count).read_to_end(&mut bytes)?;
        self.at += bytes.len() as u64;
        Ok(bytes)
    }

    /// The head of the element here; the reader stands behind it. `None` at the end, and where there is none.
    fn element(&mut self) -> io::Result<Option<Element>> {
        let at = self.at;
        // four bytes of id, eight of length
        let bytes = self.bytes(12)?;
        let head = parse(&bytes);
        let Some((id, len, size)) = head else { return Ok(None) };
        let data = at + size as u64;
        self.go(data)?;
        Ok(Some(Element { id, at, data, len }))
    }

    /// The room for the duration, and what stands there.
    fn duration(&mut self, from: u64, to: u64) -> io::Result<Option<(u64, Option<u64>)>> {
        self.go(from)?;
        while self.at < to {
            let Some(element) = self.element()? else { break };
            let whole = element.end().saturating_sub(element.at);
            if element.id == id::DURATION && element.len == Some(8) {
                let bytes = self.bytes(8)?;
                let value = <[u8; 8]>::try_from(bytes.as_slice()).map(f64::from_be_bytes).unwrap_or_default();
                // times beyond a century are no times
                let value = (value.is_finite() && (0.0..4e12).contains(&value)).then_some(value as u64);
                return Ok(Some((element.at, value)));
            }
            if element.id == id::VOID && whole == 11 {
                return Ok(Some((element.at, None)));
            }
            self.go(element.end())?;
        }
        Ok(None)
    }

    fn has_picture(&mut self, from: u64, to: u64) -> io::Result<bool> {
        self.go(from)?;
        while self.at < to {
            let Some(entry) = self.element()? else { break };
            while self.at < entry.end().min(to) {
                let Some(element) = self.element()? else { return Ok(false) };
                if element.id == id::TRACK_TYPE && self.bytes(1)? == [1] {
                    return Ok(true);
                }
                self.go(element.end())?;
            }
            self.go(entry.end())?;
        }
        Ok(false)
    }

    fn first_block(&mut self, from: u64, to: u64) -> io::Result<Option<First>> {
        self.go(from)?;
        let Some(cluster_time) = self.timestamp()? else { return Ok(None) };
        if self.element()?.is_none_or(|block| block.id != id::SIMPLE_BLOCK || block.end() > to) {
            return Ok(None);
        }
        Ok(match *self.bytes(4)? {
            [track, _, _, flags] => Some(First { cluster_time, track: track & 0x7f, key: flags & 0x80 != 0 }),
            _ => None,
        })
    }

    fn timestamp(&mut self) -> io::Result<Option<u64>> {
        let Some(len) = self.element()?.filter(|it| it.id == id::TIMESTAMP).and_then(|it| it.len) else { return Ok(None) };
        if len > 8 {
            return Ok(None);
        }
        let bytes = self.bytes(len)?;
        Ok(Some(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))))
    }

    /// The newest time in a cluster, in milliseconds.
    fn last_time(&mut self, from: u64, to: u64) -> io::Result<u64> {
        self.go(from)?;
        let Some(base) = self.timestamp()? else { return Ok(0) };
        let mut newest = base;
        while self.at < to {
            let Some(block) = self.element()? else { break };
            if block.id == id::SIMPLE_BLOCK
                && let [_, high, low, _] = *self.bytes(4)?
            {
                newest = newest.max(base.saturating_add_signed(i64::from(i16::from_be_bytes([high, low]))));
            }
            self.go(block.end())?;
        }
        Ok(newest)
    }
}

/// An id, a length (`None`: unknown) and how many bytes both took.
fn parse(bytes: &[u8]) -> Option<(u32, Option<u64>, usize)> {
    let first = *bytes.first()?;
    let id_len = first.leading_zeros() as usize + 1;
    if id_len > 4 || bytes.len() < id_len {
        return None;
    }
    let id = bytes[..id_len].iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
    let rest = &bytes[id_len..];
    let first = *rest.first()?;
    let len_len = first.leading_zeros() as usize + 1;
    if len_len > 8 || rest.len() < len_len {
        return None;
    }
    let marked = rest[..len_len].iter().fold(0u64, |len, byte| len << 8 | u64::from(*byte));
    let mask = (1u64 << (7 * len_len)) - 1;
    let len = marked & mask;
    Some((id, (len != mask).then_some(len), id_len + len_len))
}
