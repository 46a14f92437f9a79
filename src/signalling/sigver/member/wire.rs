//! What netflux clients say to each other, through the server and over their data channels. proto3.

use bytes::Bytes;
use prost::Message as _;

/// The services of netflux, by number.
pub mod service {
    /// A channel is alive.
    pub const HEARTBEAT: u32 = 0;
    /// Two clients agree on a channel.
    pub const BUILDER: u32 = 74;
    /// Offer, answer, candidates.
    pub const DATA_CHANNEL: u32 = 7431;
    /// What the application says.
    pub const USER: u32 = 743;
    /// Who is there.
    pub const MESH: u32 = 74315;
}

/// Around every message but the two that open a channel.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Envelope {
    /// Netflux id; through the server the number of the binding.
    #[prost(uint32, tag = "1")]
    pub sender_id: u32,
    /// Netflux id; 0 for all, or for the only one it can be.
    #[prost(uint32, tag = "2")]
    pub recipient_id: u32,
    /// See [`service`].
    #[prost(uint32, tag = "3")]
    pub service_id: u32,
    /// The service's message.
    #[prost(bytes = "bytes", tag = "4")]
    pub content: Bytes,
}

/// The two messages that open a channel.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Init {
    /// Which.
    #[prost(oneof = "InitKind", tags = "1, 2")]
    pub kind: Option<InitKind>,
}

/// A message that opens a channel.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum InitKind {
    /// The member to the joiner.
    #[prost(message, tag = "1")]
    Ping(Ping),
    /// The joiner to the member: its Netflux id.
    #[prost(uint32, tag = "2")]
    Pong(u32),
}

/// A member introduces itself and the group.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Ping {
    /// 0: full mesh.
    #[prost(uint32, tag = "1")]
    pub topology: u32,
    /// The group's own id.
    #[prost(uint32, tag = "2")]
    pub wc_id: u32,
    /// The member's Netflux id.
    #[prost(uint32, tag = "3")]
    pub sender_id: u32,
    /// All members it knows, itself included.
    #[prost(uint32, repeated, tag = "4")]
    pub members: Vec<u32>,
    /// The group's key.
    #[prost(string, tag = "5")]
    pub key: String,
}

/// Service 74.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Builder {
    /// Which.
    #[prost(oneof = "BuilderKind", tags = "1, 2, 3")]
    pub kind: Option<BuilderKind>,
}

/// A step towards a channel.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum BuilderKind {
    /// What each side can do.
    #[prost(message, tag = "1")]
    Negotiation(Negotiation),
    /// "May I?" Inside the mesh with [`Adjacency`].
    #[prost(bytes = "bytes", tag = "2")]
    Request(Bytes),
    /// Yes or no.
    #[prost(bool, tag = "3")]
    Response(bool),
}

/// What each side can do.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Negotiation {
    /// Who asked.
    #[prost(message, optional, tag = "1")]
    pub initiator: Option<Info>,
    /// Who was asked.
    #[prost(message, optional, tag = "2")]
    pub passive: Option<Info>,
}

/// What one side can do, and has tried.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Info {
    /// Netflux id, or number of the binding.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// Where it takes websockets; empty where it does not.
    #[prost(string, tag = "2")]
    pub wss: String,
    /// The group's own id.
    #[prost(uint32, tag = "3")]
    pub wc_id: u32,
    /// It can open websockets.
    #[prost(bool, tag = "4")]
    pub ws_supported: bool,
    /// It could not.
    #[prost(bool, tag = "5")]
    pub ws_tried: bool,
    /// It has data channels.
    #[prost(bool, tag = "6")]
    pub dc_supported: bool,
    /// It could not make one.
    #[prost(bool, tag = "7")]
    pub dc_tried: bool,
}

/// What a request inside the mesh brings.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Adjacency {
    /// Who asks.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// To whom it has channels.
    #[prost(uint32, repeated, tag = "2")]
    pub adjacent_ids: Vec<u32>,
}

/// Service 7431. Without a kind: no more candidates.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DataChannel {
    /// Which.
    #[prost(oneof = "DataChannelKind", tags = "1, 2, 3")]
    pub kind: Option<DataChannelKind>,
}

