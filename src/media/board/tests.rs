use std::path::Path;

use super::*;
use crate::media::element;

fn machine(compatible: &[&str], model: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let tree = root.path().join("proc/device-tree");
    std::fs::create_dir_all(&tree).unwrap();
    let list: String = compatible.iter().map(|name| format!("{name}\0")).collect();
    std::fs::write(tree.join("compatible"), list).unwrap();
    std::fs::write(tree.join("model"), format!("{model}\0")).unwrap();
    root
}

fn nowhere() -> &'static Path {
    Path::new("/nonexistent/boards")
}

fn recognised(compatible: &[&str]) -> Board {
    Board::recognise(nowhere(), None, machine(compatible, "x").path()).unwrap()
}

#[test]
fn built_in_list_is_the_folder() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/boards");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    files.sort();
    let names: Vec<_> = Board::all(nowhere()).unwrap().into_iter().map(|board| board.name).collect();
    assert_eq!(files, names);
}

#[test]
fn every_list_ends_in_software() {
    for board in Board::all(nowhere()).unwrap() {
        for codec in [Codec::H264, Codec::VP8, Codec::Opus] {
            assert!(!board.encoders_of(codec).last().unwrap().hardware, "{}: {codec} encoder", board.name);
            let last = board.decoders_of(DecoderInput::Codec(codec)).last().unwrap();
            assert!(!last.hardware, "{}: {codec} decoder", board.name);
        }
        assert!(!board.decoders_of(DecoderInput::Jpeg).last().unwrap().hardware);
        assert!(board.convert.ends_with(&["videoconvertscale".into(), "videoconvert ! videoscale".into()]));
    }
}

#[test]
fn every_element_has_a_package_or_a_vendor() {
    for board in Board::all(nowhere()).unwrap() {
        let known = |element: &str| {
            let vendor = board.vendor.contains_key(element);
            assert!(element::package_of(element).is_some() != vendor, "{}: {element}", board.name);
        };
        board.encoders.iter().for_each(|entry| known(&entry.element));
        board.decoders.iter().for_each(|entry| known(&entry.element));
        board.csi.iter().for_each(|entry| known(&entry.element));
        let chains = board.convert.iter().chain(board.encoders.iter().filter_map(|entry| entry.convert.as_ref()));
        chains.flat_map(|entry| chain(entry)).for_each(known);
    }
}

#[test]
fn caps_of_every_file_are_caps() {
    gstreamer::init().unwrap();
    for board in Board::all(nowhere()).unwrap() {
        let encoders = board.encoders.iter().flat_map(|entry| [&entry.input_caps, &entry.output_caps]);
        let decoders = board.decoders.iter().map(|entry| &entry.output_caps).filter(|caps| !caps.is_empty());
        for caps in encoders.chain(decoders).chain(board.csi.iter().map(|entry| &entry.output_caps)) {
            assert!(caps.parse::<gstreamer::Caps>().is_ok(), "{}: {caps}", board.name);
        }
    }
}

#[test]
fn boards_are_recognised_by_the_most_specific_string() {
    assert_eq!(recognised(&["raspberrypi,4-model-b", "brcm,bcm2711"]).name, "raspberry-pi-4");
    assert_eq!(recognised(&["raspberrypi,5-model-b", "brcm,bcm2712"]).name, "raspberry-pi-5");
    assert_eq!(recognised(&["raspberrypi,model-zero-2-w", "brcm,bcm2837"]).name, "raspberry-pi-3");
    assert_eq!(recognised(&["nvidia,p3768-0000+p3767-0000", "nvidia,p3767-0000", "nvidia,tegra234"]).name, "jetson-orin");
    assert_eq!(recognised(&["nvidia,p3768-0000+p3767-0003", "nvidia,p3767-0003", "nvidia,tegra234"]).name, "jetson-orin-nano");
    assert_eq!(recognised(&["radxa,rock-5b", "rockchip,rk3588"]).name, "rockchip");
}

#[test]
fn unknown_machine_is_generic() {
    assert_eq!(recognised(&["acme,anvil"]).name, "generic");
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(Board::recognise(nowhere(), None, empty.path()).unwrap(), Board::generic());
}

