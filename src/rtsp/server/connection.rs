//! One client's connection: reads requests, carries out what [`Session`] says, and sends what the viewer's inbox holds.
//!
//! One task per connection. It never waits for the client: what the socket does not take stays, the inbox fills and is cut to the next key
//! frame, and a client that takes nothing for [`STUCK_LIMIT`] is let go.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::Shared;
use super::inbox::{Inbox, Waiting};
use super::sender::{Sent, Track, Way};
use super::session::{Session, SetUp, Step, TIMEOUT_SECONDS, set_up_tracks};
use super::target::{Target, password};
use super::transport::Transport;
use super::viewing::{Opening, Viewing};
use super::wire::{Decoder, Incoming, Request, Status};
use crate::forward::{FramePackets, SinkId};
use crate::peer::ntp;
use crate::vocab::{Codec, Right};

/// A client that is no viewer, whatever it says, is let go after this time.
const STRANGER_LIMIT: Duration = Duration::from_secs(15);
/// A viewer that does not play says something in this time, one that is sent RTP by UDP as well.
const SILENT_LIMIT: Duration = Duration::from_secs(TIMEOUT_SECONDS + 15);
/// Bytes wait for the socket and it takes none of them for this long.
const STUCK_LIMIT: Duration = Duration::from_secs(10);
/// Nothing is added to what waits for the socket beyond this.
const OUT_FULL: usize = 128 * 1024;
/// Most that is read before it is looked at.
const READ: usize = 16 * 1024;
/// By UDP so many bytes are sent at once, then a pause is made: a group of pictures that is replayed would overrun what receivers hold.
const BURST: usize = 32 * 1024;
const BURST_PAUSE: Duration = Duration::from_millis(1);
/// How often a viewer's tracks are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the client left")]
    Left,
    #[error(transparent)]
    Wire(#[from] super::wire::WireError),
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("the client said nothing for too long")]
    Silent,
    #[error("the client takes nothing")]
    Stuck,
    #[error("the stream ended")]
    Ended,
}

pub(super) struct Connection {
    stream: TcpStream,
    remote: SocketAddr,
    local: SocketAddr,
    shared: Arc<Shared>,
    decoder: Decoder,
    out: BytesMut,
    /// Most bytes in it since it was empty.
    most_waited: usize,
    session: Session,
    viewing: Option<Viewing>,
    playing: Option<Playing>,
    heard: Instant,
    /// Since when it is no viewer, while it is none. What it says does not keep its place.
    stranger: Instant,
    /// When the socket last took something, while something waits.
    stuck: Option<Instant>,
    /// What the viewer was sent before it paused.
    before: Sent,
}

/// What is sent while a viewer plays.
struct Playing {
    inbox: Arc<Inbox>,
    tracks: Vec<Sending>,
    /// How the reports call the viewer's tracks together.
    name: String,
}

struct Sending {
    set: SetUp,
    track: Track,
    /// Its number in the inbox.
    index: usize,
    sink: SinkId,
    codec: Codec,
    flowed: bool,
    /// What the layer had when the viewer came: sent before what waits in the inbox.
    first: VecDeque<Arc<FramePackets>>,
    /// The last of these was sent just now.
    last_of_first: bool,
}

impl Connection {
    pub fn new(stream: TcpStream, remote: SocketAddr, shared: Arc<Shared>) -> io::Result<Self> {
        let local = stream.local_addr()?;
        let session = Session::new(format!("{:032x}", rand::random::<u128>()), shared.udp_ports());
        Ok(Self {
            stream,
            remote,
            local,
            shared,
            decoder: Decoder::default(),
            out: BytesMut::new(),
            most_waited: 0,
            session,
            viewing: None,
            playing: None,
            heard: Instant::now(),
            stranger: Instant::now(),
            stuck: None,
            before: Sent::default(),
        })
    }

    /// Serves the client until one of the two ends it.
    pub async fn serve(mut self) -> End {
        let end = match self.run().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        self.say_goodbye();
        // what is said last is sent where the socket takes it; nobody is waited for
        let _ = self.write();
        self.stop_playing();
        end
    }

