//! Runs one decoder, named by `PORTICO_FUZZ_TARGET`, under libFuzzer.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portico::fuzz::{TARGETS, Target};

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let wanted = std::env::var("PORTICO_FUZZ_TARGET").unwrap_or_default();
    let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    TARGETS.iter().find(|target| target.name == wanted).unwrap_or_else(|| panic!("PORTICO_FUZZ_TARGET is one of {names:?}"))
});

fuzz_target!(|bytes: &[u8]| {
    (TARGET.run)(bytes);
});
