//! WebRTC connections: the only place that names `rtc` and `webrtc`.
//!
//! Members' peers run on our own driver over the engine `rtc`: a [`Shards`] value owns a few threads, each with one UDP
//! socket, many peers and a timer. Control goes in as [`PeerCommand`] and comes out as [`PeerEvent`]; media does not pass
//! here but through [`forward::Layer`](crate::forward::Layer): a publishing peer writes layers, a playing peer has its shard
//! attached to them.

mod check;
mod choice;
mod cipher;
mod codecs;
pub mod config;
mod connection;
mod credit;
mod demux;
mod encoding;
mod engine;
mod estimate;
mod feedback;
mod gather;
mod guess;
mod inlet;
mod keyframe;
mod keys;
pub mod load;
mod mailbox;
mod nack;
mod names;
pub mod negotiate;
pub mod outgoing;
mod pace;
mod placement;
mod priority;
mod processor;
mod protect;
mod random;
mod reach;
mod receiving;
mod reception;
mod reflexive;
mod relay;
mod repeats;
mod ring;
mod sdp;
mod search;
mod shard;
mod shards;
mod socket;
mod srtp;
mod stats;
mod tcp;
mod timers;
mod unprotect;
mod wall;

pub use config::{External, MediaConfig, RelayUse, SrtpPreference};
pub use credit::{Buffered, Credit};
pub use processor::{Means, Preference, Processor};
pub use protect::Suite;
pub use relay::{Mint, NoRelay, RelayAccess, RelayFigures};
pub use shards::{FILL, Place, ShardConfig, Shards, ShardsError, threads};
#[cfg(feature = "rtsp")]
pub(crate) use wall::ntp;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::forward::Layers;
use crate::room::EndReason;
use crate::vocab::{
    Bitrate, Candidate, ChannelId, Codec, DataMessage, LaneTrack, MAX_LANES, MediaKind, NewChannel, PeerId, Sdp, TrackId,
};

/// An order to the shard that owns (or will own) the peer.
#[derive(Debug)]
pub enum PeerCommand {
    /// Open a connection. Leads to `Description` or `Down`.
    Open(Box<PeerSpec>),
    /// The far end's answer to Portico's offer, or a new offer (renegotiation, ICE restart), which leads to `Description`.
    /// A description that cannot be used on a living connection leads to `Rejected`, and the connection goes on as it was.
    Describe {
        /// The peer.
        peer: PeerId,
        /// What the far end sent.
        sdp: Sdp,
    },
    /// A remote candidate; an empty one ends them.
    AddCandidate {
        /// The peer.
        peer: PeerId,
        /// The candidate.
        candidate: Candidate,
    },
    /// From now on send these instead of what was sent. A track goes where the connection has a section of its kind whose agreed
    /// format takes it; other sections fall silent. Nothing is negotiated, no event follows.
    Feed {
        /// The peer.
        peer: PeerId,
        /// At most one per kind.
        send: Vec<SendTrack>,
    },
    /// Send a stream by a lane of its own, beside what was negotiated: at most a picture and its sound. Leads to `LaneSent` or `LaneRefused`.
    SendLane {
        /// The peer.
        peer: PeerId,
        /// The lane's id, from [`PeerId::next`].
        lane: PeerId,
        /// Its tracks.
        send: Vec<SendTrack>,
    },
    /// Receive a stream that the far end sends by a lane. Leads to `LaneTaken` or `LaneRefused`.
    TakeLane {
        /// The peer.
        peer: PeerId,
        /// The lane's id here, from [`PeerId::next`].
        lane: PeerId,
        /// What the far end said of its tracks.
        tracks: Vec<LaneTrack>,
    },
    /// End a lane. No event follows.
    EndLane {
        /// The peer.
        peer: PeerId,
        /// The lane.
        lane: PeerId,
    },
    /// Open a data channel on a peer that has [`PeerSpec::data`]. Leads to `ChannelOpen` or `ChannelClosed`.
    OpenChannel {
        /// The peer.
        peer: PeerId,
        /// The channel's new id, from [`ChannelId::next`].
        channel: ChannelId,
        /// What to open.
        new: NewChannel,
    },
    /// Send a message; refused with `MessageRefused` where it cannot be. To a channel that is gone it goes unsaid.
    SendMessage {
        /// The peer.
        peer: PeerId,
        /// The channel.
        channel: ChannelId,
        /// The message. Its payload is shared, not copied, until the transport takes it.
        message: DataMessage,
    },
    /// Close a channel once its waiting messages are handed over. Leads to `ChannelClosed`.
    CloseChannel {
        /// The peer.
        peer: PeerId,
        /// The channel.
        channel: ChannelId,
    },
    /// Close: data channels first, so that a browser's channel fires `close` and no `error`, then the connection with a DTLS
    /// close_notify. Takes up to a second where there are channels. No event follows.
    Close {
        /// The peer.
        peer: PeerId,
    },
    /// Ask for the figures of one peer, or of all.
    Figures {
        /// The peer, or `None` for all of all threads.
        peer: Option<PeerId>,
        /// Where to.
        reply: oneshot::Sender<Vec<PeerFigures>>,
    },
}

