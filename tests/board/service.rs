//! The unit file, under a real systemd: what it may do, how it is watched over, reloaded, stopped and started by its socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::Value;

use crate::picture::decode;
use crate::support::PATIENCE;
use crate::vivid::Unplugged;
use crate::whep::{Viewer, get};
use crate::{PORTICO, camera, config, node, only_user, run, said, stable, text, until, watch};

pub const BASE: &str = "http://127.0.0.1:8780";
const CONFIG: &str = "/etc/portico/portico.toml";
/// Long enough for a busy machine with an emulated processor, short enough for a test.
const WATCHDOG: Duration = Duration::from_secs(10);

fn write(path: &str, content: &str) {
    std::fs::create_dir_all(Path::new(path).parent().expect("a folder")).expect("a folder is made");
    std::fs::write(path, content).unwrap_or_else(|error| panic!("{path}: {error}"));
}

fn done(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    let journal = || said(&run("journalctl", &["-u", "portico", "--no-pager", "-n", "50"]));
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{}", said(&output), journal());
    text(&output.stdout)
}

/// What a test of the service writes and the next must not find.
const TRACES: [&str; 6] = [
    CONFIG,
    "/etc/credstore/portico.token-secret",
    "/etc/systemd/system/portico.service",
    "/etc/systemd/system/portico.service.d/test.conf",
    "/etc/systemd/system/portico.socket",
    "/etc/systemd/system/portico.socket.d/test.conf",
];

/// The service as systemd/README.md installs it; stopped and taken away when dropped, so that a test that fails is the only one.
pub struct Service {
    /// Where the journal was when the test began, in microseconds since the boot.
    since: u64,
}

impl Service {
    pub fn install(config: &str, drop_in: &str) -> Self {
        // another test may run the same program now
        std::fs::write("/usr/bin/portico.new", std::fs::read(PORTICO).expect("portico")).expect("portico is copied");
        done("chmod", &["755", "/usr/bin/portico.new"]);
        done("mv", &["/usr/bin/portico.new", "/usr/bin/portico"]);
        for (path, content) in [
            (CONFIG, config),
            ("/usr/lib/sysusers.d/portico.conf", include_str!("../../systemd/portico.sysusers.conf")),
            ("/usr/lib/tmpfiles.d/portico.conf", include_str!("../../systemd/portico.tmpfiles.conf")),
            ("/usr/lib/udev/rules.d/60-portico.rules", include_str!("../../systemd/60-portico.rules")),
            ("/usr/lib/systemd/catalog/portico.catalog", include_str!("../../systemd/portico.catalog")),
            ("/etc/systemd/system/portico.service", include_str!("../../systemd/portico.service")),
            ("/etc/systemd/system/portico.socket", include_str!("../../systemd/portico.socket")),
            ("/etc/systemd/system/portico.service.d/test.conf", drop_in),
        ] {
            write(path, content);
        }
        done("systemd-sysusers", &[]);
        done("systemd-tmpfiles", &["--create", "portico.conf"]);
        done("udevadm", &["control", "--reload"]);
        done("udevadm", &["trigger", "--settle", "--subsystem-match=dma_heap", "--subsystem-match=video4linux"]);
        done("journalctl", &["--update-catalog"]);
        done("systemctl", &["daemon-reload"]);
        let last = done("journalctl", &["-n", "1", "-o", "json", "--no-pager"]);
        Self { since: time_of(&serde_json::from_str(&last).expect("JSON")) }
    }

    /// Starts it; returns when it is ready.
    pub fn start(&self) {
        // returns once READY=1 was sent: Type=notify
        done("systemctl", &["start", "portico"]);
        self.ready();
    }

    fn ready(&self) {
        // systemd is told once the gateway listens; its first look at the camera may still be under way
        until("the sources were looked at", || {
            TcpStream::connect("127.0.0.1:8780").is_ok() && get(BASE, "/readyz").status == 200
        });
    }

    pub fn show(&self, property: &str) -> String {
        done("systemctl", &["show", "-P", property, "portico"]).trim().to_owned()
    }

    /// What it said of sources and their encoders since the machine started.
    pub fn said_of_sources(&self) -> String {
        let lines = text(&run("journalctl", &["-b", "-u", "portico", "--no-pager"]).stdout);
        let words = ["source ", "source=", "branch", "codec failed", "layers follow"];
        let fits = |line: &&str| words.iter().any(|word| line.contains(word)) && !line.contains("path chosen");
        lines.lines().filter(fits).collect::<Vec<_>>().join("\n")
    }

    /// What the journal has of it since the test began and fits, as in `ROOM=main`.
    fn journal(&self, fits: &[&str]) -> Vec<Value> {
        // not --after-cursor: with a unit or a field, 252 leaves out the first entry that fits
        let lines = done("journalctl", &[&["-b", "-u", "portico", "-o", "json", "--no-pager"], fits].concat());
        let entries = lines.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        entries.filter(|entry| time_of(entry) > self.since).collect()
    }

