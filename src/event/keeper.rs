//! The thread that owns the store: what the rooms report goes in, what sinks confirm goes out. It blocks where the disk does;
//! rooms and sinks do not wait for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use super::maker::Maker;
use super::record::WallMs;
use super::store::{Batch, Limits, Store, StoreError};
use super::{EventCount, Settings};

/// A store that cannot be opened or written to is tried again after this time.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Ages are looked at this often at least.
const TIDY: Duration = Duration::from_secs(600);

/// What the keeper is told. The queue holds at most one `Wake`, one `Read` per sink, as many `Confirm`s as events were read, and
/// what the API asks.
pub(super) enum Order {
    /// Something waits in the maker.
    Wake,
    /// Where a sink begins: the first event it wants, and the number of the next to come.
    Begin { sink: String, reply: oneshot::Sender<(u64, u64)> },
    /// Events from that number on.
    Read { from: u64, reply: oneshot::Sender<Result<Batch, StoreError>> },
    /// A sink has everything before that number.
    Confirm { sink: String, next: u64 },
    /// Other limits and sinks from now on.
    Change { settings: Settings, sinks: Vec<String> },
    /// How it stands.
    Figures { sinks: Vec<String>, reply: oneshot::Sender<StoreFigures> },
    /// Store what waits; then answer.
    Flush { reply: oneshot::Sender<()> },
    /// Store what waits, and end.
    Stop,
}

/// How the store stands.
#[derive(Clone, Debug, Default)]
pub(super) struct StoreFigures {
    pub bytes: u64,
    /// Why it takes nothing now.
    pub error: Option<String>,
    /// Events that never got into it.
    pub lost: u64,
    pub made: Vec<EventCount>,
    /// In the order of the question.
    pub sinks: Vec<Account>,
}

/// What the store knows of one sink.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    pub backlog: u64,
    pub dropped: u64,
    pub oldest_age: Option<Duration>,
}

/// The maker, shared by the hub, which only ever holds it for an instant, and the keeper, which does not hold it while it writes.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    maker: Arc<Mutex<Maker>>,
    /// Whether a `Wake` is under way.
    woken: Arc<AtomicBool>,
}

impl Desk {
    pub fn new(maker: Maker) -> Self {
        Self { maker: Arc::new(Mutex::new(maker)), woken: Arc::default() }
    }

    pub fn lock(&self) -> MutexGuard<'_, Maker> {
        self.maker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the keeper that something waits, once until it looks.
    pub fn wake(&self, orders: &Sender<Order>) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            // a keeper that is gone stores nothing any more
            let _ = orders.send(Order::Wake);
        }
    }
}

/// The keeper is gone: the gateway is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store of events is closed")]
pub(super) struct StoreGone;

/// Why a reading failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Gone(#[from] StoreGone),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A sink's way to the store.
#[derive(Clone)]
pub(super) struct StorePort {
    pub orders: Sender<Order>,
    /// The number of the next event; `None` until the store is open.
    pub head: watch::Receiver<Option<u64>>,
}

impl StorePort {
    /// Waits for the store; then the first event the sink wants, and the number of the next to come.
    pub async fn begin(&mut self, sink: &str) -> Result<(u64, u64), StoreGone> {
        self.head.wait_for(Option::is_some).await.map_err(|_| StoreGone)?;
        let (reply, answer) = oneshot::channel();
        self.orders.send(Order::Begin { sink: sink.into(), reply }).map_err(|_| StoreGone)?;
        answer.await.map_err(|_| StoreGone)
    }

    /// Waits until there is more, and tells the number of the next to come. Cancel-safe.
    pub async fn head(&mut self) -> Result<u64, StoreGone> {
        self.head.changed().await.map_err(|_| StoreGone)?;
        Ok(self.head.borrow_and_update().unwrap_or_default())
    }

    /// The same now.
    pub fn head_now(&self) -> u64 {
        self.head.borrow().unwrap_or_default()
    }

    pub fn read(&self, from: u64) -> BoxFuture<'static, Result<Batch, ReadError>> {
        let (reply, answer) = oneshot::channel();
        let sent = self.orders.send(Order::Read { from, reply });
        Box::pin(async move {
            sent.map_err(|_| StoreGone)?;
            Ok(answer.await.map_err(|_| StoreGone)??)
        })
    }

    pub fn confirm(&self, sink: &str, next: u64) {
        // unsaved places only mean that something is sent twice
        let _ = self.orders.send(Order::Confirm { sink: sink.into(), next });
    }
}

/// See the module.
pub(super) struct Keeper {
    settings: Settings,
    sinks: Vec<String>,
    desk: Desk,
    head: watch::Sender<Option<u64>>,
    store: Option<Store>,
    /// Why it takes nothing, and when it is tried again.
    trouble: Option<(String, Instant)>,
    sync_at: Option<Instant>,
    tidy_at: Instant,
    /// Whether it was told that places cannot be saved.
    places_told: bool,
    /// Events whose loss was told.
    told_lost: u64,
}

impl Keeper {
    pub fn new(settings: Settings, sinks: Vec<String>, desk: Desk, head: watch::Sender<Option<u64>>) -> Self {
        let tidy_at = Instant::now();
        Self { settings, sinks, desk, head, store: None, trouble: None, sync_at: None, tidy_at, places_told: false, told_lost: 0 }
    }