/// A connection to be opened.
pub struct PeerSpec {
    /// Its id.
    pub peer: PeerId,
    /// The far end's offer, or `None` for Portico to offer.
    pub offer: Option<Sdp>,
    /// Layers to send, at most one per kind. Sent where the far end takes them. An idle layer holds a section's place for what may
    /// come by [`PeerCommand::Feed`].
    pub send: Vec<SendTrack>,
    /// What may be received; `None` for nothing.
    pub receive: Option<Receive>,
    /// Data channels; `None` refuses their section.
    pub data: Option<DataSpec>,
    /// The far end must be connected by then, else `Down(NeverConnected)`. Counted from when both descriptions are there; an offer of
    /// Portico's own waits two minutes for its answer, as somebody may have to pick up.
    pub connect_limit: Duration,
    /// It has a UDP port of its own. Where both ends have one port for all, two connections between them would share both addresses, and
    /// no datagram would say which it is of: so whoever goes to a server needs it.
    pub own_port: bool,
}

impl std::fmt::Debug for PeerSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerSpec").field("peer", &self.peer).field("offer", &self.offer).field("sends", &self.send.len()).finish()
    }
}

/// One track to send.
#[derive(Clone)]
pub struct SendTrack {
    /// Where its packets come from: one of them at a time, by what the far end's way carries.
    pub layers: Layers,
    /// The `msid` stream label: tracks of one stream share it, so that browsers keep them in sync.
    pub stream_label: String,
}

impl std::fmt::Debug for SendTrack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendTrack")
            .field("format", self.layers.format())
            .field("layers", &self.layers)
            .field("stream_label", &self.stream_label)
            .finish()
    }
}

/// What a publishing peer may send.
#[derive(Clone, Debug)]
pub struct Receive {
    /// Video codecs accepted, best first. The answer names exactly one of them, so that the layer's format is known.
    pub video: Vec<Codec>,
    /// Whether audio (Opus) is accepted.
    pub audio: bool,
}

/// What a peer may do with data channels.
///
/// Bounds, per peer: [`DataSpec::MAX_CHANNELS`] channels at a time; [`DataSpec::INBOUND`] bytes told by `ChannelMessage` whose
/// credit is held, after which nothing more is read of it and the SCTP window closes; and per channel
/// [`DataSpec::OUTBOUND`] bytes waiting to leave.
#[derive(Clone, Debug, Default)]
pub struct DataSpec {
    /// Channels that Portico opens itself as soon as SCTP is up, in this order.
    pub open: Vec<NewChannel>,
}

