//! The path from frames to bytes and back, in simulated time.

use std::io::Cursor;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::cut::{Cutter, Frame, Rules, Write};
use super::matroska::Format;
use super::scan::{Scan, scan};
use crate::vocab::Codec;

const RULES: Rules = Rules { length: Duration::from_secs(10), bytes: 1 << 20 };

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

fn picture(width: u32) -> Arc<Format> {
    Arc::new(Format { codec: Codec::VP8, private: Vec::new(), width, height: 360 })
}

fn frame(format: &Arc<Format>, ms: u64, key: bool) -> Frame {
    Frame { format: Arc::clone(format), time: Duration::from_millis(ms), key, data: vec![ms as u8; 100].into() }
}

/// Files as a disk would have them, and whether each was ended.
#[derive(Default)]
struct Disk(Vec<(Vec<u8>, bool)>);

impl Disk {
    fn take(&mut self, cutter: &mut Cutter) {
        while let Some(write) = cutter.poll() {
            match write {
                Write::Begin { head, .. } => {
                    assert!(self.0.last().is_none_or(|(_, ended)| *ended), "one file at a time");
                    self.0.push((head, false));
                }
                Write::Add { bytes, .. } => self.0.last_mut().unwrap().0.extend(bytes),
                Write::End { index, patches } => {
                    let (file, ended) = self.0.last_mut().unwrap();
                    assert!(!std::mem::replace(ended, true));
                    complete(file, &index, &patches);
                }
            }
        }
    }

    fn scans(&self) -> Vec<Scan> {
        self.0.iter().map(|(file, _)| look(file).expect("it can be played")).collect()
    }
}

fn complete(file: &mut Vec<u8>, index: &[u8], patches: &[super::matroska::Patch]) {
    file.extend(index);
    for patch in patches {
        let at = usize::try_from(patch.at).unwrap();
        file[at..at + patch.bytes.len()].copy_from_slice(&patch.bytes);
    }
}

fn look(file: &[u8]) -> Option<Scan> {
    scan(&mut Cursor::new(file)).unwrap()
}

/// Picture with a key frame every `group` ms and sound, from and to these times.
fn play(cutter: &mut Cutter, disk: &mut Disk, video: Option<&Arc<Format>>, audio: bool, times: std::ops::Range<u64>, group: u64) {
    let sound = Arc::new(Format::opus());
    for ms in times.step_by(20) {
        if let Some(video) = video.filter(|_| ms.is_multiple_of(40)) {
            cutter.push(start(), &frame(video, ms, ms.is_multiple_of(group)));
        }
        if audio {
            cutter.push(start(), &frame(&sound, ms + 5, true));
        }
        disk.take(cutter);
    }
}

fn seconds(scans: &[Scan]) -> Vec<u64> {
    scans.iter().map(|scan| (scan.lasts + 500) / 1000).collect()
}

#[test]
fn files_begin_with_key_frames_and_end_when_they_are_long_enough() {
    let (mut cutter, mut disk, video) = (Cutter::new(RULES, "a", true, true), Disk::default(), picture(640));
    assert!(cutter.wants_key(), "the first");
    // the middle of a group is of no use
    play(&mut cutter, &mut disk, Some(&video), true, 1000..25_000, 4000);
    assert!(!cutter.wants_key());
    cutter.end();
    disk.take(&mut cutter);
    let scans = disk.scans();
    // from 4 s on; the first key frame after 10 s of a file comes at 12 s
    assert_eq!(seconds(&scans), [12, 9]);
    assert!(scans.iter().all(|scan| scan.finished));
    cutter.end();
    assert_eq!(cutter.poll(), None, "nothing is open");
}

#[test]
fn a_key_frame_is_wanted_once_the_file_is_long_enough_and_not_waited_for_without_end() {
    let (mut cutter, mut disk, video) = (Cutter::new(RULES, "a", true, false), Disk::default(), picture(640));
    play(&mut cutter, &mut disk, Some(&video), false, 0..10_200, 1 << 40);
    assert!(cutter.wants_key());
    play(&mut cutter, &mut disk, Some(&video), false, 10_200..30_000, 1 << 40);
    assert_eq!(seconds(&disk.scans()), [20], "twice as long as wanted");
    assert!(cutter.wants_key(), "and nothing more until one comes");
    let small = Rules { bytes: 20_000, ..RULES };
    let (mut cutter, mut disk) = (Cutter::new(small, "a", true, false), Disk::default());
    play(&mut cutter, &mut disk, Some(&video), false, 0..30_000, 2000);
    assert!(disk.0.len() > 3, "{}", disk.0.len());
    assert!(disk.0.iter().all(|(file, _)| file.len() < 40_000), "by size");
}

#[test]
fn another_size_of_the_picture_is_another_file_from_its_key_frame_on() {
    let (mut cutter, mut disk) = (Cutter::new(RULES, "a", true, true), Disk::default());
    play(&mut cutter, &mut disk, Some(&picture(640)), true, 0..3000, 1000);
    // its beginning was lost
    play(&mut cutter, &mut disk, Some(&picture(320)), true, 3000..5000, 4000);
    assert_eq!(disk.0.len(), 2);
    cutter.end();
    disk.take(&mut cutter);
    assert_eq!(seconds(&disk.scans()), [4, 1]);
    // the same one again, described anew
    play(&mut cutter, &mut disk, Some(&picture(320)), true, 5000..7000, 1000);
    play(&mut cutter, &mut disk, Some(&picture(320)), true, 7000..9000, 1000);
    assert_eq!(disk.0.len(), 3);
}

