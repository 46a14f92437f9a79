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

/// What machines say of themselves: the model, `compatible`, a node that its system has, its systems' files; and their board.
/// Strings of device trees from the kernel's sources and the makers' systems.
const MACHINES: &[(&str, &[&str], &str, &str)] = &[
    ("Raspberry Pi Zero 2 W Rev 1.0", &["raspberrypi,model-zero-2-w", "brcm,bcm2837"], "", "raspberry-pi-zero-2"),
    ("Raspberry Pi 3 Model B Rev 1.2", &["raspberrypi,3-model-b", "brcm,bcm2837"], "", "raspberry-pi-3"),
    ("Raspberry Pi 3 Model B Plus Rev 1.3", &["raspberrypi,3-model-b-plus", "brcm,bcm2837"], "", "raspberry-pi-3"),
    ("Raspberry Pi 4 Model B Rev 1.4", &["raspberrypi,4-model-b", "brcm,bcm2711"], "", "raspberry-pi-4"),
    ("Raspberry Pi Compute Module 4 Rev 1.0", &["raspberrypi,4-compute-module", "brcm,bcm2711"], "", "raspberry-pi-4"),
    ("Raspberry Pi 5 Model B Rev 1.0", &["raspberrypi,5-model-b", "brcm,bcm2712"], "", "raspberry-pi-5"),
    (
        "NVIDIA Jetson Nano Developer Kit",
        &["nvidia,p3449-0000-b00+p3448-0000-b00", "nvidia,jetson-nano", "nvidia,tegra210"],
        "",
        "jetson-nano",
    ),
    ("quill", &["nvidia,p2597-0000+p3310-1000", "nvidia,quill", "nvidia,tegra186"], "", "jetson-tx2"),
    (
        "NVIDIA Jetson Xavier NX Developer Kit",
        &["nvidia,p3449-0000+p3668-0000", "nvidia,p3509-0000+p3668-0000", "nvidia,tegra194"],
        "",
        "jetson-xavier",
    ),
    ("Jetson-AGX", &["nvidia,p2972-0000", "nvidia,tegra194"], "", "jetson-xavier"),
    (
        "NVIDIA Jetson Orin NX Engineering Reference Developer Kit",
        &["nvidia,p3768-0000+p3767-0000", "nvidia,p3767-0000", "nvidia,tegra234"],
        "",
        "jetson-orin-nx",
    ),
    (
        "NVIDIA Jetson AGX Orin Developer Kit",
        &["nvidia,p3737-0000+p3701-0005", "nvidia,p3701-0005", "nvidia,tegra234"],
        "",
        "jetson-agx-orin",
    ),
    (
        "NVIDIA Jetson Orin Nano Developer Kit",
        &["nvidia,p3768-0000+p3767-0005", "nvidia,p3767-0005", "nvidia,tegra234"],
        "",
        "jetson-orin-nano",
    ),
    ("NVIDIA Jetson AGX Thor Developer Kit", &["nvidia,p4071-0000+p3834-0008", "nvidia,tegra264"], "", "jetson-thor"),
    ("Radxa ROCK 5B", &["radxa,rock-5b", "rockchip,rk3588"], "dev/mpp_service", "rk3588"),
    ("Orange Pi 5", &["xunlong,orangepi-5", "rockchip,rk3588s"], "dev/mpp_service", "rk3588"),
    ("Radxa ROCK 5B", &["radxa,rock-5b", "rockchip,rk3588"], "", "rockchip-mainline"),
    ("Radxa ROCK3 Model A", &["radxa,rock3a", "rockchip,rk3568"], "dev/mpp_service", "rk3568"),
    ("Radxa ZERO 3W", &["radxa,zero-3w", "rockchip,rk3566"], "dev/mpp_service", "rk3568"),
    ("Radxa ROCK3 Model A", &["radxa,rock3a", "rockchip,rk3568"], "", "rockchip-mainline"),
    ("Radxa ROCK Pi 4B", &["radxa,rockpi4b", "radxa,rockpi4", "rockchip,rk3399"], "dev/mpp_service", "rk3399"),
    ("Radxa ROCK Pi 4B", &["radxa,rockpi4b", "radxa,rockpi4", "rockchip,rk3399"], "", "rockchip-mainline"),
    ("NXP i.MX8MPlus EVK board", &["fsl,imx8mp-evk", "fsl,imx8mp"], "", "imx8mp"),
    ("FSL i.MX8MM EVK board", &["fsl,imx8mm-evk", "fsl,imx8mm"], "", "imx8mm"),
    ("NXP i.MX8MQ EVK", &["fsl,imx8mq-evk", "fsl,imx8mq"], "", "imx8mq"),
    ("NXP i.MX8MNano EVK board", &["fsl,imx8mn-evk", "fsl,imx8mn"], "", "imx8mn"),
    ("Freescale i.MX8QXP MEK", &["fsl,imx8qxp-mek", "fsl,imx8qxp"], "", "imx8q"),
];

