//! Who works: the keeper of the store and a task for each sink. Begins and ends them as the configuration says.

use std::sync::{Arc, Mutex, PoisonError, mpsc};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use super::Settings;
use super::config::{EventsConfig, SinkConfig, SinkKind};
use super::home::{Home, Memory, PictureTake, SourceLook};
use super::keeper::{Desk, Keeper, Order, StorePort};
use super::sink::{self, End, HomePort, SharedStatus};
use super::store::Limits;

/// A sink, for those who look.
#[derive(Clone)]
pub(super) struct Seat {
    pub name: String,
    pub kind: &'static str,
    pub status: SharedStatus,
}

/// The sinks as configured. Cheap to clone; held for an instant.
#[derive(Clone, Default)]
pub(super) struct Roster(Arc<Mutex<Vec<Seat>>>);

impl Roster {
    pub fn seats(&self) -> Vec<Seat> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, seats: Vec<Seat>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = seats;
    }
}

struct Worker {
    config: SinkConfig,
    seat: Seat,
    end: watch::Sender<Option<End>>,
    /// `None` where this build has no such sinks.
    task: Option<JoinHandle<()>>,
}

impl Worker {
    /// Asks it to end, and waits.
    async fn end(self, how: End) {
        let _ = self.end.send(Some(how));
        if let Some(task) = self.task {
            // a panic is logged where it happens
            let _ = task.await;
        }
    }
}

/// What the keeper begins with; taken when the first sink comes.
struct Start {
    ordered: mpsc::Receiver<Order>,
    tell_head: watch::Sender<Option<u64>>,
}

/// See the module.
pub(super) struct Crew {
    desk: Desk,
    orders: mpsc::Sender<Order>,
    start: Option<Start>,
    head: watch::Receiver<Option<u64>>,
    home: Home,
    look: SourceLook,
    take: PictureTake,
    looking: Option<CancellationToken>,
    roster: Roster,
    tasks: TaskTracker,
    settings: Option<Settings>,
    memory: Option<Memory>,
    workers: Vec<Worker>,
    keeping: Option<JoinHandle<()>>,
    ended: bool,
}

impl Crew {
    pub fn new(
        desk: Desk,
        orders: mpsc::Sender<Order>,
        ordered: mpsc::Receiver<Order>,
        home: Home,
        (look, take): (SourceLook, PictureTake),
        roster: Roster,
        tasks: TaskTracker,
    ) -> Self {
        let (tell_head, head) = watch::channel(None);
        let start = Some(Start { ordered, tell_head });
        let (looking, settings, memory, keeping) = (None, None, None, None);
        let workers = Vec::new();
        Self {
            desk,
            orders,
            start,
            head,
            home,
            look,
            take,
            looking,
            roster,
            tasks,
            settings,
            memory,
            workers,
            keeping,
            ended: false,
        }
    }

    /// Whether there is a store.
    pub fn is_keeping(&self) -> bool {
        self.keeping.is_some()
    }

    /// Begins; with no sinks nothing does.
    pub fn begin(&mut self, config: &EventsConfig) {
        self.keep(config);
        for sink in &config.sink {
            let worker = self.hire(sink);
            self.workers.push(worker);
        }
        self.seat();
    }

    /// Ends sinks that are gone or changed, and begins those that are new or changed. Whether a change of the store's place is
    /// left for the next start.
    pub async fn change(&mut self, config: &EventsConfig) -> bool {
        if self.ended {
            return false;
        }
        // without a sink it does not matter
        let moved =
            !config.sink.is_empty() && self.settings.as_ref().is_some_and(|settings| settings.directory != config.store_dir());
        let mut staying = Vec::new();
        let mut leaving = Vec::new();
        for worker in std::mem::take(&mut self.workers) {
            let named = config.sink.iter().find(|sink| sink.name == worker.config.name);
            match named {
                Some(same) if *same == worker.config => staying.push(worker),
                // its messages there are of no use to the next
                Some(other) if !is_same_broker(&other.kind, &worker.config.kind) => leaving.push(worker.end(End::Removed)),
                Some(_) => leaving.push(worker.end(End::Stopped)),
                None => {
                    info!(sink = worker.config.name, "events: the sink is taken out");
                    leaving.push(worker.end(End::Removed));
                }
            }
        }
        // at the same time: one that is away holds the others up no longer than itself
        futures_util::future::join_all(leaving).await;
        self.keep(config);
        for sink in &config.sink {
            let stays = staying.iter().position(|worker: &Worker| worker.config.name == sink.name);
            let worker = match stays {
                Some(index) => staying.swap_remove(index),
                None => self.hire(sink),
            };
            self.workers.push(worker);
        }
        self.seat();
        moved
    }

