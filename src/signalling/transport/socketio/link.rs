//! A session as the driver's carrier: one owner of the engine, the waiting poll and the websockets.
//!
//! HTTP handlers only hand requests over and wait for answers, so packets of all lanes are handled in one order, by one task.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::engine::{Act, Engine, Heard, Ids, Lane, Late};
use super::packet::{Kind, Packet, Payload, parse_binary, parse_text};
use super::table::{Fault, Input, Polled, Registered};
use crate::signalling::transport::websocket::Socket;
use crate::signalling::transport::{CarrierError, FrameStream, Inbound};

/// How long a client may take to fetch the goodbye. Short enough for a stop within 2 s.
const CLOSE_WAIT: Duration = Duration::from_millis(800);
/// RFC 6455 §7.4.1: protocol error. The session is unknown from then on.
const PROTOCOL_ERROR: u16 = 1002;

/// One session.
pub(super) struct Link {
    engine: Engine,
    registered: Registered,
    /// Where HTTP hands requests; `None` once the websocket is in charge.
    inbox: Option<mpsc::Receiver<Input>>,
    poll: Option<oneshot::Sender<Polled>>,
    /// A post whose packets are being handled. At most one: the next is handed over when this is answered.
    post: Option<(Box<Payload>, oneshot::Sender<()>)>,
    socket: Option<Box<Socket>>,
    probe: Option<Probe>,
    /// The client left the namespace or closed: nothing is said any more.
    left: bool,
    /// The client closed: nothing more comes.
    closed: bool,
}

/// A websocket that wants to take over, and the way back to who will close it if it may not.
struct Probe {
    socket: Box<Socket>,
    back: oneshot::Sender<Box<Socket>>,
}

/// What came next.
enum Next {
    Input(Input),
    Socket(Inbound),
    Probe(Inbound),
    PollGone,
}

impl Link {
    /// A session that polls. `hold`: longest wait of a poll.
    pub(super) fn polling(registered: Registered, inbox: mpsc::Receiver<Input>, ids: &Ids, hold: Duration) -> Self {
        Self::new(registered, Some(inbox), None, ids, hold)
    }

    /// A session that began on a websocket.
    pub(super) fn websocket(registered: Registered, socket: Socket, ids: &Ids, hold: Duration) -> Self {
        Self::new(registered, None, Some(Box::new(socket)), ids, hold)
    }

    fn new(
        registered: Registered,
        inbox: Option<mpsc::Receiver<Input>>,
        socket: Option<Box<Socket>>,
        ids: &Ids,
        hold: Duration,
    ) -> Self {
        let engine = Engine::new(now(), registered.handle.version, ids, socket.is_some(), hold);
        Self { engine, registered, inbox, poll: None, post: None, socket, probe: None, left: false, closed: false }
    }

    /// Carries out what the engine wants, and writes it out. Cancel-safe, as `carry_out_all`.
    async fn write_out(&mut self) -> Result<(), CarrierError> {
        self.carry_out_all().await?;
        if let Some(socket) = &mut self.socket {
            socket.flush().await?;
        }
        if let Some(probe) = &mut self.probe
            && probe.socket.flush().await.is_err()
        {
            self.drop_probe();
        }
        Ok(())
    }