    /// The newest entry that fits, as soon as there are so many.
    fn told(&self, count: usize, fits: &[&str]) -> Value {
        until(&format!("{count} times {fits:?} in the journal"), || self.journal(fits).len() >= count);
        self.journal(fits).pop().expect("it was there")
    }

    fn all(&self) -> String {
        let line = |line: &Value| format!("{}\n", line["MESSAGE"].as_str().unwrap_or("(bytes)"));
        self.journal(&[]).iter().map(line).collect()
    }

    /// Applies another configuration, and waits until it is in force; `count` counts the reloads.
    fn reload(&self, count: usize, config: &str) {
        write(CONFIG, config);
        done("systemctl", &["reload", "portico"]);
        self.told(count, &[&id_of("A changed configuration is in force")]);
        // it says when it begins and when it is done
        until("systemd knows that it is done", || self.show("ActiveState") == "active");
    }

    /// The ids of its threads of this name.
    pub fn threads(&self, name: &str) -> Vec<i32> {
        let tasks = format!("/proc/{}/task", self.show("MainPID"));
        let named = |id: &String| std::fs::read_to_string(format!("{tasks}/{id}/comm")).is_ok_and(|comm| comm.trim() == name);
        let all = std::fs::read_dir(&tasks).expect("it runs").flatten();
        let ids = all.map(|entry| entry.file_name().into_string().expect("a number"));
        ids.filter(named).map(|id| id.parse().expect("a number")).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "{}\n--- of sources\n{}",
                text(&run("journalctl", &["-u", "portico", "-n", "60", "--no-pager"]).stdout),
                self.said_of_sources()
            );
        }
        let _ = run("systemctl", &["stop", "portico.socket", "portico.service"]);
        let _ = run("systemctl", &["reset-failed", "portico.service"]);
        for trace in TRACES {
            let _ = std::fs::remove_file(trace);
        }
        let _ = run("systemctl", &["daemon-reload"]);
    }
}

fn time_of(entry: &Value) -> u64 {
    entry["__MONOTONIC_TIMESTAMP"].as_str().and_then(|time| time.parse().ok()).expect("a time")
}

/// `MESSAGE_ID=…` of the message with this subject in the catalog.
fn id_of(subject: &str) -> String {
    let catalog = include_str!("../../systemd/portico.catalog");
    let end = catalog.find(&format!("Subject: {subject}\n")).unwrap_or_else(|| panic!("no {subject:?} in the catalog"));
    let id = catalog[..end].trim_end().rsplit("-- ").next().expect("an id stands before it");
    format!("MESSAGE_ID={id}")
}

