//! `portico bench` works and prints figures that can be. It is not the place to judge them: no time is looked at.

use std::process::Command;

use serde_json::Value;

/// What `portico bench --json` says.
fn bench(arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portico"));
    let output = command.arg("bench").args(arguments).arg("--json").output().expect("the binary runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

fn positive(value: &Value, name: &str) {
    let figure = name.split('.').fold(value, |value, part| &value[part]);
    assert!(figure.as_f64().is_some_and(|figure| figure > 0.0), "{name} in {value:#}");
}

/// A row in which something reached viewers.
fn assert_sane(row: &Value) {
    for name in ["packets", "cpu_percent", "cpu_us_per_packet", "media_us_per_packet", "floor_us_per_packet", "times_floor"] {
        positive(row, name);
    }
    for name in ["cpu_us_per_mbit", "latency_ms.p50", "floor_latency_ms.p99", "connected_ms", "first_frame_ms", "rss_mb"] {
        positive(row, name);
    }
    let latency = &row["latency_ms"];
    assert!(latency["p50"].as_f64() <= latency["p99"].as_f64(), "{row:#}");
    assert!(latency["p99"].as_f64() <= latency["max"].as_f64(), "{row:#}");
    assert!(row["connected_ms"].as_f64() <= row["first_frame_ms"].as_f64(), "{row:#}");
    assert_eq!(row["joins"], 9);
}

#[test]
fn bench_prints_sane_figures() {
    let report = bench(&["--viewers", "0,2", "--seconds", "2"]);
    positive(&report["idle"], "start_ms");
    positive(&report["idle"], "rss_mb");
    let [alone, watched] = &report["rows"].as_array().expect("rows")[..] else { panic!("two rows in {report:#}") };
    assert_eq!(alone["packets"], 0);
    assert!(alone["cpu_us_per_packet"].is_null());
    assert_eq!(watched["viewers"], 2);
    assert_sane(watched);
    positive(watched, "wakeups_per_second");
    assert!(watched["lost_percent"].as_f64().is_some_and(|lost| lost < 5.0), "{report:#}");
}

#[test]
fn every_scene_has_its_streams_and_viewers() {
    // streams, and viewers of all of them
    let cases = [("room", "3", 3, 9, true), ("audio", "6", 5, 30, false), ("4k", "1", 1, 1, true)];
    for (scene, viewers, streams, watching, has_keys) in cases {
        let report = bench(&["forward", "--scene", scene, "--viewers", viewers, "--seconds", "1"]);
        let row = &report["rows"][0];
        assert_eq!((&report["scene"], &row["streams"], &row["viewers"]), (&scene.into(), &streams.into(), &watching.into()));
        assert_sane(row);
        // a second may pass between two key frames
        assert!(has_keys || row["key_latency_ms"].is_null(), "{row:#}");
    }
}

#[test]
fn bench_crypto_measures_both_profiles() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portico"));
    let output = command.args(["bench", "crypto", "--seconds", "1", "--json"]).output().expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    let rows = report["rows"].as_array().expect("rows");
    let cells: Vec<_> = rows.iter().filter_map(|row| Some((row["profile"].as_str()?, row["payload_bytes"].as_u64()?))).collect();
    let (gcm, cm) = ("AEAD_AES_128_GCM", "AES_CM_128_HMAC_SHA1_80");
    assert_eq!(cells, [(gcm, 100), (gcm, 1200), (cm, 100), (cm, 1200)]);
    for name in ["protect_ns", "unprotect_ns", "protect_mb_per_second", "unprotect_mb_per_second", "viewers"] {
        assert!(rows.iter().all(|row| row[name].as_f64().is_some_and(|figure| figure > 0.0)), "{name} in {report:#}");
    }
    assert!([gcm, cm].map(Value::from).contains(&report["preferred"]), "{report:#}");
}

#[test]
fn bench_channel_measures_both_directions() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portico"));
    let output = command.args(["bench", "channel", "--seconds", "2", "--json"]).output().expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    let rows = report["rows"].as_array().expect("rows");
    assert_eq!(rows.iter().map(|row| row["gateway"].as_str()).collect::<Vec<_>>(), [Some("sends"), Some("receives")]);
    for name in ["mbit_per_second", "most_waiting_bytes", "alone_p50_ms", "beside_p50_ms", "beside_packets"] {
        assert!(rows.iter().all(|row| row[name].as_f64().is_some_and(|figure| figure > 0.0)), "{name} in {report:#}");
    }
    let waiting = |row: &Value| row["most_waiting_bytes"].as_u64().is_some_and(|bytes| bytes <= (1 << 20) + 16_384);
    assert!(rows.iter().all(waiting), "{report:#}");
}

#[test]
fn bench_mix_measures_both() {
    let report = bench(&["mix", "--publishers", "1", "--runs", "1", "--seconds", "1"]);
    let row = &report["rows"][0];
    assert_eq!(row["publishers"], 1, "{report:#}");
    for name in ["cpu_percent", "launch_percent", "ratio", "frames_per_second"] {
        positive(row, name);
    }
}

#[test]
fn impossible_numbers_are_refused() {
    for wrong in [["--viewers", "201"], ["--seconds", "0"], ["--bitrate", "10"], ["--scene", "8k"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_portico")).arg("bench").args(wrong).output().expect("the binary runs");
        assert_eq!(output.status.code(), Some(64), "{wrong:?}");
    }
}
