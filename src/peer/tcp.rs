//! ICE over TCP: connections that far ends open where UDP does not get through (RFC 6544, here always the passive side). Each datagram
//! has its length before it (RFC 4571 §2).
//!
//! The engine knows nothing of it. A stream's far end has an address like any other; to the engine its datagrams come by UDP from there,
//! and what it sends there leaves by the stream. Of media only the newest waits: what finds no room is dropped, as by a full socket.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::vocab::PeerId;

use super::demux::local_ufrag;

/// Largest datagram taken: SCTP over DTLS with jumbo frames is smaller.
const LARGEST: usize = 9216;
/// Bytes that wait to leave by one stream: 250 ms of 8 Mbit/s, and a key picture.
const WAITING: usize = 256 << 10;
/// Bytes read of one stream in one turn, so that one far end does not hold up the others.
const READ_PER_TURN: usize = 256 << 10;
/// Streams that have not said yet whose they are, and how long they may take.
const STRANGERS: usize = 64;
const STRANGER_LIMIT: Duration = Duration::from_secs(5);
/// From a refusal to accept, which a full table of open files is, to the next try: the listener stays readable all the while.
const REST: Duration = Duration::from_secs(1);
/// Streams of one peer: one for each of its addresses, and as many of before a restart.
const PER_PEER: usize = 8;

/// Cuts what arrives into datagrams.
#[derive(Debug, Default)]
struct Deframer {
    bytes: Vec<u8>,
    at: usize,
}

/// A length that no datagram has.
#[derive(Debug, PartialEq, Eq)]
struct TooLarge;

impl Deframer {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole datagram, where there is one.
    fn peek(&self) -> Result<Option<&[u8]>, TooLarge> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some((length, rest)) = rest.split_first_chunk::<2>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes(*length));
        if length > LARGEST {
            return Err(TooLarge);
        }
        Ok(rest.get(..length))
    }

    fn skip(&mut self, length: usize) {
        self.at = (self.at + 2 + length).min(self.bytes.len());
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Stream {
    /// `None` once it is over: what is sent there then goes nowhere.
    socket: Option<TcpStream>,
    /// Our candidate's address, as the engine knows it.
    pub(super) local: SocketAddr,
    pub(super) from: SocketAddr,
    input: Deframer,
    output: Vec<u8>,
    since: Instant,
}

impl Stream {
    fn new(now: Instant, socket: TcpStream, from: SocketAddr, udp_port: u16) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let local = SocketAddr::new(socket.local_addr()?.ip().to_canonical(), udp_port);
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        Ok(Self { socket: Some(socket), local, from, input: Deframer::default(), output: Vec::new(), since: now })
    }

    /// Reads what is there, up to a limit. Returns whether there may be more at once.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        let mut total = 0;
        while let Some(socket) = &mut self.socket {
            match socket.read(&mut buffer) {
                Ok(0) => self.socket = None,
                Ok(count) => {
                    self.input.add(&buffer[..count]);
                    total += count;
                    if total >= READ_PER_TURN {
                        return true;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.socket = None,
            }
        }
        false
    }

    /// Whose it is, by the first datagram.
    fn claim(&self) -> Claim {
        match self.input.peek() {
            Ok(Some(first)) => local_ufrag(first).map_or(Claim::Stranger, |ufrag| Claim::Ufrag(ufrag.to_owned())),
            Ok(None) => Claim::Nothing,
            Err(TooLarge) => Claim::Stranger,
        }
    }

    /// Everything that arrived whole.
    fn datagrams(&mut self, mut each: impl FnMut(SocketAddr, SocketAddr, &[u8])) {
        loop {
            let length = match self.input.peek() {
                Ok(Some(datagram)) => {
                    each(self.local, self.from, datagram);
                    datagram.len()
                }
                Ok(None) => return,
                Err(TooLarge) => {
                    self.socket = None;
                    return;
                }
            };
            self.input.skip(length);
        }
    }

    /// Takes a datagram to be sent; false when there is no room.
    pub(super) fn push(&mut self, datagram: &[u8]) -> bool {
        let Ok(length) = u16::try_from(datagram.len()) else { return false };
        if self.socket.is_none() {
            // it went to nobody, and nobody misses it
            return true;
        }
        if self.output.len() + 2 + datagram.len() > WAITING {
            return false;
        }
        self.output.extend_from_slice(&length.to_be_bytes());
        self.output.extend_from_slice(datagram);
        true
    }

    /// Sends as much as the kernel takes.
    fn flush(&mut self) {
        let mut gone = 0;
        while let Some(socket) = &mut self.socket
            && gone < self.output.len()
        {
            match socket.write(&self.output[gone..]) {
                Ok(0) => self.socket = None,
                Ok(count) => gone += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.socket = None,
            }
        }
        self.output.drain(..gone);
        if self.socket.is_none() {
            self.output = Vec::new();
        }
    }
}

/// Whose a new stream is.
enum Claim {
    /// It has not said yet.
    Nothing,
    /// The peer with this user fragment of ours.
    Ufrag(String),
    /// No check came first: it is no ICE.
    Stranger,
}

/// The streams of a shard.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// Of the first shard: where they come in.
    listeners: Vec<TcpListener>,
    udp_port: u16,
    /// Nobody is let in before.
    resting: Option<Instant>,
    strangers: Vec<Stream>,
    known: HashMap<SocketAddr, (PeerId, Stream)>,
}

