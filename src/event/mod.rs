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
mod crew;
mod home;
mod keeper;
mod maker;
mod publisher;
mod record;
mod sink;
mod store;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::EventsConfig;
pub use home::{ListedSource, Listing, PictureTake, SourceLook, SourceSeen};
pub use record::EventName;

use crate::room::Report;
use crate::vocab::Bitrate;
use crew::{Crew, Roster};
use home::Home;
use keeper::{Desk, Order};
use maker::{Habits, Maker};
use record::WallMs;
use store::Limits;

/// Rooms and sources are seated before they are told for the first time.
const SETTLE: Duration = Duration::from_secs(1);
/// A store that does not answer in this time has nothing to show.
const PATIENCE: Duration = Duration::from_secs(1);
/// What the last members' leaving has caused is stored within this time, or is left to luck.
const FLUSH_LIMIT: Duration = Duration::from_millis(300);

/// What the keeper works by.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// What events need to know of the rest of the gateway.
#[derive(Clone)]
pub struct Surroundings {
    /// What tribe clients are sent at most.
    pub video_cap: Bitrate,
    /// What Home Assistant is shown.
    pub listing: Listing,
    /// Asks how the sources stand; only while Home Assistant is told.
    pub look: SourceLook,
    /// Takes pictures of them; only while Home Assistant is sent some.
    pub take: PictureTake,
}

/// Takes reports and tells how it stands. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    desk: Desk,
    orders: mpsc::Sender<Order>,
    home: Home,
    /// The sinks, for those who look.
    roster: Roster,
    crew: Arc<Mutex<Crew>>,
}

impl Events {
    /// Starts the store and the sinks; without a sink it only keeps in mind who is in which room. Ends some time after `stop`;
    /// whoever stops the gateway waits for `tasks`.
    pub fn start(config: &EventsConfig, around: Surroundings, tasks: &TaskTracker, stop: CancellationToken) -> Self {
        let desk = Desk::new(Maker::new(Instant::now() + SETTLE, habits(config, around.video_cap)));
        let (orders, ordered) = mpsc::channel();
        let home = Home::new(around.listing);
        let roster = Roster::default();
        let sources = (around.look, around.take);
        let mut crew = Crew::new(desk.clone(), orders.clone(), ordered, home.clone(), sources, roster.clone(), tasks.clone());
        crew.begin(config);
        let crew = Arc::new(Mutex::new(crew));
        let events = Self { desk, orders, home, roster, crew: Arc::clone(&crew) };
        let to_keeper = events.orders.clone();
        tasks.spawn(async move {
            stop.cancelled().await;
            let mut crew = crew.lock().await;
            if crew.is_keeping() {
                // what the last leaving members caused is on disk before sinks are asked to come to an end
                let (reply, flushed) = oneshot::channel();
                let _ = to_keeper.send(Order::Flush { reply });
                let _ = tokio::time::timeout(FLUSH_LIMIT, flushed).await;
            }
            crew.end().await;
        });
        events
    }

    /// Works by another configuration from now on: sinks that are the same go on undisturbed, others end, begin, or begin again where
    /// they were. What waits for those that stay is kept. Where the store is cannot be changed; whether it was to be.
    pub async fn configure(&self, config: &EventsConfig, video_cap: Bitrate, listing: Listing) -> bool {
        self.desk.lock().set_habits(Instant::now(), habits(config, video_cap));
        self.home.list(listing);
        self.crew.lock().await.change(config).await
    }

    /// Something happened in a room. Never waits.
    pub fn report(&self, report: &Report) {
        self.home.report(report);
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
        let seats = self.roster.seats();
        if seats.is_empty() {
            return EventFigures::default();
        }
        let (reply, answer) = oneshot::channel();
        let names = seats.iter().map(|seat| seat.name.clone()).collect();
        let _ = self.orders.send(Order::Figures { sinks: names, reply });
        let store = tokio::time::timeout(PATIENCE, answer).await.ok().and_then(Result::ok).unwrap_or_default();
        let mut accounts = store.sinks.into_iter();
        let sink = |seat: &crew::Seat| {
            let status = seat.status.get();
            let account = accounts.next().unwrap_or_default();
            SinkFigures {
                name: seat.name.clone(),
                kind: seat.kind,
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
            sinks: seats.iter().map(sink).collect(),
        }
    }
}

/// What the maker goes by.
fn habits(config: &EventsConfig, video_cap: Bitrate) -> Habits {
    Habits { wanted: !config.sink.is_empty(), live_interval: config.live_interval, extended: config.extended, video_cap }
}
