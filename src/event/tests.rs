//! The whole of it without a far end: what waits, what is told of it, how it ends.

use std::time::Duration;

use super::config::{SinkConfig, SinkKind, WebhookConfig};
use super::home::Listing;
use super::*;
use crate::room::{DialectName, Facts};
use crate::vocab::{MemberId, RoomId};

/// A sink at an address where nobody is.
fn away(folder: &std::path::Path) -> SinkConfig {
    // the program does so first of all; a second time does nothing
    let _ = rustls::crypto::ring::default_provider().install_default();
    let secret_file = folder.join("secret");
    std::fs::write(&secret_file, "a secret of more than sixteen characters").unwrap();
    let url = "http://127.0.0.1:1/hook".into();
    let hook = WebhookConfig { url, secret_file, timeout: Duration::from_secs(1), ca: None };
    SinkConfig { name: "away".into(), kind: SinkKind::Webhook(hook) }
}

/// Alone in the world.
fn start(config: &EventsConfig, tasks: &TaskTracker, stop: &CancellationToken) -> Events {
    let look = Arc::new(|| Box::pin(async { Vec::new() }) as _);
    let around = Surroundings {
        video_cap: Bitrate::from_bps(1),
        listing: Listing::default(),
        look,
        take: Arc::new(|_, _| Box::pin(async { None })),
    };
    Events::start(config, around, tasks, stop.clone())
}

fn joined(number: u8) -> Report {
    Report::MemberJoined {
        room: RoomId::new("r").unwrap(),
        member: MemberId([number; 16]),
        dialect: DialectName::Tribe,
        user_id: "u".into(),
        size: 1,
        remote: None,
        visible: true,
        facts: Facts::default(),
    }
}

/// Looks until it is so.
async fn until(events: &Events, fits: impl Fn(&EventFigures) -> bool) -> EventFigures {
    let mut last = EventFigures::default();
    for _ in 0..600 {
        last = events.figures().await;
        if fits(&last) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{last:?}");
}

async fn end(tasks: TaskTracker, stop: CancellationToken) {
    stop.cancel();
    tasks.close();
    tokio::time::timeout(Duration::from_secs(30), tasks.wait()).await.expect("it ends");
}

#[tokio::test]
async fn a_store_that_cannot_be_used_is_a_state_and_events_wait() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("blocked");
    std::fs::write(&blocked, "a file where a folder should be").unwrap();
    let config =
        EventsConfig { store_dir: Some(blocked.join("store")), sink: vec![away(folder.path())], ..EventsConfig::default() };
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let events = start(&config, &tasks, &stop);
    for number in 0..5 {
        events.report(&joined(number));
    }
    let seen = until(&events, |seen| seen.store_error.is_some()).await;
    assert!(seen.store_error.as_deref().is_some_and(|why| why.contains("blocked/store")), "{seen:?}");
    assert_eq!((seen.lost, seen.store_bytes), (0, 0));
    // the operator makes room
    std::fs::remove_file(&blocked).unwrap();
    let seen = until(&events, |seen| seen.store_error.is_none() && seen.sinks[0].backlog >= 5).await;
    assert!(seen.store_bytes > 0 && seen.made.iter().any(|made| made.name == EventName::RoomJoin && made.count == 5), "{seen:?}");
    end(tasks, stop).await;
}

#[tokio::test]
async fn what_is_reported_last_is_stored_and_is_there_after_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let store_dir = Some(folder.path().join("store"));
    let config = EventsConfig { store_dir, sink: vec![away(folder.path())], ..EventsConfig::default() };
    let begin = || {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let events = start(&config, &tasks, &stop);
        (events, tasks, stop)
    };
    let (events, tasks, stop) = begin();
    for number in 0..3 {
        events.report(&joined(number));
    }
    // at once: nothing was looked at meanwhile
    end(tasks, stop).await;
    let (events, tasks, stop) = begin();
    let seen = until(&events, |seen| seen.sinks[0].backlog == 3 && seen.sinks[0].error.is_some()).await;
    assert!(!seen.sinks[0].connected && seen.sinks[0].confirmed == 0, "{seen:?}");
    end(tasks, stop).await;
}

#[tokio::test]
async fn without_a_sink_nothing_is_made_or_stored() {
    let folder = tempfile::tempdir().unwrap();
    let config = EventsConfig { store_dir: Some(folder.path().join("store")), ..EventsConfig::default() };
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let events = start(&config, &tasks, &stop);
    events.report(&joined(1));
    let seen = events.figures().await;
    assert!(seen.made.is_empty() && seen.sinks.is_empty() && !folder.path().join("store").exists(), "{seen:?}");
    end(tasks, stop).await;
}

