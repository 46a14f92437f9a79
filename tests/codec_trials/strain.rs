//! A board that is hot and an encoder that is slow: the source does with less, and with all again, while somebody watches.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::faults::source;
use super::gateway::{gateway_with, tried};
use super::picture::decode;
use super::support::{Gateway, PATIENCE, read};
use super::whep::{Frame, Viewer};

const STREAM: &str = "/whep/main/test";

/// Waits until the source does with so much; looks often enough to see each degree.
fn until(gateway: &Gateway, degree: &str) -> Value {
    let limit = Instant::now() + PATIENCE;
    loop {
        let source = source(gateway);
        if source["strain"]["degree"] == degree {
            return source;
        }
        assert!(Instant::now() < limit, "not {degree}: {source:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits for pictures of a size and at a distance in 90 kHz ticks.
fn until_pictures(viewer: &Viewer, size: (usize, usize), ticks: u32) {
    let limit = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    let mut group: Vec<Frame> = Vec::new();
    while Instant::now() < limit {
        let frame = viewer.frame();
        if frame.is_key() {
            group.clear();
        }
        group.push(frame);
        if group.len() != 8 || !group[0].is_key() {
            continue;
        }
        let pictures = decode(&group);
        let size_now = pictures.last().map(|picture| (picture.width, picture.height));
        let mut steps: Vec<u32> = group.windows(2).map(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp)).collect();
        steps.sort_unstable();
        // the clock of a busy machine jitters, and frames are left out
        let near = steps[3].abs_diff(ticks) * 4 < ticks;
        if size_now == Some(size) && near {
            return;
        }
        seen.push((size_now, steps[3]));
    }
    panic!("no pictures of {size:?}, {ticks} ticks apart: {seen:?}");
}

fn steps(log: &str, message: &str) -> Vec<String> {
    let field = |line: &str| line.split("to=").nth(1).map(|rest| rest.trim_start_matches('"').to_owned());
    let word = |rest: String| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect::<String>();
    log.lines().filter(|line| line.contains(message)).filter_map(field).map(word).collect()
}

fn warm(sys: &Path, celsius: u32) {
    let zone = sys.join("class/thermal/thermal_zone0");
    std::fs::create_dir_all(&zone).unwrap();
    for (file, text) in [("type", "soc-thermal"), ("trip_point_0_type", "passive"), ("trip_point_0_temp", "85000")] {
        std::fs::write(zone.join(file), text).unwrap();
    }
    // whole at every moment
    std::fs::write(zone.join("next"), format!("{celsius}000\n")).unwrap();
    std::fs::rename(zone.join("next"), zone.join("temp")).unwrap();
}

#[test]
fn a_hot_board_does_with_less_and_with_all_again() {
    let (state, sys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    warm(sys.path(), 55);
    let config = format!("[strain]\nsysfs = {:?}\nsettle = \"500ms\"\nrelief = \"1s\"\n", sys.path());
    let environment = [("PORTICO_STRAIN__ENABLED", "true".to_owned())];
    let mut gateway = gateway_with("rk3588", "", state.path(), &config, &environment);
    tried(&mut gateway, "mpph264enc");
    let viewer = Viewer::join(&gateway.base, STREAM);
    until_pictures(&viewer, (640, 360), 3000);

    warm(sys.path(), 97);
    let source = until(&gateway, "no-new-viewers");
    assert_eq!(source["strain"]["reason"], "soc-thermal is at 97 °C, its limit is 85 °C");
    let refused = Viewer::try_join(&gateway.base, STREAM).err().expect("nobody new may watch");
    assert_eq!((refused.status, &refused.json()["code"]), (503, &"overloaded".into()));
    assert!(read(&format!("{}/metrics", gateway.base)).contains("portico_sources_strained{degree=\"no-new-viewers\"} 1"));
    // who was there watches on
    viewer.forget();
    until_pictures(&viewer, (320, 180), 6000);

    warm(sys.path(), 60);
    let source = until(&gateway, "full");
    assert!(source["strain"].get("reason").is_none(), "{source:#}");
    viewer.forget();
    until_pictures(&viewer, (640, 360), 3000);
    Viewer::join(&gateway.base, STREAM).leave();
    let log = gateway.log();
    assert_eq!(steps(&log, "sources do with less"), ["one-layer", "half-rate", "half-size", "no-new-viewers"], "{log}");
    assert_eq!(steps(&log, "sources do with more again"), ["half-size", "half-rate", "one-layer", "full"], "{log}");
}

#[test]
fn an_encoder_that_slows_down_is_given_less_until_it_keeps_up() {
    let (state, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let slow = dir.path().join("slow");
    std::fs::write(&slow, "0").unwrap();
    let config = "[strain]\nsettle = \"500ms\"\nrelief = \"3s\"\n";
    let environment = [("PORTICO_STRAIN__ENABLED", "true".to_owned()), ("PORTICO_STANDIN_SLOW", slow.display().to_string())];
    let mut gateway = gateway_with("rk3588", "mpph264enc=slow", state.path(), config, &environment);
    tried(&mut gateway, "mpph264enc");
    let viewer = Viewer::join(&gateway.base, STREAM);
    until_pictures(&viewer, (640, 360), 3000);

    // 120 ms for a picture: too much at 30 and 15 pictures a second, enough for 15 small ones
    std::fs::write(&slow, "120").unwrap();
    let source = until(&gateway, "half-size");
    assert!(source["strain"]["reason"].as_str().unwrap().starts_with("mpph264enc gives"), "{source:#}");
    viewer.forget();
    until_pictures(&viewer, (320, 180), 6000);

    std::fs::write(&slow, "0").unwrap();
    until(&gateway, "full");
    viewer.forget();
    until_pictures(&viewer, (640, 360), 3000);
    assert_eq!(steps(&gateway.log(), "source does with less")[..3], ["one-layer", "half-rate", "half-size"]);
}
