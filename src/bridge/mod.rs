//! Bridges: each is a member of a local room and a client of a remote place.
//!
//! What all kinds share is here: the configuration, the waits between attempts ([`retry`], PURE), what is shown of a bridge
//! ([`status`]) and the owner of their tasks ([`crew`]). Each remote kind is a client-role dialect in a folder of its own, with one
//! function `run` that the crew starts: its decisions are a PURE machine, its shell owns a session of the hub and the calls to the far
//! side. Media does not pass here: a push is one more viewer of layers, a pull one more publisher, both on the shards.
//!
//! ```text
//! config, API ─► crew ─┬─► whip::run ─► machine (decides) ─┬─► hub session: join, play or publish, describe
//!                      │                                   └─► HTTP: POST offer, DELETE resource
//!                      ├─► tribe::run, peerjs::run ─► machines over far (websocket, own place, a session per remote member)
//!                      ├─► portico::run, and what answers one ─► the same machine at both ends, over far
//!                      └─► the next kind
//! ```

pub mod config;
mod crew;
mod far;
mod peerjs;
mod portico;
mod retry;
pub mod status;
mod tribe;
mod whip;

pub use config::{BridgeConfig, BridgeKind};
pub use crew::{AddError, Bridges, BridgesParts, Counted, FlowPort, RemoveError, Totals};
pub use portico::PATH as PORTICO_PATH;
#[doc(hidden)]
pub use portico::fuzz as fuzz_portico;
pub use status::{BridgeView, Flow, Reason, StateWord};
