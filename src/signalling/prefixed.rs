//! A dialect whose clients' rooms have a prefix: they name and hear of `a`, the room is `forum-a`.

use std::time::Instant;

use super::{ChannelNews, Dialect, Frame, Output, RealmWord, WireError};
use crate::room::{Command, Notice, Refusal, Resumed, Welcome};
use crate::vocab::{PeerId, RequestId, RoomId, RoomPrefix};

/// Any dialect, with a prefix to the rooms it joins.
pub struct Prefixed {
    inner: Box<dyn Dialect>,
    prefix: RoomPrefix,
    /// The time last told, for what is answered here.
    now: Instant,
}

impl Prefixed {
    /// The dialect itself when the prefix changes nothing.
    pub fn wrap(now: Instant, inner: Box<dyn Dialect>, prefix: RoomPrefix) -> Box<dyn Dialect> {
        if prefix.is_empty() { inner } else { Box::new(Self { inner, prefix, now }) }
    }

    /// The room's name as the client knows it, in every notice that has one.
    fn stripped(&self, notice: &Notice) -> Option<Notice> {
        let strip = |room: &RoomId| self.prefix.strip(room);
        Some(match notice {
            Notice::Welcome(welcome) => {
                Notice::Welcome(Box::new(Welcome { room: strip(&welcome.room), ..Welcome::clone(welcome) }))
            }
            Notice::Resumed(resumed) => {
                Notice::Resumed(Box::new(Resumed { room: strip(&resumed.room), ..Resumed::clone(resumed) }))
            }
            Notice::Refused { req, why } => {
                let why = match why.clone() {
                    Refusal::AlreadyJoined(room) => Refusal::AlreadyJoined(strip(&room)),
                    Refusal::RoomFull { room, limit } => Refusal::RoomFull { room: strip(&room), limit },
                    Refusal::UnknownRoom(room) => Refusal::UnknownRoom(strip(&room)),
                    Refusal::Topology { room, topology } => Refusal::Topology { room: strip(&room), topology },
                    Refusal::Forbidden { room, right } => Refusal::Forbidden { room: strip(&room), right },
                    _ => return None,
                };
                Notice::Refused { req: *req, why }
            }
            _ => return None,
        })
    }

    fn refuse(&mut self, req: RequestId, room: RoomId) {
        // no room has a name that long
        self.inner.handle_notice(self.now, &Notice::Refused { req, why: Refusal::UnknownRoom(room) });
    }
}

impl Dialect for Prefixed {
    fn handle_frame(&mut self, now: Instant, frame: Frame<'_>) -> Result<(), WireError> {
        self.now = now;
        self.inner.handle_frame(now, frame)
    }

    fn handle_notice(&mut self, now: Instant, notice: &Notice) {
        self.now = now;
        match self.stripped(notice) {
            Some(stripped) => self.inner.handle_notice(now, &stripped),
            None => self.inner.handle_notice(now, notice),
        }
    }

    fn handle_realm(&mut self, now: Instant, word: RealmWord) {
        self.inner.handle_realm(now, word);
    }

    fn handle_channel(&mut self, now: Instant, peer: PeerId, news: ChannelNews) {
        self.inner.handle_channel(now, peer, news);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.inner.handle_timeout(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        loop {
            match self.inner.poll_output()? {
                Output::Command(req, Command::Join(mut joining)) => match self.prefix.add(joining.room.clone()) {
                    Ok(room) => {
                        joining.room = room;
                        return Some(Output::Command(req, Command::Join(joining)));
                    }
                    Err(_) => self.refuse(req, joining.room),
                },
                output => return Some(output),
            }
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.inner.next_timeout()
    }

    fn is_heartbeat(&self, frame: Frame<'_>) -> bool {
        self.inner.is_heartbeat(frame)
    }

    fn silence_code(&self) -> u16 {
        self.inner.silence_code()
    }
}
