use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::modes::{Range, pixel, rate, rates, sizes, sorted};
use super::*;

/// A tree with two cameras: a USB one with all names, and a built-in one with a path only.
fn tree() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    for dir in ["dev/v4l/by-id", "dev/v4l/by-path", "sys/class/video4linux/video2", "sys/devices/usb1/1-1/1-1:1.0"] {
        std::fs::create_dir_all(at(dir)).unwrap();
    }
    for node in ["video0", "video2", "video10", "video3x", "video"] {
        std::fs::write(at("dev").join(node), "").unwrap();
    }
    symlink("../../video2", at("dev/v4l/by-id/usb-ACME_Cam_123-video-index0")).unwrap();
    symlink("../../video2", at("dev/v4l/by-path/pci-0000:00:14.0-usb-0:1:1.0-video-index0")).unwrap();
    symlink("../../video0", at("dev/v4l/by-path/platform-fe801000.csi-video-index0")).unwrap();
    symlink("video2", at("dev/door")).unwrap();
    symlink("v4l", at("dev/elsewhere")).unwrap();
    std::fs::write(at("sys/devices/usb1/1-1/idVendor"), "1234\n").unwrap();
    std::fs::write(at("sys/devices/usb1/1-1/serial"), "123\n").unwrap();
    symlink("../../../devices/usb1/1-1/1-1:1.0", at("sys/class/video4linux/video2/device")).unwrap();
    root
}

fn camera(node: &str, stable: Option<&str>, name: &str, serial: Option<&str>) -> Camera {
    Camera {
        node: node.into(),
        stable: stable.map(PathBuf::from),
        name: name.into(),
        serial: serial.map(Into::into),
        bus: "bus".into(),
        driver: "driver".into(),
        modes: vec![],
    }
}

const BY_ID: &str = "/dev/v4l/by-id/usb-ACME_Cam_123-video-index0";

fn two_cameras() -> Scan {
    let cameras = vec![
        camera("/dev/video0", Some("/dev/v4l/by-path/platform-fe801000.csi-video-index0"), "unicam", None),
        camera("/dev/video2", Some(BY_ID), "ACME Cam", Some("123")),
    ];
    Scan { cameras, closed: vec![] }
}

#[test]
fn nodes_come_by_number_and_only_nodes() {
    let names = ["/dev/video0", "/dev/video2", "/dev/video10"].map(PathBuf::from);
    assert_eq!(links::nodes(tree().path()), names);
    assert!(links::nodes(Path::new("/nonexistent")).is_empty());
}

#[test]
fn stable_name_is_by_id_before_by_path() {
    let root = tree();
    assert_eq!(links::stable(root.path(), Path::new("/dev/video2")), Some(BY_ID.into()));
    let path = "/dev/v4l/by-path/platform-fe801000.csi-video-index0";
    assert_eq!(links::stable(root.path(), Path::new("/dev/video0")), Some(path.into()));
    assert_eq!(links::stable(root.path(), Path::new("/dev/video10")), None);
}

#[test]
fn serial_is_of_the_usb_device_above() {
    let root = tree();
    assert_eq!(links::serial(root.path(), Path::new("/dev/video2")).as_deref(), Some("123"));
    assert_eq!(links::serial(root.path(), Path::new("/dev/video0")), None);
}

#[test]
fn card_with_a_broken_name_is_named_by_sys() {
    let root = tree();
    std::fs::write(root.path().join("sys/class/video4linux/video2/name"), b"Kamera \xe6\x91\n").unwrap();
    let card = links::card(root.path(), Path::new("/dev/video2"));
    assert_eq!((card.name.as_str(), card.bus.as_str(), card.driver.as_str()), ("Kamera \u{fffd}", "1-1:1.0", ""));
}

#[test]
fn every_form_finds_its_camera() {
    let (root, scan) = (tree(), two_cameras());
    let node = |device: &str| choose(device, &scan, root.path()).unwrap().node;
    assert_eq!(node(BY_ID), Path::new("/dev/video2"));
    assert_eq!(node("/dev/v4l/by-path/pci-0000:00:14.0-usb-0:1:1.0-video-index0"), Path::new("/dev/video2"));
    assert_eq!(node("/dev/door"), Path::new("/dev/video2"));
    assert_eq!(node("name:acme"), Path::new("/dev/video2"));
    assert_eq!(node("serial:123"), Path::new("/dev/video2"));
    assert_eq!(node("any"), Path::new("/dev/video0"));
}

