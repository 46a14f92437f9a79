//! The thread that runs all far ends.

use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::{mpsc, oneshot};

use super::far_end::{Happened, LoadPeer};
use super::socket::Inbox;
use super::{Latencies, LoadError};
use crate::peer::ring::Waker;

/// What a far end has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RigNews {
    /// ICE and DTLS are up, since that time.
    Connected(u64, Instant),
    /// A viewer has its first complete key frame, at that time.
    FirstFrame(u64, Instant),
    /// The connection failed or was closed by the gateway.
    Ended(u64),
}

/// What all viewers together saw since [`Rig::begin`].
#[derive(Clone, Debug, Default)]
pub struct Interval {
    /// Packets that arrived.
    pub packets: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Packets that should have, by their numbers, and did not.
    pub missing: u64,
    /// From the publisher's hand to a viewer's socket: packets of plain frames, and of sound.
    pub delta: Latencies,
    /// The same of key frames.
    pub key: Latencies,
}

/// What a viewer has seen up to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// ICE and DTLS came up.
    pub connected: bool,
    /// There was a complete key frame.
    pub picture: bool,
    /// Longest time without a complete frame since then, the present one included.
    pub still: Duration,
}

impl Interval {
    /// Adds what a far end received and missed since the interval began.
    fn add(&mut self, bases: &[(u64, (u64, u64))], number: u64, peer: &LoadPeer) {
        let base = bases.iter().find(|(its, _)| *its == number).map_or((0, 0), |(_, base)| *base);
        let (received, expected) = peer.counts();
        self.packets += received - base.0;
        self.missing += (expected - base.1).saturating_sub(received - base.0);
    }
}

enum Order {
    Add(u64, Box<LoadPeer>),
    Remove(u64, Parting),
    Look(oneshot::Sender<Vec<(u64, Sight)>>),
    Begin,
    Take(oneshot::Sender<Interval>),
    Stop,
}

/// How a far end leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// It closes its connection, and says so.
    Goodbye,
    /// It is not heard any more.
    Silence,
}

