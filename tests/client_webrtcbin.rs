//! GStreamer's webrtcbin, which knows only AES_CM for SRTP, plays by WHEP and publishes by WHIP.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use support::{Gateway, TEST_SOURCE, jpeg, node, system_python, tests_dir};

#[test]
fn webrtcbin_plays_the_test_source() {
    let gateway = Gateway::start(TEST_SOURCE);
    let seen = system_python("webrtcbin_play.py", &[&format!("{}/whep/main", gateway.base)]);
    assert!(seen["video"].as_u64() >= Some(30) && seen["audio"].as_u64() >= Some(30), "{seen:#}");
    assert_eq!(seen["deleted"], 200, "{seen:#}");
}

#[test]
fn chromium_sees_and_hears_what_webrtcbin_publishes() {
    let gateway = Gateway::start("");
    let mut publisher = Command::new("/usr/bin/python3")
        .arg(tests_dir().join("clients/webrtcbin_publish.py"))
        .args([&gateway.base, "shed"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let mut out = BufReader::new(publisher.stdout.take().expect("stdout is piped"));
    let mut line = String::new();
    out.read_line(&mut line).expect("the publisher says something");
    assert_eq!(line.trim(), "live");
    // H.264 in packets of another's making
    let picture = format!("{}/api/v1/rooms/shed/streams/main/snapshot.jpg", gateway.base);
    let seen = jpeg::see(&support::fetch(&picture).1);
    assert!((seen.width, seen.height) == (320, 240) && seen.colours > 1, "{seen:?}");
    let seen = node("whep_play.mjs", &[&gateway.base, "/whep/shed"]);
    assert!(seen["figures"]["framesDecoded"].as_u64() > Some(100), "{seen:#}");
    assert!(seen["figures"]["audioEnergy"].as_f64() > Some(0.0), "{seen:#}");
    assert_eq!((seen["figures"]["width"].as_u64(), seen["figures"]["height"].as_u64()), (Some(320), Some(240)), "{seen:#}");
    assert_eq!(seen["figures"]["codec"], "video/H264", "{seen:#}");
    // each leg has its own SRTP: the publisher's is AES_CM, as it knows no other
    assert_eq!(seen["figures"]["srtp"], "SRTP_AEAD_AES_128_GCM", "{seen:#}");
    writeln!(publisher.stdin.take().expect("stdin is piped")).expect("the publisher listens");
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("the publisher ends");
    let status = publisher.wait().expect("the publisher ends");
    assert!(status.success() && rest.contains("\"deleted\": 200"), "{status}: {rest}");
}
