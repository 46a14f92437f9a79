//! Drives one sink: carries out what its [`Publisher`] says. One task each; nothing here decides.

#[cfg(feature = "amqp")]
mod amqp;
#[cfg(feature = "mqtt")]
mod mqtt;
mod webhook;

use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::sleep_until;
use tracing::{debug, info, warn};

use super::config::{SinkConfig, SinkKind};
use super::home::{Memory, Picture, PictureTake};
use super::keeper::{ReadError, StoreGone, StorePort};
use super::publisher::{Action, Habits, LONGEST_WAIT, Publisher};
use super::store::{Batch, Stored};

/// Handing an event to the network takes no longer than this; a far end that does not read is a loss.
const SEND_LIMIT: Duration = Duration::from_secs(10);
/// What is stored when the gateway stops may still be sent for so long. The rest is sent after the next start.
const LINGER: Duration = Duration::from_millis(500);
/// A goodbye takes no longer than this.
const CLOSE_LIMIT: Duration = Duration::from_millis(200);
/// What was retained for a sink that is taken out is removed within this time.
const REMOVE_LIMIT: Duration = Duration::from_secs(3);
/// Longest text of an error that is kept: it may come from the far end.
const MOST_ERROR: usize = 500;

/// Why a sink does not take events now.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(super) struct SinkError {
    what: String,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl SinkError {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }

    /// For `map_err`.
    fn by<E: Error + Send + Sync + 'static>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self { what: what.into(), source: Some(Box::new(source)) }
    }

    /// With its causes, each said once, cut where it is too long.
    fn text(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(inner) = cause {
            let words = inner.to_string();
            if !text.contains(&words) {
                text = format!("{text}: {words}");
            }
            cause = inner.source();
        }
        let cut = text.char_indices().nth(MOST_ERROR).map_or(text.len(), |(at, _)| at);
        text.truncate(cut);
        text
    }
}

/// What the far end says to an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has it.
    Confirmed,
    /// It took it, and nobody there wanted it.
    #[cfg_attr(not(any(feature = "amqp", feature = "mqtt")), allow(dead_code))] // a web server cannot tell
    Unrouted,
    /// It will never take it; why.
    Refused(String),
}

/// A far end.
#[async_trait]
pub(super) trait Sink: Send + Sync {
    /// Connects and makes everything ready. Dropped when it takes too long.
    async fn connect(&self) -> Result<Box<dyn Link>, SinkError>;
    /// Events sent and not confirmed at a time.
    fn window(&self) -> usize;
    /// A far end that is away is asked again after this time at the longest.
    fn longest_wait(&self) -> Duration {
        LONGEST_WAIT
    }
    /// Whether a connection shows that events are taken; else the first event does.
    fn connecting_proves(&self) -> bool {
        true
    }
}

/// A connection.
#[async_trait]
pub(super) trait Link: Send {
    /// Hands an event over, in order. What is returned tells what became of it.
    async fn send(&mut self, event: &Stored) -> Result<BoxFuture<'static, Result<Verdict, SinkError>>, SinkError>;
    /// Returns when the connection is lost. Cancel-safe.
    async fn lost(&mut self) -> SinkError;
    /// Says goodbye.
    async fn close(self: Box<Self>, end: End);
}

/// Makes the sink that is configured; `None` when this build does not have it. `home` is what Home Assistant is shown.
#[cfg_attr(not(feature = "mqtt"), allow(unused_variables))] // only MQTT shows Home Assistant anything
pub(super) fn build(config: &SinkConfig, home: Option<&HomePort>) -> Option<Arc<dyn Sink>> {
    match &config.kind {
        #[cfg(feature = "amqp")]
        SinkKind::Amqp(config) => Some(Arc::new(amqp::Amqp::new(config.clone()))),
        #[cfg(feature = "mqtt")]
        SinkKind::Mqtt(config) => Some(Arc::new(mqtt::Mqtt::new(config.clone(), home.cloned()))),
        SinkKind::Webhook(config) => Some(Arc::new(webhook::Webhook::new(config.clone()))),
        #[allow(unreachable_patterns)] // only in builds without some of the features
        _ => None,
    }
}

