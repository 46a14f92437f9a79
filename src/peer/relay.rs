//! PURE. An address at a TURN server that leads here (RFC 8656): for far ends that no other way leads to.
//!
//! It is made while it is wanted, kept, and given back. Where a server refuses or is silent the next one is asked, and after the last there is a
//! rest. What far ends send there comes in by [`Relay::datagram`]; what leaves from there is written by an [`Outlet`].

mod channels;
mod outlet;
#[cfg(test)]
pub(super) mod tests;
mod wire;
mod word;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::vocab::PeerId;
use channels::Channels;
pub(super) use outlet::{Outlet, Passage};
use wire::{Ask, Challenge, Reply, Said, Signature};
pub use word::RelayFigures;
pub(super) use word::Word;

/// From the first request to the next, doubled each time (RFC 8489 §6.2.1).
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Requests before a server counts as silent: 15.5 s, as with STUN servers.
const TRIES: u32 = 5;
/// A request is signed anew so often, as the server asks for it.
const CHALLENGES: u32 = 3;
/// Between refreshes. The server keeps it for ten minutes, but a router between forgets within 30 s.
const REFRESH: Duration = Duration::from_secs(20);
/// Where it is in use and nothing came for so long, the server is asked whether it still knows of it: one that was started anew does not. Connections
/// take 10 s of silence.
const QUIET: Duration = Duration::from_secs(3);
/// After every server has refused or was silent. coturn forgets a name that it refused after a minute.
const REST: Duration = Duration::from_secs(60);
/// How long the gateway's own name holds. Nobody else has it, and with another name everything that is relayed has to move.
const NAME_LASTS: Duration = Duration::from_secs(7 * 86_400);
/// So long before its end there is another name: the gateway's clock and the server's may differ.
const NAME_MARGIN: Duration = Duration::from_secs(3600);
/// Where the server does not say how long it keeps it (RFC 8656 §3.2).
const LIFETIME: Duration = Duration::from_secs(600);
/// Servers asked at most.
const MOST_SERVERS: usize = 8;

/// Makes a name and a password that hold until then.
#[derive(Clone)]
pub struct Mint(Arc<dyn Fn(SystemTime) -> (String, String) + Send + Sync>);

impl Mint {
    /// One that does what it is given.
    pub fn new(make: impl Fn(SystemTime) -> (String, String) + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }
}

impl fmt::Debug for Mint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mint(…)")
    }
}

/// The gateway may have relays of its own.
#[derive(Clone, Debug)]
pub struct RelayAccess {
    /// What TURN servers are told.
    pub mint: Mint,
    /// For members too, not only for peers with ports of their own.
    pub for_all: bool,
}

/// Why there is no relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoRelay {
    /// The name or the password is wrong.
    Credentials,
    /// The server has something of this port's, from before.
    Taken,
    /// This name has as much as it may.
    Quota,
    /// The server has no more to give.
    Full,
    /// Another error of the server's (RFC 8656 §19).
    Code(u16),
    /// No answer.
    Silence,
}

impl NoRelay {
    /// What they are called in figures.
    pub const WORDS: [&str; 6] = ["credentials", "taken", "quota", "full", "error", "silence"];

    /// Its place among them.
    fn place(self) -> usize {
        match self {
            Self::Credentials => 0,
            Self::Taken => 1,
            Self::Quota => 2,
            Self::Full => 3,
            Self::Code(_) => 4,
            Self::Silence => 5,
        }
    }
}

impl fmt::Display for NoRelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credentials => f.write_str(
                "it takes the gateway's name for wrong: the secret in media.turn_secret_file is another, or a clock is wrong",
            ),
            Self::Taken => f.write_str("it keeps what the gateway had there before: it lets go within ten minutes"),
            Self::Quota => f.write_str("the gateway has as many relays as it may (coturn: user-quota)"),
            Self::Full => f.write_str("it has no relay left (coturn: total-quota, min-port, max-port)"),
            Self::Code(code) => write!(f, "it answers with error {code}"),
            Self::Silence => f.write_str("it does not answer by UDP"),
        }
    }
}

/// What came of asking a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) server: SocketAddr,
    /// The address that leads here, or why there is none.
    pub(super) outcome: Result<SocketAddr, NoRelay>,
}

