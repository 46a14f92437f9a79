//! Sound that can be mended where a packet is lost: each packet of speech brings a rough copy of the one before (RFC 6716 §2.1.7).

use std::f64::consts::PI;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use crate::media::board::Board;
use crate::media::pipeline::{make, opus_format};
use crate::vocab::Codec;

const RATE: usize = 48_000;

/// What a throat does: pulses at a gliding pitch through three resonances, four syllables a second.
fn speech(seconds: usize) -> Vec<i16> {
    let resonances = [(700.0, 90.0), (1220.0, 110.0), (2600.0, 160.0)];
    let mut state = [[0.0f64; 2]; 3];
    let mut phase = 0.0;
    let sample = |n: usize| {
        let at = n as f64 / RATE as f64;
        phase += (110.0 + 20.0 * (2.0 * PI * 0.7 * at).sin()) / RATE as f64;
        let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
        phase -= pulse;
        let syllable = (4.0 * at).fract() / 0.75;
        let mut value = pulse * if syllable < 1.0 { (PI * syllable).sin() } else { 0.0 };
        for ((frequency, width), [one, two]) in resonances.iter().zip(&mut state) {
            let damping = (-PI * width / RATE as f64).exp();
            let next =
                0.12 * value + 2.0 * damping * (2.0 * PI * frequency / RATE as f64).cos() * *one - damping * damping * *two;
            (*two, *one) = (*one, next);
            value = next;
        }
        value
    };
    let samples: Vec<f64> = (0..seconds * RATE).map(sample).collect();
    let most = samples.iter().fold(0.0f64, |most, sample| most.max(sample.abs()));
    samples.into_iter().map(|sample| (sample / most * 20_000.0) as i16).collect()
}

/// Whether a packet brings the one before as well: libopus's own rule (`opus_packet_has_lbrr`).
fn brings_the_one_before(packet: &[u8]) -> bool {
    let [head, first, ..] = packet else { return false };
    // 16 and above is music, which knows no such thing
    let stereo = head & 4 != 0;
    head >> 3 < 16 && (first & 0x40 != 0 || (stereo && first & 0x10 != 0))
}

#[test]
fn speech_brings_each_packet_twice_and_that_is_announced() {
    gst::init().unwrap();
    let board = Board::generic();
    let encoder = board.encoders_of(Codec::Opus).next().unwrap();
    let (caps, element) = (&encoder.input_caps, &encoder.element);
    let bin =
        make::bin(&format!("appsrc name=in format=time caps={caps} ! {element} name=encoder ! appsink name=out sync=false"))
            .unwrap();
    make::set_all(&bin.by_name("encoder").unwrap(), &encoder.properties);
    let pipeline = gst::Pipeline::new();
    pipeline.add(&bin).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let source = bin.by_name("in").and_downcast::<gst_app::AppSrc>().unwrap();
    let sink = bin.by_name("out").and_downcast::<gst_app::AppSink>().unwrap();
    for (number, block) in speech(4).chunks(960).enumerate() {
        let bytes: Vec<u8> = block.iter().flat_map(|sample| [sample.to_le_bytes(); 2]).flatten().collect();
        let mut buffer = gst::Buffer::from_slice(bytes);
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(20 * number as u64));
        source.push_buffer(buffer).unwrap();
    }
    source.end_of_stream().unwrap();
    let packets = std::iter::from_fn(|| sink.pull_sample().ok());
    let twice: Vec<bool> = packets.map(|it| brings_the_one_before(&it.buffer().unwrap().map_readable().unwrap())).collect();
    pipeline.set_state(gst::State::Null).unwrap();
    let count = twice.iter().filter(|twice| **twice).count();
    assert!(twice.len() >= 200 && count * 2 > twice.len(), "{count} of {}", twice.len());
    assert_eq!(opus_format().parameter("useinbandfec"), Some("1"));
}