    /// Ends all sinks, then the keeper.
    pub async fn end(&mut self) {
        self.ended = true;
        if let Some(looking) = self.looking.take() {
            looking.cancel();
        }
        futures_util::future::join_all(std::mem::take(&mut self.workers).into_iter().map(|worker| worker.end(End::Stopped)))
            .await;
        if let Some(keeping) = self.keeping.take() {
            let _ = self.orders.send(Order::Stop);
            let _ = keeping.await;
        }
    }

    /// Starts the keeper, or tells it what has changed.
    fn keep(&mut self, config: &EventsConfig) {
        let names: Vec<String> = config.sink.iter().map(|sink| sink.name.clone()).collect();
        let directory = self.settings.as_ref().map_or_else(|| config.store_dir(), |settings| settings.directory.clone());
        let limits = Limits { max_bytes: config.max_bytes, max_age: config.max_age };
        let settings = Settings { directory, limits, sync_interval: config.sync_interval };
        match self.start.take() {
            // nothing to keep yet
            Some(start) if names.is_empty() => self.start = Some(start),
            Some(Start { ordered, tell_head }) => {
                self.memory = Some(Memory::new(settings.directory.clone()));
                let keeper = Keeper::new(settings.clone(), names, self.desk.clone(), tell_head);
                self.keeping = Some(self.tasks.spawn_blocking(move || keeper.run(&ordered)));
                self.settings = Some(settings);
            }
            None => {
                // in order with what sinks that begin now ask
                let _ = self.orders.send(Order::Change { settings: settings.clone(), sinks: names });
                self.settings = Some(settings);
            }
        }
    }

    fn hire(&self, config: &SinkConfig) -> Worker {
        let seat = Seat { name: config.name.clone(), kind: config.kind.as_str(), status: SharedStatus::default() };
        let (end, ending) = watch::channel(None);
        let port = self.memory.clone().map(|memory| HomePort {
            sink: seat.name.clone(),
            picture: self.home.watch(),
            memory,
            take: Arc::clone(&self.take),
        });
        let task = match sink::build(config, port.as_ref()) {
            Some(sink) => {
                let port = StorePort { orders: self.orders.clone(), head: self.head.clone() };
                Some(self.tasks.spawn(sink::run(seat.name.clone(), sink, port, seat.status.clone(), ending)))
            }
            None => {
                // `portico check` says so too
                error!(sink = seat.name, kind = seat.kind, "events: this build has no such sinks");
                None
            }
        };
        Worker { config: config.clone(), seat, end, task }
    }

    fn seat(&mut self) {
        self.roster.set(self.workers.iter().map(|worker| worker.seat.clone()).collect());
        let wanted = self.workers.iter().any(|worker| matches!(&worker.config.kind, SinkKind::Mqtt(mqtt) if mqtt.home_assistant));
        if wanted && self.looking.is_none() {
            let stop = CancellationToken::new();
            self.tasks.spawn(self.home.clone().look(Arc::clone(&self.look), stop.clone()));
            self.looking = Some(stop);
        } else if !wanted && let Some(looking) = self.looking.take() {
            looking.cancel();
        }
    }
}

/// Whether what one has left at its broker is there for the other.
fn is_same_broker(one: &SinkKind, other: &SinkKind) -> bool {
    matches!((one, other), (SinkKind::Mqtt(one), SinkKind::Mqtt(other)) if one.url == other.url)
}