#[test]
fn identity_reads_the_device_tree_else_the_firmware() {
    let root = machine(&["raspberrypi,4-model-b", "brcm,bcm2711"], "Raspberry Pi 4 Model B Rev 1.4");
    let identity = Identity::read(root.path());
    assert_eq!(identity.model.as_deref(), Some("Raspberry Pi 4 Model B Rev 1.4"));
    assert_eq!(identity.compatible, ["raspberrypi,4-model-b", "brcm,bcm2711"]);

    let pc = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(pc.path().join("sys/class/dmi/id")).unwrap();
    std::fs::write(pc.path().join("sys/class/dmi/id/product_name"), "NUC\n").unwrap();
    assert_eq!(Identity::read(pc.path()), Identity { model: Some("NUC".into()), compatible: vec![] });
}

#[test]
fn forced_name_wins_and_an_unknown_one_lists_the_known() {
    let root = machine(&["raspberrypi,4-model-b"], "x");
    assert_eq!(Board::recognise(nowhere(), Some("generic"), root.path()).unwrap().name, "generic");
    let error = Board::recognise(nowhere(), Some("anvil"), root.path()).unwrap_err().to_string();
    assert!(error.contains("`anvil`") && error.contains("raspberry-pi-4"), "{error}");
}

#[test]
fn override_replaces_and_new_file_joins() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("raspberry-pi-4.toml"), "description = \"mine\"\ncompatible = [\"raspberrypi,4-model-b\"]")
        .unwrap();
    std::fs::write(dir.path().join("anvil.toml"), "description = \"Anvil\"\ncompatible = [\"acme,anvil\", \"brcm,bcm2712\"]")
        .unwrap();
    std::fs::write(dir.path().join("notes.txt"), "not a board").unwrap();

    let mine = Board::recognise(dir.path(), None, machine(&["raspberrypi,4-model-b"], "x").path()).unwrap();
    assert_eq!((mine.description.as_str(), &mine.origin), ("mine", &Origin::File(dir.path().join("raspberry-pi-4.toml"))));
    assert_eq!(mine.encoders, Board::generic().encoders);

    // A file of the machine wins over a built-in one that lists the same string.
    let anvil = Board::recognise(dir.path(), None, machine(&["brcm,bcm2712"], "x").path()).unwrap();
    assert_eq!(anvil.name, "anvil");
}

