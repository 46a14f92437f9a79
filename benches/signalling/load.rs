//! The load: idle sessions first, then pairs that talk; what the server used meanwhile.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpSocket;
use tokio::sync::{mpsc, watch};
use tokio::time::{interval, sleep, timeout};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::server::Server;
use crate::speak::{Heard, Part, Speech};

/// How much, how long.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Sessions that only stay.
    pub idle: usize,
    /// Sessions that talk in pairs.
    pub active: usize,
    /// How long they talk.
    pub time: Duration,
    /// Messages per second of each talking session that has a pair to talk to.
    pub rate: usize,
    /// How many of them are said at once, as a description and its candidates are.
    pub burst: usize,
    /// How long the server gets to give back what the handshakes took, before its memory is read.
    pub settle: Duration,
}

/// What it cost.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Resident bytes of the server per idle session.
    pub bytes_per_session: f64,
    /// Processor time while the idle sessions only stayed, in percent of one core.
    pub idle_cpu_percent: f64,
    /// Messages that were sent to the pair.
    pub sent: usize,
    /// Those of them that arrived.
    pub messages: usize,
    /// Milliseconds of processor time per 1000 messages, beyond what the idle sessions cost.
    pub cpu_ms_per_1000: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// Sessions that are being opened at a time.
const AT_A_TIME: usize = 50;
/// Sessions per source address: a client port is a 16-bit number, and some limits count by address.
const PER_ADDRESS: usize = 1000;
/// How long the idle sessions are watched. Longer than any dialect's heartbeat but vamp's, whose sessions beat spread over 25 s.
const WATCH: Duration = Duration::from_secs(12);
/// How long messages under way may take when nobody talks any more.
const LAST: Duration = Duration::from_secs(20);
/// Mark of a message: what follows is the time it was sent at, then padding to the size of a small description.
const MARK: char = '@';
const SIZE: usize = 1200;

/// When a message was sent, since the run's start. `None` for one that is cut or changed.
fn sent_at(text: &str) -> Option<Duration> {
    let (at, padding) = text.strip_prefix(MARK)?.split_once(' ')?;
    (padding.len() == SIZE).then_some(Duration::from_micros(at.parse().ok()?))
}

/// Runs the load against a server.
pub async fn run(server: &mut Server, speech: Speech, load: Load) -> Result<Figures, String> {
    let (phase, phases) = watch::channel(Phase::Stay);
    let (tell, mut told) = mpsc::unbounded_channel();
    let crowd = Arc::new(Crowd {
        speech,
        load,
        address: server.address,
        original: server.name != "portico",
        epoch: Instant::now(),
        open: AtomicUsize::new(0),
        ready: AtomicUsize::new(0),
        sent: AtomicUsize::new(0),
    });
    let before = server.resident();
    crowd.open(load.active, load.idle, false, &tell, &phases).await?;
    sleep(load.settle).await;
    let bytes_per_session = (server.resident() - before) / load.idle.max(1) as f64;
    let (start, cpu) = (Instant::now(), server.cpu_ms());
    sleep(WATCH.min(load.time)).await;
    let idle_ms_per_s = (server.cpu_ms() - cpu) / start.elapsed().as_secs_f64();

    crowd.open(0, load.active, true, &tell, &phases).await?;
    let (start, cpu) = (Instant::now(), server.cpu_ms());
    phase.send_replace(Phase::Talk);
    let mut delays = Vec::new();
    let until = tokio::time::Instant::now() + load.time;
    while let Ok(Some(delay)) = tokio::time::timeout_at(until, told.recv()).await {
        delays.push(delay);
    }
    // the server's time is read when it has done all of the work
    phase.send_replace(Phase::Stay);
    let until = tokio::time::Instant::now() + LAST;
    while delays.len() < crowd.sent.load(Ordering::Relaxed)
        && let Ok(Some(delay)) = tokio::time::timeout_at(until, told.recv()).await
    {
        delays.push(delay);
    }
    let (took, used) = (start.elapsed().as_secs_f64(), server.cpu_ms() - cpu);
    let sent = crowd.sent.load(Ordering::Relaxed);
    phase.send_replace(Phase::Leave);
    if delays.is_empty() {
        return Err("no message arrived".into());
    }
    delays.sort_unstable();
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    Ok(Figures {
        bytes_per_session,
        idle_cpu_percent: idle_ms_per_s / 10.0,
        sent,
        messages: delays.len(),
        cpu_ms_per_1000: (used - idle_ms_per_s * took).max(0.0) / delays.len() as f64 * 1000.0,
        p50_ms: at(0.5),
        p99_ms: at(0.99),
    })
}

/// What all sessions do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Stay,
    Talk,
    Leave,
}

/// All sessions of a run.
struct Crowd {
    speech: Speech,
    load: Load,
    address: SocketAddr,
    original: bool,
    epoch: Instant,
    open: AtomicUsize,
    ready: AtomicUsize,
    sent: AtomicUsize,
}

