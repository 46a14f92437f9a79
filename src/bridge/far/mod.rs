//! What the kinds share that join a remote room over a websocket (`tribe`, `peerjs`): how they come to be connected ([`life`], PURE), the
//! websocket ([`socket`]), and the loop that carries out what their machines decide.
//!
//! A bridge has several sessions of the hub: its own, which is the bridge as the others in the room see it, and one for each member of
//! the far side that it has brought. Media does not pass here.

pub(super) mod held;
pub(super) mod life;
pub(super) mod socket;
#[cfg(test)]
pub(super) mod testing;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context as Waker, Poll};
use std::time::{Duration, Instant};

use reqwest::Url;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use self::socket::{Dialled, Heard, Socket};
use super::crew::Context;
use super::retry::Pace;
use super::status::{Company, Standing};
use super::whip::call::Endpoint;
use super::whip::verdict::Fault;
use crate::hub::{HubSession, Told};
use crate::room::{Command, DialectName, Facts, Joining, Notice, Topology};
use crate::vocab::{Grant, RequestId, Right, Rights, RoomId, RoomPattern, StreamName};

use crate::signalling::session::Bucket;

/// Most members of a far side that are brought into the room.
pub(super) const MAX_MEMBERS: usize = 64;
/// So many messages in a row that mean nothing end the connection.
pub(super) const MAX_NONSENSE: u32 = 16;
/// Longest name or id that is taken from a far side, in characters.
pub(super) const MAX_NAME: usize = 256;
/// Longest description that is taken, in bytes.
pub(super) const MAX_SDP: usize = 64 << 10;
/// The websocket may take so long to be closed when the bridge ends.
const GOODBYE: Duration = Duration::from_secs(2);

/// One of a bridge's sessions in the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Guest(pub(super) u64);

/// The bridge itself.
pub(super) const OWN: Guest = Guest(0);

/// What is to be done.
#[derive(Debug)]
pub(super) enum Output {
    /// Open a session and join.
    Enter(Guest, RequestId, Box<Joining>),
    /// Ask the room.
    Ask(Guest, RequestId, Box<Command>),
    /// Be done with a session.
    Release(Guest),
    /// Make the websocket; leads to [`Machine::handle_dialled`].
    Dial,
    /// Send a message by it.
    Send(String),
    /// Be done with it, or with making it.
    HangUp,
}

/// What a kind decides. PURE. After every `handle*` and `stop` poll the outputs until there is none, then look at the standing and the
/// next timeout.
pub(super) trait Machine: Send {
    fn poll_output(&mut self) -> Option<Output>;
    fn next_timeout(&self) -> Option<Instant>;
    fn handle_timeout(&mut self, now: Instant);
    /// The websocket is there, or why not. With the token that was configured.
    fn handle_dialled(&mut self, now: Instant, outcome: Result<Option<Zeroizing<String>>, Fault>);
    fn handle_text(&mut self, now: Instant, text: &str);
    /// The websocket is gone.
    fn handle_closed(&mut self, now: Instant, fault: Fault);
    fn handle_notice(&mut self, now: Instant, guest: Guest, notice: &Notice);
    /// A session is over: the hub is gone, or has ended it because it did not read.
    fn handle_gone(&mut self, now: Instant, guest: Guest);
    fn standing(&self) -> Standing;
    fn company(&self) -> Company;
    /// Says goodbye to the far side and the room.
    fn stop(&mut self);
    fn is_over(&self) -> bool;
}

/// Makes the address of the websocket of the configured one and the token.
pub(super) type Address = Arc<dyn Fn(Url, Option<&str>) -> Url + Send + Sync>;

/// Where a kind's websocket is, and what it takes.
#[derive(Clone)]
pub(super) struct Door {
    /// The address of the websocket.
    pub(super) address: Address,
    /// The token is shown in the request for the websocket.
    pub(super) bearer: bool,
    /// Largest message that is read, in bytes.
    pub(super) max_message: usize,
}

/// A place in the room. `facts.name` is who it is.
pub(super) fn joining(room: &RoomId, user_id: &str, facts: Facts) -> Joining {
    let rights = Rights::NONE.with(Right::Publish).with(Right::Subscribe);
    Joining {
        room: room.clone(),
        user_id: user_id.into(),
        dialect: DialectName::Bridge,
        remote: None,
        grant: Grant { subject: user_id.into(), rooms: RoomPattern::any(), rights, expires: None },
        visible: true,
        facts,
        opens: Topology::Sfu,
        dialect_limit: None,
        replaces_lost: false,
    }
}

/// What a far side may still send. In messages as a client here (`signalling::session`); in members that come, each of which is told to
/// all others of the room and to the journal, two rooms full at once and four a second for long.
#[derive(Debug)]
pub(super) struct Allowance {
    messages: Bucket,
    arrivals: Bucket,
}

impl Allowance {
    /// Of a new connection.
    pub(super) fn new(now: Instant) -> Self {
        Self { messages: Bucket::new(now), arrivals: Bucket::new(now) }
    }

    pub(super) fn message(&mut self, now: Instant) -> bool {
        self.messages.take(now)
    }

    pub(super) fn arrival(&mut self, now: Instant) -> bool {
        self.arrivals.take_of(now, 4.0, 2.0 * MAX_MEMBERS as f64)
    }
}

/// What a far side that sends more than that is told of.
pub(super) fn flood(what: &str) -> Fault {
    Fault::new("flood", format!("the far side sends too many {what}"), Pace::Slow)
}

/// Longest candidate that is taken, in bytes. Real ones have some 150.
pub(super) const MAX_CANDIDATE: usize = 1024;

