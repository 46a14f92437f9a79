//! A client in a vamp: whom it is shown, and whose signals reach whom.

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

use serde_json::value::RawValue;

use super::super::Output;
use super::super::event::Event;
use super::wire;
use crate::room::{Body, Command, DialectName, Framing, MemberView, Notice, Signal, Step, Welcome};
use crate::vocab::{MemberId, RequestId, RoomId};

const ALL_USERS: &str = "all users";
const ALL_USERS_OF_DOCUMENT: &str = "allUsers";
const SENDING: &str = "sending signal";
const RETURNING: &str = "returning signal";
const USER_JOINED: &str = "user joined";
const RETURNED: &str = "receiving returned signal";
const USER_LEFT: &str = "user left";

/// One client in one vamp.
pub(super) struct Call {
    room: RoomId,
    also_all_users: bool,
    others: Vec<MemberView>,
    /// Those to whom the client has sent an offer. Its table has no entry for anybody else, and it fails on a signal from such.
    called: HashSet<MemberId>,
    /// The list that the client has.
    listed: Vec<String>,
    outputs: VecDeque<Output>,
}

impl Call {
    pub(super) fn joined(welcome: &Welcome, also_all_users: bool) -> Self {
        let others = welcome.others.iter().filter(|view| view.dialect == DialectName::Vamp).cloned().collect();
        let (called, listed, outputs) = (HashSet::new(), Vec::new(), VecDeque::new());
        let mut call = Self { room: welcome.room.clone(), also_all_users, others, called, listed, outputs };
        call.list();
        call
    }

    pub(super) fn room(&self) -> &RoomId {
        &self.room
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn send(&mut self, name: &str, argument: &(impl serde::Serialize + ?Sized)) {
        self.outputs.push_back(Output::Send(Event::write(name, argument)));
    }

    fn list(&mut self) {
        let ids: Vec<String> = self.others.iter().map(|view| view.user_id.clone()).collect();
        self.send(ALL_USERS, &ids);
        if self.also_all_users {
            self.send(ALL_USERS_OF_DOCUMENT, &ids);
        }
        self.listed = ids;
    }

    /// A repeated join: a list that the client has would make it call everybody again.
    pub(super) fn list_again(&mut self) {
        if !self.others.iter().map(|view| &view.user_id).eq(&self.listed) {
            self.list();
        }
    }

    pub(super) fn handle_event(&mut self, _now: Instant, name: &str, event: &Event<'_>, text: &str) {
        let Some(object) = event.object() else { return };
        match name {
            SENDING => {
                if let Ok(wire::Sending { user_to_signal, signal }) = serde_json::from_str(object) {
                    self.signal(&user_to_signal, signal, text);
                }
            }
            RETURNING => {
                if let Ok(wire::Returning { caller_id, signal }) = serde_json::from_str(object) {
                    self.signal(&caller_id, signal, text);
                }
            }
            _ => {}
        }
    }

    /// A signal of the client's for one of those it is shown; to anybody else it goes nowhere, and no event says so.
    fn signal(&mut self, to: &str, signal: &RawValue, event: &str) {
        let Some(to) = self.others.iter().find(|view| view.user_id == to).map(|view| view.member) else { return };
        let Some(signal) = wire::object(signal) else { return };
        let (step, value) = wire::step(signal);
        if step == Step::Offer {
            self.called.insert(to);
        }
        let signal = Signal {
            step,
            value: value.to_owned(),
            connection: "".into(),
            framing: Framing::Plain,
            original: RawValue::from_string(event.into()).ok(),
        };
        let body = Body::Signal(Box::new(signal));
        self.outputs.push_back(Output::Command(RequestId::next(), Command::Tell { to, body }));
    }

    pub(super) fn handle_notice(&mut self, _now: Instant, notice: &Notice) {
        match notice {
            Notice::MemberJoined { member, .. } if member.dialect == DialectName::Vamp => self.others.push(member.clone()),
            Notice::MemberLeft { member, .. } => {
                if let Some(at) = self.others.iter().position(|view| view.member == *member) {
                    let gone = self.others.remove(at);
                    self.called.remove(member);
                    self.send(USER_LEFT, &gone.user_id);
                }
            }
            Notice::Told { from, body: Body::Signal(signal) } => self.told(from, signal),
            _ => {}
        }
    }

    /// Another member's signal, in the event that carried it.
    fn told(&mut self, from: &MemberView, signal: &Signal) {
        let Some(original) = signal.original.as_deref().filter(|_| from.dialect == DialectName::Vamp) else { return };
        let Some(event) = Event::read(original.get()) else { return };
        let Some(wire::Carried { signal }) = event.object().and_then(|object| serde_json::from_str(object).ok()) else { return };
        match event.name.as_ref() {
            SENDING => self.send(USER_JOINED, &wire::UserJoined { signal, caller_id: &from.user_id }),
            _ if self.called.contains(&from.member) => {
                self.send(RETURNED, &wire::Returned { signal, id: &from.user_id });
            }
            _ => {}
        }
    }

    pub(super) fn handle_timeout(&mut self, _now: Instant) {}

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        None
    }
}
