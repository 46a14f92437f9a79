//! Forwarding takes no more instructions than it did: counted under valgrind, so that load and machine do not matter.
//!
//! This is the debug build that the other tests use, with optimised libraries; `make count` has the optimised one too.

use std::process::Command;

#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "the committed figure is of x86_64")]
fn a_forwarded_packet_takes_no_more_instructions_than_it_did() {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut command = Command::new(format!("{root}/tools/count-instructions"));
    let output = command.args([env!("CARGO_BIN_EXE_portico"), "debug"]).env_remove("UPDATE").output().expect("the script runs");
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    println!("{said}");
    assert!(output.status.success(), "{said}");
}
