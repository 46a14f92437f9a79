//! The Debian package for 64-bit ARM, installed in an arm64 root and run under emulation: `make test-arm64` makes both.

mod support;
#[allow(dead_code)] // shared with the tests in the VM
#[path = "support/whep.rs"]
mod whep;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::{Gateway, node, read};
use whep::Viewer;

/// Where the package is installed.
const ROOT: &str = "PORTICO_ARM64_ROOT";

/// Small, since every instruction is emulated.
const CONFIG: &str = r#"
[access]
anonymous = ["subscribe"]

[[room]]
name = "main"
sources = ["test"]

[[source]]
name = "test"
type = "test"
width = 320
height = 180
framerate = 15
"#;

/// A command in the root, as the service's user.
fn inside(root: &Path, command: &[&str]) -> Command {
    let mut chroot = Command::new("chroot");
    chroot.arg(root).args(["setpriv", "--reuid=portico", "--regid=portico", "--init-groups", "--inh-caps=-all"]).args(command);
    chroot.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/nonexistent").env("LANG", "C.UTF-8");
    chroot.env("PORTICO_TLS__STATE_DIR", "/var/lib/portico").env("GST_REGISTRY", "/var/cache/portico/registry.bin");
    chroot
}

fn told(mut command: Command) -> Output {
    let output = command.output().expect("chroot runs");
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

#[test]
#[ignore = "needs an arm64 root with the package: make test-arm64"]
fn the_installed_package_serves_viewers() {
    let root = PathBuf::from(std::env::var_os(ROOT).expect("make test-arm64 names the root"));
    let at = |path: &str| root.join(path.trim_start_matches('/'));

    // ELF's e_machine: 183 is AArch64
    let program = fs::read(at("/usr/bin/portico")).expect("the program");
    assert_eq!(program[18..20], 183u16.to_le_bytes());

    // the installation made its user, its secret and the start at boot
    let users = fs::read_to_string(at("/etc/passwd")).expect("users");
    let user = users.lines().find_map(|line| line.strip_prefix("portico:")).expect("the user portico");
    let id: u32 = user.split(':').nth(1).and_then(|id| id.parse().ok()).expect("its number");
    let secret = fs::metadata(at("/etc/portico/token-secret")).expect("the secret");
    assert_eq!((secret.permissions().mode() & 0o777, secret.uid()), (0o640, 0));
    assert!(at("/etc/systemd/system/multi-user.target.wants/portico.service").is_symlink());
    let version = told(inside(&root, &["portico", "--version"])).stdout;
    assert!(String::from_utf8_lossy(&version).contains(env!("CARGO_PKG_VERSION")));

    // systemd would make them
    for folder in ["/var/lib/portico", "/var/cache/portico"] {
        fs::create_dir_all(at(folder)).expect("a folder");
        std::os::unix::fs::chown(at(folder), Some(id), None).expect("root gives it away");
    }
    fs::create_dir_all(at("/etc/portico/conf.d")).expect("a folder");
    fs::write(at("/etc/portico/conf.d/test.toml"), CONFIG).expect("the configuration is written");
    let checked = told(inside(&root, &["portico", "check"]));
    assert!(checked.stderr.is_empty(), "{checked:?}");

    let command = inside(&root, &["portico", "run", "--listen", "127.0.0.1:0", "--ice-port", "0"]);
    let gateway = Gateway::start_command(command, tempfile::tempdir().expect("a temporary folder"));

    // a viewer gets pictures that begin with one that can be decoded by itself
    let viewer = Viewer::join_when_ready(&gateway.base, "/whep/main");
    let frames = viewer.take(45);
    assert!(frames[0].is_key(), "{:?}", frames[0].types());
    viewer.leave();

    // so does a real browser, and updaters hear that it is well
    let seen = node("whep_play.mjs", &[&gateway.base, "/whep/main"]);
    assert!(seen["figures"]["framesDecoded"].as_u64() > Some(30), "{seen:#}");
    assert_eq!((seen["figures"]["width"].as_u64(), seen["figures"]["height"].as_u64()), (Some(320), Some(180)), "{seen:#}");
    let health = told(inside(&root, &["portico", "health", "--wait", "60", "--url", &gateway.base]));
    assert!(String::from_utf8_lossy(&health.stdout).contains("test"), "{health:?}");
    assert!(read(&format!("{}/healthz", gateway.base)).contains("ok"));

    let (status, _) = gateway.terminate();
    assert!(status.success(), "{status}");
}