/// Unplugged and plugged in again: the kernel gives the next free number, whatever else has one by then.
#[test]
fn a_camera_that_returns_under_another_number_is_the_same() {
    let root = tree();
    let at = |path: &str| root.path().join(path);
    std::fs::remove_file(at("dev/video2")).unwrap();
    let scan = Scan { cameras: vec![two_cameras().cameras.remove(0)], closed: vec![] };
    for device in [BY_ID, "/dev/door", "name:acme", "serial:123"] {
        assert!(matches!(choose(device, &scan, root.path()), Err(FindError::NotFound { .. })), "{device} is not there");
    }
    // another camera has its number now, and it has another
    std::fs::write(at("dev/video2"), "").unwrap();
    std::fs::write(at("dev/video7"), "").unwrap();
    for link in [BY_ID, "/dev/v4l/by-path/pci-0000:00:14.0-usb-0:1:1.0-video-index0", "/dev/door"] {
        let link = at(link.trim_start_matches('/'));
        let target = std::fs::read_link(&link).unwrap().to_string_lossy().replace("video2", "video7");
        std::fs::remove_file(&link).unwrap();
        symlink(target, link).unwrap();
    }
    std::fs::create_dir_all(at("sys/class/video4linux/video7")).unwrap();
    symlink("../../../devices/usb1/1-1/1-1:1.0", at("sys/class/video4linux/video7/device")).unwrap();
    std::fs::remove_dir_all(at("sys/class/video4linux/video2")).unwrap();
    let other = camera("/dev/video2", None, "Other", links::serial(root.path(), Path::new("/dev/video2")).as_deref());
    let stable = links::stable(root.path(), Path::new("/dev/video7"));
    let serial = links::serial(root.path(), Path::new("/dev/video7"));
    let back = camera("/dev/video7", stable.as_deref().and_then(Path::to_str), "ACME Cam", serial.as_deref());
    let scan = Scan { cameras: vec![other, back], closed: vec![] };
    let by_path = "/dev/v4l/by-path/pci-0000:00:14.0-usb-0:1:1.0-video-index0";
    for device in [BY_ID, by_path, "/dev/door", "name:acme", "serial:123"] {
        assert_eq!(choose(device, &scan, root.path()).unwrap().node, Path::new("/dev/video7"), "{device}");
    }
}

#[test]
fn number_is_refused_with_the_name_to_write() {
    let (root, scan) = (tree(), two_cameras());
    for device in ["/dev/video2", "2"] {
        let error = choose(device, &scan, root.path()).unwrap_err();
        assert!(matches!(&error, FindError::Numbered { .. }) && error.to_string().contains(BY_ID), "{error}");
    }
    let error = choose("/dev/video9", &scan, root.path()).unwrap_err().to_string();
    assert!(error.contains("no camera is there now") && error.contains(BY_ID), "{error}");
    assert!(matches!(check_form("/dev/video0"), Err(FindError::Numbered { .. })));
    assert!(check_form(BY_ID).is_ok() && check_form("any").is_ok());
}

#[test]
fn twins_without_a_link_have_no_name_that_stays() {
    let twin = |node: &str| camera(node, None, "ACME Cam", None);
    let mut scan = Scan { cameras: vec![twin("/dev/video0"), twin("/dev/video2")], closed: vec![] };
    assert_eq!(scan.selector(&scan.cameras[0]), None);
    assert!(choose("2", &scan, tree().path()).unwrap_err().to_string().contains("by-path"));
    scan.cameras[1].serial = Some("7".into());
    assert_eq!(scan.selector(&scan.cameras[1]).as_deref(), Some("serial:7"));
    scan.cameras.pop();
    assert_eq!(scan.selector(&scan.cameras[0]).as_deref(), Some("name:ACME Cam"));
}

#[test]
fn missing_camera_says_what_there_is() {
    let (root, scan) = (tree(), two_cameras());
    for device in ["name:other", "serial:12", "/dev/v4l/by-id/gone", "/dev/elsewhere"] {
        let error = choose(device, &scan, root.path()).unwrap_err();
        assert!(matches!(&error, FindError::NotFound { .. }) && error.to_string().contains("ACME Cam"), "{error}");
    }
    let error = choose("any", &Scan::default(), root.path()).unwrap_err().to_string();
    assert_eq!(error, "no camera fits `any`: this machine has no camera now");
}

#[test]
fn closed_node_is_named_as_the_cause() {
    let closed = vec![ClosedNode { node: "/dev/video2".into(), why: "permission denied".into() }];
    let scan = Scan { cameras: vec![], closed };
    for device in [BY_ID, "any", "name:acme"] {
        let error = choose(device, &scan, tree().path()).unwrap_err();
        assert_eq!(error.to_string(), "camera /dev/video2 cannot be opened: permission denied");
    }
}

#[test]
fn other_texts_are_no_camera() {
    for device in ["", "camera", "name:", "serial: ", "/tmp/video0", "/dev/", "name", "/dev/video"] {
        let form = check_form(device);
        let link = device == "/dev/video"; // could be a link
        assert!(link == form.is_ok() && (link || matches!(form, Err(FindError::Form { .. }))), "{device}");
    }
}

#[test]
fn range_of_sizes_becomes_the_common_ones_and_the_largest() {
    let range = |min, max, step| Range { min, max, step };
    let listed = sizes(range(32, 2592, 2), range(32, 1944, 2));
    assert!(listed.contains(&(1280, 720)) && listed.contains(&(1920, 1080)) && !listed.contains(&(3840, 2160)));
    assert_eq!(listed.last(), Some(&(2592, 1944)));
    // Steps of 16 from 16: 360 and 1080 are not multiples.
    let stepped = sizes(range(16, 1920, 16), range(16, 1088, 16));
    assert!(stepped.contains(&(1280, 720)) && !stepped.contains(&(1920, 1080)) && !stepped.contains(&(640, 360)));
    assert_eq!(sizes(range(640, 640, 0), range(480, 480, 0)), [(640, 480)]);
}

