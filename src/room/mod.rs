//! Rooms, members, streams and subscriptions: a pure state machine.
//!
//! It decides who is where, who may do what and what must happen; it never does it. It knows no socket, no clock, no
//! codec implementation. After every `handle*` call (and the other `&mut self` calls), drain [`Rooms::poll_effect`] to
//! `None`, then ask [`Rooms::next_timeout`] again.
//!
//! | file | what |
//! |---|---|
//! | `command` `effect` `notice` `signal` `config` `view` | the words in and out |
//! | `rooms` | the state, the entry points, who is told what |
//! | `place` | join, lose, resume, leave: the life of a place |
//! | `meet` | connections that stand for another member or the room; words |
//! | `peers` | publish, play and the life of a peer and its stream |
//! | `lanes` | connections that carry many streams |
//! | `sources` | this gateway's own sources as members |
//! | `mixes` | mixed rooms: what goes into the mix, and who is shown what |
//! | `member` `missed` | what is kept of a member; what is kept for a lost one |

pub mod command;
pub mod config;
pub mod effect;
#[cfg(test)]
mod invariants;
mod lanes;
mod meet;
mod member;
mod missed;
mod mixes;
pub mod notice;
mod peers;
mod place;
mod rooms;
pub mod signal;
mod sources;
#[cfg(test)]
mod tests;
pub mod view;

pub use command::{
    Body, BrokerIds, ClientFacts, Command, DialectName, Facts, GroupState, Joining, LINK, MAX_SAID, Meeting, MemberState,
    PeerUpdate, Remark, SignallingState, SourceUpdate, StreamChoice, TrackView,
};
pub use config::{RoomConfig, RoomsConfig, Topology};
pub use effect::{Effect, EndReason, Feed, Meet, MixPart, OpenPeer, Playing, Purpose, Report, Via};
pub use mixes::MIX;
pub use notice::{MemberView, Notice, PeerView, Refusal, Resumed, StreamView, Welcome};
pub use rooms::Rooms;
pub use signal::{Original, Signal, Step};

pub use crate::vocab::Framing;
pub use view::{Counts, RoomMember, RoomView, SeatView};
