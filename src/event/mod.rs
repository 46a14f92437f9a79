//! Events leave the gateway: who joins and leaves which room, and which rooms live, for a broker.
//!
//! ```text
//! hub ─ report ─► maker ─► keeper ─► store (disk) ─► publisher ─► sink ─► RabbitMQ, MQTT, a web server
//!                 (PURE)   (thread)                  (PURE)       (task)     │ confirmed
//!                                       store ◄──── its place moves ◄────────┘
//! ```
//!
//! An event is written to disk before anybody sends it, and forgotten when every sink has had it confirmed. A broker that is away
//! costs disk up to a limit; it costs no memory, and rooms never wait. `docs/design/events.md` has the rules.

pub mod check;
pub mod config;
mod credential;
mod keeper;
mod maker;
mod publisher;
mod record;
mod sink;
mod store;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

pub use config::EventsConfig;
pub use record::EventName;

use crate::room::Report;
use crate::vocab::Bitrate;
use keeper::{Desk, Keeper, Order, StorePort};
use maker::{Habits, Maker};
use record::WallMs;
use sink::SharedStatus;
use store::Limits;

/// Rooms and sources are seated before they are told for the first time.
const SETTLE: Duration = Duration::from_secs(1);
/// A store that does not answer in this time has nothing to show.
const PATIENCE: Duration = Duration::from_secs(1);
/// What the last members' leaving has caused is stored within this time, or is left to luck.
const FLUSH_LIMIT: Duration = Duration::from_millis(300);

/// What the keeper works by.
#[derive(Clone, Debug)]
struct Settings {
    directory: PathBuf,
    limits: Limits,
    sync_interval: Duration,
}

/// How many events of a name were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventCount {
    /// The name.
    pub name: EventName,
    /// How many.
    pub count: u64,
}

/// How events stand.
#[derive(Clone, Debug, Default)]
pub struct EventFigures {
    /// Bytes on disk.
    pub store_bytes: u64,
    /// Why nothing can be stored now.
    pub store_error: Option<String>,
    /// Events that never reached the store.
    pub lost: u64,
    /// Events made since the start, by name.
    pub made: Vec<EventCount>,
    /// The sinks, as configured.
    pub sinks: Vec<SinkFigures>,
}

/// How a sink stands.
#[derive(Clone, Debug)]
pub struct SinkFigures {
    /// Its name.
    pub name: String,
    /// `amqp`, `mqtt` or `webhook`.
    pub kind: &'static str,
    /// Whether it takes events now.
    pub connected: bool,
    /// Why not.
    pub error: Option<String>,
    /// Stored events it has not confirmed.
    pub backlog: u64,
    /// Age of the oldest of them.
    pub oldest_age: Option<Duration>,
    /// Events it has confirmed since the start.
    pub confirmed: u64,
    /// Those among them that nobody there wanted.
    pub unrouted: u64,
    /// Events it will never take, left out since the start.
    pub refused: u64,
    /// Events that were dropped because the store was full or they were too old, since the start.
    pub dropped: u64,
}

struct SinkHandle {
    name: String,
    kind: &'static str,
    status: SharedStatus,
}

/// Takes reports and tells how it stands. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    desk: Desk,
    orders: mpsc::Sender<Order>,
    sinks: std::sync::Arc<[SinkHandle]>,
}

impl Events {
    /// Starts the store and the sinks; `None` when no sink is configured. `video_cap` is what tribe clients are sent at most. Ends
    /// some time after `stop`; whoever stops the gateway waits for `tasks`.
    pub fn start(config: &EventsConfig, video_cap: Bitrate, tasks: &TaskTracker, stop: CancellationToken) -> Option<Self> {
        if config.sink.is_empty() {
            return None;
        }
        let habits = Habits { live_interval: config.live_interval, extended: config.extended, video_cap };
        let desk = Desk::new(Maker::new(Instant::now() + SETTLE, habits));
        let (orders, ordered) = mpsc::channel();
        let (tell_head, head) = watch::channel(None);
        let settings = Settings {
            directory: config.store_dir(),
            limits: Limits { max_bytes: config.max_bytes, max_age: config.max_age },
            sync_interval: config.sync_interval,
        };
        let names: Vec<String> = config.sink.iter().map(|sink| sink.name.clone()).collect();
        let keeper = Keeper::new(settings, names, desk.clone(), tell_head);
        let keeping = tasks.spawn_blocking(move || keeper.run(&ordered));

        let sending = TaskTracker::new();
        let end = CancellationToken::new();
        let mut sinks = Vec::new();
        for config in &config.sink {
            let (name, kind, status) = (config.name.clone(), config.kind.as_str(), SharedStatus::default());
            match sink::build(config) {
                Some(sink) => {
                    let port = StorePort { orders: orders.clone(), head: head.clone() };
                    sending.spawn(sink::run(name.clone(), sink, port, status.clone(), end.clone()));
                }
                // `portico check` says so too
                None => error!(sink = name, kind, "events: this build has no such sinks"),
            }
            sinks.push(SinkHandle { name, kind, status });
        }
        sending.close();

        let events = Self { desk, orders, sinks: sinks.into() };
        let to_keeper = events.orders.clone();
        tasks.spawn(async move {
            stop.cancelled().await;
            // what the last leaving members caused is on disk before sinks are asked to come to an end
            let (reply, flushed) = oneshot::channel();
            let _ = to_keeper.send(Order::Flush { reply });
            let _ = tokio::time::timeout(FLUSH_LIMIT, flushed).await;
            end.cancel();
            sending.wait().await;
            let _ = to_keeper.send(Order::Stop);
            let _ = keeping.await;
        });
        Some(events)
    }

    /// Something happened in a room. Never waits.
    pub fn report(&self, report: &Report) {
        let waiting = {
            let mut maker = self.desk.lock();
            maker.handle_report(WallMs::now(), report);
            maker.is_waiting()
        };
        if waiting {
            self.desk.wake(&self.orders);
        }
    }

    /// How it stands.
    pub async fn figures(&self) -> EventFigures {
        let (reply, answer) = oneshot::channel();
        let names = self.sinks.iter().map(|sink| sink.name.clone()).collect();
        let _ = self.orders.send(Order::Figures { sinks: names, reply });
        let store = tokio::time::timeout(PATIENCE, answer).await.ok().and_then(Result::ok).unwrap_or_default();
        let mut accounts = store.sinks.into_iter();
        let sink = |handle: &SinkHandle| {
            let status = handle.status.get();
            let account = accounts.next().unwrap_or_default();
            SinkFigures {
                name: handle.name.clone(),
                kind: handle.kind,
                connected: status.connected,
                error: status.error,
                backlog: account.backlog,
                oldest_age: account.oldest_age,
                confirmed: status.confirmed,
                unrouted: status.unrouted,
                refused: status.refused,
                dropped: account.dropped,
            }
        };
        EventFigures {
            store_bytes: store.bytes,
            store_error: store.error,
            lost: store.lost,
            made: store.made,
            sinks: self.sinks.iter().map(sink).collect(),
        }
    }
}
