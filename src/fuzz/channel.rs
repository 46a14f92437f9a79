//! What comes over data channels: values in JSON and BinaryPack with their parts, and the messages of a netflux mesh.

use std::time::Duration;

use bytes::Bytes;

use crate::channel::value::chunks::{Chunks, MAX_BYTES, Part, Taken};
use crate::channel::value::{Value, binarypack};
use crate::signalling::sigver::member::wire::{
    Builder, BuilderKind, DataChannel, DataChannelKind, InitKind, Ping, envelope, init, service,
};
use crate::signalling::sigver::member::{Gateway, News};
use crate::vocab::SessionId;

use super::start;
use super::world::{Step, What};

/// Members of the netflux group. The first has a channel with Portico.
const MEMBERS: u64 = 3;
/// What one message may cause.
const MOST_ACTIONS: usize = 500;

/// Messages of one data channel of a PeerJS client: texts are JSON, bytes are BinaryPack, and parts are put together.
pub(super) fn value(mut bytes: &[u8]) {
    let mut now = start();
    let mut chunks = Chunks::default();
    while let Some(step) = Step::read(&mut bytes) {
        match step.what {
            What::Text(text) => {
                if let Ok(value) = Value::from_json(&text) {
                    unpack(&binarypack::encode(&value)).expect("what was written is read");
                }
            }
            What::Binary(packed) => {
                let Some(value) = unpack(&packed.into()) else { continue };
                unpack(&binarypack::encode(&value)).expect("what was written is read");
                if let Part::Chunk { message, index, total, data } = Part::of(value)
                    && let Taken::Complete(whole) = chunks.take(now, message, index, total, data)
                {
                    let _ = unpack(&whole);
                }
            }
            What::Wait(steps) => now += Duration::from_millis(10) * u32::from(steps),
            What::Reconnect => chunks = Chunks::default(),
        }
        assert!(chunks.bytes() <= MAX_BYTES, "{} bytes of unfinished messages", chunks.bytes());
    }
}

fn unpack(packed: &Bytes) -> Option<Value> {
    binarypack::decode(packed).ok()
}

/// Portico as a member of a netflux group: texts are messages on a member's channel, bytes are content that the server passes on.
pub(super) fn netflux(mut bytes: &[u8]) {
    let mut now = start();
    let mut portico = Gateway::new(now, 7);
    let first = SessionId(0);
    for member in 0..MEMBERS {
        portico.member(now, SessionId(member));
    }
    let yes = Builder { kind: Some(BuilderKind::Response(true)) };
    portico.content(now, first, &envelope(0, 0, service::BUILDER, &yes));
    let offer = DataChannel { kind: Some(DataChannelKind::Offer("offer".into())) };
    portico.content(now, first, &envelope(0, 0, service::DATA_CHANNEL, &offer));
    let ping = Ping { sender_id: 1 << 31, members: vec![1 << 31], ..Ping::default() };
    portico.news(now, first, News::Message(init(InitKind::Ping(ping))));
    while let Some(step) = Step::read(&mut bytes) {
        let member = SessionId(u64::from(step.session) % MEMBERS);
        match step.what {
            What::Text(message) => portico.news(now, member, News::Message(message.into())),
            What::Binary(content) => portico.content(now, member, &content),
            What::Wait(steps) => {
                now += Duration::from_millis(10) * u32::from(steps);
                portico.timeout(now);
            }
            What::Reconnect => portico.news(now, member, News::Down),
        }
        let actions = std::iter::from_fn(|| portico.poll_action()).count();
        assert!(actions <= MOST_ACTIONS, "one step caused {actions} actions");
    }
}
