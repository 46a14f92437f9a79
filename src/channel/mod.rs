//! What the data channels carry that end at Portico: text, clips (vamp's recordings in flight) and RPC.
//!
//! The [`Desk`] decides everything and does nothing itself: no socket, no disk, no clock. The hub owns it, tells it what happens,
//! and carries out what [`Desk::poll_output`] gives after each call, to the last one.
//!
//! ```text
//!  room:   join, leave ───────────┐        ┌──────────────────────────┐
//!  peer:   open, close ───────────┤        │ text    deliver: who hears│──► Send, HangUp ─────────────► peer
//!          handle_channel ────────┼──► Desk│ clips   tape ─► feed      │──► Tell ──────────────────────► the member's session
//!  dialect: say ──────────────────┤        │              └► shelf     │──► Store ─► store.rs ─┐
//!  store.rs: handle_store ◄───────┼────────│ rpc     table, ledger     │──► Call ──► call.rs ──┤
//!  call.rs:  handle_reply ◄───────┘        └──────────────────────────┘◄───────────────────────┘
//! ```
//!
//! A *connection* is one WebRTC connection that ends at Portico. It has an owner, the member whose client is at the far end, and
//! [`Stands`] for someone towards that client: for another member, for the room, or for Portico itself. Its [`Framing`] says how
//! its channels are used; text crosses from any framing to any other.
//!
//! Bounds: [`Desk::MAX_QUEUED`] bytes of messages on their way and of unfinished ones, all connections together, and
//! [`Desk::MAX_QUEUED_EACH`] per connection; clips by [`ClipsConfig`]; calls by [`RpcConfig`] and [`Desk::MAX_CALLS`].
//! Connections and members are bounded by the rooms.

pub mod call;
pub mod clip;
pub mod config;
mod desk;
mod figures;
pub mod framing;
pub mod rpc;
pub mod store;
pub mod value;

pub use clip::ClipUse;
pub use clip::shelf::{ClipId, StoreCommand, StoreEvent};
pub use config::{ClipsConfig, RpcConfig, RpcMethod, RpcService};
pub use desk::{ChannelEvent, Connection, Desk, DropReason, Gauge, OpenError, Output, Seat, Stands};
pub use figures::Figures;
pub use framing::Framing;
pub use rpc::{Call, CallError, CallId, Reply, RpcSeat};

#[cfg(test)]
mod tests;