#[test]
#[ignore = "needs systemd and the vivid camera of the test VM, which it changes: make test-board"]
fn unit_file_runs_the_gateway_with_camera_and_journal() {
    let _camera = only_user();
    let camera = camera();
    done("modprobe", &["snd-aloop"]);
    done("udevadm", &["settle"]);
    // a node that its mode leaves open to all and the unit does not
    done("cp", &["-a", "/dev/vda", "/dev/anybody"]);
    done("chmod", &["666", "/dev/anybody"]);
    let nodes = [&node(&camera).display().to_string(), "/dev/dma_heap/system", "/dev/snd/controlC0", "/dev/snd/timer"];
    let script = format!(
        "for node in {} /dev/anybody; do if ( : <>$node ) 2>/dev/null; then echo opens $node; else echo refused $node; fi; done\n\
         chrt -f 10 true && echo real-time\n",
        nodes.join(" ")
    );
    write("/etc/portico/look", &script);
    let service =
        Service::install(&config(&[("camera", &stable(&camera))]), "[Service]\nExecStartPre=/bin/sh /etc/portico/look\n");
    assert_eq!(said(&run("systemd-analyze", &["verify", "--man=no", "portico.service"])), "exit status: 0\n", "without fault");
    service.start();
    let inside = service.all();
    for node in nodes {
        assert!(inside.contains(&format!("opens {node}\n")), "{node}:\n{inside}");
    }
    assert!(inside.contains("refused /dev/anybody\n") && inside.contains("real-time\n"), "{inside}");
    // SCHED_RR is 2 (sched(7)); fields 40 and 41 of proc_pid_stat(5), counted behind the name, which may have spaces
    for thread in service.threads("media-0") {
        let stat = std::fs::read_to_string(format!("/proc/{thread}/stat")).expect("it lives");
        let fields: Vec<&str> = stat.rsplit(") ").next().expect("a name").split(' ').collect();
        assert_eq!(fields[37..39], ["10", "2"], "{stat}");
    }
    let user = text(&run("stat", &["-c", "%U", &format!("/proc/{}", service.show("MainPID"))]).stdout);
    assert_eq!(user, "portico\n");
    watch(BASE, "/whep/main/camera").leave();
    until("the status says how it is", || {
        let status = service.show("StatusText");
        status.starts_with("ready; 1 room, ") && status.contains("sources: ")
    });

    // stopped while somebody watches
    let viewer = watch(BASE, "/whep/main/camera");
    done("systemctl", &["stop", "portico"]);
    let shown = done("systemctl", &["show", "-P", "Result", "-P", "ExecMainStatus", "-P", "NRestarts", "portico"]);
    assert_eq!(shown.split_whitespace().collect::<Vec<_>>(), ["success", "0", "0"], "not timeout, which is 5 s");
    drop(viewer);

    let lines = service.journal(&[]);
    let place = |start: &str, dialect: Option<&str>| {
        let fits = |line: &Value| {
            line["MESSAGE"].as_str().is_some_and(|message| message.starts_with(start)) && line["DIALECT"].as_str() == dialect
        };
        lines.iter().position(fits).unwrap_or_else(|| panic!("no {start:?} in:\n{}", service.all()))
    };
    let (came, went) = (place("member joined", Some("whep")), place("member left", Some("whep")));
    let joined = &lines[came];
    assert_eq!((&joined["ROOM"], &joined["PRIORITY"]), (&"main".into(), &"5".into()), "{joined:#}");
    assert_eq!(lines[went]["MEMBER"], joined["MEMBER"]);
    let member = joined["MEMBER"].as_str().filter(|member| !member.is_empty()).expect("a member");
    assert_eq!(joined["_SYSTEMD_UNIT"], "portico.service");
    let order = [place("Starting ", None), place("listening", None), place("Started ", None), came, went];
    assert!(order.is_sorted(), "{order:?}:\n{}", service.all());
    // found by its field, and by what happened
    let of_member = service.journal(&[&format!("MEMBER={member}")]);
    assert!(of_member.len() >= 2 && of_member.iter().all(|line| line["MEMBER"] == member), "{of_member:#?}");
    let (id, member) = (id_of("A member joined room @ROOM@"), format!("MEMBER={member}"));
    assert_eq!(service.journal(&[&id, &member]).len(), 1);
    let explained = done("journalctl", &["-u", "portico", "-x", "--no-pager", &id, &member]);
    assert!(explained.contains("Subject: A member joined room main"), "{explained}");
}

/// Holds a thread of another program until that program is ended.
fn hold(thread: i32) -> JoinHandle<()> {
    let thread = Pid::from_raw(thread);
    std::thread::spawn(move || {
        ptrace::seize(thread, ptrace::Options::empty()).expect("root may trace it");
        ptrace::interrupt(thread).expect("it is stopped");
        // its end is told to who holds it
        while !matches!(
            waitpid(thread, Some(WaitPidFlag::__WALL)),
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(_)
        ) {}
    })
}

#[test]
#[ignore = "needs systemd and the vivid camera of the test VM, which it changes: make test-board"]
fn watchdog_restarts_a_gateway_that_hangs_and_no_other() {
    let _camera = only_user();
    let camera = stable(&camera());
    let drop_in = format!("[Service]\nWatchdogSec={}\n", WATCHDOG.as_secs());
    let service = Service::install(&config(&[("camera", &camera)]), &drop_in);
    service.start();

    // a camera that is away for longer than the watchdog waits, with somebody who watches
    let viewer = watch(BASE, "/whep/main/camera");
    let unplugged = Unplugged::new();
    let failed = service.told(1, &[&id_of("Source @SOURCE@ failed")]);
    assert_eq!(failed["SOURCE"], "camera", "{failed:#}");
    until("the status says so", || service.show("StatusText").contains("camera failed ("));
    std::thread::sleep(WATCHDOG * 3 / 2);
    assert_eq!((service.show("NRestarts").as_str(), service.show("ActiveState").as_str()), ("0", "active"));
    drop(unplugged);
    service.told(1, &[&id_of("Source @SOURCE@ runs again")]);
    viewer.forget();
    viewer.take(5);
    drop(viewer);
    assert_eq!(service.journal(&[&id_of("Portico is not well")]).len(), 0, "{}", service.all());

    // a thread that does not go on
    let pid = service.show("MainPID");
    let [thread] = service.threads("media-0")[..] else { panic!("one media thread") };
    let held = hold(thread);
    let trouble = service.told(1, &[&id_of("Portico is not well")]);
    assert!(trouble["TROUBLE"].as_str().is_some_and(|text| text.starts_with("the media thread has not answered")), "{trouble:#}");
    until("systemd has started it again", || service.show("NRestarts") == "1" && service.show("ActiveState") == "active");
    held.join().expect("the held thread has ended");
    assert_ne!(service.show("MainPID"), pid);
    service.ready();
    watch(BASE, "/whep/main/camera").leave();
}

