//! Runs one dialect over one connection: the only place where a dialect meets IO and time.
//!
//! ```text
//! connection ─► size and rate limit ─► handle_frame ─┐              ┌─► Send ─► connection
//!        hub ─► notice ────────────► handle_notice ──┼─► dialect ───┼─► Command ─► hub
//!      timer ─────────────────────► handle_timeout ──┘              └─► Close
//! ```
//! It owns liveness (pings, silence, the time to join a room) and how a connection's end becomes the place's end: a goodbye
//! leaves the room, a loss only loses the place. A client that does not read is told nothing more once [`MOST_FRAMES`] or
//! [`MOST_BYTES`] wait for it; nobody else waits for it meanwhile. It knows no dialect.

mod queue;
mod rate;

#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, info_span, trace};

use self::queue::Queue;
pub(crate) use self::rate::Bucket;
use super::transport::{CarrierError, FrameStream, Inbound};
use super::{Carrier, Dialect, Entry, Output, RealmMessage, WireError, close_of};
use crate::hub::{ChannelTold, HubSession, Told};
use crate::room::{Command, EndReason, Notice};
use crate::vocab::RequestId;

pub use self::queue::{MOST_BYTES, MOST_FRAMES};

/// Frames after which a write is made, whatever else waits.
const MOST_TOGETHER: usize = 64;

/// A session that runs when it is polled.
pub type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs the dialect until the connection or the place ends, and ends the other. The future returns within a few seconds of `stop`.
///
/// Boxed, and nothing that it is given is held twice: a task's memory is what its largest moment needs, and there are thousands.
pub fn run<S: FrameStream + 'static>(
    conn: S,
    dialect: Box<dyn Dialect>,
    hub: HubSession,
    entry: &Entry,
    remote: Option<IpAddr>,
    stop: CancellationToken,
) -> Running {
    let span = info_span!("session", dialect = entry.name.as_str(), session = %hub.id);
    let now = Instant::now();
    let side = Side { dialect, hub, queue: Queue::default(), joined: false, place: Place::Open, ended: None };
    let mut driver = Driver {
        conn,
        side,
        carrier: entry.carrier,
        bucket: Bucket::new(now.into_std()),
        opened: now,
        heard: now,
        ping_at: now + entry.carrier.ping_every,
    };
    let session = async move {
        match remote {
            Some(remote) => info!(remote_addr = %remote, "session opened"),
            None => info!("session opened"),
        }
        driver.run(&stop).await;
    };
    Box::pin(session.instrument(span))
}

/// One connection and its session.
struct Driver<S> {
    conn: S,
    side: Side,
    carrier: Carrier,
    bucket: Bucket,
    opened: Instant,
    /// When something last arrived.
    heard: Instant,
    ping_at: Instant,
}

/// The session's side: everything but the connection, so that it goes on while a frame is being written.
struct Side {
    dialect: Box<dyn Dialect>,
    hub: HubSession,
    /// What the dialect wanted done while a frame was being written.
    queue: Queue,
    /// Whether the session was ever given a place in a room.
    joined: bool,
    place: Place,
    /// Set once the dialect was told that the session is over.
    ended: Option<EndReason>,
}

/// Whether the room still has to be told of this session's end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It has.
    Open,
    /// The dialect left, or the room ended the place.
    Gone,
}

/// How a connection ends.
#[derive(Debug)]
enum End {
    /// The client said goodbye.
    Goodbye,
    /// The connection is gone.
    Lost(CarrierError),
    /// Nothing more was heard of the client.
    Silent,
    /// A frame could not be written in time.
    Stuck,
    /// Too much waits for a client that reads too slowly.
    Congested,
    /// This side ends it.
    Close {
        /// RFC 6455 §7.4.
        code: u16,
        /// For people.
        reason: &'static str,
    },
}

impl From<EndReason> for End {
    fn from(reason: EndReason) -> Self {
        let (code, reason) = close_of(reason);
        Self::Close { code, reason }
    }
}

impl<S: FrameStream> Driver<S> {
    async fn run(&mut self, stop: &CancellationToken) {
        let end = {
            // both wait as long as the session lives: to ask anew for every message would cost a lock each time
            let mut stopped = pin!(stop.cancelled());
            let mut alarm = pin!(sleep_until(self.next_wake()));
            loop {
                if let Some(end) = self.drain().await {
                    break end;
                }
                if let Some(reason) = self.side.ended {
                    break reason.into(); // a dialect says its own farewell; this is for one that forgot
                }
                if let Some(end) = self.step(stopped.as_mut(), alarm.as_mut()).await {
                    break end;
                }
            }
        };
        self.finish(end).await;
    }

    /// Waits for one thing and hands it to the dialect.
    async fn step(&mut self, stopped: Pin<&mut impl Future<Output = ()>>, mut alarm: Pin<&mut Sleep>) -> Option<End> {
        let wake = self.next_wake();
        // a later time is looked at when the alarm goes off: it moves with every message
        if wake < alarm.deadline() {
            alarm.as_mut().reset(wake);
        }
        // in this order: what was heard counts before silence is judged, and while there is something to hear nothing else is
        // looked at. A flood cannot starve the rest: the rate ends it.
        tokio::select! {
            biased;
            inbound = self.conn.recv() => return self.handle_inbound(inbound),
            told = self.side.hub.told.recv() => self.side.handle_told(told),
            () = stopped => self.side.end(EndReason::Stopping),
            () = alarm.as_mut() => {
                let end = self.handle_timeout().await;
                alarm.reset(self.next_wake());
                return end;
            }
        }
        None
    }

