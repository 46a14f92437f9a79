//! Trials of the software codecs of this machine, in this process.

use super::*;
use crate::media::h264;
use crate::vocab::Codec;

fn works(candidate: Candidate<'_>) -> (Observed, Verdict) {
    gstreamer::init().unwrap();
    let board = Board::generic();
    let trial = Trial::of(candidate, &board).unwrap();
    // as it goes to the child
    let trial: Trial = serde_json::from_slice(&serde_json::to_vec(&trial).unwrap()).unwrap();
    let observed = run(&trial);
    let verdict = Verdict::of(trial.role(), &Ending::Told(Box::new(observed.clone()))).unwrap();
    assert_eq!(verdict.fault(), None, "{}: {observed:?}", candidate.element());
    (observed, verdict)
}

#[test]
fn software_encoders_of_this_machine_pass_their_trial() {
    for encoder in Board::generic().encoders.iter().filter(|it| it.codec != Codec::Opus) {
        let (observed, verdict) = works(Candidate::Encoder(encoder));
        assert!(!verdict.restarts_for_bitrate(), "{}: {observed:?}", encoder.element);
        assert_eq!((observed.entered, observed.bare_keys, observed.b_frames), (90, 0, 0), "{observed:?}");
        assert!(observed.rates.is_some_and(|[before, after]| before.measured > after.measured * 3 / 2), "{observed:?}");
        assert_eq!(observed.key_after, Some(0), "{}", encoder.element);
        assert_eq!(observed.profile, (encoder.codec == Codec::H264).then_some(66));
    }
}

#[test]
fn software_decoders_of_this_machine_pass_their_trial() {
    let usual = |it: &&DecoderCandidate| ["avdec_h264", "openh264dec", "vp8dec", "jpegdec"].contains(&it.element.as_str());
    let board = Board::generic();
    let tried: Vec<_> = board.decoders.iter().filter(usual).collect();
    assert_eq!(tried.len(), 4);
    for decoder in tried {
        let (observed, _) = works(Candidate::Decoder(decoder));
        let frames = if decoder.input == DecoderInput::Codec(Codec::H264) { 30 } else { 12 };
        assert_eq!((observed.entered, observed.left, observed.size), (frames, frames, Some((640, 352))), "{}", decoder.element);
    }
}

#[test]
fn what_is_not_there_or_lacks_a_property_is_told() {
    gstreamer::init().unwrap();
    let board = Board::generic();
    let seen = |change: &dyn Fn(&mut EncoderCandidate)| {
        let mut candidate = board.encoders[0].clone();
        change(&mut candidate);
        run(&Trial::of(Candidate::Encoder(&candidate), &board).unwrap())
    };
    let absent = seen(&|it| it.element = "nosuchenc".into());
    assert!(absent.stage == Stage::Made && absent.error.unwrap().contains("nosuchenc"));
    assert_eq!(seen(&|it| it.requires = vec!["bps".into()]).lacks.as_deref(), Some("bps"));
    let wrong = seen(&|it| it.input_caps = "video/x-raw,format=GRAY16_BE".into());
    assert!(wrong.left == 0 && wrong.error.is_some(), "{wrong:?}");
    let high = seen(&|it| it.output_caps = "video/x-h264,profile=high".into());
    // x264 without B-frames and 8x8 transform calls itself what its settings allow
    assert!(high.profile.is_some() || high.error.is_some(), "{high:?}");
}

#[test]
fn the_sample_is_what_it_says() {
    let mut writer = sample::Writer::new(640, 352, sample::BASELINE);
    let headers = writer.headers();
    let profile = h264::Profile::of(&headers).unwrap();
    assert_eq!((profile.profile, profile.constraints, profile.level), (66, 0xc0, 40));
    assert_eq!(h264::picture(&headers), None);
    let key = writer.picture(sample::Slice::Key);
    let next = writer.picture(sample::Slice::Predicted);
    let bent = writer.picture(sample::Slice::Bidirectional);
    assert_eq!([&key, &next].map(|it| h264::picture(it)), [Some(h264::Picture::Key), Some(h264::Picture::Other)]);
    assert!(!h264::has_b_slice(&key) && !h264::has_b_slice(&next) && h264::has_b_slice(&bent));
    let padding = sample::Writer::padding(1000);
    assert!(h264::picture(&padding).is_none() && (1000..1020).contains(&padding.len()));
}