    /// Carries out what the engine wants. Cancel-safe: a frame leaves the engine only for a socket that takes it at once.
    async fn carry_out_all(&mut self) -> Result<(), CarrierError> {
        loop {
            match (self.engine.next_writes(), &mut self.socket, &mut self.probe) {
                (Some(Lane::Websocket), Some(socket), _) => socket.ready().await?,
                // one that fails is dropped when it is written to
                (Some(Lane::Probe), _, Some(probe)) => drop(probe.socket.ready().await),
                _ => {}
            }
            let Some(act) = self.engine.poll_act() else { break };
            self.carry_out(act)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, act: Act) -> Result<(), CarrierError> {
        match act {
            Act::Answer(payload) => {
                // a poll whose request is gone took its packets with it: the client polls no more
                let sent = self.poll.take().map(|poll| poll.send(Polled::Payload(payload)));
                if !matches!(sent, Some(Ok(()))) {
                    return Err(CarrierError::Ended);
                }
            }
            Act::Write(packet) => {
                if let Some(socket) = &mut self.socket {
                    socket.put(packet)?;
                }
            }
            Act::Probe(packet) => {
                if let Some(probe) = &mut self.probe
                    && probe.socket.put(packet.into()).is_err()
                {
                    self.drop_probe();
                }
            }
            Act::TakeOver => {
                self.socket = self.probe.take().map(|probe| probe.socket);
                self.registered.handle.websocket.store(true, Ordering::Relaxed);
                self.inbox = None;
            }
            Act::DropProbe => self.drop_probe(),
        }
        Ok(())
    }

    /// Gives the websocket back to be closed; polling goes on.
    fn drop_probe(&mut self) {
        self.engine.handle_probe_gone();
        if let Some(probe) = self.probe.take() {
            let _ = probe.back.send(probe.socket);
        }
    }

    /// Handles the next packet of the post. `None` when there is no post.
    fn next_posted(&mut self) -> Option<Inbound> {
        let (payload, _) = self.post.as_mut()?;
        let engine = &mut self.engine;
        match payload.next(|packet| engine.handle(now(), Lane::Polling, packet)) {
            Some(Ok(heard)) => Some(self.heard(heard)),
            Some(Err(_)) => {
                self.registered.withdraw();
                self.answer_post();
                Some(Inbound::Violation("malformed payload"))
            }
            None => {
                self.answer_post();
                Some(Inbound::Alive)
            }
        }
    }

    fn answer_post(&mut self) {
        if let Some((_, done)) = self.post.take() {
            let _ = done.send(());
        }
    }

    fn heard(&mut self, heard: Heard) -> Inbound {
        match heard {
            Heard::Alive => Inbound::Alive,
            Heard::Auth(json) | Heard::Event(json) => Inbound::Text(json),
            Heard::Left => {
                self.left = true;
                Inbound::Closed
            }
            Heard::Closed => {
                (self.left, self.closed) = (true, true);
                self.registered.withdraw();
                Inbound::Closed
            }
            Heard::Violation(reason) => {
                self.registered.withdraw();
                Inbound::Violation(reason)
            }
        }
    }

    fn handle_input(&mut self, input: Input) -> Inbound {
        match input {
            Input::Poll(reply) => {
                if self.engine.handle_poll(now()).is_err() {
                    self.registered.withdraw();
                    let _ = reply.send(Polled::Second);
                    return Inbound::Violation("two polls at once");
                }
                self.poll = Some(reply);
            }
            Input::Post(payload, done) => self.post = Some((payload, done)),
            Input::Upgrade(socket, back) => {
                if self.engine.handle_upgrade(now()) {
                    self.probe = Some(Probe { socket, back });
                } else {
                    let _ = back.send(socket);
                }
            }
            Input::Fault(Fault::SecondPost) => return Inbound::Violation("two posts at once"),
            Input::Fault(Fault::TooLarge) => return Inbound::TooLarge,
        }
        Inbound::Alive
    }

    /// A frame of the websocket in charge.
    fn handle_frame(&mut self, inbound: Inbound) -> Inbound {
        let version = self.registered.handle.version;
        let packet = match &inbound {
            Inbound::Text(text) => parse_text(version, text),
            Inbound::Binary(bytes) => parse_binary(version, bytes),
            Inbound::Closed => {
                self.left = true;
                return inbound;
            }
            _ => return inbound,
        };
        match packet {
            Ok(packet) => {
                let heard = self.engine.handle(now(), Lane::Websocket, packet);
                self.heard(heard)
            }
            Err(_) => self.heard(Heard::Violation("malformed packet")),
        }
    }

    /// A frame of the websocket that wants to take over, or its end.
    fn handle_probe(&mut self, inbound: Inbound) -> Inbound {
        let version = self.registered.handle.version;
        let packet: Option<Packet<'_>> = match &inbound {
            Inbound::Text(text) => parse_text(version, text).ok(),
            Inbound::Alive => return Inbound::Alive,
            _ => None,
        };
        match packet {
            Some(packet) => drop(self.engine.handle(now(), Lane::Probe, packet)),
            None => self.drop_probe(),
        }
        Inbound::Alive
    }

    /// Waits for the next thing of any lane. Cancel-safe.
    async fn next(&mut self) -> Next {
        // in this order: what a client sent by HTTP before its websocket took over comes first
        tokio::select! {
            biased;
            input = received(&mut self.inbox) => Next::Input(input),
            inbound = heard(self.socket.as_deref_mut()) => Next::Socket(inbound),
            inbound = heard(self.probe.as_mut().map(|probe| &mut *probe.socket)) => Next::Probe(inbound),
            () = gone(&mut self.poll) => Next::PollGone,
        }
    }

