//! Viewers come and go over a bad line, and nothing grows: a minute of `make soak`, with few viewers.

use std::process::Command;

use serde_json::Value;

#[test]
fn nothing_grows_and_no_picture_stands_still_while_viewers_come_and_go() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portico"));
    // the limit on standing still is for a machine that has other work too; a picture that has stopped stays so
    command.args(["bench", "soak", "--seconds", "60", "--viewers", "8", "--bitrate", "500000", "--still", "10", "--json"]);
    let output = command.output().expect("the binary runs");
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat();
    assert!(output.status.success(), "{said}");
    let outcome: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    assert_eq!(outcome["wrong"], serde_json::json!([]), "{said}");
    // a slow machine is slower in letting them in
    assert!(outcome["joined"].as_u64() >= Some(20) && outcome["left"].as_u64() >= Some(10), "{said}");
    assert!(outcome["packets"].as_u64() > Some(100), "{said}");
    println!("{said}");
}