#[test]
fn broken_override_names_file_line_and_what_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let entry = |line: &str| {
        format!(
            "description = \"x\"\n[[encoder]]\ncodec = \"H264\"\nelement = \"x264enc\"\nhardware = false\ninput_caps = \"a/b\"\n\
             output_caps = \"a/b\"\nbitrate = {{ property = \"bitrate\", unit = \"kbps\" }}\n{line}\n"
        )
    };
    let cases = [
        ("description = \"x\"\nspeed = 3\n".to_owned(), ":2:1:", "unknown field `speed`"),
        ("description = \"x\"\nconvert = [\n".to_owned(), ":2:12:", "unclosed array"),
        (entry("key_frame = \"maybe\""), ":9:13:", "`action:SIGNAL`"),
        (entry("convert = \"a b\""), ":9:11:", "no element name"),
        (entry("properties = { a = [1] }"), ":9:20:", "a text, a number, true or false"),
        (entry("").replace("H264", "MPEG2"), ":3:9:", "unknown variant `MPEG2`"),
        (entry("").replace("kbps", "mbps"), ":8:42:", "`bps` or `kbps`"),
        ("compatible = []\n".to_owned(), ":1:1:", "missing field `description`"),
    ];
    for (text, place, message) in cases {
        let file = dir.path().join("broken.toml");
        std::fs::write(&file, &text).unwrap();
        let error = Board::recognise(dir.path(), None, nowhere()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}{place}", file.display())), "{error}");
        assert!(error.contains(message) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn candidates_say_how_bit_rate_and_key_frames_go() {
    let pi = recognised(&["raspberrypi,4-model-b"]);
    let [own, controls] = &pi.encoders[..2] else { panic!("two ways for one element") };
    assert_eq!((own.bitrate.field.as_deref(), controls.bitrate.field.as_deref()), (None, Some("video_bitrate")));
    let orin = recognised(&["nvidia,tegra234"]);
    assert_eq!(orin.encoders[0].key_frame, KeyMethod::ActionSignal("force-IDR".into()));
    let x264 = orin.encoders_of(Codec::H264).last().unwrap();
    assert_eq!(x264.element, "openh264enc");
    let kbps = BitrateControl { property: "bitrate".into(), field: None, unit: BitrateUnit::Kbps };
    assert_eq!(kbps.value(crate::vocab::Bitrate::from_bps(1_500_000)), 1500);
}

fn set(element: &gstreamer::Element, name: &str, value: &str) {
    use gstreamer::prelude::*;
    let known = element.factory().unwrap().name();
    let spec = element.find_property(name).unwrap_or_else(|| panic!("{known} has no property {name}"));
    let value = gstreamer::glib::Value::deserialize_with_pspec(value, &spec)
        .unwrap_or_else(|_| panic!("{known} {name} takes no {value}"));
    element.set_property_from_value(name, &value);
}

#[test]
fn software_decoders_take_their_properties() {
    gstreamer::init().unwrap();
    for entry in Board::generic().decoders {
        let element = gstreamer::ElementFactory::make(&entry.element).build().unwrap();
        entry.properties.iter().for_each(|(name, value)| set(&element, name, value));
    }
}

/// What a trial of an encoder gave: which frames were key frames.
fn trial(entry: &EncoderCandidate) -> Vec<bool> {
    use gstreamer as gst;
    use gstreamer::prelude::*;
    use gstreamer_app::AppSink;

    gst::init().unwrap();
    let audio = entry.codec.kind() == crate::vocab::MediaKind::Audio;
    let (source, format) = match audio {
        true => ("audiotestsrc num-buffers=30 samplesperbuffer=960", ""),
        false => ("videotestsrc num-buffers=30", ",width=320,height=180,framerate=30/1"),
    };
    let text = format!(
        "{source} ! {}{format} ! {} name=encoder ! {} ! appsink name=sink sync=false max-buffers=1",
        entry.input_caps, entry.element, entry.output_caps
    );
    let pipeline = gst::parse::launch(&text).unwrap().downcast::<gst::Pipeline>().unwrap();
    let encoder = pipeline.by_name("encoder").unwrap();
    let bitrate = [(&entry.bitrate.property, &entry.bitrate.value(crate::vocab::Bitrate::from_bps(300_000)).to_string())];
    for (name, value) in entry.properties.iter().chain(bitrate) {
        set(&encoder, name, value);
    }
    let sink = pipeline.by_name("sink").unwrap().downcast::<AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut keys = Vec::new();
    while let Some(sample) = sink.try_pull_sample(gst::ClockTime::from_seconds(20)) {
        keys.push(!sample.buffer().unwrap().flags().contains(gst::BufferFlags::DELTA_UNIT));
        if keys.len() == 10 && !audio {
            let event = gstreamer_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build();
            assert!(sink.static_pad("sink").unwrap().push_event(event));
        }
    }
    pipeline.set_state(gst::State::Null).unwrap();
    keys
}

#[test]
fn software_encoders_encode_at_once_and_make_key_frames_only_on_demand() {
    let mut software: Vec<EncoderCandidate> = Vec::new();
    for entry in Board::all(nowhere()).unwrap().into_iter().flat_map(|board| board.encoders) {
        if !entry.hardware && !software.contains(&entry) {
            software.push(entry);
        }
    }
    for entry in software {
        let keys = trial(&entry);
        assert!(keys.len() >= 30, "{}: {} frames", entry.element, keys.len());
        if entry.codec == Codec::Opus {
            continue;
        }
        assert!(keys[0], "{} starts with a key frame", entry.element);
        let forced: Vec<_> = keys.iter().enumerate().skip(1).filter(|(_, key)| **key).map(|(at, _)| at).collect();
        // A few frames are on their way through the pipeline when the event goes up.
        assert!(matches!(forced[..], [at] if (10..16).contains(&at)), "{}: key frames at {forced:?}", entry.element);
    }
}