/// A step of a peer connection.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum DataChannelKind {
    /// SDP.
    #[prost(string, tag = "1")]
    Offer(String),
    /// SDP.
    #[prost(string, tag = "2")]
    Answer(String),
    /// One candidate.
    #[prost(message, tag = "3")]
    Candidate(IceCandidate),
}

/// `RTCIceCandidateInit`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct IceCandidate {
    /// The line.
    #[prost(string, tag = "1")]
    pub candidate: String,
    /// The section by name; may be empty.
    #[prost(string, tag = "2")]
    pub sdp_mid: String,
    /// The section by number.
    #[prost(uint32, tag = "3")]
    pub sdp_m_line_index: u32,
}

/// Service 743.
#[derive(Clone, PartialEq, prost::Message)]
pub struct User {
    /// Bytes of the whole message.
    #[prost(uint32, tag = "1")]
    pub length: u32,
    /// 0 text, 1 bytes.
    #[prost(uint32, tag = "2")]
    pub kind: u32,
    /// The message or a piece of it.
    #[prost(oneof = "UserContent", tags = "3, 4")]
    pub content: Option<UserContent>,
}

/// A message or a piece of one.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum UserContent {
    /// All of it.
    #[prost(bytes = "bytes", tag = "3")]
    Full(Bytes),
    /// A piece.
    #[prost(message, tag = "4")]
    Chunk(Chunk),
}

/// A piece of a message.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Chunk {
    /// Which message of the sender.
    #[prost(uint32, tag = "1")]
    pub id: u32,
    /// Which piece, from 0.
    #[prost(uint32, tag = "2")]
    pub nb: u32,
    /// Its bytes.
    #[prost(bytes = "bytes", tag = "4")]
    pub content: Bytes,
}

/// Service 74315.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Mesh {
    /// Which.
    #[prost(oneof = "MeshKind", tags = "1, 3, 4")]
    pub kind: Option<MeshKind>,
}

/// Who is there.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum MeshKind {
    /// All members the sender knows.
    #[prost(message, tag = "1")]
    Members(Ids),
    /// The members the sender has channels to.
    #[prost(message, tag = "3")]
    Adjacent(Ids),
    /// The sender, to which there is no channel, is alive.
    #[prost(bool, tag = "4")]
    Heartbeat(bool),
}

/// Netflux ids.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Ids {
    /// The ids.
    #[prost(uint32, repeated, tag = "1")]
    pub ids: Vec<u32>,
}

/// Reads a message; `None` when it is none.
pub fn read<M: prost::Message + Default>(bytes: &[u8]) -> Option<M> {
    M::decode(bytes).ok()
}

/// Writes a message in its envelope.
pub fn envelope(sender_id: u32, recipient_id: u32, service_id: u32, message: &impl prost::Message) -> Bytes {
    let content = message.encode_to_vec().into();
    Envelope { sender_id, recipient_id, service_id, content }.encode_to_vec().into()
}

/// Writes one of the two messages that open a channel.
pub fn init(kind: InitKind) -> Bytes {
    Init { kind: Some(kind) }.encode_to_vec().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    // the inner parts of the page's vectors, section 2.5
    #[test]
    fn a_request_and_its_response_are_as_the_client_writes_them() {
        let request: Envelope =
            read(&[0x08, 0x82, 0xd0, 0xac, 0xf3, 0x0e, 0x10, 0x00, 0x18, 0x4a, 0x22, 0x02, 0x12, 0x00]).unwrap();
        assert_eq!((request.sender_id, request.recipient_id, request.service_id), (4_000_000_002, 0, service::BUILDER));
        assert_eq!(read::<Builder>(&request.content).unwrap().kind, Some(BuilderKind::Request(Bytes::new())));
        let response: Envelope =
            read(&[0x08, 0x00, 0x10, 0xd2, 0x85, 0xd8, 0xcc, 0x04, 0x18, 0x4a, 0x22, 0x02, 0x18, 0x01]).unwrap();
        assert_eq!(read::<Builder>(&response.content).unwrap().kind, Some(BuilderKind::Response(true)));
    }

    #[test]
    fn an_empty_data_channel_message_ends_the_candidates() {
        assert_eq!(read::<DataChannel>(&[]).unwrap().kind, None);
        assert_eq!(envelope(1, 0, service::DATA_CHANNEL, &DataChannel { kind: None }), &[0x08, 1, 0x18, 0x87, 0x3a][..]);
    }
}