/// The stream of a member is called as the member, so that players can name it.
pub(super) fn stream_of(id: &str) -> StreamName {
    StreamName::new(id).unwrap_or_else(|_| StreamName::new("main").expect("a short constant is a name"))
}

/// At most so many characters of a text of a far side, without control characters: fit for a name, the log and the page.
pub(super) fn plain(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

/// Runs one bridge until it is told to stop and has said goodbye.
pub(super) async fn run(context: Context, door: Door, machine: impl Machine) {
    let endpoint = Endpoint::new(&context.config, context.token.clone());
    talk(context, Some((endpoint, door)), None, machine).await;
}

/// Runs one whose websocket the far side has made, until it is told to stop or the far side is gone.
pub(super) async fn serve(context: Context, socket: Socket, machine: impl Machine) {
    talk(context, None, Some(socket), machine).await;
}

async fn talk(context: Context, dials_to: Option<(Endpoint, Door)>, mut socket: Option<Socket>, mut machine: impl Machine) {
    let Context { config, hub, board, stop, .. } = context;
    let mut sessions = Sessions::default();
    // at most one, with a time limit
    let mut dials: JoinSet<Result<Dialled, Fault>> = JoinSet::new();
    // one, and those before it that are being closed
    let mut lines: JoinSet<()> = JoinSet::new();
    let mut stopping = false;
    loop {
        while let Some(output) = machine.poll_output() {
            match output {
                Output::Enter(guest, req, joining) => {
                    // a session that is gone has its place ended by being dropped
                    match hub.open_session().await {
                        Ok(session) => drop(sessions.0.insert(guest, session)),
                        Err(_) => machine.handle_gone(Instant::now(), guest),
                    }
                    sessions.tell(guest, req, Command::Join(joining)).await;
                }
                Output::Ask(guest, req, command) => sessions.tell(guest, req, *command).await,
                Output::Release(guest) => drop(sessions.0.remove(&guest)),
                Output::Dial => {
                    if let Some((endpoint, door)) = dials_to.clone() {
                        dials.spawn(async move { socket::dial(&endpoint, &door).await });
                    }
                }
                Output::Send(text) => {
                    if socket.as_ref().is_some_and(|socket| !socket.send(text)) {
                        socket = None;
                        machine.handle_closed(Instant::now(), socket::stuck());
                    }
                }
                Output::HangUp => {
                    socket = None;
                    // an answer that is on its way is of no use any more
                    dials = JoinSet::new();
                }
            }
        }
        let now = Instant::now();
        board.show(now, &config, machine.standing());
        board.show_company(&machine.company());
        if machine.is_over() {
            break;
        }
        let alarm = machine.next_timeout();
        tokio::select! {
            (guest, notice) = sessions.heard() => match notice {
                Some(notice) => machine.handle_notice(Instant::now(), guest, &notice),
                None => {
                    sessions.0.remove(&guest);
                    machine.handle_gone(Instant::now(), guest);
                }
            },
            heard = hear(&mut socket) => match heard {
                Heard::Text(text) => machine.handle_text(Instant::now(), &text),
                Heard::Closed(fault) => {
                    socket = None;
                    machine.handle_closed(Instant::now(), fault);
                }
            },
            Some(done) = dials.join_next(), if !dials.is_empty() => match done {
                Ok(Ok(Dialled { socket: new, line, token })) => {
                    lines.spawn(line.carry());
                    socket = Some(new);
                    machine.handle_dialled(Instant::now(), Ok(token));
                }
                Ok(Err(fault)) => machine.handle_dialled(Instant::now(), Err(fault)),
                Err(error) => tracing::error!(bridge = %config.name, %error, "a call of a bridge failed"),
            },
            Some(_) = lines.join_next(), if !lines.is_empty() => {}
            () = sleep_until(alarm) => machine.handle_timeout(Instant::now()),
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                machine.stop();
            }
        }
    }
    drop(socket);
    let _ = tokio::time::timeout(GOODBYE, async { while lines.join_next().await.is_some() {} }).await;
    let standing = machine.standing();
    let over = Standing { attempts: standing.attempts, connections: standing.connections, ..Standing::off() };
    board.show(Instant::now(), &config, over);
}

async fn hear(socket: &mut Option<Socket>) -> Heard {
    match socket {
        Some(socket) => socket.hear().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// The sessions there are: [`MAX_MEMBERS`] and the own one.
#[derive(Default)]
struct Sessions(BTreeMap<Guest, HubSession>);

impl Sessions {
    /// A hub that is gone is heard of as the end of the session.
    async fn tell(&mut self, guest: Guest, req: RequestId, command: Command) {
        if let Some(session) = self.0.get(&guest) {
            let _ = session.send(req, command).await;
        }
    }

    /// The next notice of any, or the end of one. Cancel-safe: nothing is taken that is not returned.
    async fn heard(&mut self) -> (Guest, Option<Notice>) {
        poll_fn(|waker| self.poll(waker)).await
    }

    fn poll(&mut self, waker: &mut Waker<'_>) -> Poll<(Guest, Option<Notice>)> {
        for (guest, session) in &mut self.0 {
            while let Poll::Ready(told) = session.told.poll_recv(waker) {
                match told {
                    Some(Told::Notice(notice)) => return Poll::Ready((*guest, Some(*notice))),
                    Some(Told::Long(long)) => return Poll::Ready((*guest, Some(long.0))),
                    Some(Told::Realm(_) | Told::Channel(_)) => {}
                    None => return Poll::Ready((*guest, None)),
                }
            }
        }
        Poll::Pending
    }
}
