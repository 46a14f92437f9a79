//! A few sessions of one dialect on real rooms, without IO: bytes become frames, time and lost connections.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::room::{Command, Effect, Notice, Rooms, RoomsConfig};
use crate::signalling::{Dialect, Frame, Output, Realm, RealmWord};
use crate::vocab::{MemberId, RequestId, SessionId};

use super::start;

/// Sessions at a time.
const SESSIONS: usize = 4;
/// What one step may cause. A dialect that answers a frame with more than this has lost its bounds.
const MOST_OUTPUTS: usize = 20_000;
/// Bytes that one step may cause to be sent: a member's message of at most 64 KiB may go to every other, and held ones with it.
const MOST_BYTES: usize = 4 << 20;

/// One thing that happens, as the bytes of an input say it: a head byte (bits 0 and 1: the session; bits 2 and 3: what), two
/// bytes of length, the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which session.
    pub session: u8,
    /// What happens to it.
    pub what: What,
}

/// What happens to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A text frame; bytes that are no UTF-8 come as a binary one. In it `@0` to `@3` stand for the ids of the sessions' members.
    Text(Vec<u8>),
    /// A binary frame.
    Binary(Vec<u8>),
    /// Time passes for everybody, in steps of 10 ms.
    Wait(u16),
    /// The connection is lost and another takes its place.
    Reconnect,
}

impl Step {
    /// Reads the next step off an input.
    pub(super) fn read(input: &mut &[u8]) -> Option<Self> {
        let (&head, rest) = input.split_first()?;
        let (length, rest) = rest.split_at_checked(2)?;
        let length = u16::from_le_bytes([length[0], length[1]]);
        let session = head & 3;
        let (what, rest) = match head >> 2 & 3 {
            2 => (What::Wait(length), rest),
            3 => (What::Reconnect, rest),
            kind => {
                let (content, rest) = rest.split_at(usize::from(length).min(rest.len()));
                (if kind == 0 { What::Text(content.into()) } else { What::Binary(content.into()) }, rest)
            }
        };
        *input = rest;
        Some(Self { session, what })
    }

    /// Writes the step as an input has it: for those who make a corpus. Content beyond 65535 bytes is cut off.
    pub fn write(&self, input: &mut Vec<u8>) {
        let (kind, length, content) = match &self.what {
            What::Text(content) => (0, content.len(), content.as_slice()),
            What::Binary(content) => (1, content.len(), content.as_slice()),
            What::Wait(steps) => (2, usize::from(*steps), &[][..]),
            What::Reconnect => (3, 0, &[][..]),
        };
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        input.push(self.session & 3 | kind << 2);
        input.extend(length.to_le_bytes());
        input.extend(&content[..content.len().min(usize::from(length))]);
    }
}

pub(super) struct World<F> {
    now: Instant,
    rooms: Rooms,
    realm: Option<Box<dyn Realm>>,
    make: F,
    /// How the dialect writes a member's id.
    id_form: fn(MemberId) -> String,
    sessions: Vec<Slot>,
    /// Bytes of output since the step began.
    bytes: usize,
    outputs: usize,
}

struct Slot {
    id: SessionId,
    dialect: Box<dyn Dialect>,
    told: VecDeque<Told>,
    open: bool,
    /// Its member's id as the dialect writes it; empty before it joined.
    member: String,
}

enum Told {
    Notice(Box<Notice>),
    Word(RealmWord),
}

impl<F: Fn(Instant) -> Box<dyn Dialect>> World<F> {
    pub(super) fn new(realm: Option<Box<dyn Realm>>, id_form: fn(MemberId) -> String, make: F) -> Self {
        let now = start();
        let mut this = Self {
            now,
            rooms: Rooms::new(RoomsConfig::default(), Vec::new()),
            realm,
            make,
            id_form,
            sessions: Vec::new(),
            bytes: 0,
            outputs: 0,
        };
        for _ in 0..SESSIONS {
            let slot = this.fresh();
            this.sessions.push(slot);
        }
        this
    }

    fn fresh(&mut self) -> Slot {
        let id = SessionId::next();
        self.rooms.open_session(self.now, id);
        Slot { id, dialect: (self.make)(self.now), told: VecDeque::new(), open: true, member: String::new() }
    }

