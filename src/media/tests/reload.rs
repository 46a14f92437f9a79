//! Another configuration of sources while they run.

use super::support::*;
use crate::media::*;
use crate::vocab::{Codec, MediaKind};

const H264: &[Codec] = &[Codec::H264];

fn picture(name: &str, width: u32) -> String {
    format!("[[source]]\nname = '{name}'\ntype = 'test'\nwidth = {width}\nheight = 120\nframerate = 25\ntone = 0\n")
}

fn threads(name: &str) -> Vec<String> {
    let named = |id: &String| std::fs::read_to_string(format!("/proc/self/task/{id}/comm")).is_ok_and(|comm| comm.trim() == name);
    let all = std::fs::read_dir("/proc/self/task").unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
    all.filter(named).collect()
}

#[test]
fn another_configuration_touches_only_what_changed() {
    let mut bench = Bench::new(&format!("{}{}", picture("untouched", 160), picture("changed", 160)));
    let (_, untouched) = bench.play("untouched", H264);
    let (_, changed) = bench.play("changed", H264);
    let untouched = Watch::new(track(&untouched, MediaKind::Video).layers.first());
    let changed = Watch::new(track(&changed, MediaKind::Video).layers.first());
    let small = size(&changed);
    let thread = threads("src-untouched");
    assert_eq!(thread.len(), 1);
    let mut frames = untouched.take(5);

    bench.configure(&format!("{}{}", picture("untouched", 160), picture("changed", 320)));
    while size(&changed) == small {}
    // a bit rate is followed without opening anything
    bench.until("the pipeline before has closed", |_| threads("src-changed").len() == 1);
    let thread_of_changed = threads("src-changed");
    let slower = picture("changed", 320) + "bitrate = 300000\n";
    bench.configure(&format!("{slower}{}", picture("untouched", 160)));
    bench.until("it runs", |figures| figures.source == "changed" && figures.state == "running");
    assert_eq!(threads("src-changed"), thread_of_changed);

    bench.configure(&picture("untouched", 160));
    assert!(matches!(bench.refusal("changed"), SourceError::Unknown(source) if source == name("changed")));
    frames.extend(untouched.take(25));
    assert!(steps(&frames).iter().all(|step| *step > 0), "{:?}", steps(&frames));
    assert_eq!(threads("src-untouched"), thread, "it was never opened again");
    assert!(bench.events.try_recv().is_err(), "nothing failed");

    bench.configure(&format!("{}{}", picture("untouched", 160), picture("changed", 160)));
    let (_, back) = bench.play("changed", H264);
    assert_eq!(size(&Watch::new(track(&back, MediaKind::Video).layers.first())), small);
    bench.media.stop();
}
