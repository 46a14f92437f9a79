//! The server: its socket and its thread, and who may connect. What is where is told in [`super`].

mod connection;
mod describe;
mod inbox;
mod parameters;
mod plane;
mod sender;
mod session;
mod target;
mod transport;
mod udp;
mod viewing;
mod wire;

pub use plane::Plane;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::RtspConfig;
use crate::hub::Hub;
use crate::ops::access::Access;
use crate::ops::metrics::Metrics;
use connection::Connection;
use udp::Udp;

/// Most connections beyond those that may view: they ask for addresses, or hold nothing but a place. A stranger loses it after 15 s.
const STRANGERS: usize = 64;
/// Most connections of one address beyond that: one machine does not take all places of strangers.
const OF_ONE: usize = 16;
/// After an error of `accept` (no descriptor is free) it is tried again.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);
/// What the system keeps of what is sent to one client. More would make pictures old on a slow way, and it is memory.
const SEND_BUFFER: usize = 256 * 1024;
/// A connection over which nothing goes is asked about by the system after this time.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Goodbyes are said within this time.
const END_LIMIT: Duration = Duration::from_millis(500);

/// What serving needs.
pub struct Parts {
    /// The rooms.
    pub hub: Hub,
    /// Its orders for viewers.
    pub plane: Arc<Plane>,
    /// The rules.
    pub access: Arc<Access>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Ends it.
    pub stop: CancellationToken,
}

/// What all connections share.
struct Shared {
    hub: Hub,
    plane: Arc<Plane>,
    access: Arc<Access>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    /// For viewers.
    places: Arc<Semaphore>,
    udp: Udp,
    /// Who is sent RTP by UDP, and when it was heard last; bounded by the viewers.
    heard: Mutex<HashMap<SocketAddr, Instant>>,
}

impl Shared {
    fn udp_ports(&self) -> (u16, u16) {
        self.udp.ports()
    }

    async fn send_rtp(&self, datagram: &[u8], to: SocketAddr) {
        // a receiver that is not there any more is noticed by its silence
        let _ = self.udp.rtp.send_to(datagram, to).await;
    }

    fn send_report(&self, report: &[u8], to: SocketAddr) {
        // the next one follows
        let _ = self.udp.rtcp.try_send_to(report, to);
    }

    fn listen_to(&self, address: SocketAddr, now: Instant) {
        self.heard().insert(address, now);
    }

    fn forget(&self, address: SocketAddr) {
        self.heard().remove(&address);
    }

    fn heard_from(&self, address: SocketAddr) -> Option<Instant> {
        self.heard().get(&address).copied()
    }

    fn heard(&self) -> MutexGuard<'_, HashMap<SocketAddr, Instant>> {
        // no code that can panic runs under the lock
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves on a socket until it is stopped; whoever stops the gateway waits for `tasks`. Fails where no UDP port or thread is to be had.
pub fn serve(listener: TcpListener, config: &RtspConfig, parts: Parts, tasks: &TaskTracker) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listen = listener.local_addr()?;
    let sockets = udp::bind(listen)?;
    let most = usize::from(config.max_sessions);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ended, end) = oneshot::channel::<()>();
    std::thread::Builder::new().name("rtsp".into()).spawn(move || {
        runtime.block_on(async move {
            if let Err(error) = run(listener, sockets, most, parts).await {
                warn!(%listen, %error, "nothing is served by RTSP");
            }
        });
        drop(ended);
    })?;
    tasks.spawn(async move {
        // it is never sent: the thread's end is the answer
        let _ = end.await;
    });
    Ok(())
}