impl DataSpec {
    /// Most channels of a peer at a time; more are closed at once.
    pub const MAX_CHANNELS: usize = 64;
    /// Bytes received and not given back, per peer.
    pub const INBOUND: usize = 1 << 20;
    /// Bytes waiting to leave, per channel. A message that would exceed it is refused.
    pub const OUTBOUND: usize = 1 << 20;
    /// Largest message taken from a far end, announced as `a=max-message-size` (RFC 8841 §6), and the largest sent to one that
    /// would take more.
    pub const MAX_MESSAGE: usize = 262_144;
    /// Above so many waiting bytes a channel is congested; [`PeerEvent::ChannelDrained`] follows.
    pub const CONGESTED: usize = 64 << 10;
    /// Down to so many waiting bytes a congested channel is drained.
    pub const DRAINED: usize = 16 << 10;
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The far end takes no message of this size.
    #[error("the message has {len} bytes, the far end takes {max}")]
    TooLarge {
        /// Its size in bytes.
        len: usize,
        /// The most the far end takes.
        max: usize,
    },
    /// The far end does not read as fast as this channel is written.
    #[error("too much is waiting in the channel")]
    Full,
}

/// News of a peer. After `Down` nothing more is heard of it.
#[derive(Debug)]
pub enum PeerEvent {
    /// Portico's answer or offer, complete with candidates.
    Description {
        /// The peer.
        peer: PeerId,
        /// The description.
        sdp: Sdp,
    },
    /// The negotiated incoming tracks; comes before the `Description` that accepts them.
    Tracks {
        /// The peer.
        peer: PeerId,
        /// All incoming tracks it now has.
        tracks: Vec<ReceivedTrack>,
    },
    /// A later description could not be used; the connection goes on as it was.
    Rejected {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: EndReason,
    },
    /// A lane leaves from now on.
    LaneSent {
        /// The lane.
        lane: PeerId,
        /// What the far end must know.
        tracks: Vec<LaneTrack>,
    },
    /// A lane is received from now on.
    LaneTaken {
        /// The lane.
        lane: PeerId,
        /// Its tracks.
        tracks: Vec<ReceivedTrack>,
    },
    /// There is no such lane. The connection goes on.
    LaneRefused {
        /// The lane.
        lane: PeerId,
        /// Why.
        reason: EndReason,
    },
    /// ICE and DTLS are up.
    Up {
        /// The peer.
        peer: PeerId,
    },
    /// The first packet of a kind arrived or left.
    Flowing {
        /// The peer.
        peer: PeerId,
        /// Audio or video.
        kind: MediaKind,
    },
    /// A data channel is open in both directions.
    ChannelOpen {
        /// The peer.
        peer: PeerId,
        /// The channel.
        channel: ChannelId,
        /// Its label.
        label: String,
        /// Its subprotocol.
        protocol: String,
        /// Whether messages keep their order.
        ordered: bool,
        /// Portico opened it.
        ours: bool,
        /// Largest message the far end takes, in bytes.
        max_message: usize,
        /// How much waits to leave by it.
        buffered: Buffered,
    },
    /// A message came.
    ChannelMessage {
        /// The peer.
        peer: PeerId,
        /// The channel.
        channel: ChannelId,
        /// The message.
        message: DataMessage,
        /// To be dropped when the message is dealt with: it makes room for more from this peer.
        credit: Credit,
    },
    /// A congested channel has [`DataSpec::DRAINED`] bytes or fewer waiting.
    ChannelDrained {
        /// The peer.
        peer: PeerId,
        /// The channel.
        channel: ChannelId,
    },
    /// A message was not sent.
    MessageRefused {
        /// The peer.
        peer: PeerId,
        /// The channel.
        channel: ChannelId,
        /// Why.
        refusal: Refusal,
    },
    /// A channel ended, by either side, or could not be opened. Its messages came before.
    ChannelClosed {
        /// The peer.
        peer: PeerId,
        /// The channel.
        channel: ChannelId,
    },
    /// The connection ended or never came to be. All its channels are closed with it, without a `ChannelClosed`.
    Down {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: EndReason,
    },
}

/// One incoming track.
#[derive(Clone)]
pub struct ReceivedTrack {
    /// Its id, kept over renegotiations.
    pub track: TrackId,
    /// Its layers; the shard writes them.
    pub layers: Layers,
}

