//! The canceller in simulated time: what is played and what is heard is pushed by hand, 10 ms at a time, however busy the machine is.

use gstreamer_app as gst_app;

use super::*;
use crate::media::pipeline::make;

const RATE: usize = 48_000;
/// 10 ms, which is what the canceller works on.
const STEP: usize = RATE / 100;
/// From the speaker to the microphone.
const AWAY: usize = RATE * 40 / 1000;

struct Line {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    sink: gst_app::AppSink,
}

impl Line {
    fn new(through: &str) -> Self {
        let pipeline =
            make::pipeline(&format!("appsrc name=in format=time caps=\"{CAPS}\" ! {through} ! appsink name=out sync=false"))
                .unwrap();
        let source = pipeline.by_name("in").unwrap().downcast().unwrap();
        let sink = pipeline.by_name("out").unwrap().downcast().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        Self { pipeline, source, sink }
    }

    fn push(&self, step: usize, samples: &[f64]) {
        let bytes: Vec<u8> = samples.iter().flat_map(|it| ((it * 32767.0) as i16).to_le_bytes()).collect();
        let mut buffer = gst::Buffer::from_mut_slice(bytes);
        let at = |step: usize| gst::ClockTime::from_mseconds(10 * u64::try_from(step).unwrap());
        buffer.get_mut().unwrap().set_pts(at(step));
        buffer.get_mut().unwrap().set_duration(at(1));
        self.source.push_buffer(buffer).unwrap();
    }

    fn pull(&self) -> Vec<f64> {
        let sample = self.sink.pull_sample().unwrap();
        let map = sample.buffer().unwrap().map_readable().unwrap();
        map.chunks_exact(2).map(|pair| f64::from(i16::from_le_bytes([pair[0], pair[1]])) / 32768.0).collect()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn tone(hertz: f64, at: usize) -> f64 {
    0.3 * (at as f64 * hertz * std::f64::consts::TAU / RATE as f64).sin()
}

/// How much of a tone is in the samples, dB of full scale.
fn level(samples: &[f64], hertz: f64) -> f64 {
    let (mut re, mut im) = (0.0, 0.0);
    for (at, sample) in samples.iter().enumerate() {
        let angle = at as f64 * hertz * std::f64::consts::TAU / RATE as f64;
        (re, im) = (re + sample * angle.cos(), im + sample * angle.sin());
    }
    10.0 * ((re * re + im * im) * 2.0 / (samples.len() as f64).powi(2) + 1e-12).log10()
}

#[test]
fn the_echo_of_a_tone_is_twenty_decibels_lower_and_who_speaks_here_is_heard() {
    gst::init().unwrap();
    let played = Line::new(&format!("webrtcechoprobe name={PROBE}"));
    let heard = Line::new(&canceller());
    let mut out = Vec::new();
    let said = |at: usize| if at >= AWAY { tone(440.0, at - AWAY) * 0.8 } else { 0.0 };
    let seconds = 12;
    for step in 0..seconds * 100 {
        let from = step * STEP;
        played.push(step, &(from..from + STEP).map(|at| tone(440.0, at)).collect::<Vec<_>>());
        played.pull();
        // in the last two seconds somebody speaks into the microphone, too
        let here = |at: usize| if at >= (seconds - 2) * RATE { tone(1000.0, at) } else { 0.0 };
        heard.push(step, &(from..from + STEP).map(|at| said(at) + here(at)).collect::<Vec<_>>());
        out.extend(heard.pull());
    }
    let echo = level(&(0..RATE).map(|at| said(at + RATE)).collect::<Vec<_>>(), 440.0);
    let second = |at: usize| &out[at * RATE..(at + 1) * RATE];
    let levels: Vec<f64> = (0..seconds).map(|at| level(second(at), 440.0)).collect();
    assert!(levels[4..seconds - 2].iter().all(|level| *level <= echo - 20.0), "echo {echo:.1} dB, then {levels:.1?}");
    let here = level(second(seconds - 1), 1000.0);
    assert!(here > echo - 12.0, "{here:.1} dB of who speaks here");
}
