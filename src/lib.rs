//! Portico: the room appliance for small boards.
//!
//! Decisions are computed in pure code (`room`, `forward`, `media::plan`, `peer::negotiate`, every dialect); sockets, GStreamer
//! and the WebRTC engine only carry them out. Where to look:
//!
//! | module | what |
//! |---|---|
//! | [`app`] | wiring: builds everything from the configuration, reload and shutdown order |
//! | [`cli`] | one file per subcommand |
//! | [`config`] | load (file, drop-ins, environment, flags), errors with line numbers, schema |
//! | [`vocab`] | shared words: ids, codecs, frames, rights |
//! | [`room`] | PURE: rooms, members, streams, subscriptions, permissions, limits, timers |
//! | [`hub`] | the async owner of rooms: carries out effects, routes notices; control only |
//! | [`signalling`] | the dialect contract, the driver per connection, the dialects |
//! | [`peer`] | WebRTC connections: the driver over `rtc`, negotiation rules |
//! | [`bridge`] | rooms joined to remote places: clients of WHIP and WHEP endpoints |
//! | [`channel`] | what data channels carry: text, clips, RPC (PURE but for `store` and `call`) |
//! | [`event`] | joins and leaves for a broker: a store on disk, AMQP, MQTT, webhooks (PURE but for `store`, `keeper`, `sink`) |
//! | [`media`] | capture, codecs, devices, planner: everything GStreamer and V4L2 |
//! | [`forward`] | one layer of one track: packetiser, cache, fan-out |
//! | [`rtsp`] | streams for players and recorders by RTSP |
//! | [`http`] | router, API, page |
//! | [`ops`] | access, TLS, logging, metrics |

pub mod app;
pub mod bridge;
pub mod channel;
pub mod cli;
pub mod config;
pub mod event;
pub mod forward;
#[doc(hidden)]
pub mod fuzz;
pub mod http;
pub mod hub;
pub mod media;
pub mod ops;
pub mod peer;
pub mod room;
pub mod rtsp;
pub mod signalling;
pub mod vocab;