impl Streams {
    pub(super) fn new(listeners: Vec<TcpListener>, udp_port: u16) -> Self {
        Self { listeners, udp_port, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Streams that are kept, for tests of leaks.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// What to wait for, and whether also until it takes more.
    pub(super) fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, bool)> {
        let known = self.known.values().map(|(_, stream)| stream);
        let streams = self.strangers.iter().chain(known);
        let sockets = streams.filter_map(|stream| Some((stream.socket.as_ref()?.as_fd(), !stream.output.is_empty())));
        let listeners = self.listeners.iter().filter(|_| self.resting.is_none());
        listeners.map(|listener| (listener.as_fd(), false)).chain(sockets)
    }

    /// Takes in who connects, and reads those who have not said whose they are. `claimed` says what becomes of one: the peer it is kept
    /// for here; without one it is let go, or given away.
    pub(super) fn welcome(&mut self, now: Instant, mut claimed: impl FnMut(&str, &mut Option<Stream>) -> Option<PeerId>) {
        self.resting = self.resting.filter(|until| now < *until);
        let rests = self.resting.is_some();
        for listener in self.listeners.iter().filter(|_| !rests) {
            loop {
                match listener.accept() {
                    Ok((socket, from)) => {
                        if self.strangers.len() == STRANGERS {
                            self.strangers.remove(0);
                        }
                        if let Ok(stream) = Stream::new(now, socket, from, self.udp_port) {
                            self.strangers.push(stream);
                        }
                    }
                    Err(error) if concerns_one(&error) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => {
                        tracing::warn!(%error, "ICE over TCP: nobody is let in for {REST:?}");
                        self.resting = Some(now + REST);
                        break;
                    }
                }
            }
        }
        let mut index = 0;
        while let Some(stream) = self.strangers.get_mut(index) {
            stream.read();
            let late = now.saturating_duration_since(stream.since) > STRANGER_LIMIT;
            match stream.claim() {
                Claim::Nothing if !late && stream.socket.is_some() => index += 1,
                Claim::Ufrag(ufrag) => {
                    let mut stream = Some(self.strangers.remove(index));
                    let peer = claimed(&ufrag, &mut stream);
                    if let (Some(peer), Some(stream)) = (peer, stream) {
                        self.insert(peer, stream);
                    }
                }
                Claim::Nothing | Claim::Stranger => drop(self.strangers.remove(index)),
            }
        }
    }

    /// When a stream that says nothing is over, or others are let in again.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.strangers.iter().map(|stream| stream.since + STRANGER_LIMIT).chain(self.resting).min()
    }

    /// Keeps a stream for a peer of this shard.
    pub(super) fn insert(&mut self, peer: PeerId, stream: Stream) {
        let its = self.known.iter().filter(|(_, (of, _))| *of == peer);
        if its.clone().count() >= PER_PEER
            && let Some(oldest) =
                its.min_by_key(|(_, (_, stream))| (stream.socket.is_some(), stream.since)).map(|(from, _)| *from)
        {
            self.known.remove(&oldest);
        }
        self.known.insert(stream.from, (peer, stream));
    }

    /// Reads every stream. Returns whether there may be more at once.
    pub(super) fn read(&mut self, mut each: impl FnMut(PeerId, SocketAddr, SocketAddr, &[u8])) -> bool {
        let mut more = false;
        for (peer, stream) in self.known.values_mut() {
            more |= stream.read();
            stream.datagrams(|local, from, datagram| each(*peer, local, from, datagram));
        }
        more
    }

    /// The peer's stream to that address: another's datagrams there go by UDP.
    pub(super) fn to(&mut self, peer: PeerId, address: SocketAddr) -> Option<&mut Stream> {
        self.known.get_mut(&address).filter(|(of, _)| *of == peer).map(|(_, stream)| stream)
    }

    /// Sends what waits, as far as it goes.
    pub(super) fn flush(&mut self) {
        self.known.values_mut().filter(|(_, stream)| !stream.output.is_empty()).for_each(|(_, stream)| stream.flush());
    }

    /// A peer is gone, and its streams with it.
    pub(super) fn forget(&mut self, peer: PeerId) {
        self.known.retain(|_, (of, _)| *of != peer);
    }
}

/// Whether an error of `accept` is one connection's alone, so that the next may be taken (accept(2): errors of the new connection are
/// passed on).
fn concerns_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Binds the listeners that go with the UDP sockets: the same addresses, and the same port where it is free. `exact`: no other port will
/// do. Returns them with the port.
pub(super) fn bind(udp: &[SocketAddr], exact: bool) -> io::Result<(Vec<TcpListener>, u16)> {
    let attempt = |port: Option<u16>| -> io::Result<(Vec<TcpListener>, u16)> {
        let (mut listeners, mut port) = (Vec::new(), port);
        for address in udp {
            let listener = listen(SocketAddr::new(address.ip(), port.unwrap_or(0)))?;
            port = Some(listener.local_addr()?.port());
            listeners.push(listener);
        }
        Ok((listeners, port.unwrap_or(0)))
    };
    let wanted = udp.first().map(SocketAddr::port);
    attempt(wanted).or_else(|error| if exact { Err(error) } else { attempt(None) })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // as the UDP sockets: the wildcard serves both families
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // so that a restart need not wait for the last connections to be forgotten
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(128)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests;
