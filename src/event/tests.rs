//! The whole of it without a far end: what waits, what is told of it, how it ends.

use std::time::Duration;

use super::config::{SinkConfig, SinkKind, WebhookConfig};
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
    let events = Events::start(&config, Bitrate::from_bps(1), &tasks, stop.clone()).unwrap();
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
    let start = || {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let events = Events::start(&config, Bitrate::from_bps(1), &tasks, stop.clone()).unwrap();
        (events, tasks, stop)
    };
    let (events, tasks, stop) = start();
    for number in 0..3 {
        events.report(&joined(number));
    }
    // at once: nothing was looked at meanwhile
    end(tasks, stop).await;
    let (events, tasks, stop) = start();
    let seen = until(&events, |seen| seen.sinks[0].backlog == 3 && seen.sinks[0].error.is_some()).await;
    assert!(!seen.sinks[0].connected && seen.sinks[0].confirmed == 0, "{seen:?}");
    end(tasks, stop).await;
}

#[tokio::test]
async fn without_a_sink_nothing_is_started() {
    let tasks = TaskTracker::new();
    assert!(Events::start(&EventsConfig::default(), Bitrate::from_bps(1), &tasks, CancellationToken::new()).is_none());
    assert!(tasks.is_empty());
}