    /// Passes over what is left of a post, but for a close.
    fn finish_post(&mut self) {
        let Some((mut payload, done)) = self.post.take() else { return };
        while let Some(Ok(close)) = payload.next(|packet| matches!(packet, Packet::Text(Kind::Close, _))) {
            self.closed |= close;
        }
        let _ = done.send(());
    }

    /// Until the goodbye was fetched, or, where the client left, until it closed.
    async fn part_by_polling(&mut self) {
        while self.write_out().await.is_ok() && !self.closed && (self.left || !self.engine.is_drained()) {
            match self.next().await {
                Next::Input(Input::Poll(reply)) => {
                    // a second poll is dropped, which answers it
                    if self.engine.handle_poll(now()).is_ok() {
                        self.poll = Some(reply);
                    }
                    if self.left {
                        self.engine.accept_goodbye();
                    }
                }
                Next::Input(Input::Post(payload, done)) => {
                    self.post = Some((payload, done));
                    self.finish_post();
                }
                // websockets are not wanted any more
                Next::Input(_) => {}
                Next::Probe(_) => self.drop_probe(),
                Next::PollGone | Next::Socket(_) => return,
            }
        }
    }
}

impl FrameStream for Link {
    const KEEPS_TIME: bool = true;

    async fn recv(&mut self) -> Inbound {
        if let Err(error) = self.write_out().await {
            return Inbound::Lost(error);
        }
        if let Some(inbound) = self.next_posted() {
            return inbound;
        }
        match self.next().await {
            Next::Input(input) => self.handle_input(input),
            Next::Socket(inbound) => self.handle_frame(inbound),
            Next::Probe(inbound) => self.handle_probe(inbound),
            Next::PollGone => Inbound::Lost(CarrierError::Ended),
        }
    }

    async fn feed(&mut self, text: String) -> Result<(), CarrierError> {
        self.engine.send_event(&text).map_err(|error| CarrierError::Failed(Box::new(error)))?;
        // a poll is answered once, with all there is; a websocket takes frames as they come
        if self.engine.is_polling() { Ok(()) } else { self.carry_out_all().await }
    }

    async fn flush(&mut self) -> Result<(), CarrierError> {
        self.write_out().await
    }

    /// No dialect sends bytes here.
    async fn feed_binary(&mut self, _: Bytes) -> Result<(), CarrierError> {
        Ok(())
    }

    /// The engine has pings of its own.
    async fn ping(&mut self) -> Result<(), CarrierError> {
        Ok(())
    }

    fn next_timeout(&self) -> Option<Instant> {
        Some(self.engine.next_timeout())
    }

    fn handle_timeout(&mut self, now: Instant) -> Option<Inbound> {
        match self.engine.handle_timeout(now)? {
            Late::Silent => Some(Inbound::Lost(CarrierError::Silent)),
            Late::Unconnected => Some(Inbound::Violation("the namespace was not joined in time")),
        }
    }

    async fn close(&mut self, code: u16, reason: &'static str) {
        self.finish_post();
        if self.left {
            self.engine.accept_goodbye();
        } else {
            self.engine.say_goodbye();
        }
        let withdrawn = code == PROTOCOL_ERROR;
        if withdrawn {
            self.registered.withdraw();
        }
        if self.engine.is_polling() {
            let parting = async { if withdrawn { drop(self.write_out().await) } else { self.part_by_polling().await } };
            let _ = timeout(CLOSE_WAIT, parting).await;
            self.drop_probe();
        } else {
            let _ = timeout(CLOSE_WAIT, self.write_out()).await;
        }
        if let Some(socket) = &mut self.socket {
            socket.close(code, reason).await;
        }
    }
}

async fn received(inbox: &mut Option<mpsc::Receiver<Input>>) -> Input {
    if let Some(inbox) = inbox
        && let Some(input) = inbox.recv().await
    {
        return input;
    }
    std::future::pending().await
}

async fn heard(socket: Option<&mut Socket>) -> Inbound {
    match socket {
        Some(socket) => socket.recv().await,
        None => std::future::pending().await,
    }
}

async fn gone(poll: &mut Option<oneshot::Sender<Polled>>) {
    match poll {
        Some(poll) => poll.closed().await,
        None => std::future::pending().await,
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