impl Crowd {
    /// Opens `count` sessions with numbers from `first`, and waits until all are where they want to be.
    async fn open(
        self: &Arc<Self>,
        first: usize,
        count: usize,
        active: bool,
        told: &mpsc::UnboundedSender<Duration>,
        phase: &watch::Receiver<Phase>,
    ) -> Result<(), String> {
        let aim = self.ready.load(Ordering::Relaxed) + count;
        let mut number = first;
        let started = Instant::now();
        while self.ready.load(Ordering::Relaxed) < aim {
            let pending = self.open.load(Ordering::Relaxed) - self.ready.load(Ordering::Relaxed);
            if number < first + count && pending < AT_A_TIME {
                // a pair's second session finds the first
                self.open.fetch_add(1, Ordering::Relaxed);
                let part = Part { number, active, own: String::new(), pair: String::new(), ready: false };
                tokio::spawn(Arc::clone(self).session(part, told.clone(), phase.clone()));
                number += 1;
                if active {
                    sleep(Duration::from_millis(2)).await;
                }
            } else {
                sleep(Duration::from_millis(2)).await;
            }
            if started.elapsed() > Duration::from_secs(180) {
                return Err(format!("{} of {aim} sessions were opened", self.ready.load(Ordering::Relaxed)));
            }
        }
        Ok(())
    }

    async fn session(self: Arc<Self>, part: Part, told: mpsc::UnboundedSender<Duration>, phase: watch::Receiver<Phase>) {
        let (number, over) = (part.number, phase.clone());
        if let Err(why) = self.clone().talk(part, told, phase).await
            && *over.borrow() != Phase::Leave
        {
            eprintln!("signalling: session {number}: {why}");
        }
    }

    async fn talk(
        self: Arc<Self>,
        mut part: Part,
        told: mpsc::UnboundedSender<Duration>,
        mut phase: watch::Receiver<Phase>,
    ) -> Result<(), String> {
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let socket = TcpSocket::new_v4().map_err(|error| words(&error))?;
        let host = 1 + u8::try_from(part.number / PER_ADDRESS % 200).unwrap_or(0);
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0))).map_err(|error| words(&error))?;
        let stream = timeout(Duration::from_secs(60), socket.connect(self.address)).await;
        let stream = stream.map_err(|_| "no connection")?.map_err(|error| words(&error))?;
        stream.set_nodelay(true).map_err(|error| words(&error))?;
        let url = format!("ws://{}{}", self.address, self.speech.path(&part, self.original));
        let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(64 * 1024);
        let opened = client_async_with_config(url, stream, Some(config)).await;
        let (mut web, _) = opened.map_err(|error| words(&error))?;
        for message in self.speech.opening(&part) {
            web.send(message).await.map_err(|error| words(&error))?;
        }
        let (every, beat) = self.speech.heartbeat().unzip();
        let mut beats = interval(Duration::from_secs(every.unwrap_or(3600)));
        beats.tick().await;
        // pairs do not talk in step
        let mut words_due = interval(
            Duration::from_secs(1) * self.load.burst as u32 / self.load.rate as u32
                + Duration::from_micros(part.number as u64 % 997),
        );
        let mut talking = false;
        loop {
            tokio::select! {
                frame = web.next() => {
                    let Some(frame) = frame else { return Err("closed by the server".into()) };
                    let frame = frame.map_err(|error| words(&error))?;
                    let was_ready = part.ready;
                    match self.speech.hear(&mut part, &frame) {
                        Heard::Answer(answers) => {
                            for answer in answers {
                                web.send(answer).await.map_err(|error| words(&error))?;
                            }
                        }
                        Heard::Told(text) => {
                            let sent = sent_at(&text).ok_or("a message arrived that nobody sent")?;
                            let _ = told.send(self.epoch.elapsed().saturating_sub(sent));
                        }
                        Heard::Nothing => {}
                    }
                    if part.ready && !was_ready {
                        self.ready.fetch_add(1, Ordering::Relaxed);
                    }
                }
                _ = beats.tick(), if beat.is_some() => {
                    if let Some(beat) = beat.clone() {
                        web.send(beat).await.map_err(|error| words(&error))?;
                    }
                }
                _ = words_due.tick(), if talking => {
                    for _ in 0..self.load.burst {
                        let text = format!("{MARK}{} {:x<SIZE$}", self.epoch.elapsed().as_micros(), "");
                        if let Some(message) = self.speech.say(&part, &text) {
                            self.sent.fetch_add(1, Ordering::Relaxed);
                            web.feed(message).await.map_err(|error| words(&error))?;
                        }
                    }
                    web.flush().await.map_err(|error| words(&error))?;
                }
                changed = phase.changed() => match *phase.borrow_and_update() {
                    _ if changed.is_err() => return Ok(()),
                    Phase::Stay => talking = false,
                    Phase::Talk => talking = part.active,
                    Phase::Leave => return Ok(()),
                },
            }
        }
    }
}
