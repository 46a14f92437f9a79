//! The Yocto layer fits the program: crates, version, licences, configuration.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn recipes() -> PathBuf {
    root().join("yocto/meta-portico/recipes-multimedia/portico")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a program of every Linux prints.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn recipe() -> String {
    read(&recipes().join(concat!("portico_", env!("CARGO_PKG_VERSION"), ".bb")))
}

#[test]
fn crates_are_those_of_the_lock_file() {
    let listed = read(&recipes().join("portico-crates.inc"));
    let generated = output(Command::new(root().join("yocto/update-crates")).arg("--print"));
    assert!(listed == generated, "portico-crates.inc is not what Cargo.lock says; run yocto/update-crates");

    // the script reads the lock file line by line; this is what is really in it
    let lock: toml::Table = toml::from_str(&read(&root().join("Cargo.lock"))).expect("a lock file");
    let packages = lock["package"].as_array().expect("packages");
    let mut fetched = 0;
    for package in packages.iter().filter(|package| package.get("source").is_some()) {
        let [name, version, checksum] = ["name", "version", "checksum"].map(|key| package[key].as_str().expect("a text"));
        assert!(listed.contains(&format!("\n    crate://crates.io/{name}/{version} \\\n")), "{name} {version} is not fetched");
        assert!(listed.contains(&format!("\nSRC_URI[{name}-{version}.sha256sum] = \"{checksum}\"\n")), "{name} {version}");
        fetched += 1;
    }
    assert!(fetched > 100, "{fetched} crates: the lock file is not read");
    assert_eq!((listed.matches("crate://").count(), listed.matches(".sha256sum]").count()), (fetched, fetched));
}

#[test]
fn licences_are_those_of_the_tree() {
    let recipe = recipe();
    let sums: Vec<(&str, &str)> =
        recipe.split("file://").filter_map(|rest| rest.split_whitespace().next()?.split_once(";md5=")).collect();
    assert_eq!(sums.len(), 2, "{sums:?}");
    for (file, sum) in sums {
        assert_eq!(output(Command::new("md5sum").arg(root().join(file))).split(' ').next(), Some(sum), "{file}");
    }
}

/// Values of `PORTICO_BOARD` in the layer's bbappends.
fn boards() -> Vec<String> {
    let layers = std::fs::read_dir(root().join("yocto/meta-portico/dynamic-layers")).expect("layers").flatten();
    let appends = layers.map(|layer| layer.path().join("recipes-multimedia/portico/portico_%.bbappend"));
    let set = |append: String| {
        let line = append.lines().find_map(|line| line.strip_prefix("PORTICO_BOARD:")?.split('"').nth(1).map(str::to_owned));
        line.unwrap_or_else(|| panic!("no PORTICO_BOARD in:\n{append}"))
    };
    appends.filter(|path| path.exists()).map(|path| set(read(&path))).collect()
}

#[test]
fn units_and_their_files_are_all_in_the_recipe() {
    let recipe = recipe();
    for entry in std::fs::read_dir(root().join("systemd")).expect("the folder").flatten() {
        let name = entry.file_name().into_string().expect("UTF-8");
        assert!(name == "README.md" || recipe.contains(&format!("${{S}}/systemd/{name}")), "{name} is not installed");
    }
}

#[test]
fn files_of_the_recipe_are_there() {
    // what bbappends choose is there as well
    let boards = boards();
    assert!(boards.len() >= 2, "{boards:?}");
    let recipe = recipe();
    let install = |line: &str| match line.contains("${PORTICO_BOARD}") {
        true => boards.iter().map(|board| line.replace("${PORTICO_BOARD}", board)).collect(),
        false => vec![line.to_owned()],
    };
    let mut installed = 0;
    for line in recipe.lines().filter(|line| line.trim_start().starts_with("install ")).flat_map(install) {
        let source = line.split_whitespace().find_map(|word| {
            let ours = word.strip_prefix("${S}/").map(|path| root().join(path));
            ours.or_else(|| word.strip_prefix("${UNPACKDIR}/").map(|name| recipes().join("portico").join(name)))
        });
        let source = source.unwrap_or_else(|| panic!("where from? {line}"));
        assert!(source.is_file(), "{} is not there", source.display());
        installed += 1;
    }
    assert!(installed >= 4, "{installed} files: the recipe is not read");
}

#[test]
fn its_configuration_is_right() {
    use std::os::unix::fs::PermissionsExt;
    let state = tempfile::tempdir().expect("a temporary folder");
    let secret = state.path().join("token-secret");
    std::fs::write(&secret, "a secret of more than sixteen characters").expect("it is written");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).expect("it is guarded");
    let text = read(&recipes().join("portico/portico.toml")).replace("/var/lib/portico", &state.path().display().to_string());
    let loaded = portico::config::parse("portico.toml", &text).unwrap_or_else(|errors| panic!("{}", errors.report(false)));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}