/// What a sink may tell of what is true now, beside events.
#[derive(Clone)]
#[cfg_attr(not(feature = "mqtt"), allow(dead_code))] // only MQTT has messages that stay
pub(super) struct HomePort {
    /// The sink's name.
    pub sink: String,
    pub picture: watch::Receiver<Picture>,
    pub memory: Memory,
    pub take: PictureTake,
}

/// The key of a webhook's secret; `None` where it is none.
pub(super) fn webhook_key(secret: &str) -> Option<zeroize::Zeroizing<Vec<u8>>> {
    webhook::key(secret)
}

/// How a sink stands, for those who look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    pub connected: bool,
    /// Why it was lost last, while it is not connected again.
    pub error: Option<String>,
    pub confirmed: u64,
    pub unrouted: u64,
    pub refused: u64,
}

/// Shared with those who look. Held for an instant.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedStatus(Arc<Mutex<Status>>);

impl SharedStatus {
    pub fn get(&self) -> Status {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a sink is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The gateway stops, or the sink begins again with another configuration.
    Stopped,
    /// It is not configured any more.
    Removed,
}

/// Runs a sink until it is told to end, and a little longer while there is something to send.
pub(super) async fn run(
    name: String,
    sink: Arc<dyn Sink>,
    mut store: StorePort,
    status: SharedStatus,
    mut ending: watch::Receiver<Option<End>>,
) {
    let begun = tokio::select! {
        begun = store.begin(&name) => begun,
        _ = ending.wait_for(Option::is_some) => return,
    };
    let Ok((wanted, head)) = begun else { return };
    let habits = Habits { window: sink.window(), longest_wait: sink.longest_wait() };
    let publisher = Publisher::new(Instant::now(), wanted, head, habits, rand::random());
    let driver = Driver {
        name,
        sink,
        store,
        status,
        publisher,
        link: None,
        connecting: None,
        reading: None,
        confirms: FuturesUnordered::new(),
        down_since: None,
    };
    driver.run(ending).await;
}

type Reading = (u64, BoxFuture<'static, Result<Batch, ReadError>>);
type Told = (u64, Result<Verdict, SinkError>);

struct Driver {
    name: String,
    sink: Arc<dyn Sink>,
    store: StorePort,
    status: SharedStatus,
    publisher: Publisher,
    link: Option<Box<dyn Link>>,
    connecting: Option<BoxFuture<'static, Result<Box<dyn Link>, SinkError>>>,
    reading: Option<Reading>,
    /// Bounded by the publisher's window.
    confirms: FuturesUnordered<BoxFuture<'static, Told>>,
    /// Since when it is not connected; told once.
    down_since: Option<Instant>,
}

impl Driver {
    async fn run(mut self, mut ending: watch::Receiver<Option<End>>) {
        let mut last_call = None;
        let mut how = End::Stopped;
        loop {
            if let Err(error) = self.carry_out().await {
                self.lose(&error);
                continue;
            }
            // a far end that is away does not come back within the moment that is left
            if last_call.is_some() && (self.publisher.is_idle() || !self.publisher.is_up()) {
                break;
            }
            let timeout = self.publisher.next_timeout();
            // every branch is cancel-safe: futures kept outside, a watch, a stream, sleeps
            tokio::select! {
                connected = maybe(&mut self.connecting) => self.handle_connected(connected),
                (from, batch) = answer(&mut self.reading) => match batch {
                    Ok(batch) => self.publisher.handle_batch(Instant::now(), from, batch),
                    Err(ReadError::Gone(StoreGone)) => break,
                    // tried again after a while
                    Err(failed) => self.lose(&SinkError::by("events cannot be read")(failed)),
                },
                Some((seq, verdict)) = self.confirms.next(), if !self.confirms.is_empty() => self.handle_verdict(seq, verdict),
                error = lost(&mut self.link) => self.lose(&error),
                head = self.store.head() => match head {
                    Ok(head) => self.publisher.handle_head(Instant::now(), head),
                    Err(StoreGone) => break,
                },
                () = until(timeout) => self.handle_timeout(),
                () = until(last_call) => break,
                end = ended(&mut ending), if last_call.is_none() => {
                    how = end;
                    last_call = Some(Instant::now() + LINGER);
                    self.publisher.handle_head(Instant::now(), self.store.head_now());
                }
            }
        }
        if let Some(link) = self.link.take() {
            // a far end that does not answer is left
            let limit = if how == End::Removed { REMOVE_LIMIT } else { CLOSE_LIMIT };
            let _ = tokio::time::timeout(limit, link.close(how)).await;
        }
    }

    async fn carry_out(&mut self) -> Result<(), SinkError> {
        while let Some(action) = self.publisher.poll_action() {
            match action {
                Action::Connect => {
                    let sink = Arc::clone(&self.sink);
                    self.connecting = Some(Box::pin(async move { sink.connect().await }));
                }
                Action::Read { from } => self.reading = Some((from, self.store.read(from))),
                Action::Publish(event) => {
                    let Some(link) = &mut self.link else { continue };
                    let handed = tokio::time::timeout(SEND_LIMIT, link.send(&event)).await;
                    let verdict = handed.map_err(|_| SinkError::new("the far end does not read"))??;
                    let seq = event.seq;
                    self.confirms.push(Box::pin(async move { (seq, verdict.await) }));
                }
                Action::Confirm { next } => self.store.confirm(&self.name, next),
                Action::Disconnect => self.disconnect(),
            }
        }
        Ok(())
    }

    fn disconnect(&mut self) {
        self.link = None;
        self.connecting = None;
        self.reading = None;
        self.confirms = FuturesUnordered::new();
    }

    fn handle_connected(&mut self, connected: Result<Box<dyn Link>, SinkError>) {
        let link = match connected {
            Ok(link) => link,
            Err(error) => return self.lose(&error),
        };
        self.link = Some(link);
        if self.sink.connecting_proves() {
            self.tell_up();
        }
        self.publisher.handle_connected(Instant::now());
    }

    fn tell_up(&mut self) {
        let mut status = self.status.lock();
        let was_down = !status.connected || status.error.is_some();
        status.connected = true;
        status.error = None;
        if was_down {
            let down_s = self.down_since.take().map(|since| since.elapsed().as_secs());
            info!(sink = self.name, down_s, "events: connected");
        }
    }

    fn handle_verdict(&mut self, seq: u64, verdict: Result<Verdict, SinkError>) {
        let now = Instant::now();
        match verdict {
            Ok(Verdict::Confirmed) => self.publisher.handle_confirmed(now, seq),
            Ok(Verdict::Unrouted) => {
                self.status.lock().unrouted += 1;
                self.publisher.handle_confirmed(now, seq);
            }
            Ok(Verdict::Refused(why)) => {
                warn!(sink = self.name, why, "events: one is refused for good and left out");
                self.publisher.handle_refused(now, seq);
            }
            Err(error) => return self.lose(&error),
        }
        self.tell_up();
        let (confirmed, refused) = self.publisher.counts();
        let mut status = self.status.lock();
        (status.confirmed, status.refused) = (confirmed, refused);
    }

    fn handle_timeout(&mut self) {
        let busy = self.connecting.is_some() || self.publisher.is_up();
        self.publisher.handle_timeout(Instant::now());
        if busy && !self.publisher.is_up() {
            self.tell_lost("no answer in time".into());
        }
    }

    fn lose(&mut self, error: &SinkError) {
        self.publisher.handle_lost(Instant::now());
        self.tell_lost(error.text());
    }

    /// An outage is told once, each try in vain only to those who look closely.
    fn tell_lost(&mut self, error: String) {
        match self.down_since {
            None => {
                self.down_since = Some(Instant::now());
                warn!(sink = self.name, error, "events: not connected; they are stored meanwhile");
            }
            Some(_) => debug!(sink = self.name, error, "events: still not connected"),
        }
        let mut status = self.status.lock();
        status.connected = false;
        status.error = Some(error);
    }
}

/// Waits to be told to end. Who cannot tell any more is gone. Cancel-safe.
async fn ended(ending: &mut watch::Receiver<Option<End>>) -> End {
    ending.wait_for(Option::is_some).await.ok().and_then(|end| *end).unwrap_or(End::Stopped)
}

async fn maybe<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(running) => {
            let done = running.await;
            *future = None;
            done
        }
        None => std::future::pending().await,
    }
}

async fn answer(reading: &mut Option<Reading>) -> (u64, Result<Batch, ReadError>) {
    match reading {
        Some((from, batch)) => {
            let done = (*from, batch.await);
            *reading = None;
            done
        }
        None => std::future::pending().await,
    }
}

async fn lost(link: &mut Option<Box<dyn Link>>) -> SinkError {
    match link {
        Some(link) => link.lost().await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