async fn run(listener: TcpListener, sockets: udp::Sockets, most: usize, parts: Parts) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let udp = Udp::new(sockets)?;
    let Parts { hub, plane, access, metrics, stop } = parts;
    let shared = Arc::new(Shared {
        hub,
        plane,
        access,
        metrics,
        stop: stop.clone(),
        places: Arc::new(Semaphore::new(most)),
        udp,
        heard: Mutex::default(),
    });
    let (rtp, rtcp) = shared.udp_ports();
    info!(listen = %listener.local_addr()?, rtp, rtcp, "serving RTSP");
    let guests = Guests { most: most + STRANGERS, ..Guests::default() };
    let guests = Arc::new(Mutex::new(guests));
    let connections = TaskTracker::new();
    let accepting = async {
        loop {
            match listener.accept().await {
                Ok((stream, remote)) => welcome(stream, remote, &shared, &guests, &connections),
                Err(error) => {
                    debug!(%error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    };
    tokio::select! {
        never = accepting => match never {},
        () = hear(&shared) => {}
        () = stop.cancelled() => {}
    }
    connections.close();
    let _ = tokio::time::timeout(END_LIMIT, connections.wait()).await;
    Ok(())
}

/// Notes which receivers of RTP by UDP send reports.
async fn hear(shared: &Shared) {
    let mut rtp = [0; 2048];
    let mut rtcp = [0; 2048];
    loop {
        let received = tokio::select! {
            // what comes here opens the way through a router, and says nothing
            _ = shared.udp.rtp.recv_from(&mut rtp) => continue,
            received = shared.udp.rtcp.recv_from(&mut rtcp) => received,
        };
        if let Ok((_, from)) = received
            && let Some(heard) = shared.heard().get_mut(&from)
        {
            *heard = Instant::now();
        }
    }
}

/// Who is connected, by address.
#[derive(Debug, Default)]
struct Guests {
    most: usize,
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Guests {
    /// Whether there is a place for one more from there.
    fn enter(&mut self, from: IpAddr) -> bool {
        let of_one = self.by_address.get(&from).copied().unwrap_or_default();
        // viewers of one address may be as many as there are places for viewers
        if self.all >= self.most || of_one >= self.most.saturating_sub(STRANGERS) + OF_ONE {
            return false;
        }
        self.all += 1;
        *self.by_address.entry(from).or_default() += 1;
        true
    }

    fn leave(&mut self, from: IpAddr) {
        self.all = self.all.saturating_sub(1);
        if let Some(count) = self.by_address.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&from);
            }
        }
    }
}

fn welcome(stream: TcpStream, remote: SocketAddr, shared: &Arc<Shared>, guests: &Arc<Mutex<Guests>>, connections: &TaskTracker) {
    let lock = |guests: &Mutex<Guests>, act: &dyn Fn(&mut Guests) -> bool| {
        act(&mut guests.lock().unwrap_or_else(PoisonError::into_inner))
    };
    if !lock(guests, &|guests| guests.enter(remote.ip())) {
        shared.metrics.session_refused("too_many_connections");
        debug!(remote_addr = %remote, "too many connections");
        return;
    }
    let socket = socket2::SockRef::from(&stream);
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3);
    let settled = socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_send_buffer_size(SEND_BUFFER))
        .and_then(|()| socket.set_tcp_keepalive(&keepalive));
    if let Err(error) = settled {
        debug!(remote_addr = %remote, %error, "a connection's socket keeps its habits");
    }
    let connection = Connection::new(stream, remote, Arc::clone(shared));
    let guests = Arc::clone(guests);
    connections.spawn(async move {
        match connection {
            Ok(connection) => {
                let end = connection.serve().await;
                debug!(remote_addr = %remote, reason = %end, "connection ended");
            }
            Err(error) => debug!(remote_addr = %remote, %error, "a connection did not begin"),
        }
        lock(&guests, &|guests| {
            guests.leave(remote.ip());
            true
        });
    });
}

/// Bytes of a client, in any pieces: for fuzzing.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let mut session = session::Session::new("fuzz".into(), (8554, 8555));
    let mut decoder = wire::Decoder::default();
    for piece in bytes.chunks(61) {
        decoder.arrived.extend_from_slice(piece);
        loop {
            match decoder.next() {
                Ok(Some(wire::Incoming::Request(request))) => {
                    let _ = request.header("authorization").and_then(target::password);
                    if let session::Step::Open { cseq, target } = session.handle(&request, || 1) {
                        let _ = session.described(cseq, &target, 2, String::new());
                    }
                }
                Ok(Some(wire::Incoming::Binary { .. })) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        assert!(decoder.arrived.len() <= 70_000, "what is unfinished is bounded");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_in_all_and_of_one_address() {
        let mut guests = Guests { most: 2 + STRANGERS, ..Guests::default() };
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let entered = (0..1000).filter(|_| guests.enter(address(1))).count();
        assert_eq!(entered, 2 + OF_ONE);
        let others = (2..=200).filter(|last| guests.enter(address(*last))).count();
        assert_eq!(others, STRANGERS - OF_ONE, "the others find place");
        guests.leave(address(1));
        assert!(guests.enter(address(201)) && !guests.enter(address(202)));
    }
}
