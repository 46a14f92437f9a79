//! PURE. Whom the bridge calls itself.

use std::time::Instant;

use super::machine::Machine;
use crate::bridge::far::stream_of;
use crate::bridge::retry::{Backoff, Pace};
use crate::room::{Framing, Meeting};
use crate::signalling::peerjs::payload::{self, HANG_UP, Style};
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
}

impl Machine {
    /// Calls whom it is to call and has no connection with: one for media, one for words.
    pub(super) fn place_calls(&mut self, now: Instant) {
        if !self.life.is_open() {
            return;
        }
        for index in 0..self.callees.len() {
            let Some(callee) = self.callees.get(index).filter(|callee| callee.at <= now) else { continue };
            let id = callee.id.clone();
            if !self.remotes.contains_key(&id) && !self.bring(now, &id) {
                self.put_off(now, &id);
                continue;
            }
            if self.remotes.get(&id).is_some_and(|remote| remote.entering.is_none()) {
                self.place(&id);
            }
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
