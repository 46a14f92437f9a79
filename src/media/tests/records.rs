//! Recordings with the real GStreamer: each codec that can be had here, and a picture that changes its size.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::support::*;
use crate::forward::Layer;
use crate::media::record::{FileId, Found, Listed, Of, Ports, Recorder, RecordingState};
use crate::media::*;
use crate::vocab::{Codec, RoomId, StreamName};

const TEST: &str = "[[source]]\nname = 'test'\ntype = 'test'\nwidth = 160\nheight = 90\nframerate = 30\n";

struct Tape {
    folder: tempfile::TempDir,
    runtime: Runtime,
    recorder: Recorder,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Tape {
    /// Records these layers, or the source, whatever the stream is called.
    fn of(bench: &Bench, layers: Option<Vec<Arc<Layer>>>, source: &str) -> Self {
        let (folder, runtime) = (tempfile::tempdir().unwrap(), Runtime::new().unwrap());
        let (tasks, stop, media, source) = (TaskTracker::new(), CancellationToken::new(), Arc::clone(&bench.media), name(source));
        let find = move |_, _| {
            let found = layers.clone().map_or_else(|| Found::Source(source.clone()), Found::Published);
            Box::pin(async { Some(found) }) as _
        };
        let ports = Ports { find: Box::new(find), media: Box::new(move |order| media.send(order)) };
        let _guard = runtime.enter();
        let config = toml::from_str("min_free = 0").unwrap();
        let recorder = Recorder::start(&config, folder.path().to_owned(), Vec::new(), ports, &tasks, stop.clone());
        let of = Of { room: RoomId::new("a").unwrap(), stream: Some(StreamName::new("b").unwrap()) };
        recorder.begin(of, None, false).unwrap();
        Self { folder, runtime, recorder, tasks, stop }
    }

    fn until(&self, what: &str, fits: impl Fn(&[(FileId, Listed)]) -> bool) -> Vec<(FileId, Listed)> {
        let limit = Instant::now() + PATIENCE;
        loop {
            let files = self.recorder.files();
            if fits(&files) {
                return files;
            }
            assert!(Instant::now() < limit, "{what}: {files:?} {:?}", self.recorder.recordings());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The paths of the files, all complete.
    fn end(&self) -> Vec<std::path::PathBuf> {
        let id = self.recorder.recordings()[0].id;
        assert!(self.runtime.block_on(self.recorder.stop(id)));
        let files = self.recorder.files();
        assert!(files.iter().all(|(_, file)| !file.open));
        files.iter().map(|(id, _)| self.recorder.path(id).unwrap().0).collect()
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        self.stop.cancel();
        self.tasks.close();
        self.runtime.block_on(self.tasks.wait());
        assert!(self.folder.path().exists());
    }
}

fn of(tracks: &[PlannedTrack]) -> Vec<Arc<Layer>> {
    tracks.iter().map(|track| Arc::clone(track.layers.first())).collect()
}

/// Pictures of a file, decoded: how many, and their width.
fn pictures(path: &FilePath) -> (usize, i32) {
    let text =
        format!("filesrc location={} ! matroskademux name=d d.video_0 ! decodebin ! appsink name=out sync=false", path.display());
    let pipeline = gst::parse::launch(&text).unwrap().downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("out").unwrap().downcast::<AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let (mut count, mut width) = (0, 0);
    while let Some(sample) = sink.try_pull_sample(gst::ClockTime::from_seconds(30)) {
        count += 1;
        width = sample.caps().unwrap().structure(0).unwrap().get("width").unwrap();
    }
    assert!(sink.is_eos(), "{}", path.display());
    pipeline.set_state(gst::State::Null).unwrap();
    (count, width)
}

#[test]
fn what_is_encoded_is_recorded_as_it_is_sent_and_encoded_once() {
    let mut bench = Bench::new(TEST);
    for (codec, end) in [(Codec::H264, "mkv"), (Codec::VP8, "webm")] {
        let (viewer, tracks) = bench.play("test", &[codec]);
        let tape = Tape::of(&bench, Some(of(&tracks)), "-");
        tape.until("two seconds", |files| files.first().is_some_and(|(_, file)| file.lasts >= Duration::from_secs(2)));
        let running = &tape.recorder.recordings()[0];
        assert_eq!((running.state.clone(), running.codecs.clone()), (RecordingState::Recording, vec![codec, Codec::Opus]));
        let files = tape.end();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].extension().unwrap(), end);
        let (count, width) = pictures(&files[0]);
        assert!(count >= 50 && width == 160, "{codec}: {count}");
        let figures = bench.figures();
        assert_eq!(figures.encoders, 1, "{figures:?}");
        bench.release("test", viewer);
        bench.until("idle", |figures| figures.encoders == 0);
    }
}

#[test]
fn films_are_recorded_without_an_encoder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("film.mkv");
    for (encoder, codec) in [
        ("x265enc speed-preset=ultrafast tune=zerolatency key-int-max=15 ! video/x-h265,profile=main ! h265parse", Codec::H265),
        ("vp9enc deadline=1 cpu-used=8 lag-in-frames=0 keyframe-max-dist=15 ! vp9parse", Codec::VP9),
    ] {
        run(&format!(
            "videotestsrc num-buffers=50 pattern=ball ! video/x-raw,width=160,height=120,framerate=25/1 ! {encoder} ! matroskamux ! \
             filesink location={}",
            path.display()
        ));
        let bench = Bench::new(&format!("[[source]]\nname = 'film'\ntype = 'file'\npath = '{}'", path.display()));
        let tape = Tape::of(&bench, None, "film");
        tape.until("two seconds", |files| files.first().is_some_and(|(_, file)| file.lasts >= Duration::from_secs(2)));
        let figures = bench.figures();
        assert_eq!((figures.encoders, figures.viewers), (0, 1), "{figures:?}");
        assert_eq!(tape.recorder.recordings()[0].codecs, [codec]);
        let (count, width) = pictures(&tape.end()[0]);
        assert!(count >= 40 && width == 160, "{codec}: {count}");
        bench.until("the source is let go", |figures| figures.viewers == 0);
    }
}

#[test]
fn a_picture_that_changes_its_size_goes_on_in_another_file() {
    let bench = Bench::new(TEST);
    let tape = Tape::of(&bench, None, "test");
    tape.until("a second", |files| files.first().is_some_and(|(_, file)| file.lasts >= Duration::from_secs(1)));
    bench.configure(&TEST.replace("160", "320").replace("90", "180"));
    tape.until("another file", |files| files.get(1).is_some_and(|(_, file)| file.lasts >= Duration::from_secs(1)));
    let widths: Vec<i32> = tape.end().iter().map(|path| pictures(path).1).collect();
    assert_eq!(widths, [160, 320]);
}