#[tokio::test]
async fn sinks_come_go_and_change_while_it_runs_and_those_that_stay_keep_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let none = EventsConfig { store_dir: Some(folder.path().join("store")), ..EventsConfig::default() };
    let named = |name: &str| SinkConfig { name: name.into(), ..away(folder.path()) };
    let with = |sinks: &[SinkConfig]| EventsConfig { sink: sinks.to_vec(), ..none.clone() };
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let events = start(&none, &tasks, &stop);
    let change = async |config: &EventsConfig| events.configure(config, Bitrate::from_bps(1), Listing::default()).await;
    let backlogs = |seen: &EventFigures| seen.sinks.iter().map(|sink| (sink.name.clone(), sink.backlog)).collect::<Vec<_>>();
    let are = async |expected: &[(&str, u64)]| {
        let expected: Vec<(String, u64)> = expected.iter().map(|(name, backlog)| ((*name).to_owned(), *backlog)).collect();
        until(&events, |seen| backlogs(seen) == expected).await
    };
    events.report(&joined(1));
    // the first sink, then a second: each wants what comes from then on
    assert!(!change(&with(&[named("a")])).await);
    are(&[("a", 0)]).await;
    events.report(&joined(2));
    are(&[("a", 1)]).await;
    change(&with(&[named("a"), named("b")])).await;
    events.report(&joined(3));
    are(&[("a", 2), ("b", 1)]).await;
    // another address, another order: its place stays
    let mut moved = named("a");
    if let SinkKind::Webhook(hook) = &mut moved.kind {
        hook.url = "http://127.0.0.1:1/other".into();
    }
    change(&with(&[named("b"), moved.clone()])).await;
    events.report(&joined(4));
    are(&[("b", 2), ("a", 3)]).await;
    // one goes; when it comes back it begins anew
    change(&with(&[moved.clone()])).await;
    are(&[("a", 3)]).await;
    change(&with(&[moved.clone(), named("b")])).await;
    are(&[("a", 3), ("b", 0)]).await;
    // where events are kept is left to the next start
    let elsewhere = EventsConfig { store_dir: Some(folder.path().join("elsewhere")), ..with(&[moved.clone()]) };
    assert!(change(&elsewhere).await);
    are(&[("a", 3)]).await;
    assert!(!folder.path().join("elsewhere").exists());
    end(tasks, stop).await;
    // and the places are what a start finds
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let events = start(&with(&[moved]), &tasks, &stop);
    until(&events, |seen| backlogs(seen) == [("a".to_owned(), 3)]).await;
    end(tasks, stop).await;
}

/// Names the folder that is a small file system to [`on_a_small_disk`].
const SMALL_DISK: &str = "PORTICO_TEST_SMALL_DISK";

#[test]
fn a_really_full_disk_costs_only_what_memory_cannot_hold_and_that_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    // in a mount namespace of its own: nothing of it is left, however the test ends
    let on_small_disk = |program: &std::path::Path, args: &[&str]| {
        let mut command = std::process::Command::new("unshare");
        command.args(["-m", "sh", "-c", "mount -t tmpfs -o size=256k portico-test \"$0\" && exec \"$@\""]);
        command.arg(folder.path()).arg(program).args(args).env(SMALL_DISK, folder.path()).output()
    };
    if !on_small_disk("true".as_ref(), &[]).is_ok_and(|output| output.status.success()) {
        eprintln!("not tested here: a full disk takes root and mount namespaces");
        return;
    }
    let name = "event::tests::on_a_small_disk";
    let inside = on_small_disk(&std::env::current_exe().unwrap(), &["--exact", name, "--ignored", "--nocapture"]).unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&inside.stdout), String::from_utf8_lossy(&inside.stderr));
    assert!(inside.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
#[ignore = "run by the test above, on a small disk"]
async fn on_a_small_disk() {
    let disk = PathBuf::from(std::env::var_os(SMALL_DISK).expect("run by the test above"));
    let folder = tempfile::tempdir().unwrap();
    // somebody else has filled it nearly
    let others = disk.join("others");
    std::fs::write(&others, vec![0; 128 << 10]).unwrap();
    let config = EventsConfig {
        store_dir: Some(disk.join("store")),
        sink: vec![away(folder.path())],
        // not told in between
        live_interval: Duration::from_secs(3600),
        ..EventsConfig::default()
    };
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let events = start(&config, &tasks, &stop);
    // some reach the disk, then it is full
    let mut made = 0;
    while events.figures().await.store_error.is_none() {
        assert!(made < 5000, "it is never full");
        (0..50).for_each(|_| events.report(&joined(1)));
        made += 50;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let full = events.figures().await;
    assert!(full.store_error.as_deref().is_some_and(|why| why.contains("No space left")), "{full:?}");
    assert_eq!(full.lost, 0, "memory holds the rest");
    // more than memory holds
    let more = maker::MOST_WAITING as u64 + 1000;
    (0..more).for_each(|_| events.report(&joined(1)));
    let memory = maker::MOST_WAITING as u64;
    // rooms are told once meanwhile as well
    let total = |seen: &EventFigures| seen.made.iter().map(|made| made.count).sum::<u64>();
    let seen = until(&events, |seen| seen.sinks[0].backlog + memory + seen.lost == total(seen)).await;
    assert!(seen.lost >= 1000 && seen.sinks[0].backlog > 0, "{seen:?}");
    // the others go, and there is more room
    std::fs::remove_file(&others).unwrap();
    let grown = std::process::Command::new("mount").args(["-o", "remount,size=64m"]).arg(&disk).status().unwrap();
    assert!(grown.success());
    // all that memory held is stored
    let whole = |seen: &EventFigures| seen.sinks[0].backlog + seen.lost == total(seen) && seen.store_error.is_none();
    let seen = until(&events, whole).await;
    assert!(seen.lost >= 1000 && seen.sinks[0].dropped == 0, "{seen:?}");
    end(tasks, stop).await;
}
