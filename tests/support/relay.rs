//! Debian's coturn, as a child of the test.

use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Starts one: `command` is `turnserver` with the addresses it has; it keeps its files in `folder` and shares `secret`.
pub fn start(mut command: Command, secret: &str, folder: &Path) -> Child {
    let own = |name: &str| folder.join(name).display().to_string();
    command
        .args(["-n", "--use-auth-secret", "--static-auth-secret", secret, "--realm", "portico"])
        .args(["--no-tcp", "--no-tls", "--no-dtls", "--no-cli", "--no-rfc5780", "--log-file", "stdout"])
        .args(["--pidfile", &own("pid"), "--userdb", &own("users")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("turnserver starts (run make test)")
}