/// The running thread. Dropping it closes every far end and waits for that.
pub struct Rig {
    orders: std_mpsc::Sender<Order>,
    waker: Arc<Waker>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Rig {
    /// Starts the thread. News are a few per far end.
    pub fn start() -> Result<(Self, mpsc::UnboundedReceiver<RigNews>), LoadError> {
        let waker = Arc::new(Waker::new()?);
        let (orders, inbox) = std_mpsc::channel();
        let (news, told) = mpsc::unbounded_channel();
        let runner = Runner { peers: Vec::new(), sums: Interval::default(), bases: Vec::new(), orders: inbox, news };
        let its = Arc::clone(&waker);
        let thread = std::thread::Builder::new().name("bench-load".into()).spawn(move || runner.run(&its))?;
        Ok((Self { orders, waker, thread: Some(thread) }, told))
    }

    /// Runs a far end that has accepted its answer; the number names it in the news.
    pub fn add(&self, number: u64, peer: LoadPeer) {
        self.order(Order::Add(number, Box::new(peer)));
    }

    /// Ends a far end.
    pub fn remove(&self, number: u64, parting: Parting) {
        self.order(Order::Remove(number, parting));
    }

    /// What every viewer has seen so far.
    pub async fn look(&self) -> Vec<(u64, Sight)> {
        let (reply, answer) = oneshot::channel();
        self.order(Order::Look(reply));
        answer.await.unwrap_or_default()
    }

    /// Counts from here.
    pub fn begin(&self) {
        self.order(Order::Begin);
    }

    /// What was counted.
    pub async fn take(&self) -> Interval {
        let (reply, answer) = oneshot::channel();
        self.order(Order::Take(reply));
        answer.await.unwrap_or_default()
    }

    fn order(&self, order: Order) {
        // the thread ends only when this value does
        let _ = self.orders.send(order);
        self.waker.wake();
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.order(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Runner {
    peers: Vec<(u64, Box<LoadPeer>)>,
    sums: Interval,
    /// Packets received and expected when counting began, by far end.
    bases: Vec<(u64, (u64, u64))>,
    orders: std_mpsc::Receiver<Order>,
    news: mpsc::UnboundedSender<RigNews>,
}

impl Runner {
    fn run(mut self, waker: &Waker) {
        let mut inbox = Inbox::new();
        let mut readable: Vec<usize> = Vec::new();
        loop {
            waker.begin_turn();
            if !self.take_orders() {
                break;
            }
            let now = Instant::now();
            for index in readable.drain(..) {
                let Some((_, peer)) = self.peers.get_mut(index) else { continue };
                peer.read(now, &mut inbox, &mut self.sums);
                self.drain(now, index);
            }
            let now = Instant::now();
            for index in 0..self.peers.len() {
                let (_, peer) = &mut self.peers[index];
                if peer.next_timeout().is_some_and(|due| due <= now) {
                    peer.timeout(now);
                    self.drain(now, index);
                }
            }
            self.sleep(waker, &mut readable);
        }
        self.peers.iter_mut().for_each(|(_, peer)| peer.close());
    }

    fn drain(&mut self, now: Instant, index: usize) {
        let (number, peer) = &mut self.peers[index];
        let news = &self.news;
        peer.drain(now, |happened| {
            let told = match happened {
                Happened::Connected => RigNews::Connected(*number, Instant::now()),
                Happened::FirstFrame => RigNews::FirstFrame(*number, Instant::now()),
                Happened::Ended => RigNews::Ended(*number),
            };
            // the listener may have enough
            let _ = news.send(told);
        });
    }

    fn sleep(&self, waker: &Waker, readable: &mut Vec<usize>) {
        let due = self.peers.iter().filter_map(|(_, peer)| peer.next_timeout()).min();
        let limit = match waker.fall_asleep() {
            true => due.map(|due| due.saturating_duration_since(Instant::now())),
            false => Some(Duration::ZERO),
        };
        let limit = limit.map(|limit| Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) });
        let mut fds: Vec<PollFd<'_>> =
            self.peers.iter().map(|(_, peer)| PollFd::from_borrowed_fd(peer.socket.fd(), PollFlags::IN)).collect();
        fds.push(PollFd::from_borrowed_fd(waker.fd(), PollFlags::IN));
        // an interrupted wait is a short one
        let _ = poll(&mut fds, limit.as_ref());
        waker.get_up();
        readable.extend((0..self.peers.len()).filter(|index| !fds[*index].revents().is_empty()));
    }

    /// Carries out waiting orders; false to stop.
    fn take_orders(&mut self) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Add(number, peer)) => self.peers.push((number, peer)),
                Ok(Order::Remove(number, parting)) => {
                    if let Some(at) = self.peers.iter().position(|(its, _)| *its == number) {
                        let (_, mut peer) = self.peers.remove(at);
                        self.sums.add(&self.bases, number, &peer);
                        if parting == Parting::Goodbye {
                            peer.close();
                        }
                    }
                }
                Ok(Order::Look(reply)) => {
                    let now = Instant::now();
                    let seen = |(number, peer): &(u64, Box<LoadPeer>)| Some((*number, peer.sight(now)?));
                    // the asker may have given up
                    let _ = reply.send(self.peers.iter().filter_map(seen).collect());
                }
                Ok(Order::Begin) => {
                    self.sums = Interval::default();
                    self.bases = self.peers.iter().map(|(number, peer)| (*number, peer.counts())).collect();
                }
                Ok(Order::Take(reply)) => {
                    let mut interval = std::mem::take(&mut self.sums);
                    self.peers.iter().for_each(|(number, peer)| interval.add(&self.bases, *number, peer));
                    // the asker may have given up
                    let _ = reply.send(interval);
                }
                Ok(Order::Stop) | Err(std_mpsc::TryRecvError::Disconnected) => return false,
                Err(std_mpsc::TryRecvError::Empty) => return true,
            }
        }
    }
}
