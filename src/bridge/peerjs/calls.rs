//! PURE. Whom the bridge calls itself.

use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use super::machine::Machine;
use crate::bridge::far::stream_of;
use crate::bridge::retry::{Backoff, Pace};
use crate::room::{Framing, Meeting};
use crate::signalling::peerjs::payload::{self, HANG_UP, Style};
use crate::signalling::peerjs::wire::Kind;
use crate::vocab::{MediaKind, NewChannel};

/// Somebody whom the bridge calls.
#[derive(Debug)]
pub(super) struct Callee {
    pub(super) id: String,
    /// Not before then.
    pub(super) at: Instant,
    pub(super) backoff: Backoff,
    /// The server does not know it.
    pub(super) absent: bool,
    /// The server was asked whether it does now, and has until `at` to say no.
    pub(super) knocked: bool,
}

/// A server says within some six seconds that a message did not reach its addressee (`expire_timeout`).
pub(super) const KNOCK_LIMIT: Duration = Duration::from_secs(8);

impl Machine {
    /// Calls whom it is to call and has no connection with: one for media, one for words.
    pub(super) fn place_calls(&mut self, now: Instant) {
        if !self.life.is_open() {
            return;
        }
        for index in 0..self.callees.len() {
            let Some(callee) = self.callees.get_mut(index).filter(|callee| callee.at <= now) else { continue };
            let id = callee.id.clone();
            if callee.absent && !callee.knocked && !self.remotes.contains_key(&id) {
                (callee.knocked, callee.at) = (true, now + KNOCK_LIMIT);
                self.knock(&id);
                continue;
            }
            callee.knocked = false;
            if !self.remotes.contains_key(&id) && !self.bring(now, &id) {
                self.put_off(now, &id);
                continue;
            }
            if self.remotes.get(&id).is_some_and(|remote| remote.entering.is_none()) {
                self.place(&id);
            }
        }
    }

    /// Finds out whether somebody who was not there is: the server says when a message does not reach it. What comes of it there is a line
    /// of its log. A call would open the source here and show a member who is not there.
    fn knock(&mut self, id: &str) {
        let payload = RawValue::from_string(r#"{"type":"data"}"#.into()).ok();
        self.send(Kind::Candidate, id, payload.as_deref());
    }

    /// The server could not deliver a message to somebody.
    pub(super) fn expired(&mut self, now: Instant, id: &str) {
        if let Some(callee) = self.callees.iter_mut().find(|callee| callee.id == id) {
            (callee.absent, callee.knocked) = (true, false);
            self.put_off(now, id);
        }
    }

    fn place(&mut self, id: &str) {
        for (media, prefix) in [(true, "mc_"), (false, "dc_")] {
            if self.remotes.get(id).is_none_or(|remote| remote.is_placed(media)) {
                continue;
            }
            let connection = payload::fresh(prefix);
            let meeting = match media {
                true => Meeting {
                    publish: Some(stream_of(id)),
                    play: self.plan.stream.is_some(),
                    expects: vec![MediaKind::Audio, MediaKind::Video],
                    channels: vec![NewChannel::labelled(HANG_UP)],
                    ..self.meeting(Framing::None)
                },
                false => {
                    let channels = vec![NewChannel::labelled(connection.as_str())];
                    Meeting { channels, ..self.meeting(Framing::BinaryPack) }
                }
            };
            self.open(id, connection, Style::Peerjs { media }, meeting, true);
        }
    }

    /// Somebody is to be called again, later.
    pub(super) fn put_off(&mut self, now: Instant, id: &str) {
        if let Some(callee) = self.callees.iter_mut().find(|callee| callee.id == id) {
            callee.at = now + callee.backoff.next(Pace::Poll, None);
        }
    }
}