    /// Runs until [`Order::Stop`], or until nobody can give orders.
    pub fn run(mut self, orders: &Receiver<Order>) {
        loop {
            self.pump();
            let wait = self.next_timeout().saturating_duration_since(Instant::now());
            match orders.recv_timeout(wait) {
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(order) => self.handle(order),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        self.pump();
        self.sync();
        self.save_places();
    }

    fn next_timeout(&self) -> Instant {
        let again = self.trouble.as_ref().map(|(_, at)| *at);
        let live = self.desk.lock().next_timeout();
        // while there is trouble everything waits for the next try
        let places = self.store.as_ref().filter(|_| again.is_none()).and_then(Store::places_at);
        [Some(live), again, self.sync_at, places, Some(self.tidy_at)].into_iter().flatten().min().unwrap_or(live)
    }

    fn handle(&mut self, order: Order) {
        // one who asked and went away is no concern
        match order {
            Order::Wake | Order::Stop => {}
            Order::Begin { sink, reply } => {
                if let Some(store) = &self.store {
                    let _ = reply.send((store.wanted(&sink), store.next()));
                }
            }
            Order::Read { from, reply } => {
                if let Some(store) = &mut self.store {
                    let _ = reply.send(store.read(from));
                }
            }
            Order::Confirm { sink, next } => {
                if let Some(store) = &mut self.store {
                    store.confirm(&sink, next);
                }
            }
            Order::Change { settings, sinks } => {
                if let Some(store) = &mut self.store {
                    store.change(settings.limits, &sinks);
                }
                (self.settings, self.sinks) = (settings, sinks);
                self.tidy_at = Instant::now();
            }
            Order::Figures { sinks, reply } => drop(reply.send(self.figures(&sinks))),
            Order::Flush { reply } => {
                self.pump();
                let _ = reply.send(());
            }
        }
    }

    /// Moves what waits into the store, and does what is due.
    fn pump(&mut self) {
        let now = Instant::now();
        let wall = WallMs::now();
        self.desk.woken.store(false, Ordering::Release);
        self.desk.lock().handle_timeout(now, wall);
        if self.trouble.as_ref().is_some_and(|(_, until)| *until > now) {
            return;
        }
        if let Err(error) = self.store_waiting(wall) {
            self.begin_trouble(now, &error);
            // the first that goes, then how many there were
            return if self.told_lost == 0 {
                self.tell_lost()
            };
        }
        if self.trouble.take().is_some() {
            info!("events are stored again");
            self.tell_lost();
        }
        let Some(store) = &mut self.store else { return };
        if now >= self.tidy_at {
            store.tidy(wall);
            self.tidy_at = now + TIDY.min(self.settings.limits.max_age / 16).max(Duration::from_secs(1));
        }
        if !store.is_unsynced() {
            self.sync_at = None;
        } else if *self.sync_at.get_or_insert(now + self.settings.sync_interval) <= now {
            self.sync_at = None;
            return self.sync();
        }
        if store.places_at().is_some_and(|at| at <= now) {
            self.save_places();
        }
    }

    fn store_waiting(&mut self, wall: WallMs) -> Result<(), StoreError> {
        let store = match &mut self.store {
            Some(store) => store,
            none => none.insert(self.settings.open(&self.sinks)?),
        };
        let mut waiting = self.desk.lock().take();
        let stored = store.append(&mut waiting, wall);
        let next = store.next();
        if !waiting.is_empty() {
            self.desk.lock().put_back(waiting);
        }
        self.head.send_if_modified(|head| head.replace(next) != Some(next));
        stored
    }

    fn sync(&mut self) {
        if let Some(Err(error)) = self.store.as_mut().map(Store::sync) {
            self.begin_trouble(Instant::now(), &error);
        }
    }

    /// Places that are not saved only mean that something is sent twice: no trouble, and told once.
    fn save_places(&mut self) {
        match self.store.as_mut().map(Store::save_places) {
            Some(Err(error)) if !self.places_told => {
                warn!(%error, "the places of the sinks cannot be saved; after a restart some events are sent again");
                self.places_told = true;
            }
            Some(Ok(())) => self.places_told = false,
            _ => {}
        }
    }

    fn tell_lost(&mut self) {
        let lost = self.desk.lock().lost();
        if lost > self.told_lost {
            warn!(lost = lost - self.told_lost, "events are lost: memory holds no more of them, and they cannot be stored");
            self.told_lost = lost;
        }
    }

    fn begin_trouble(&mut self, now: Instant, error: &StoreError) {
        let text = error.to_string();
        if self.trouble.is_none() {
            error!(error = text, "events are not stored; they wait in memory, and the oldest are let go when they get too many");
        }
        self.trouble = Some((text, now + TRY_AGAIN));
    }

    fn figures(&self, sinks: &[String]) -> StoreFigures {
        let now = WallMs::now();
        let account = |sink: &String| {
            let Some(store) = &self.store else { return Account::default() };
            let (backlog, dropped) = store.account(sink);
            let oldest = (backlog > 0).then(|| store.oldest(sink)).flatten().filter(|made| made.is_plausible());
            Account { backlog, dropped, oldest_age: oldest.map(|made| Duration::from_millis(now.0.saturating_sub(made.0))) }
        };
        let maker = self.desk.lock();
        StoreFigures {
            bytes: self.store.as_ref().map_or(0, Store::bytes),
            error: self.trouble.as_ref().map(|(text, _)| text.clone()),
            lost: maker.lost(),
            made: maker.made().iter().map(|(name, count)| EventCount { name: *name, count: *count }).collect(),
            sinks: sinks.iter().map(account).collect(),
        }
    }
}

impl Settings {
    fn open(&self, sinks: &[String]) -> Result<Store, StoreError> {
        let limits = Limits { max_bytes: self.limits.max_bytes, max_age: self.limits.max_age };
        Store::open(&self.directory, limits, sinks, rand::random())
    }
}
