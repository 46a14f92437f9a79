//! Replays the committed fuzz corpus: every input that ever found something, and the seeds.

use std::path::{Path, PathBuf};

use portico::fuzz::TARGETS;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

#[test]
fn every_decoder_survives_its_corpus() {
    for target in TARGETS {
        let folder = corpus().join(target.name);
        let mut inputs: Vec<_> = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.expect("an entry").path())
            .collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "{} has no seed", target.name);
        for input in inputs {
            eprintln!("{}", input.display());
            let bytes = std::fs::read(&input).expect("a file");
            (target.run)(&bytes);
            // what was cut short must be taken too
            (0..bytes.len().min(64)).for_each(|cut| (target.run)(&bytes[..bytes.len() - cut]));
        }
    }
}

#[test]
fn every_folder_of_the_corpus_is_a_decoder() {
    for entry in std::fs::read_dir(corpus()).expect("a folder") {
        let name = entry.expect("an entry").file_name();
        assert!(TARGETS.iter().any(|target| name == target.name), "{name:?} is no target");
    }
}