    fn next_wake(&self) -> Instant {
        let liveness = self.ping_at.min(self.heard + self.carrier.silence_limit);
        let mut wake = match self.conn.next_timeout() {
            Some(at) if S::KEEPS_TIME => Instant::from_std(at),
            Some(at) => liveness.min(Instant::from_std(at)),
            None => liveness,
        };
        if !self.side.joined {
            wake = wake.min(self.opened + self.carrier.join_limit);
        }
        match self.side.dialect.next_timeout() {
            Some(at) => wake.min(Instant::from_std(at)),
            None => wake,
        }
    }

    fn handle_inbound(&mut self, inbound: Inbound) -> Option<End> {
        let now = Instant::now();
        self.heard = now;
        let frame = inbound.frame();
        let counts = frame.map_or(matches!(inbound, Inbound::Alive), |frame| !self.side.dialect.is_heartbeat(frame));
        if counts && !self.bucket.take(now.into_std()) {
            return Some(End::Close { code: 1008, reason: "too many messages" });
        }
        if let Some(frame) = frame {
            trace!(bytes = frame.len(), "frame");
            return match self.side.dialect.handle_frame(now.into_std(), frame) {
                Ok(()) => None,
                Err(WireError::Violation(reason)) => Some(End::Close { code: 1002, reason }),
            };
        }
        match inbound {
            Inbound::Text(_) | Inbound::Binary(_) | Inbound::Alive => None,
            Inbound::Closed => Some(End::Goodbye),
            Inbound::TooLarge => Some(End::Close { code: 1009, reason: "the message is too large" }),
            Inbound::NotUtf8 => Some(End::Close { code: 1007, reason: "the text is no UTF-8" }),
            Inbound::Violation(reason) => Some(End::Close { code: 1002, reason }),
            Inbound::Lost(CarrierError::Silent) => Some(End::Silent),
            Inbound::Lost(error) => Some(End::Lost(error)),
        }
    }

    async fn handle_timeout(&mut self) -> Option<End> {
        let now = Instant::now();
        if self.conn.next_timeout().is_some_and(|at| at <= now.into_std())
            && let Some(inbound) = self.conn.handle_timeout(now.into_std())
        {
            return self.handle_inbound(inbound);
        }
        if !S::KEEPS_TIME && self.heard + self.carrier.silence_limit <= now {
            return Some(End::Silent);
        }
        if !self.side.joined && self.opened + self.carrier.join_limit <= now {
            return Some(End::Close { code: 1008, reason: "no room was joined in time" });
        }
        if !S::KEEPS_TIME && self.ping_at <= now {
            self.ping_at = now + self.carrier.ping_every;
            if let Some(end) = self.side.meanwhile(self.carrier.write_limit, self.conn.ping()).await {
                return Some(end);
            }
        }
        if self.side.dialect.next_timeout().is_some_and(|at| at <= now.into_std()) {
            self.side.dialect.handle_timeout(now.into_std());
        }
        None
    }

    /// Carries out what the dialect wants. Frames leave together, with what the session is told meanwhile: descriptions come with their
    /// candidates, and a write costs more than all else that is done for a frame.
    async fn drain(&mut self) -> Option<End> {
        let limit = self.carrier.write_limit;
        let mut fed = 0;
        loop {
            while let Some(output) = self.side.next_output() {
                let end = match output {
                    Output::Send(text) => {
                        fed += 1;
                        self.side.meanwhile(limit, self.conn.feed(text)).await
                    }
                    Output::SendBinary(bytes) => {
                        fed += 1;
                        self.side.meanwhile(limit, self.conn.feed_binary(bytes)).await
                    }
                    Output::Realm(message) => {
                        self.side.send_realm(message).await;
                        None
                    }
                    Output::Command(req, command) => {
                        self.side.send(req, command).await;
                        None
                    }
                    Output::Close { code, reason } => Some(End::Close { code, reason }),
                };
                if end.is_some() {
                    return end;
                }
            }
            if !(1..MOST_TOGETHER).contains(&fed) || !self.side.hear_more() {
                break;
            }
        }
        match fed {
            0 => None,
            _ => self.side.meanwhile(limit, self.conn.flush()).await,
        }
    }