/// PCs: their graphics devices in the order of the bus, and their board.
const PCS: &[(&[&str], &str)] = &[
    (&["8086:46a6"], "intel"),
    (&["1002:15bf"], "amd"),
    (&["10de:2684"], "nvidia"),
    (&["8086:46a6", "10de:2684"], "intel"),
    (&["1a03:2000"], "generic"),
    (&[], "generic"),
];

fn pc(graphics: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let device = |at: usize, id: &str, class: &str| {
        let folder = root.path().join(format!("sys/bus/pci/devices/0000:0{at}:00.0"));
        std::fs::create_dir_all(&folder).unwrap();
        let (vendor, device) = id.split_once(':').unwrap();
        for (name, text) in [("vendor", format!("0x{vendor}")), ("device", format!("0x{device}")), ("class", class.into())] {
            std::fs::write(folder.join(name), format!("{text}\n")).unwrap();
        }
    };
    // an Intel network card makes no Intel graphics
    device(0, "8086:15f3", "0x020000");
    graphics.iter().enumerate().for_each(|(at, id)| device(at + 1, id, "0x030000"));
    root
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
        assert!(!board.compositors.last().unwrap().hardware, "{}: compositor", board.name);
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
        let compositors = board.compositors.iter().flat_map(|it| it.around().chain([it.element.as_str()]));
        compositors.for_each(known);
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
        let compositors = board.compositors.iter().flat_map(|it| [&it.input_caps, &it.output_caps]);
        let compositors = compositors.filter(|caps| !caps.is_empty());
        for caps in encoders.chain(compositors).chain(decoders).chain(board.csi.iter().map(|entry| &entry.output_caps)) {
            assert!(caps.parse::<gstreamer::Caps>().is_ok(), "{}: {caps}", board.name);
        }
    }
}

#[test]
fn every_board_is_recognised_by_what_its_machines_say() {
    let mut seen: Vec<String> = vec!["generic".into()];
    for (model, compatible, node, board) in MACHINES {
        let root = machine(compatible, model);
        if !node.is_empty() {
            std::fs::create_dir_all(root.path().join("dev")).unwrap();
            std::fs::write(root.path().join(node), "").unwrap();
        }
        assert_eq!(Board::recognise(nowhere(), None, root.path()).unwrap().name, *board, "{model}");
        seen.push((*board).into());
    }
    for (graphics, board) in PCS {
        assert_eq!(Board::recognise(nowhere(), None, pc(graphics).path()).unwrap().name, *board, "{graphics:?}");
        seen.push((*board).into());
    }
    seen.sort();
    seen.dedup();
    let all: Vec<_> = Board::all(nowhere()).unwrap().into_iter().map(|board| board.name).collect();
    assert_eq!(seen, all, "each built-in board has a machine here");
}

#[test]
fn a_pc_with_two_graphics_devices_has_the_candidates_of_both() {
    let board = Board::recognise(nowhere(), None, pc(&["8086:46a6", "10de:2684"]).path()).unwrap();
    let h264: Vec<_> = board.encoders_of(Codec::H264).map(|it| it.element.as_str()).collect();
    assert_eq!(h264, ["vah264lpenc", "vah264enc", "qsvh264enc", "nvh264enc", "x264enc", "openh264enc"]);
    let identity = Identity::read(pc(&["8086:46a6", "10de:2684"]).path());
    assert_eq!(identity.pci, ["8086:46a6", "10de:2684"]);
}

#[test]
fn every_board_plans_its_hardware_first_and_software_without_it() {
    use crate::media::plan::{Path as Way, SourceOffer, StreamOffer, plan};
    let source = |width, height| SourceOffer { video: Some(StreamOffer::Picture { width, height, framerate: 30 }), audio: None };
    let wants = crate::media::Wants { video: vec![Codec::H264, Codec::VP8], audio: vec![] };
    for board in Board::all(nowhere()).unwrap() {
        let has_encoder = board.encoders_of(Codec::H264).any(|it| it.hardware);
        let all = |_: Candidate<'_>| Presence::Ready;
        let choice = &plan(&source(1280, 720), &wants, &board, &all, &[]).unwrap()[0];
        assert_eq!(choice.path == Way::Hardware, has_encoder, "{}: {choice:?}", board.name);
        let software = |asked: Candidate<'_>| match asked {
            Candidate::Encoder(it) if it.hardware => Presence::NotReady { why: "refused".into() },
            _ => Presence::Ready,
        };
        let choice = &plan(&source(1280, 720), &wants, &board, &software, &[]).unwrap()[0];
        assert_eq!((choice.path, choice.codec), (Way::Software, Codec::H264), "{}", board.name);
        // what is beyond every budget is left to software
        let choice = &plan(&source(7680, 4320), &wants, &board, &all, &[]).unwrap()[0];
        let unlimited = |it: &EncoderCandidate| it.limits.max_width.is_none() && it.limits.macroblocks_per_second.is_none();
        let expected = board.encoders_of(Codec::H264).any(|it| it.hardware && unlimited(it));
        assert_eq!(choice.path == Way::Hardware, expected, "{}: {choice:?}", board.name);
    }
}

