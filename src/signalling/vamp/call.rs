//! A client in a vamp: whom it is shown, whose signals reach whom, and the connections that end at Portico.
//!
//! ```text
//!            ┌─ a Vamp client ──────► Command::Tell, with the event as it came ──► its `user joined` or `receiving returned signal`
//!  signal ───┼─ another dialect's ──► Command::Tell ──► that dialect
//!            └─ Portico ────────────► Links ──► Command::Meet … Notice::Description ──► the same events
//!  Notice::Told from another dialect ──► Gathering (this client cannot trickle) ──► the same events
//! ```

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use serde_json::value::RawValue;
use tracing::debug;

use super::super::Output;
use super::super::event::Event;
use super::super::gateway::{
    Again, Call as Offering, Change, Gathering, IdForm, LinkEvent, LinkKey, Links, Reach, Roster, Rules,
};
use super::super::gateway::{Shown, meet_directly};
use super::{Deps, wire};
use crate::room::{Body, Command, DialectName, Framing, MemberView, Notice, Original, Signal, Step, Welcome};
use crate::vocab::{MediaKind, MemberId, NewChannel, RequestId, RoomId, Sdp, SdpKind};

const ALL_USERS: &str = "all users";
const ALL_USERS_OF_DOCUMENT: &str = "allUsers";
const SENDING: &str = "sending signal";
const RETURNING: &str = "returning signal";
const USER_JOINED: &str = "user joined";
const RETURNED: &str = "receiving returned signal";
const USER_LEFT: &str = "user left";

/// How the ids of others than Vamp's own clients are written: as long as theirs.
const FORM: IdForm = IdForm::Base64Url20;
/// A client that offers to somebody again has made a new connection; the old one is gone with its page's. A connection ends
/// with the one it stands for, but the one by which others hear the client: see [`Call::part`].
const RULES: Rules = Rules { again: Again::Replace, outlasts: true, spares: false };

/// Most connections that clients of other dialects have offered directly.
const MAX_DIRECT: usize = 64;

/// One client in one vamp.
pub(super) struct Call {
    also_all_users: bool,
    roster: Roster,
    links: Links,
    gathering: Gathering,
    /// Connections that clients of other dialects have offered to the client itself, oldest first.
    direct: Vec<Direct>,
    /// Those to whom the client has sent an offer. Its table has no entry for anybody else, and it fails on a signal from such.
    called: HashSet<MemberId>,
    /// The list that the client has.
    listed: Vec<String>,
    outputs: VecDeque<Output>,
}

/// A connection that a client of another dialect has offered. Some have several with one member; a Vamp client knows one for each id, so
/// that each further one has an id of its own.
struct Direct {
    with: MemberId,
    /// The offerer's own id for it.
    connection: Arc<str>,
    /// The client's id for it.
    name: String,
}

impl Call {
    pub(super) fn joined(welcome: &Welcome, deps: &Deps) -> Self {
        let roster = Roster::new(DialectName::Vamp, welcome);
        let alone = roster.shown().is_empty();
        let mut call = Self {
            also_all_users: deps.config.also_all_users,
            // who is to keep the clips must hear them
            roster: if deps.stores_clips { roster.with_portico() } else { roster },
            links: Links::new(&welcome.room, RULES),
            gathering: Gathering::default(),
            direct: Vec::new(),
            called: HashSet::new(),
            listed: Vec::new(),
            outputs: VecDeque::new(),
        };
        if alone {
            // the first in a vamp is told so; who keeps its clips comes right after it
            call.list(Vec::new());
            call.listed = call.ids();
            let shown = call.roster.shown();
            shown.iter().for_each(|shown| call.offer(shown.member));
            return call;
        }
        call.list(call.ids());
        call
    }

    pub(super) fn room(&self) -> &RoomId {
        self.roster.room()
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        let (req, command) = self.links.poll_command()?;
        Some(Output::Command(req, command))
    }

    fn send(&mut self, name: &str, argument: &(impl serde::Serialize + ?Sized)) {
        self.outputs.push_back(Output::Send(Event::write(name, argument)));
    }

    /// The same for an argument that is hardly more than a signal.
    fn send_long(&mut self, name: &str, signal: &RawValue, argument: &impl serde::Serialize) {
        self.outputs.push_back(Output::Send(Event::write_long(name, argument, signal.get().len())));
    }

    /// Those whom the client can call. Clients that read other data channels than it opens are left out.
    fn ids(&self) -> Vec<String> {
        let shown = self.roster.shown();
        shown.iter().filter(|shown| can_call(shown)).map(|shown| self.roster.name_of(shown, FORM)).collect()
    }