#[test]
fn sound_does_not_wait_for_a_picture_without_end_nor_end_with_it() {
    let (mut cutter, mut disk, video) = (Cutter::new(RULES, "a", true, true), Disk::default(), picture(640));
    play(&mut cutter, &mut disk, None, true, 0..5000, 1000);
    assert_eq!(disk.0.len(), 1, "alone after three seconds");
    play(&mut cutter, &mut disk, Some(&video), true, 5000..8000, 1000);
    assert_eq!(disk.0.len(), 2, "with its picture");
    play(&mut cutter, &mut disk, None, true, 8000..12_000, 1000);
    assert_eq!(disk.0.len(), 2, "a picture that stands still ends nothing");
    cutter.end();
    disk.take(&mut cutter);
    assert_eq!(seconds(&disk.scans()), [2, 7]);
    let (mut cutter, mut disk) = (Cutter::new(RULES, "a", false, true), Disk::default());
    play(&mut cutter, &mut disk, None, true, 0..21_000, 1000);
    cutter.end();
    disk.take(&mut cutter);
    assert_eq!(seconds(&disk.scans()), [10, 10, 1]);
}

#[test]
fn what_gathers_is_written_every_half_second_and_when_nothing_more_comes() {
    let (mut cutter, mut disk, video) = (Cutter::new(RULES, "a", true, true), Disk::default(), picture(640));
    for end in (200..8000).step_by(200) {
        play(&mut cutter, &mut disk, Some(&video), true, end - 200..end, 1 << 40);
        let lasts = look(&disk.0[0].0).map_or(0, |scan| scan.lasts);
        assert!(lasts + 600 >= end, "{lasts} of {end}");
    }
    cutter.flush();
    disk.take(&mut cutter);
    assert_eq!(disk.scans()[0].lasts, 7785);
}

#[test]
fn frames_with_times_that_cannot_be_are_left_out() {
    let (mut cutter, mut disk, video) = (Cutter::new(RULES, "a", true, true), Disk::default(), picture(640));
    let sound = Arc::new(Format::opus());
    cutter.push(start(), &frame(&video, 100_000, true));
    cutter.push(start(), &frame(&sound, 99_000, true));
    cutter.push(start(), &frame(&sound, 100_010, true));
    cutter.push(start(), &frame(&video, 100_040, false));
    cutter.end();
    disk.take(&mut cutter);
    assert_eq!(disk.scans()[0].lasts, 40);
}

/// A finished file and one that was cut off, of the same frames.
fn both() -> (Vec<u8>, Vec<u8>) {
    let (mut cutter, mut disk, video) = (Cutter::new(RULES, "a", true, true), Disk::default(), picture(640));
    play(&mut cutter, &mut disk, Some(&video), true, 0..9000, 2000);
    let unfinished = disk.0[0].0.clone();
    cutter.end();
    disk.take(&mut cutter);
    (disk.0.remove(0).0, unfinished)
}

#[test]
fn a_file_that_was_cut_off_becomes_the_same_as_one_that_was_ended_there() {
    let (finished, mut unfinished) = both();
    let whole = look(&unfinished).unwrap();
    assert!(!whole.finished && whole.good == unfinished.len() as u64);
    // half a cluster more
    let torn = [&unfinished[..], &unfinished[unfinished.len() - 700..][..300]].concat();
    assert_eq!(look(&torn).unwrap().good, unfinished.len() as u64);
    let (index, patches) = whole.repair();
    complete(&mut unfinished, &index, &patches);
    let (repaired, ended) = (look(&unfinished).unwrap(), look(&finished).unwrap());
    assert!(repaired.finished && ended.finished);
    assert!(ended.lasts - repaired.lasts <= 500, "the last cluster was not written yet");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Cut off anywhere, a file plays to its last whole cluster, and is whole after the repair.
    #[test]
    fn cut_off_anywhere_it_can_be_made_whole(part in 0.0..1.0f64) {
        let (_, unfinished) = both();
        let mut cut = unfinished[..(unfinished.len() as f64 * part) as usize].to_vec();
        if let Some(scan) = look(&cut) {
            prop_assert!(scan.good <= cut.len() as u64);
            // half a second in a cluster, some 6 KB
            prop_assert!(scan.good + 8000 > cut.len() as u64, "{} of {}", scan.good, cut.len());
            cut.truncate(usize::try_from(scan.good).unwrap());
            let (index, patches) = scan.repair();
            complete(&mut cut, &index, &patches);
            let repaired = look(&cut).unwrap();
            prop_assert!(repaired.finished && repaired.lasts == scan.lasts);
        } else {
            prop_assert!(cut.len() < 8000, "nothing to play in {} bytes", cut.len());
        }
    }

    /// Whatever a disk made of it, looking at it ends, and what is called good is within the file.
    #[test]
    fn any_bytes_can_be_looked_at(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..40), finish in any::<bool>()) {
        let (finished, unfinished) = both();
        let mut file = if finish { finished } else { unfinished };
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Some(scan) = look(&file) {
            prop_assert!(scan.good <= file.len() as u64);
            let _ = scan.repair();
        }
    }
}
