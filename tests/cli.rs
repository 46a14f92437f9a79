//! The binary from outside: output, exit codes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn portico(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portico"));
    // nothing of the machine's own configuration may reach a test
    command.args(arguments).env_clear().envs(environment.iter().copied());
    command.output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("output is UTF-8")
}

fn file(dir: &Path, name: &str, content: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

#[test]
fn usage_errors_are_64_and_help_is_0() {
    for wrong in [&["nonsense"][..], &["check", "--nonsense"], &["run", "--listen", "8780"], &[], &["token", "--rights", "fly"]] {
        let output = portico(wrong, &[]);
        assert_eq!(output.status.code(), Some(64), "{wrong:?}");
        assert!(!output.stderr.is_empty());
    }
    for right in [&["--help"][..], &["--version"], &["help", "run"], &["run", "--help"], &["token", "-h"]] {
        let output = portico(right, &[]);
        assert_eq!(output.status.code(), Some(0), "{right:?}");
        assert!(output.stderr.is_empty() && !output.stdout.is_empty());
    }
}

#[test]
fn check_says_ok_with_a_summary() {
    let dir = tempfile::tempdir().unwrap();
    let config = file(dir.path(), "portico.toml", "[media]\nice_port = 9000\n[[room]]\nname = \"kitchen\"\n");
    let output = portico(&["check", config.to_str().unwrap(), "--listen", "127.0.0.1:9001"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    for part in ["OK\n", "127.0.0.1:9001", "UDP port 9000", "kitchen"] {
        assert!(stdout.contains(part), "{part} in {stdout}");
    }
}

#[test]
fn check_tells_all_that_is_wrong_and_exits_78() {
    let dir = tempfile::tempdir().unwrap();
    let config = file(dir.path(), "portico.toml", "[http]\nlitsen = 1\n[media]\nice_port = 70000\n");
    let environment = [("PORTICO_ROOMS__MAX_ROOMS", "0"), ("PORTICO_CONFIG", config.to_str().unwrap())];
    let output = portico(&["check", "--listen", "0.0.0.0:1"], &environment);
    assert_eq!(output.status.code(), Some(78));
    let stderr = text(&output.stderr);
    for part in [
        "portico.toml:2:1",
        "did you mean `listen`?",
        "portico.toml:4:12",
        "environment: rooms.max_rooms",
        "0.0.0.0:1 can be reached",
    ] {
        assert!(stderr.contains(part), "{part} in {stderr}");
    }
    let output = portico(&["check", "--json"], &environment);
    assert_eq!(output.status.code(), Some(78));
    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(outcome["ok"], false);
    assert_eq!(outcome["problems"][0]["key"], "http.litsen");
    assert_eq!(outcome["problems"][0]["place"]["line"], 2);
    assert_eq!(outcome["problems"].as_array().unwrap().len(), 3);
}

#[test]
fn run_refuses_an_exposed_address_without_a_guard() {
    let dir = tempfile::tempdir().unwrap();
    let config = file(dir.path(), "portico.toml", "");
    let output = portico(&["run", "--config", config.to_str().unwrap(), "--listen", "0.0.0.0:0"], &[]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("token_secret_file"), "{}", text(&output.stderr));
}

#[test]
fn schema_prints_schema_example_and_keys() {
    let schema: Value = serde_json::from_slice(&portico(&["schema"], &[]).stdout).unwrap();
    assert!(schema["properties"]["http"].is_object());
    let example = portico(&["schema", "--example"], &[]);
    assert!(text(&example.stdout).contains("#listen = \"127.0.0.1:8780\""));
    let dir = tempfile::tempdir().unwrap();
    let config = file(dir.path(), "portico.toml", text(&example.stdout));
    assert_eq!(portico(&["check", config.to_str().unwrap()], &[]).status.code(), Some(0));
    assert!(text(&portico(&["schema", "--keys"], &[]).stdout).contains("## `[media]`"));
}

/// Runs a program of the test group and returns what it printed; it must say nothing on stderr.
fn printed(program: &str, arguments: &[&str]) -> String {
    let run = Command::new(program).args(arguments).output();
    let output = run.unwrap_or_else(|error| panic!("{program} (tools/ensure-packages test): {error}"));
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{program} {arguments:?}");
    text(&output.stdout).to_owned()
}

#[test]
fn manual_pages_are_set_without_complaint() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("man1");
    let output = portico(&["man", folder.to_str().unwrap()], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let pages: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(pages.len() > 10, "{pages:?}");
    for page in &pages {
        let set = printed("groff", &["-man", "-Tutf8", "-ww", "-rLL=100n", "-P-cbou", page.to_str().unwrap()]);
        assert!(set.contains("NAME") && set.contains("SYNOPSIS") && set.contains("SEE ALSO"), "{page:?}: {set}");
    }
    let token = printed("groff", &["-man", "-Tutf8", "-P-cbou", folder.join("portico-token.1").to_str().unwrap()]);
    let example = "  portico token --room kitchen --for 12h --url https://192.168.1.7:8780\n";
    assert!(token.contains(example), "an example can be copied: {token}");

    let output = portico(&["man", "/proc/nowhere"], &[]);
    assert_eq!(output.status.code(), Some(69));
    assert!(text(&output.stderr).contains("/proc/nowhere"));
}

#[test]
fn shells_complete_commands_and_options() {
    let dir = tempfile::tempdir().unwrap();
    let script = |shell: &str, name: &str| {
        let output = portico(&["completions", shell], &[]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        file(dir.path(), name, text(&output.stdout)).to_str().unwrap().to_owned()
    };
    let bash = script("bash", "portico.bash");
    let ask = "source \"$1\"; COMP_WORDS=(portico tok); COMP_CWORD=1; _portico portico tok portico; echo \"${COMPREPLY[@]}\"
               COMP_WORDS=(portico token --ri); COMP_CWORD=2; _portico portico --ri token; echo \"${COMPREPLY[@]}\"";
    assert_eq!(printed("bash", &["--norc", "-c", ask, "bash", &bash]), "token\n--rights\n");

    let fish = script("fish", "portico.fish");
    let ask = format!("source {fish}; complete -C 'portico tok'; complete -C 'portico token --ri'");
    let told = printed("fish", &["--no-config", "-c", &ask]);
    let words: Vec<&str> = told.lines().filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(words, ["token", "--rights"], "{told}");

    // zsh completes only at a terminal: here it reads the script, and knows it as the one for portico
    let zsh = script("zsh", "_portico");
    printed("zsh", &["-f", "-n", &zsh]);
    let ask = format!("fpath=({} $fpath); autoload -Uz compinit; compinit -u -D; print $_comps[portico]", dir.path().display());
    assert_eq!(printed("zsh", &["-f", "-c", &ask]), "_portico\n");
    assert_eq!(portico(&["completions", "cmd.exe"], &[]).status.code(), Some(64));
}

#[test]
fn token_signs_what_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let secret = file(dir.path(), "secret", "sixteen characters or more\n");
    let arguments =
        ["token", "--secret-file", secret.to_str().unwrap(), "--room", "kitchen", "--rights", "subscribe", "--for", "1h"];
    let output = portico(&[&arguments[..], &["--json", "--url", "https://h:1", "--user-id", "u1"]].concat(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let token = told["token"].as_str().unwrap();
    assert_eq!(told["url"].as_str().unwrap(), format!("https://h:1/?room=kitchen#token={token}"));

    let config = portico::ops::access::AccessConfig { token_secret_file: Some(secret.clone()), ..Default::default() };
    let access = portico::ops::access::Access::new(&config, false).unwrap();
    let grant = access.grant("192.168.1.7".parse().unwrap(), Some(token), std::time::SystemTime::now()).unwrap();
    let room = |name| portico::vocab::RoomId::new(name).unwrap();
    assert!(grant.allows(&room("kitchen"), portico::vocab::Right::Subscribe));
    assert!(!grant.allows(&room("kitchen"), portico::vocab::Right::Publish));
    assert!(!grant.allows(&room("hall"), portico::vocab::Right::Subscribe));
    use portico::vocab::BearerCheck;
    assert_eq!(access.check(std::time::SystemTime::now(), token).unwrap().user_id, "u1");

    // the same secret, from the configuration; only the token is printed
    let config = file(dir.path(), "portico.toml", &format!("[access]\ntoken_secret_file = {:?}\n", secret.to_str().unwrap()));
    let output = portico(&["token", "--config", config.to_str().unwrap()], &[]);
    assert_eq!(text(&output.stdout).trim().split('.').count(), 3);
}

#[test]
fn join_links_are_for_the_configured_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let secret = file(dir.path(), "secret", "sixteen characters or more\n");
    let state = dir.path().join("state");
    let config = |listen: &str| {
        let text = format!(
            "[http]\nlisten = \"{listen}\"\n[access]\ntoken_secret_file = {:?}\n[tls]\nstate_dir = {:?}\n",
            secret.to_str().unwrap(),
            state.to_str().unwrap()
        );
        file(dir.path(), "portico.toml", &text).to_str().unwrap().to_owned()
    };
    let join = |config: &str, more: &[&str]| portico(&[&["token", "--join", "--config", config], more].concat(), &[]);

    // an address as it stands in the configuration, whether the machine has it or not
    let elsewhere = config("192.0.2.7:9443");
    let told = join(&elsewhere, &["--room", "kitchen"]);
    assert_eq!(told.status.code(), Some(0), "{}", text(&told.stderr));
    let mut lines = text(&told.stdout).lines();
    let link = lines.next().expect("a link");
    assert!(link.starts_with("https://192.0.2.7:9443/?room=kitchen#token="), "{link}");
    let code: Vec<&str> = lines.collect();
    assert!(code.len() > 20 && code.iter().all(|line| line.chars().all(|c| " █▀▄".contains(c))), "{code:?}");
    assert!(!state.exists(), "no certificate is made");

    let told: Value = serde_json::from_slice(&join(&elsewhere, &["--json"]).stdout).unwrap();
    assert_eq!(told["urls"].as_array().unwrap(), &[told["url"].clone()]);
    assert_eq!(told["rights"], serde_json::json!(["publish", "subscribe"]));
    let told = join(&elsewhere, &["--url", "https://door.example"]);
    assert!(text(&told.stdout).starts_with("https://door.example/#token="), "{}", text(&told.stdout));

    let told = join(&config("127.0.0.1:9443"), &[]);
    assert_eq!(text(&told.stdout).lines().count(), 1, "{}", text(&told.stdout));
    assert!(text(&told.stderr).contains("only this machine can open it"), "{}", text(&told.stderr));
    let told = join(&config("0.0.0.0:0"), &[]);
    assert_eq!(told.status.code(), Some(64));
    assert!(text(&told.stderr).contains("--url"), "{}", text(&told.stderr));
}

#[test]
fn token_without_a_secret_says_how_to_make_one() {
    let dir = tempfile::tempdir().unwrap();
    let config = file(dir.path(), "portico.toml", "");
    let output = portico(&["token", "--config", config.to_str().unwrap()], &[]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("openssl rand -base64 32"));
    let output = portico(&["token", "--secret-file", "/nowhere"], &[]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("/nowhere cannot be read: No such file"));
}