#[test]
fn intervals_become_rates() {
    assert_eq!(rate((1, 30)), Some((30, 1)));
    assert_eq!(rate((333_333, 10_000_000)), Some((10_000_000, 333_333)));
    assert_eq!(rate((1001, 30_000)), Some((30_000, 1001)));
    assert_eq!(rate((2, 30)), Some((15, 1)));
    assert_eq!((rate((0, 30)), rate((1, 0))), (None, None));
    assert_eq!(rates((1, 90), (1, 1))[..3], [(90, 1), (60, 1), (50, 1)]);
    assert_eq!(rates((1, 15), (2, 15)), [(15, 1), (10, 1)]);
    assert_eq!(sorted(vec![(15, 1), (30_000, 1001), (30, 1), (15, 1)]), [(30, 1), (30_000, 1001), (15, 1)]);
}

#[test]
fn formats_are_told_apart() {
    assert_eq!(pixel(*b"YUYV", false), PixelFormat::Raw("YUYV".into()));
    assert_eq!(pixel(*b"BGR3", false), PixelFormat::Raw("BGR3".into()));
    assert_eq!(pixel(*b"RGB3", false), PixelFormat::Raw("RGB3".into()));
    assert_eq!(pixel(*b"Y16 ", false), PixelFormat::Raw("Y16".into()));
    assert_eq!(pixel(*b"Y16\xa0", false), PixelFormat::Raw("Y16-BE".into()));
    assert_eq!(pixel(*b"MJPG", true), PixelFormat::Mjpeg);
    assert_eq!(pixel(*b"H264", true), PixelFormat::H264);
    assert_eq!(pixel(*b"HEVC", true), PixelFormat::Other("HEVC".into()));
    for bayer in [b"RGGB", b"BG10", b"RG12", b"pRAA", b"BA81", b"BYR2"] {
        assert!(matches!(pixel(*bayer, false), PixelFormat::Other(_)), "{bayer:?}");
    }
}

proptest! {
    #[test]
    fn any_range_gives_sizes_inside_it(min in 1u32..5000, span in 0u32..5000, step in 0u32..64, max in 0u32..u32::MAX) {
        let width = Range { min, max: min + span, step };
        let height = Range { min: 1, max: max.max(1), step };
        for (w, h) in sizes(width, height) {
            prop_assert!(w >= min && w <= min + span && h >= 1 && h <= max.max(1));
        }
    }

    #[test]
    fn any_intervals_give_rates_highest_first(a in any::<(u32, u32)>(), b in any::<(u32, u32)>()) {
        let listed = rates(a, b);
        prop_assert!(listed.len() <= 11);
        let value = |(n, d): (u32, u32)| f64::from(n) / f64::from(d);
        prop_assert!(listed.windows(2).all(|pair| value(pair[0]) >= value(pair[1])));
        prop_assert_eq!(listed.first().copied(), rate(a).filter(|_| rate(b).is_some()));
    }

    #[test]
    fn any_four_bytes_are_a_format(fourcc in any::<[u8; 4]>(), compressed in any::<bool>()) {
        let _ = pixel(fourcc, compressed);
    }
}

/// Runs in the test VM, where udev made the links of a virtual camera.
#[test]
#[ignore = "needs the vivid camera and udev of the test VM"]
fn vivid_camera_is_found_by_every_name_with_its_modes() {
    // Two instances of vivid share one path, so udev links only one of them: take that one.
    let all = cameras();
    let camera = all.iter().find(|camera| camera.stable.is_some()).expect("udev made a link");
    assert_eq!((camera.driver.as_str(), camera.name.as_str(), &camera.serial), ("vivid", "vivid", &None));
    let stable = camera.stable.clone().expect("chosen for it");
    assert!(stable.starts_with("/dev/v4l/by-path"), "{stable:?}");
    assert_eq!(find(stable.to_str().unwrap()), Ok(camera.clone()));
    assert_eq!(find("name:VIVID").as_ref(), Ok(&all[0]));
    assert_eq!(find("any").as_ref(), Ok(&all[0]));
    assert!(matches!(find("serial:1"), Err(FindError::NotFound { .. })));
    let refused = find(camera.node.to_str().unwrap()).unwrap_err().to_string();
    assert!(refused.contains(stable.to_str().unwrap()), "{refused}");

    let hd = |mode: &&CameraMode| (mode.width, mode.height) == (1280, 720) && mode.pixel == PixelFormat::Raw("YUYV".into());
    let mode = camera.modes.iter().find(hd).expect("vivid's webcam has 720p");
    assert!(mode.framerates.contains(&(30, 1)) && mode.framerates[0] == (60, 1), "{:?}", mode.framerates);
    // The other nodes of the machine (its second instance has outputs, vicodec has codecs) are no cameras.
    assert!(all.iter().all(|camera| camera.driver == "vivid"));
}