/// What a datagram of the server's was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming<'a> {
    /// Of this.
    Own,
    /// A far end's, which it sent to the relayed address.
    Relayed { local: SocketAddr, from: SocketAddr, datagram: &'a [u8] },
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// There is none. It is asked for then, if one is wanted.
    None {
        from: Instant,
    },
    Asking,
    Held(Held),
    /// The server is told that it is needed no more.
    Ending,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    relayed: SocketAddr,
    /// Where the server's answer came in.
    base: SocketAddr,
    /// The server forgets it.
    until: Instant,
    refresh: Instant,
    /// When it was refreshed last.
    refreshed: Instant,
    /// When the server sent something last.
    heard: Instant,
}

/// A request whose answer has not come.
#[derive(Debug)]
struct Pending {
    ask: Ask,
    id: [u8; 12],
    tries: u32,
    next: Instant,
    challenges: u32,
    /// What it was signed with.
    nonce: Option<String>,
}

/// One relay.
#[derive(Debug)]
pub(super) struct Relay {
    mint: Mint,
    servers: Vec<SocketAddr>,
    /// The server that is asked.
    at: usize,
    /// Servers that refused since the last that did not.
    refused: usize,
    wanted: bool,
    state: State,
    /// When [`Self::timeout`] is due.
    due: Option<Instant>,
    /// The server was told to end what it has of this port's from before.
    freed: bool,
    name: Option<(String, String)>,
    /// When another name is needed.
    rename: Instant,
    signature: Option<Signature>,
    pending: Vec<Pending>,
    channels: Channels,
    outlet_changed: bool,
    verdict: Option<Verdict>,
}

impl Relay {
    pub(super) fn new(now: Instant, mint: Mint) -> Self {
        Self {
            mint,
            servers: Vec::new(),
            at: 0,
            refused: 0,
            wanted: false,
            state: State::None { from: now },
            due: None,
            freed: false,
            name: None,
            rename: now,
            signature: None,
            pending: Vec::new(),
            channels: Channels::default(),
            outlet_changed: false,
            verdict: None,
        }
    }

    /// Servers to ask, best first. What one of them gave is kept.
    pub(super) fn set_servers(&mut self, now: Instant, servers: &[SocketAddr]) {
        self.due = Some(now);
        let present = self.server().filter(|_| !matches!(self.state, State::None { .. }));
        self.servers = servers.iter().take(MOST_SERVERS).copied().collect();
        let kept = present.and_then(|present| self.servers.iter().position(|server| *server == present));
        self.at = kept.unwrap_or(0);
        if kept.is_none() {
            (self.refused, self.signature) = (0, None);
            self.lose(now);
        }
    }

    /// Whether one is wanted from now on.
    pub(super) fn want(&mut self, now: Instant, wanted: bool) {
        (self.wanted, self.due) = (wanted, Some(now));
    }

    /// The machine has other addresses or routes: to the server it may be another client.
    pub(super) fn moved(&mut self, now: Instant, is_gone: impl Fn(IpAddr) -> bool) {
        self.due = Some(now);
        match &mut self.state {
            State::Held(held) if is_gone(held.base.ip()) => self.lose(now),
            State::Held(held) => held.refresh = now,
            State::None { from } => *from = now,
            State::Asking | State::Ending => self.pending.iter_mut().for_each(|pending| pending.next = now),
        }
    }

    /// The address that leads here.
    pub(super) fn relayed(&self) -> Option<SocketAddr> {
        match self.state {
            State::Held(held) => Some(held.relayed),
            _ => None,
        }
    }

    /// Whether something may come of waiting.
    pub(super) fn is_asking(&self, now: Instant) -> bool {
        let asks = match self.state {
            State::None { from } => from <= now && !self.servers.is_empty(),
            State::Asking => true,
            State::Held(_) | State::Ending => false,
        };
        self.wanted && asks
    }