    pub(super) fn run(mut self, mut input: &[u8]) {
        while let Some(step) = Step::read(&mut input) {
            (self.bytes, self.outputs) = (0, 0);
            let at = usize::from(step.session) % SESSIONS;
            match step.what {
                What::Text(content) => match std::str::from_utf8(&content) {
                    Ok(text) => self.frame(at, Frame::Text(&self.with_ids(text))),
                    Err(_) => self.frame(at, Frame::Binary(&content)),
                },
                What::Binary(content) => self.frame(at, Frame::Binary(&content)),
                What::Wait(steps) => {
                    self.now += Duration::from_millis(10) * u32::from(steps);
                    self.rooms.handle_timeout(self.now);
                    if let Some(realm) = &mut self.realm {
                        realm.handle_timeout(self.now);
                    }
                    for slot in self.sessions.iter_mut().filter(|slot| slot.open) {
                        if slot.dialect.next_timeout().is_some_and(|at| at <= self.now) {
                            slot.dialect.handle_timeout(self.now);
                        }
                    }
                }
                What::Reconnect => {
                    self.hang_up(at, Command::Lost);
                    self.sessions[at] = self.fresh();
                }
            }
            self.settle();
        }
    }

    fn with_ids(&self, text: &str) -> String {
        self.sessions.iter().enumerate().fold(text.to_owned(), |text, (at, slot)| text.replace(&format!("@{at}"), &slot.member))
    }

    fn frame(&mut self, at: usize, frame: Frame<'_>) {
        let slot = &mut self.sessions[at];
        if slot.open && slot.dialect.handle_frame(self.now, frame).is_err() {
            self.hang_up(at, Command::Leave);
        }
    }

    fn hang_up(&mut self, at: usize, goodbye: Command) {
        let slot = &mut self.sessions[at];
        if std::mem::replace(&mut slot.open, false) {
            self.rooms.handle(self.now, slot.id, RequestId::next(), goodbye);
            if let Some(realm) = &mut self.realm {
                realm.handle_gone(self.now, slot.id);
            }
        }
    }

    /// Carries everything to where it belongs until nothing is left to say.
    fn settle(&mut self) {
        loop {
            let mut idle = true;
            while let Some(effect) = self.rooms.poll_effect() {
                match effect {
                    Effect::Notify(session, notice) => self.tell(session, Told::Notice(Box::new(notice))),
                    Effect::EndSession(session, _) => {
                        if let Some(at) = self.sessions.iter().position(|slot| slot.id == session) {
                            self.hang_up(at, Command::Leave);
                        }
                    }
                    _ => {}
                }
            }
            while let Some(said) = self.realm.as_mut().and_then(|realm| realm.poll_output()) {
                self.tell(said.to, Told::Word(said.word));
            }
            for at in 0..self.sessions.len() {
                while let Some(told) = self.sessions[at].told.pop_front() {
                    idle = false;
                    let slot = &mut self.sessions[at];
                    match told {
                        Told::Notice(notice) => {
                            if let Notice::Welcome(welcome) = &*notice {
                                slot.member = (self.id_form)(welcome.member);
                            }
                            slot.dialect.handle_notice(self.now, &notice);
                        }
                        Told::Word(word) => slot.dialect.handle_realm(self.now, word),
                    }
                }
                while let Some(output) = self.sessions[at].dialect.poll_output() {
                    idle = false;
                    self.carry(at, output);
                }
            }
            if idle {
                return;
            }
        }
    }

    fn tell(&mut self, session: SessionId, told: Told) {
        if let Some(slot) = self.sessions.iter_mut().find(|slot| slot.id == session && slot.open) {
            slot.told.push_back(told);
        }
    }

    fn carry(&mut self, at: usize, output: Output) {
        self.outputs += 1;
        assert!(self.outputs <= MOST_OUTPUTS, "one step caused {MOST_OUTPUTS} outputs");
        let id = self.sessions[at].id;
        match output {
            _ if !self.sessions[at].open => {}
            Output::Command(req, command) => self.rooms.handle(self.now, id, req, command),
            Output::Realm(message) => {
                if let Some(realm) = &mut self.realm {
                    realm.handle(self.now, id, message);
                }
            }
            Output::Send(text) => self.sent(text.len()),
            Output::SendBinary(bytes) => self.sent(bytes.len()),
            Output::Close { reason, .. } => {
                assert!(reason.len() <= 123, "a close frame holds 123 bytes of reason");
                self.hang_up(at, Command::Leave);
            }
        }
    }

    fn sent(&mut self, bytes: usize) {
        self.bytes += bytes;
        assert!(self.bytes <= MOST_BYTES, "one step caused {} bytes", self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_read_as_they_were_written() {
        let steps = [
            Step { session: 3, what: What::Text(b"hello".into()) },
            Step { session: 0, what: What::Binary(vec![0, 255]) },
            Step { session: 1, what: What::Wait(500) },
            Step { session: 2, what: What::Reconnect },
        ];
        let mut bytes = Vec::new();
        steps.iter().for_each(|step| step.write(&mut bytes));
        let mut input = &bytes[..];
        let read: Vec<_> = std::iter::from_fn(|| Step::read(&mut input)).collect();
        assert_eq!(read, steps);
        assert!(input.is_empty());
    }
}