    /// Tells the room first, so that the others hear of it at once, then completes the connection's own goodbye.
    async fn finish(&mut self, end: End) {
        let goodbye = match end {
            End::Goodbye | End::Close { .. } => Command::Leave,
            End::Lost(_) | End::Silent | End::Stuck | End::Congested => Command::Lost,
        };
        self.side.leave_place(goodbye).await;
        match end {
            End::Goodbye => {
                info!("session closed by the client");
                self.conn.close(1000, "").await;
            }
            End::Close { code, reason } => {
                info!(code, reason, "session closed");
                self.conn.close(code, reason).await;
            }
            End::Congested => {
                info!(frames = MOST_FRAMES, bytes = MOST_BYTES, "session lost: the client reads too slowly");
                self.conn.close(1013, "too much waits to be read").await;
            }
            End::Silent => {
                info!(silence_ms = self.carrier.silence_limit.as_millis(), "session lost: nothing was heard");
                self.conn.close(self.side.dialect.silence_code(), "nothing was heard for too long").await;
            }
            End::Stuck => info!(limit_ms = self.carrier.write_limit.as_millis(), "session lost: the client does not read"),
            End::Lost(error) => info!(error = %Chain(&error), "session lost"),
        }
    }
}

impl Side {
    /// The next thing to do: first what came up while something was being written.
    fn next_output(&mut self) -> Option<Output> {
        self.queue.pop().or_else(|| self.dialect.poll_output())
    }

    /// Hands the dialect the next word that waits, if there is one.
    fn hear_more(&mut self) -> bool {
        if self.ended.is_some() {
            return false;
        }
        match self.hub.told.try_recv() {
            Ok(told) => {
                self.handle_told(Some(told));
                true
            }
            Err(_) => false,
        }
    }

    fn handle_told(&mut self, told: Option<Told>) {
        match told {
            Some(Told::Notice(notice)) => self.handle_notice(&notice),
            Some(Told::Long(long)) => self.handle_notice(&long.0),
            Some(Told::Realm(word)) => self.dialect.handle_realm(Instant::now().into_std(), word),
            Some(Told::Channel(told)) => {
                let ChannelTold { peer, news, credit } = *told;
                self.dialect.handle_channel(Instant::now().into_std(), peer, news);
                // the far end may send more now that this was dealt with
                drop(credit);
            }
            None => self.end(self.abandoned()),
        }
    }

    fn handle_notice(&mut self, notice: &Notice) {
        match notice {
            Notice::Welcome(_) | Notice::Resumed(_) => self.joined = true,
            Notice::Ended { reason } => {
                self.place = Place::Gone;
                self.ended = Some(*reason);
            }
            _ => {}
        }
        self.dialect.handle_notice(Instant::now().into_std(), notice);
    }

    /// Ends the session from this side: the dialect says its farewell, and the place is left afterwards.
    fn end(&mut self, reason: EndReason) {
        self.ended = Some(reason);
        self.dialect.handle_notice(Instant::now().into_std(), &Notice::Ended { reason });
    }

    /// What it means that the hub hears or tells nothing any more.
    fn abandoned(&self) -> EndReason {
        if self.hub.to_hub.is_closed() { EndReason::Stopping } else { EndReason::Internal }
    }

    async fn send(&mut self, req: RequestId, command: Command) {
        if matches!(command, Command::Leave) {
            self.place = Place::Gone;
        }
        if self.hub.send(req, command).await.is_err() && self.ended.is_none() {
            self.end(self.abandoned());
        }
    }

    async fn send_realm(&mut self, message: RealmMessage) {
        if self.hub.send_realm(message).await.is_err() && self.ended.is_none() {
            self.end(self.abandoned());
        }
    }

    /// Tells the room of the end, unless it knows.
    async fn leave_place(&mut self, goodbye: Command) {
        let open = std::mem::replace(&mut self.place, Place::Gone) == Place::Open;
        if open && self.hub.send(RequestId::next(), goodbye).await.is_err() {
            debug!("the hub was gone before the session");
        }
    }

    /// Waits for a write, and hears what the room tells meanwhile. What the dialect makes of that waits in the queue; when it
    /// is too much, the place is lost at once, and the connection when the write is done.
    async fn meanwhile(&mut self, limit: Duration, write: impl Future<Output = Result<(), CarrierError>>) -> Option<End> {
        let mut write = pin!(write);
        // nearly every write is done at once: then no time is read and no timer made
        if let Poll::Ready(outcome) = poll_fn(|context| Poll::Ready(write.as_mut().poll(context))).await {
            return written(Ok(outcome));
        }
        let mut write = pin!(timeout(limit, write));
        loop {
            // both are cancel-safe: the write is kept, and a receiver loses nothing
            let told = tokio::select! {
                biased;
                outcome = &mut write => return written(outcome),
                told = self.hub.told.recv(), if self.ended.is_none() => told,
            };
            // what was wanted before is the dialect's own doing, however much it is
            self.queue.keep(&mut *self.dialect);
            self.handle_told(told);
            self.queue.count(&mut *self.dialect);
            if self.queue.is_over() {
                self.leave_place(Command::Lost).await;
                return written(write.await).or(Some(End::Congested));
            }
        }
    }
}

/// What the end of a write means for the connection.
fn written(outcome: Result<Result<(), CarrierError>, Elapsed>) -> Option<End> {
    match outcome {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(End::Lost(error)),
        Err(Elapsed { .. }) => Some(End::Stuck),
    }
}

/// An error with its causes, on one line.
struct Chain<'a>(&'a CarrierError);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = std::error::Error::source(self.0);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