    /// A peer sends from the relayed address to one that no channel leads to yet.
    pub(super) fn bind(&mut self, now: Instant, peer: PeerId, to: SocketAddr) {
        let (State::Held(held), Some(server)) = (self.state, self.server()) else { return };
        let there = |test: fn(IpAddr) -> bool| test(to.ip()) && !test(server.ip());
        let useless = to.port() == 0 || to.ip().is_multicast() || to.ip().is_unspecified() || is_link_local(to.ip());
        if useless || there(|ip| ip.is_loopback()) || to.is_ipv4() != held.relayed.is_ipv4() {
            return;
        }
        if let Some(channel) = self.channels.want(now, peer, to) {
            self.due = Some(now);
            self.ask(now, Ask::Bind { channel, to });
        }
    }

    /// When [`Self::timeout`] is due.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.due
    }

    fn next(&self, now: Instant) -> Option<Instant> {
        let own = match self.state {
            State::None { from } => Some(from).filter(|_| self.wanted && !self.servers.is_empty()),
            State::Held(held) => Some(held.refresh.min(held.until).min(self.rename).min(self.doubt(now, held))),
            State::Asking | State::Ending => None,
        };
        let asked = self.pending.iter().map(|pending| pending.next).min();
        [own, asked, self.channels.next_timeout(now)].into_iter().flatten().min()
    }

    /// Requests that are due, for [`Self::server`]. `id` makes transaction ids.
    pub(super) fn timeout(&mut self, now: Instant, wall: SystemTime, mut id: impl FnMut() -> [u8; 12]) -> Vec<Vec<u8>> {
        self.advance(now, wall);
        let (renew, closed) = self.channels.tend(now);
        self.outlet_changed |= closed;
        for channel in renew {
            if let Some(to) = self.channels.address(channel) {
                self.ask(now, Ask::Bind { channel, to });
            }
        }
        let silent: Vec<Ask> = self.pending.extract_if(.., |it| it.next <= now && it.tries == TRIES).map(|it| it.ask).collect();
        silent.into_iter().for_each(|ask| self.unanswered(now, ask));
        let mut requests = Vec::new();
        for pending in self.pending.iter_mut().filter(|pending| pending.next <= now) {
            if pending.tries == 0 {
                pending.id = id();
            }
            pending.next = now + FIRST_WAIT * (1 << pending.tries);
            pending.tries += 1;
            pending.nonce = self.signature.as_ref().map(|signature| signature.nonce.clone());
            requests.extend(wire::request(pending.ask, pending.id, self.signature.as_ref()));
        }
        self.due = self.next(now);
        requests
    }

    /// When the server is to be asked because it is so quiet.
    fn doubt(&self, now: Instant, held: Held) -> Instant {
        let quiet = held.heard + QUIET;
        // once for each silence, and not for one where nobody speaks
        let doubtful = held.refreshed <= held.heard && self.channels.are_used(now);
        if doubtful { quiet } else { held.refresh }
    }

    fn advance(&mut self, now: Instant, wall: SystemTime) {
        if let State::Held(held) = self.state
            && self.doubt(now, held) <= now
        {
            self.state = State::Held(Held { refresh: now, ..held });
        }
        match &mut self.state {
            State::None { from } if *from <= now && self.wanted && !self.servers.is_empty() => {
                if self.name.is_none() || self.rename <= now {
                    self.name = Some((self.mint.0)(wall + NAME_LASTS));
                    self.rename = now + (NAME_LASTS - NAME_MARGIN);
                    self.signature = None;
                }
                self.state = State::Asking;
                self.ask(now, Ask::Allocate);
            }
            State::Held(held) if held.until <= now => self.lose(now),
            State::Held(_) if !self.wanted || self.rename <= now => {
                self.lose(now);
                self.state = State::Ending;
                self.ask(now, Ask::Release);
            }
            State::Held(held) if held.refresh <= now => {
                (held.refresh, held.refreshed) = (now + REFRESH, now);
                if !self.pending.iter().any(|pending| pending.ask == Ask::Refresh) {
                    self.ask(now, Ask::Refresh);
                }
            }
            State::Asking if !self.wanted => {
                // the answer may be on its way: what the server has made is ended
                let made = self.signature.is_some();
                self.lose(now);
                if made {
                    self.state = State::Ending;
                    self.ask(now, Ask::Release);
                }
            }
            _ => {}
        }
    }

    /// What ends it at once, without waiting for the server's word.
    pub(super) fn goodbye(&self, id: [u8; 12]) -> Option<Vec<u8>> {
        let held = matches!(self.state, State::Held(_)) && self.signature.is_some();
        held.then(|| wire::request(Ask::Release, id, self.signature.as_ref())).flatten()
    }

    /// The server that is asked, or that gave what there is.
    pub(super) fn server(&self) -> Option<SocketAddr> {
        self.servers.get(self.at).copied()
    }

    /// Takes a datagram; `None` when it is not of the server's relay.
    pub(super) fn datagram<'a>(
        &mut self,
        now: Instant,
        local: SocketAddr,
        from: SocketAddr,
        datagram: &'a [u8],
    ) -> Option<Incoming<'a>> {
        if self.server() != Some(from) {
            return None;
        }
        let channel = wire::from_channel(datagram);
        if let State::Held(held) = &mut self.state {
            let relayed = held.relayed;
            held.heard = now;
            self.due = self.due.map(|due| due.min(now + QUIET));
            let its = match channel {
                Some((channel, content)) => self.channels.heard(now, channel).map(|from| (from, content)),
                None => wire::from_indication(datagram),
            };
            if let Some((from, datagram)) = its {
                return Some(Incoming::Relayed { local: relayed, from, datagram });
            }
        }
        if channel.is_none() {
            self.reply(now, local, wire::reply(datagram)?);
        }
        Some(Incoming::Own)
    }

    fn reply(&mut self, now: Instant, local: SocketAddr, Reply { id, said }: Reply) {
        let Some(at) = self.pending.iter().position(|pending| pending.tries > 0 && pending.id == id) else { return };
        self.due = Some(now);
        match said {
            Said::Yes { relayed, lifetime, mut message } => {
                // an answer to what was signed is signed as well
                let forged = self.signature.as_ref().is_some_and(|signature| !wire::is_authentic(&mut message, signature));
                if !forged {
                    let ask = self.pending.swap_remove(at).ask;
                    self.granted(now, local, ask, relayed, lifetime);
                }
            }
            Said::No { code: code @ (401 | 438), challenge: Some(challenge) } if self.may_sign(at, code, &challenge) => {
                self.signature = self.name.as_ref().and_then(|name| Signature::new(name, challenge));
                let pending = &mut self.pending[at];
                pending.challenges += 1;
                (pending.tries, pending.next) = (0, now);
            }
            Said::No { code, .. } => {
                let ask = self.pending.swap_remove(at).ask;
                self.denied(now, ask, code);
            }
        }
    }

    /// Whether the answer asks for another signature, and not for another password.
    fn may_sign(&self, at: usize, code: u16, challenge: &Challenge) -> bool {
        let Some(pending) = self.pending.get(at).filter(|pending| pending.challenges < CHALLENGES) else { return false };
        code == 438 || pending.nonce.as_ref() != Some(&challenge.nonce)
    }

    fn granted(&mut self, now: Instant, local: SocketAddr, ask: Ask, relayed: Option<SocketAddr>, lifetime: Option<Duration>) {
        match (ask, &mut self.state, relayed) {
            (Ask::Allocate, State::Asking, Some(relayed)) if relayed.port() != 0 && !relayed.ip().is_unspecified() => {
                let lifetime = lifetime.unwrap_or(LIFETIME).max(REFRESH);
                let (until, refresh) = (now + lifetime, now + REFRESH.min(lifetime / 2));
                self.state = State::Held(Held { relayed, base: local, until, refresh, refreshed: now, heard: now });
                (self.refused, self.freed, self.outlet_changed) = (0, false, true);
                self.say(Ok(relayed));
            }
            // one without an address is of no use
            (Ask::Allocate, State::Asking, _) => self.denied(now, ask, 500),
            (Ask::Refresh, State::Held(held), _) => {
                held.until = now + lifetime.unwrap_or(LIFETIME).max(REFRESH);
            }
            (Ask::Release, State::Ending, _) => self.state = State::None { from: now },
            (Ask::Bind { channel, .. }, State::Held(_), _) => self.outlet_changed |= self.channels.granted(now, channel),
            _ => {}
        }
    }

    fn denied(&mut self, now: Instant, ask: Ask, code: u16) {
        match (ask, code) {
            // from before the line was cut, perhaps
            (Ask::Allocate, 437) if !self.freed && self.signature.is_some() => {
                self.lose(now);
                (self.state, self.freed) = (State::Ending, true);
                self.ask(now, Ask::Release);
            }
            (Ask::Allocate, _) => {
                let refusal = match code {
                    401 | 441 => NoRelay::Credentials,
                    437 => NoRelay::Taken,
                    486 => NoRelay::Quota,
                    508 => NoRelay::Full,
                    code => NoRelay::Code(code),
                };
                self.next_server(now, refusal);
            }
            // it knows nothing of it any more: it was started anew
            (Ask::Refresh | Ask::Bind { .. }, 437) => self.lose(now),
            (Ask::Bind { channel, .. }, 400) => {
                self.channels.forget(channel);
                self.outlet_changed = true;
            }
            (Ask::Bind { channel, .. }, _) => self.outlet_changed |= self.channels.refused(now, channel),
            (Ask::Release, _) => self.state = State::None { from: now },
            // there are more of them before the server forgets it
            (Ask::Refresh, _) => {}
        }
    }

    fn unanswered(&mut self, now: Instant, ask: Ask) {
        match ask {
            Ask::Allocate => self.next_server(now, NoRelay::Silence),
            Ask::Refresh => {
                self.say(Err(NoRelay::Silence));
                self.lose(now);
            }
            Ask::Release => self.state = State::None { from: now },
            Ask::Bind { channel, .. } => self.outlet_changed |= self.channels.refused(now, channel),
        }
    }

    fn next_server(&mut self, now: Instant, refusal: NoRelay) {
        self.say(Err(refusal));
        self.refused += 1;
        let all = self.refused >= self.servers.len();
        if all {
            self.refused = 0;
        }
        self.at = (self.at + 1) % self.servers.len().max(1);
        (self.signature, self.freed) = (None, false);
        self.lose(now + if all { REST } else { Duration::ZERO });
    }

    /// There is none any more; the server is asked then.
    fn lose(&mut self, from: Instant) {
        self.outlet_changed |= matches!(self.state, State::Held(_));
        self.state = State::None { from };
        self.pending.clear();
        self.channels = Channels::default();
    }

    fn ask(&mut self, now: Instant, ask: Ask) {
        self.pending.push(Pending { ask, id: [0; 12], tries: 0, next: now, challenges: 0, nonce: None });
    }

    fn say(&mut self, outcome: Result<SocketAddr, NoRelay>) {
        self.verdict = self.server().map(|server| Verdict { server, outcome });
    }

    /// What came of asking since the last call.
    pub(super) fn take_verdict(&mut self) -> Option<Verdict> {
        self.verdict.take()
    }

    /// How datagrams leave from there, where that has changed since the last call: `Some(None)` says that they do not.
    pub(super) fn take_outlet(&mut self) -> Option<Option<Outlet>> {
        if !std::mem::take(&mut self.outlet_changed) {
            return None;
        }
        let (State::Held(Held { relayed, base, .. }), Some(server)) = (self.state, self.server()) else { return Some(None) };
        Some(Some(Outlet::new(relayed, base, server, self.channels.open())))
    }

    /// Entries of its tables.
    pub(super) fn entries(&self) -> usize {
        self.channels.len() + self.pending.len()
    }
}

/// As if the server had sent it, to one that has just asked.
pub(super) fn fuzz_datagram(datagram: &[u8]) {
    let now = Instant::now();
    let server = SocketAddr::from(([198, 51, 100, 1], 3478));
    let mut relay = Relay::new(now, Mint::new(|_| ("name".into(), "password".into())));
    relay.set_servers(now, &[server]);
    relay.want(now, true);
    let id = datagram.get(8..20).and_then(|id| id.try_into().ok()).unwrap_or_default();
    let _ = relay.timeout(now, std::time::UNIX_EPOCH, || id);
    let _ = relay.datagram(now, SocketAddr::from(([10, 0, 0, 2], 8781)), server, datagram);
    let _ = relay.timeout(now, std::time::UNIX_EPOCH, || id);
    let _ = relay.datagram(now, SocketAddr::from(([10, 0, 0, 2], 8781)), server, datagram);
    assert!(relay.entries() <= 1);
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}
