//! Rooms, members, streams and subscriptions: a pure state machine.
//!
//! It decides who is where, who may do what and what must happen; it never does it. It knows no socket, no clock, no
//! codec implementation. After every `handle*` call, drain [`Rooms::poll_effect`] to `None`, then ask
//! [`Rooms::next_timeout`] again.

pub mod command;
pub mod config;
pub mod effect;
pub mod notice;

pub use command::{
    Body, ClientFacts, Command, DialectName, Facts, Joining, PeerUpdate, Remark, SourceUpdate, StreamChoice, TrackView,
};
pub use config::{RoomConfig, RoomsConfig, Topology};
pub use effect::{Effect, EndReason, Feed, OpenPeer, Purpose, Report};
pub use notice::{MemberView, Notice, PeerView, Refusal, Resumed, StreamView, Welcome};