    async fn run(&mut self) -> Result<std::convert::Infallible, End> {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.fill().await;
            self.write()?;
            let interest = match self.out.is_empty() {
                true => Interest::READABLE,
                false => Interest::READABLE | Interest::WRITABLE,
            };
            let room = self.out.len() < OUT_FULL;
            let shared = Arc::clone(&self.shared);
            // every branch is cancel-safe
            tokio::select! {
                ready = self.stream.ready(interest) => {
                    if ready?.is_readable() {
                        self.read()?;
                        self.answer_all().await?;
                    }
                }
                () = filled(self.playing.as_ref()), if room => {}
                () = ended(self.viewing.as_mut()) => return Err(End::Ended),
                _ = look.tick() => self.look()?,
                () = shared.stop.cancelled() => return Err(End::Ended),
            }
        }
    }

    /// Reads what has arrived.
    fn read(&mut self) -> Result<(), End> {
        self.decoder.arrived.reserve(READ);
        match self.stream.try_read_buf(&mut self.decoder.arrived) {
            Ok(0) => Err(End::Left),
            Ok(_) => {
                self.heard = Instant::now();
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn answer_all(&mut self) -> Result<(), End> {
        while let Some(incoming) = self.decoder.next()? {
            match incoming {
                Incoming::Request(request) => self.answer(&request).await?,
                // reports of the receiver: that it is there is all that is taken from them
                Incoming::Binary { .. } => {}
            }
            // who asks without reading the answers
            if self.out.len() > OUT_FULL {
                self.write()?;
                if self.out.len() > 2 * OUT_FULL {
                    return Err(End::Stuck);
                }
            }
        }
        Ok(())
    }

    async fn answer(&mut self, request: &Request) -> Result<(), End> {
        tracing::debug!(remote_addr = %self.remote, method = request.method, "request");
        match self.session.handle(request, rand::random) {
            Step::Answer(response) => response.write(&mut self.out),
            Step::Play(response) => {
                response.write(&mut self.out);
                self.start_playing();
            }
            Step::Pause(response) => {
                response.write(&mut self.out);
                self.stop_playing();
            }
            Step::End(response) => {
                response.write(&mut self.out);
                self.leave();
            }
            Step::Open { cseq, target } => {
                self.leave();
                let password = request.header("authorization").and_then(password);
                let response = match self.open(&target, password).await? {
                    Ok(viewing) => {
                        let response = self.session.described(cseq, &target, viewing.sends.len(), viewing.sdp.clone());
                        self.viewing = Some(viewing);
                        response
                    }
                    Err(status) => {
                        tracing::info!(remote_addr = %self.remote, room = %target.room, ?status, "refused");
                        self.session.refuse(cseq, status)
                    }
                };
                self.heard = Instant::now();
                response.write(&mut self.out);
            }
        }
        Ok(())
    }

    /// Opens a stream, unless the client leaves meanwhile.
    async fn open(&mut self, target: &Target, password: Option<String>) -> Result<Result<Viewing, Status>, End> {
        let grant = match self.granted(target, password) {
            Ok(grant) => grant,
            Err(status) => return Ok(Err(status)),
        };
        let Ok(permit) = Arc::clone(&self.shared.places).try_acquire_owned() else {
            self.shared.metrics.session_refused("too_many_sessions");
            return Ok(Err(Status::NotEnoughBandwidth));
        };
        let mut opening = std::pin::pin!(Viewing::open(Opening {
            hub: self.shared.hub.clone(),
            plane: Arc::clone(&self.shared.plane),
            metrics: Arc::clone(&self.shared.metrics),
            permit,
            target: target.clone(),
            grant,
            remote: self.remote,
            local: self.local,
        }));
        let shared = Arc::clone(&self.shared);
        loop {
            tokio::select! {
                opened = &mut opening => return Ok(opened),
                ready = self.stream.ready(Interest::READABLE) => {
                    ready?;
                    self.read()?;
                    // a client that goes on asking is read when this is answered
                    if self.decoder.arrived.len() > OUT_FULL {
                        return Err(End::Wire(super::wire::WireError::TooLong));
                    }
                }
                () = shared.stop.cancelled() => return Err(End::Ended),
            }
        }
    }

    /// What the client may do in the room; the rules are those of WHEP.
    fn granted(&self, target: &Target, password: Option<String>) -> Result<crate::vocab::Grant, Status> {
        let token = password.or_else(|| target.token.clone());
        let refused = |reason: &str, status| {
            tracing::info!(remote_addr = %self.remote, room = %target.room, reason, "access denied");
            self.shared.metrics.session_refused(if status == Status::Forbidden { "forbidden" } else { "unauthorised" });
            Err(status)
        };
        match self.shared.access.grant(self.remote.ip().to_canonical(), token.as_deref(), std::time::SystemTime::now()) {
            Ok(grant) if grant.allows(&target.room, Right::Subscribe) => Ok(grant),
            Ok(_) if token.is_none() => refused("no token", Status::Unauthorized),
            Ok(_) => refused("the right to subscribe is missing", Status::Forbidden),
            Err(error) => refused(&error.to_string(), Status::Unauthorized),
        }
    }

    fn start_playing(&mut self) {
        let Some(viewing) = self.viewing.as_mut().filter(|_| self.playing.is_none()) else { return };
        let now = Instant::now();
        let name = viewing.entry().peer.to_string();
        let mut playing = Playing { inbox: Arc::default(), tracks: Vec::new(), name };
        for (index, payload_type, set) in set_up_tracks(self.session.tracks()) {
            let Some(send) = viewing.sends.get(index) else { continue };
            if let Transport::Udp { rtcp, .. } = set.transport {
                self.shared.listen_to(SocketAddr::new(self.remote.ip(), rtcp), now);
            }
            let way = Way { payload_type, ssrc: set.ssrc, sequence: set.sequence, timestamp: rand::random() };
            let mut track = Track::new(now, send.layers.clone(), way);
            let (layer, sink) = (Arc::clone(track.layer()), next_sink());
            // in this order nothing is missed; what comes twice is known by its number
            layer.attach(sink, playing.inbox.sink(index));
            let first: VecDeque<_> = layer.cached().into();
            if first.is_empty() {
                track.joined(now);
            }
            playing.tracks.push(Sending {
                set,
                track,
                index,
                sink,
                codec: layer.format().codec,
                flowed: false,
                first,
                last_of_first: false,
            });
        }
        viewing.plays();
        self.playing = Some(playing);
    }

    /// What was opened is let go.
    fn leave(&mut self) {
        self.stop_playing();
        if self.viewing.take().is_some() {
            self.stranger = Instant::now();
        }
        self.before = Sent::default();
    }

    fn stop_playing(&mut self) {
        let Some(playing) = self.playing.take() else { return };
        playing.inbox.close();
        for sending in &playing.tracks {
            sending.track.layer().detach(sending.sink);
            if let Transport::Udp { rtcp, .. } = sending.set.transport {
                self.shared.forget(SocketAddr::new(self.remote.ip(), rtcp));
            }
        }
        self.before = playing.sent(self.before);
        if let Some(viewing) = &self.viewing {
            viewing.entry().counts.set(false, self.before);
        }
    }

    fn say_goodbye(&mut self) {
        let Some(playing) = &self.playing else { return };
        let now = Instant::now();
        for sending in &playing.tracks {
            let goodbye = sending.track.goodbye(now, ntp(now));
            report(&mut self.out, &self.shared, self.remote, sending.set.transport, &goodbye);
        }
    }

    /// Moves what waits in the inbox on its way, as long as the socket keeps up.
    async fn fill(&mut self) {
        let Some(playing) = &mut self.playing else { return };
        let mut sent = 0;
        while self.out.len() < OUT_FULL {
            let now = Instant::now();
            let Some((at, frame)) = playing.next(now) else { break };
            let Some(sending) = playing.tracks.get_mut(at) else { continue };
            let datagrams = send_frame(&mut self.out, sending, now, &frame);
            if let Transport::Udp { rtp, .. } = sending.set.transport {
                let to = SocketAddr::new(self.remote.ip(), rtp);
                for datagram in datagrams {
                    sent += datagram.len();
                    self.shared.send_rtp(&datagram, to).await;
                    if sent >= BURST {
                        sent = 0;
                        tokio::time::sleep(BURST_PAUSE).await;
                    }
                }
            }
            if let Some(told) = sending.track.report(now, ntp(now), &playing.name) {
                report(&mut self.out, &self.shared, self.remote, sending.set.transport, &told);
            }
            if let Some(viewing) = &self.viewing
                && !sending.flowed
                && sending.track.sent().packets > 0
            {
                sending.flowed = true;
                viewing.flows(sending.codec.kind());
            }
        }
    }

    /// Hands the socket what waits for it.
    fn write(&mut self) -> Result<(), End> {
        self.most_waited = self.most_waited.max(self.out.len());
        while !self.out.is_empty() {
            match self.stream.try_write(&self.out) {
                Ok(count) => {
                    self.out.advance(count);
                    self.stuck = None;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stuck.get_or_insert_with(Instant::now);
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        // the memory that a large key frame needed is not kept
        if std::mem::take(&mut self.most_waited) > 2 * OUT_FULL {
            self.out = BytesMut::new();
        }
        Ok(())
    }

    /// Once a second: times that are over, layers that are better, figures.
    fn look(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if self.stuck.is_some_and(|since| now.saturating_duration_since(since) >= STUCK_LIMIT) {
            return Err(End::Stuck);
        }
        let silent = now.saturating_duration_since(self.heard);
        let Some(playing) = &mut self.playing else {
            let over = match self.viewing {
                Some(_) => silent >= SILENT_LIMIT,
                None => now.saturating_duration_since(self.stranger) >= STRANGER_LIMIT,
            };
            return if over { Err(End::Silent) } else { Ok(()) };
        };
        for sending in &mut playing.tracks {
            let old = Arc::clone(sending.track.layer());
            if let Some(better) = sending.track.look(now) {
                old.detach(sending.sink);
                better.attach(sending.sink, playing.inbox.sink(sending.index));
            }
        }
        if let Some(viewing) = &self.viewing {
            viewing.entry().counts.set(true, playing.sent(self.before));
        }
        // within the connection, the client is there as long as it takes what it is sent
        let by_udp = playing.tracks.iter().filter_map(|sending| match sending.set.transport {
            Transport::Udp { rtcp, .. } => self.shared.heard_from(SocketAddr::new(self.remote.ip(), rtcp)),
            Transport::Interleaved(_) => None,
        });
        match by_udp.max() {
            Some(reported) if silent >= SILENT_LIMIT && now.saturating_duration_since(reported) >= SILENT_LIMIT => {
                Err(End::Silent)
            }
            _ => Ok(()),
        }
    }
}

impl Playing {
    /// The next frame, and the place of its track in the list.
    fn next(&mut self, now: Instant) -> Option<(usize, Arc<FramePackets>)> {
        for (at, sending) in self.tracks.iter_mut().enumerate() {
            if let Some(frame) = sending.first.pop_front() {
                sending.last_of_first = sending.first.is_empty();
                return Some((at, frame));
            }
            if std::mem::take(&mut sending.last_of_first) {
                sending.track.joined(now);
            }
        }
        loop {
            let (index, frame) = match self.inbox.pop()? {
                Waiting::Frame(index, frame) => (index, Some(frame)),
                Waiting::Hole(index) => (index, None),
            };
            let Some(at) = self.tracks.iter().position(|sending| sending.index == index) else { continue };
            match frame {
                Some(frame) => return Some((at, frame)),
                None => self.tracks[at].track.skipped(now),
            }
        }
    }

    fn sent(&self, before: Sent) -> Sent {
        self.tracks.iter().map(|sending| sending.track.sent()).fold(before, |sum, one| Sent {
            packets: sum.packets + one.packets,
            bytes: sum.bytes + one.bytes,
            dropped: sum.dropped + one.dropped,
        })
    }
}

async fn filled(playing: Option<&Playing>) {
    match playing {
        Some(playing) => playing.inbox.filled().await,
        None => std::future::pending().await,
    }
}

async fn ended(viewing: Option<&mut Viewing>) {
    match viewing {
        Some(viewing) => viewing.ended().await,
        None => std::future::pending().await,
    }
}

/// Sinks of shards count from 0, those of mixes and snapshots from the middle: this is between.
fn next_sink() -> SinkId {
    static NEXT: AtomicUsize = AtomicUsize::new(usize::MAX / 4);
    SinkId(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A frame's packets: into what waits for the connection, or as the datagrams that are given back.
fn send_frame(out: &mut BytesMut, sending: &mut Sending, now: Instant, frame: &FramePackets) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    let channel = match sending.set.transport {
        Transport::Interleaved(channels) => Some(channels.unwrap_or_default().0),
        Transport::Udp { .. } => None,
    };
    sending.track.frame(now, frame, |head, payload| match channel {
        Some(channel) => put_binary(out, channel, head, payload),
        None => datagrams.push([head.as_slice(), payload].concat()),
    });
    datagrams
}

/// RFC 2326 section 10.12. What has no length in two bytes is no packet.
fn put_binary(out: &mut BytesMut, channel: u8, head: &[u8], payload: &[u8]) {
    let Ok(length) = u16::try_from(head.len() + payload.len()) else { return };
    let [high, low] = length.to_be_bytes();
    out.reserve(4 + usize::from(length));
    out.extend_from_slice(&[b'$', channel, high, low]);
    out.extend_from_slice(head);
    out.extend_from_slice(payload);
}

/// Sends a report on its way.
fn report(out: &mut BytesMut, shared: &Shared, remote: SocketAddr, transport: Transport, report: &[u8]) {
    match transport {
        Transport::Interleaved(channels) => put_binary(out, channels.unwrap_or_default().1, report, &[]),
        Transport::Udp { rtcp, .. } => shared.send_report(report, SocketAddr::new(remote.ip(), rtcp)),
    }
}
