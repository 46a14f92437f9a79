//! `cross.toml` and its images fit each other. Docker is not needed: nothing is built.

use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Target, what its packages and tools are called, and Debian's name of the architecture.
const TARGETS: [(&str, &str, &str); 2] = [
    ("aarch64-unknown-linux-gnu", "aarch64-linux-gnu", "arm64"),
    ("armv7-unknown-linux-gnueabihf", "arm-linux-gnueabihf", "armhf"),
];

#[test]
fn each_image_has_the_tools_and_libraries_of_its_target() {
    let config: toml::Table = read("cross.toml").parse().expect("it is TOML");
    let known: Vec<&String> = config["target"].as_table().expect("targets").keys().collect();
    assert_eq!(known, TARGETS.map(|(target, ..)| target));
    for (target, tools, architecture) in TARGETS {
        let file = config["target"][target]["dockerfile"]["file"].as_str().expect("a file");
        let image = read(file);
        let variable = target.replace('-', "_");
        for wanted in [
            format!("CARGO_TARGET_{}_LINKER={tools}-gcc", variable.to_uppercase()),
            format!("CC_{variable}={tools}-gcc"),
            format!("AR_{variable}={tools}-ar"),
            format!("PKG_CONFIG_LIBDIR_{variable}=/usr/lib/{tools}/pkgconfig"),
            format!("BINDGEN_EXTRA_CLANG_ARGS_{variable}=\"--target={tools} -I/usr/include/{tools}\""),
            format!("g++-{tools}"),
            format!("libgstreamer1.0-dev:{architecture}"),
            format!("libgstreamer-plugins-base1.0-dev:{architecture}"),
            format!("dpkg --add-architecture {architecture}"),
        ] {
            assert!(image.contains(&wanted), "{file} lacks {wanted}");
        }
        assert!(!image.to_lowercase().contains("latest"), "{file}: an image that changes by itself");
    }
}