impl std::fmt::Debug for ReceivedTrack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceivedTrack")
            .field("track", &self.track)
            .field("format", self.layers.format())
            .field("layers", &self.layers)
            .finish()
    }
}

/// Figures of one peer since it was opened.
#[derive(Clone, Debug, Default)]
pub struct PeerFigures {
    /// The peer's number.
    pub peer: u64,
    /// Whether it is connected now.
    pub connected: bool,
    /// The far end's address in use.
    pub remote: Option<SocketAddr>,
    /// Whether it goes by a relay of the gateway's own.
    pub relayed: bool,
    /// RTP packets sent.
    pub packets_sent: u64,
    /// RTP payload bytes sent.
    pub bytes_sent: u64,
    /// RTP packets received.
    pub packets_received: u64,
    /// RTP payload bytes received.
    pub bytes_received: u64,
    /// Packets reported lost by the far end (sending) or missing here (receiving).
    pub packets_lost: u64,
    /// Packets sent again because of a NACK.
    pub retransmitted: u64,
    /// Packets that the far end was asked to send again, counted each time.
    pub nacked: u64,
    /// Key frames asked for by the far end.
    pub key_requests: u64,
    /// Frames left out because the viewer or its ring was behind.
    pub frames_dropped: u64,
    /// What its way is estimated to carry, in bit/s, while something depends on it.
    pub estimate_bps: Option<u64>,
    /// Whether its picture pauses because the way carries not even the smallest layer.
    pub paused: bool,
    /// Last round trip in milliseconds, where known.
    pub rtt_ms: Option<f64>,
    /// The SRTP profile in use, once connected.
    pub srtp_profile: Option<&'static str>,
    /// What it publishes, encoding by encoding.
    pub received: Vec<ReceivedFigures>,
}

/// Figures of one encoding that a peer publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedFigures {
    /// Audio or video.
    pub kind: MediaKind,
    /// The name its sender gave it (RFC 8851); `None` where there is one only, or where names are not used.
    pub rid: Option<String>,
    /// Its number within the track, from 0.
    pub layer: u8,
    /// Packets received.
    pub packets: u64,
    /// Payload bytes received.
    pub bytes: u64,
    /// Packets missing.
    pub packets_lost: u64,
    /// Packets that came because they were asked for again.
    pub recovered: u64,
    /// Of the last second; 0 where it does not flow.
    pub bitrate: Bitrate,
    /// Whether it is sent to anybody.
    pub watched: bool,
}

/// For `crate::fuzz`: any datagram finds its peer or nobody, and leaves no trace when the peer goes; nor does it harm a relay.
#[doc(hidden)]
pub fn fuzz_datagram(datagram: &[u8]) {
    relay::fuzz_datagram(datagram);
    let _ = demux::classify(datagram);
    let _ = demux::local_ufrag(datagram);
    let from = SocketAddr::from(([127, 0, 0, 1], 9));
    let mut demux = demux::Demux::default();
    let peer = crate::vocab::PeerId(1);
    demux.insert(peer, "abcd");
    let _ = demux.route(from, datagram);
    demux.remove(peer);
    assert_eq!(demux.entries(), 0);
}

/// A far end's candidate whose address is a name of multicast DNS. Who looks it up adds the candidate with the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedCandidate {
    /// Whose it is.
    pub peer: PeerId,
    /// `candidate:…`, with the name.
    candidate: String,
}

impl NamedCandidate {
    /// The name, as in `1f2e….local`.
    pub fn name(&self) -> &str {
        names::name(&self.candidate).unwrap_or_default()
    }

    /// The candidate with the address in place of the name; `None` where it is of no use.
    pub fn with_address(&self, address: std::net::IpAddr) -> Option<Candidate> {
        let candidate = names::with_address(&self.candidate, address)?;
        Some(Candidate { candidate, sdp_mid: None, sdp_mline_index: None, username_fragment: None })
    }
}

#[cfg(test)]
mod tests;