#[test]
fn systems_that_are_too_old_are_told_from_those_that_are_not() {
    let of = |name: &str| Board::all(nowhere()).unwrap().into_iter().find(|board| board.name == name).unwrap().systems;
    assert!(of("jetson-nano").iter().all(System::is_too_old) && of("jetson-xavier").iter().all(System::is_too_old));
    let orin = of("jetson-agx-orin");
    assert_eq!(orin.iter().map(System::is_too_old).collect::<Vec<_>>(), [true, false]);
    let root = tempfile::tempdir().unwrap();
    assert!(orin.iter().all(|it| !it.is_here(root.path())));
    std::fs::create_dir_all(root.path().join("etc")).unwrap();
    let release = "# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: aarch64";
    std::fs::write(root.path().join("etc/nv_tegra_release"), release).unwrap();
    assert_eq!(orin.iter().map(|it| it.is_here(root.path())).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn a_file_by_itself_is_checked_with_its_caps() {
    gstreamer::init().unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (name, _) in super::file::built_in_texts() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("pipelines/boards/{name}.toml"));
        assert_eq!(&Board::check(&file).unwrap().name, name);
    }
    let file = dir.path().join("anvil.toml");
    let text = "description = \"x\"\n[[csi]]\nelement = \"camera\"\noutput_caps = \"video/x-raw,format=(\"\n";
    std::fs::write(&file, text).unwrap();
    let error = Board::check(&file).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}:4:16: ", file.display())) && error.contains("are no caps"), "{error}");
    for (pci, fine) in [("8086:*", true), ("8086:46a6", true), ("8086", false), ("*:*", false), ("8086:46A6", false)] {
        std::fs::write(&file, format!("description = \"x\"\npci = [\"{pci}\"]\n")).unwrap();
        assert_eq!(Board::check(&file).is_ok(), fine, "{pci}");
    }
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
    assert_eq!(Identity::read(pc.path()), Identity { model: Some("NUC".into()), ..Identity::default() });
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
    let compose = |line: &str| {
        format!("description = \"x\"\n[[compose]]\nelement = \"x\"\nhardware = true\noutput_caps = \"a/b\"\n{line}\n")
    };
    let cases = [
        ("description = \"x\"\nspeed = 3\n".to_owned(), ":2:1:", "unknown field `speed`"),
        ("description = \"x\"\nconvert = [\n".to_owned(), ":2:12:", "unclosed array"),
        (entry("key_frame = \"maybe\""), ":9:13:", "`action:SIGNAL`"),
        (entry("convert = \"a b\""), ":9:11:", "no element name"),
        (entry("properties = { a = [1] }"), ":9:20:", "a text, a number, true or false"),
        (entry("").replace("H264", "MPEG2"), ":3:9:", "unknown variant `MPEG2`"),
        (entry("").replace("kbps", "mbps"), ":8:42:", "`bps` or `kbps`"),
        (compose("pad = { left = \"x\" }"), ":6:9:", "unknown field `left`"),
        (compose("upload = \"a b\""), ":6:10:", "no element name"),
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
    let kbps = BitrateControl { property: "bitrate".into(), field: None, unit: BitrateUnit::Kbps, change: Default::default() };
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

#[test]
fn a_compositor_is_put_before_the_software_and_its_file_is_checked() {
    gstreamer::init().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gl.toml");
    // the example of `pipelines/README.md`
    let readme = include_str!("../../../pipelines/README.md");
    let example = readme
        .split("```toml fragment\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .find(|it| it.contains("[[compose]]"));
    std::fs::write(&file, format!("description = \"mine\"\n{}", example.unwrap())).unwrap();
    let alone = Board::check(&file).unwrap();
    assert_eq!(alone.compositors.len(), 1);
    assert_eq!(alone.compositors[0].pad, PadNames::default());
    let board = Board::recognise(dir.path(), Some("gl"), nowhere()).unwrap();
    let elements: Vec<_> = board.compositors.iter().map(|it| it.element.as_str()).collect();
    assert_eq!(elements, ["glvideomixer", "compositor"]);
    let other = std::fs::read_to_string(&file).unwrap().replace(",format=RGBA", ",format");
    std::fs::write(&file, other).unwrap();
    let error = Board::check(&file).unwrap_err().to_string();
    assert!(error.contains("are no caps"), "{error}");
}