#[test]
#[ignore = "needs systemd and the vivid camera of the test VM, which it changes: make test-board"]
fn reload_changes_one_source_and_viewers_of_another_see_no_gap() {
    let _camera = only_user();
    let camera = stable(&camera());
    let small = config(&[("camera", &camera)]);
    let large = small.replacen("width = 320\nheight = 180", "width = 640\nheight = 360", 1).replace("'other'", "'still'");
    // the untouched one keeps its name
    let large = large.replace("\"other\"", "\"other\", \"still\"")
        + "[[source]]\nname = 'other'\ntype = 'test'\nwidth = 160\nheight = 120\nframerate = 5\ntone = 0\nbitrate = 200000\n";
    let service = Service::install(&small, "");
    service.start();
    let (pid, other) = (service.show("MainPID"), Viewer::join_when_ready(BASE, "/whep/main/other"));
    let changed = watch(BASE, "/whep/main/camera");
    let mut frames = other.take(3);
    let threads = service.threads("src-other");
    assert_eq!(threads.len(), 1);

    service.reload(1, &large);
    // the same connection shows the larger picture, from a key frame on
    let limit = Instant::now() + PATIENCE;
    let width = loop {
        assert!(Instant::now() < limit, "the camera's picture did not change:\n{}", service.all());
        let group = changed.take(10);
        let Some(key) = group.iter().position(|frame| frame.is_key()) else { continue };
        let width = decode(&group[key..]).last().expect("a picture").width;
        if width != 320 {
            break width;
        }
    };
    assert_eq!(width, 640);
    Viewer::join_when_ready(BASE, "/whep/main/still").leave();
    // a source taken away ends for those who watch it, and for nobody else
    service.reload(2, &config(&[]));
    let refused = Viewer::try_join(BASE, "/whep/main/camera").err().expect("the camera is gone");
    assert_eq!(refused.json()["code"], "unknown_stream");
    frames.extend(other.take(10));

    assert_eq!(service.threads("src-other"), threads, "the pipeline of the other source is the same");
    assert_eq!(service.show("MainPID"), pid);
    let steps: Vec<i32> = frames.windows(2).map(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp) as i32).collect();
    // 5 pictures a second are 18000 apart; an emulated processor may skip some, and a stream that began anew would go back
    assert!(steps.iter().all(|step| *step > 0 && *step < 10 * 90_000), "{steps:?}");
    assert!(!service.all().contains("source changed source=other"), "{}", service.all());

    // what is wrong changes nothing
    write(CONFIG, "[[source]]\nname = 'other'\n");
    done("systemctl", &["reload", "portico"]);
    service.told(1, &[&id_of("The changed configuration has errors")]);
    other.forget();
    other.take(5);
}

#[test]
#[ignore = "needs systemd and the vivid camera of the test VM, which it changes: make test-board"]
fn socket_starts_the_gateway_which_gets_its_secret_from_systemd() {
    let _camera = only_user();
    let access = "[access]\ntoken_secret_file = 'portico.token-secret'\nanonymous = ['subscribe']\n";
    let service = Service::install(&format!("{access}{}", config(&[])), "");
    write("/etc/systemd/system/portico.socket.d/test.conf", "[Socket]\nListenStream=\nListenStream=127.0.0.1:8780\n");
    done("systemctl", &["daemon-reload"]);
    write("/etc/credstore/portico.token-secret", "of this test alone, and long enough\n");
    done("chmod", &["600", "/etc/credstore/portico.token-secret"]);
    done("systemctl", &["start", "portico.socket"]);
    assert_eq!(service.show("ActiveState"), "inactive");
    // the caller waits and is answered
    assert_eq!(get(BASE, "/healthz").status, 200);
    until("it is started", || service.show("ActiveState") == "active");
    assert!(["401", "403"].contains(&metrics(None).as_str()));
    let token = done("portico", &["token", "--rights", "control", "--config", CONFIG]);
    assert_eq!(metrics(Some(token.trim())), "200");
    // the socket stays, and the next caller starts it again
    done("systemctl", &["stop", "portico"]);
    assert_eq!(service.show("ActiveState"), "inactive");
    assert_eq!(get(BASE, "/healthz").status, 200);
}

/// The status of `/metrics`, asked with a token or without.
fn metrics(token: Option<&str>) -> String {
    let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let mut stream = TcpStream::connect("127.0.0.1:8780").expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let head = format!("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:8780\r\nConnection: close\r\n{bearer}\r\n");
    stream.write_all(head.as_bytes()).expect("it is asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.split(' ').nth(1).expect("a status").to_owned()
}
