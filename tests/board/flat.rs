//! Viewers that come and go: what they took is given back.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clients::{members, page_joined};
use crate::service::{BASE, Service};
use crate::support::PATIENCE;
use crate::whep::Viewer;
use crate::{camera, config, only_user, stable, until, watch};

/// Joins and leaves, all told, of viewers and as many of members by websocket.
const ALL: usize = 200;
/// By then everything is there that is made once: threads, buffers, caches.
const WARM: usize = 50;
/// So many come at once, since most of a join is waiting.
const AT_ONCE: usize = 10;
/// Most that the resident memory may grow by in the 150 after that. A viewer takes about 400 kB while it is there, so that
/// ten of them left behind are seen; a kilobyte each is not.
const MOST_GROWTH_KB: u64 = 4096;
/// Pictures of the camera that wait for the encoder: `v4l2src` asks the driver for one more when all it has are in use, up to
/// the 32 of `VIDEO_MAX_FRAME`, and keeps it. How many there are depends on how late the encoder was, not on the viewers.
const CAMERA_BUFFER: &str = "/dmabuf";
const MOST_CAMERA_BUFFERS: usize = 32;

/// What a process has.
struct Holdings {
    /// Open files but the camera's buffers.
    files: usize,
    /// What they are: how many of each kind.
    kinds: BTreeMap<String, usize>,
    threads: u64,
    resident_kb: u64,
}

impl Holdings {
    fn of(pid: &str) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("the kernel tells it");
            line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
        };
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").flatten();
        let mut kinds = BTreeMap::new();
        for link in open.filter_map(|entry| std::fs::read_link(entry.path()).ok()) {
            let kind = link.to_string_lossy().split('[').next().unwrap_or_default().trim_end_matches(':').to_owned();
            *kinds.entry(kind).or_default() += 1;
        }
        let buffers = kinds.get(CAMERA_BUFFER).copied().unwrap_or_default();
        assert!(buffers <= MOST_CAMERA_BUFFERS, "{buffers} buffers of one camera");
        Self { files: kinds.values().sum::<usize>() - buffers, kinds, threads: number("Threads:"), resident_kb: number("VmRSS:") }
    }
}

/// So many viewers of the camera see a picture and leave; so many members come and leave by websocket.
fn come_and_go(count: usize) {
    let one = || {
        let viewer = Viewer::join(BASE, "/whep/main/camera");
        viewer.frame();
        viewer.leave();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut page = page_joined(BASE, "main").await;
            page.0.close(None).await.expect("it says goodbye");
            page.closed().await;
        });
    };
    assert_eq!(count % AT_ONCE, 0);
    for _ in 0..count / AT_ONCE {
        std::thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(one))));
    }
}

#[test]
#[ignore = "needs systemd and the vivid camera of the test VM, which it changes: make test-board"]
fn two_hundred_joins_and_leaves_leave_nothing_behind() {
    let _camera = only_user();
    // the emulated processor cannot make ten joins at a time beside the encoder: strain would turn viewers away, rightly
    let config = config(&[("camera", &stable(&camera()))]) + "\n[strain]\nenabled = false\n";
    let service = Service::install(&config, "");
    service.start();
    let pid = service.show("MainPID");
    // stays all the time: v4l2src of Debian 12 (1.22.0) keeps a descriptor each time that a camera is opened
    let stays = watch(BASE, "/whep/main/camera");
    come_and_go(WARM);
    // threads for files end after 10 s without work; sockets close when both ends have
    std::thread::sleep(Duration::from_secs(12));
    let warm = Holdings::of(&pid);
    come_and_go(ALL - WARM);
    let told = || {
        let now = Holdings::of(&pid);
        let (files, threads) = ((warm.files, now.files), (warm.threads, now.threads));
        format!("files {} → {} ({:?} → {:?}), threads {} → {}", files.0, files.1, warm.kinds, now.kinds, threads.0, threads.1)
    };
    let limit = std::time::Instant::now() + PATIENCE;
    let settled = || {
        let now = Holdings::of(&pid);
        now.files <= warm.files && now.threads <= warm.threads
    };
    while !settled() {
        if std::time::Instant::now() >= limit {
            panic!("{}", told());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let growth = Holdings::of(&pid).resident_kb.saturating_sub(warm.resident_kb);
    eprintln!("{ALL} joins and leaves: {}, resident {} kB, {growth} kB more", told(), warm.resident_kb);
    assert!(growth < MOST_GROWTH_KB, "{growth} kB more than after {WARM}");
    stays.forget();
    stays.take(5);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let here = |dialect| runtime.block_on(members(BASE, "main", dialect)).len();
    until("the members are gone", || (here("whep"), here("page")) == (1, 0));
}