    fn list(&mut self, ids: Vec<String>) {
        self.send(ALL_USERS, &ids);
        if self.also_all_users {
            self.send(ALL_USERS_OF_DOCUMENT, &ids);
        }
        self.listed = ids;
    }

    /// A repeated join: a list that the client has would make it call everybody again.
    pub(super) fn list_again(&mut self) {
        let ids = self.ids();
        if ids != self.listed {
            self.list(ids);
        }
    }

    pub(super) fn handle_event(&mut self, name: &str, event: &Event<'_>) {
        let Some(object) = event.object() else { return };
        match name {
            SENDING => {
                if let Ok(wire::Sending { user_to_signal, signal }) = serde_json::from_str(object) {
                    self.signal(SENDING, &user_to_signal, signal);
                }
            }
            RETURNING => {
                if let Ok(wire::Returning { caller_id, signal }) = serde_json::from_str(object) {
                    self.signal(RETURNING, &caller_id, signal);
                }
            }
            _ => {}
        }
    }

    /// A signal of the client's for one of those it is shown; to anybody else it goes nowhere, and no event says so.
    fn signal(&mut self, name: &'static str, to: &str, whole: &RawValue) {
        let Some(whole) = wire::object(whole) else { return };
        let (step, value) = wire::step(whole);
        if step != Step::Offer
            && let Some(direct) = self.direct.iter().find(|direct| direct.name == to)
        {
            let (to, connection) = (direct.with, Arc::clone(&direct.connection));
            let signal = Signal { step, value: value.to_owned(), connection, framing: Framing::Plain, original: None };
            return self.tell(to, signal);
        }
        let Some(to) = self.roster.find(to, FORM) else { return };
        if step == Step::Offer && !can_call(&to) {
            return;
        }
        if step == Step::Offer {
            self.called.insert(to.member);
        }
        // the value is the whole signal, but for a candidate, which is inside
        let original = Original { name, whole: (step == Step::Candidate).then(|| whole.to_owned()) };
        let signal =
            Signal { step, value: value.to_owned(), connection: "".into(), framing: Framing::Plain, original: Some(original) };
        match to.reach {
            Reach::Direct => self.tell(to.member, signal),
            Reach::Portico => self.signal_portico(LinkKey::one(to.member), &signal),
        }
    }

    fn tell(&mut self, to: MemberId, signal: Signal) {
        let body = Body::Signal(Box::new(signal));
        self.outputs.push_back(Output::Command(RequestId::next(), Command::Tell { to, body }));
    }

    /// A signal on a connection that ends here: now it is read.
    fn signal_portico(&mut self, key: LinkKey, signal: &Signal) {
        if let Some(sdp) = signal.as_description() {
            if sdp.kind == SdpKind::Answer {
                // one that nobody waits for is nobody's
                self.links.answered(&key, sdp);
            } else if self.links.offered(key, sdp, true, Framing::Plain).is_err() {
                debug!("offer dropped: too many");
            }
        } else if let Some(candidate) = signal.as_candidate() {
            self.links.candidate(&key, candidate);
        }
    }

    pub(super) fn handle_notice(&mut self, now: Instant, notice: &Notice) {
        let before = if matches!(notice, Notice::MemberLeft { .. }) { self.roster.shown() } else { Vec::new() };
        for change in self.roster.handle_notice(notice) {
            match change {
                Change::Came(shown) if shown.reach == Reach::Portico => self.offer(shown.member),
                // newcomers announce themselves by their offers
                Change::Came(_) => {}
                Change::Gone(member) => {
                    let gone = before.iter().find(|shown| shown.member == member);
                    let name = gone.map(|shown| self.roster.name_of(shown, FORM));
                    self.part(member, name);
                }
            }
        }
        if let Notice::Told { from, body: Body::Signal(signal) } = notice {
            self.told(now, from, signal);
        }
        match self.links.handle_notice(notice) {
            Some(LinkEvent::Offer { key, sdp } | LinkEvent::Answer { key, sdp }) => self.describe(key.who, &sdp),
            Some(LinkEvent::Refused { why, .. }) => debug!(reason = %why, "connection refused"),
            // the client sees for itself that a connection is up or down
            Some(LinkEvent::Up { .. } | LinkEvent::Down { .. }) | None => {}
        }
    }

    /// Somebody is gone. The connection by which the others hear the client stays as long as there are others, though it stands for
    /// nobody any more: the client is not asked for its sound a second time.
    fn part(&mut self, member: MemberId, name: Option<String>) {
        self.called.remove(&member);
        self.gathering.forget(member);
        if self.roster.shown().is_empty() {
            let all: Vec<LinkKey> = self.links.keys().cloned().collect();
            all.iter().for_each(|key| self.links.stop(key));
        } else if self.links.publishes_with() != Some(member) {
            self.links.stop_all(member);
        }
        let (over, direct) = std::mem::take(&mut self.direct).into_iter().partition::<Vec<_>, _>(|direct| direct.with == member);
        self.direct = direct;
        let further = over.into_iter().map(|direct| direct.name).filter(|other| Some(other) != name.as_ref());
        for name in name.clone().into_iter().chain(further) {
            self.send(USER_LEFT, &name);
        }
    }

    /// Portico calls the client in the name of somebody who came later: one channel, as the client's own calls have.
    fn offer(&mut self, who: MemberId) {
        let label: String = rand::random::<[u8; 20]>().iter().map(|byte| format!("{byte:02x}")).collect();
        let offering = Offering {
            play: true,
            // it is negotiated once: what others may send later and what the client may send now is all asked for
            expects: vec![MediaKind::Audio, MediaKind::Video],
            framing: Framing::Plain,
            channels: vec![NewChannel::labelled(label)],
        };
        if self.links.call(LinkKey::one(who), offering).is_err() {
            debug!("no connection offered: too many");
        }
    }

    /// A signal of another member's.
    fn told(&mut self, now: Instant, from: &MemberView, signal: &Signal) {
        if from.dialect == DialectName::Vamp {
            return self.told_by_vamp(from, signal);
        }
        let Some(key) = LinkKey::named(from.member, &signal.connection) else { return };
        if let Some(sdp) = signal.as_description() {
            if sdp.kind == SdpKind::Offer && meet_directly((from.dialect, signal.framing), DialectName::Vamp).is_err() {
                return debug!(dialect = from.dialect.as_str(), "offer dropped: its data channels differ");
            }
            self.gathering.hold(now, key, sdp, false);
        } else if let Some(candidate) = signal.as_candidate() {
            self.gathering.candidate(now, &key, candidate);
        }
        self.release();
    }

    /// As it came, in the event that carried it.
    fn told_by_vamp(&mut self, from: &MemberView, signal: &Signal) {
        let Some(original) = &signal.original else { return };
        let signal = original.whole.as_deref().unwrap_or(&signal.value);
        match original.name {
            SENDING => self.send_long(USER_JOINED, signal, &wire::UserJoined { signal, caller_id: &from.user_id }),
            _ if self.called.contains(&from.member) => {
                self.send_long(RETURNED, signal, &wire::Returned { signal, id: &from.user_id });
            }
            _ => {}
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.gathering.handle_timeout(now);
        self.release();
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.gathering.next_timeout()
    }

    fn release(&mut self) {
        while let Some((key, sdp)) = self.gathering.poll() {
            match sdp.kind {
                SdpKind::Offer => self.offered_directly(&key, &sdp),
                SdpKind::Answer => self.describe(key.who, &sdp),
            }
        }
    }

    /// A complete offer of another dialect's client.
    fn offered_directly(&mut self, key: &LinkKey, sdp: &Sdp) {
        let known = self.direct.iter().find(|direct| direct.with == key.who && direct.connection == key.connection);
        let name = match known {
            Some(direct) => direct.name.clone(),
            None if self.direct.len() >= MAX_DIRECT => return debug!("offer dropped: too many connections"),
            None => {
                let Some(shown) = self.roster.shown().into_iter().find(|shown| shown.member == key.who) else { return };
                let taken = self.called.contains(&key.who) || self.direct.iter().any(|direct| direct.with == key.who);
                let name = if taken { FORM.write(MemberId::random()) } else { self.roster.name_of(&shown, FORM) };
                self.direct.push(Direct { with: key.who, connection: Arc::clone(&key.connection), name: name.clone() });
                name
            }
        };
        let signal = &*Signal::description(sdp, Framing::Plain).value;
        self.send(USER_JOINED, &wire::UserJoined { signal, caller_id: &name });
    }

    /// A complete description for the client, in the name of somebody shown.
    fn describe(&mut self, who: MemberId, sdp: &Sdp) {
        let Some(shown) = self.roster.shown().into_iter().find(|shown| shown.member == who) else { return };
        let name = self.roster.name_of(&shown, FORM);
        let signal = &*Signal::description(sdp, Framing::Plain).value;
        match sdp.kind {
            SdpKind::Offer => self.send(USER_JOINED, &wire::UserJoined { signal, caller_id: &name }),
            SdpKind::Answer if self.called.contains(&who) => self.send(RETURNED, &wire::Returned { signal, id: &name }),
            SdpKind::Answer => {}
        }
    }
}

/// Whether the client's offer would be read as it is meant.
fn can_call(shown: &Shown) -> bool {
    match (&shown.view, shown.reach) {
        (Some(view), Reach::Direct) => meet_directly((DialectName::Vamp, Framing::Plain), view.dialect).is_ok(),
        _ => true,
    }
}
