//! Connections of two clients with Portico between them: what their sessions tell each other (`pairs`), and what they do then.

use std::collections::VecDeque;

use tracing::debug;

use super::super::pairs::{Between, Form, Repeats};
use super::super::payload::{Says, Style};
use super::super::realm::Ask;
use super::super::wire::Kind;
use super::{Calls, End, HANG_UP, Library, Pair, Ringing};
use crate::room::Framing;
use crate::signalling::gateway::{Call, IdForm, LinkKey, Reach};
use crate::signalling::{Output, RealmMessage};
use crate::vocab::{MediaKind, MemberId, NewChannel};

/// Most connections that one other client may open with this one: they count as this one's in the room.
const MAX_OPENED: usize = 8;
/// Most calls of the client that ring at others; the oldest is given up first.
const MAX_RINGING: usize = 64;
/// Most bytes of their offers.
const MAX_RINGING_BYTES: usize = 512 << 10;

impl Calls {
    /// The client opened a connection with another one: that one is to be called.
    pub(super) fn pair(
        &self,
        outputs: &mut VecDeque<Output>,
        key: &LinkKey,
        dst: &str,
        framing: Framing,
        media: Vec<MediaKind>,
        says: &Says<'_>,
    ) -> Pair {
        let (from, connection) = (self.me.as_ref().into(), key.connection.as_ref().into());
        tell(outputs, dst, &Between::Calls { from, connection, form: Form::of(framing), media, says: says.clone() });
        Pair::Called
    }

    /// The client calls another one with media: it is answered when that one has taken the call.
    pub(super) fn ring(&mut self, outputs: &mut VecDeque<Output>, call: Ringing, media: Vec<MediaKind>, says: &Says<'_>) {
        self.ringing.retain(|ringing| ringing.key != call.key);
        if call.offer.text.len() > MAX_RINGING_BYTES {
            return self.send(outputs, Kind::Expire, &call.name, None);
        }
        let bytes = |calls: &VecDeque<Ringing>| calls.iter().map(|ringing| ringing.offer.text.len()).sum::<usize>();
        while self.ringing.len() >= MAX_RINGING || bytes(&self.ringing) + call.offer.text.len() > MAX_RINGING_BYTES {
            let Some(oldest) = self.ringing.front().map(|oldest| oldest.key.clone()) else { break };
            self.give_up_ringing(outputs, &oldest);
        }
        self.pair(outputs, &call.key, &call.name, Framing::None, media, says);
        self.ringing.push_back(call);
    }

    /// The client ends what rings at somebody.
    pub(super) fn hang_up_ringing(&mut self, outputs: &mut VecDeque<Output>, who: MemberId) {
        let keys: Vec<LinkKey> = self.ringing.iter().map(|ringing| &ringing.key).filter(|key| key.who == who).cloned().collect();
        for key in keys {
            self.give_up_ringing(outputs, &key);
        }
    }

    fn give_up_ringing(&mut self, outputs: &mut VecDeque<Output>, key: &LinkKey) {
        let Some(at) = self.ringing.iter().position(|ringing| ringing.key == *key) else { return };
        let Some(call) = self.ringing.remove(at) else { return };
        self.tell_end(outputs, &call.name, key);
    }

    /// Calls that ring and come to nothing: the client is told, in the way of a broker.
    pub(super) fn stop_ringing(&mut self, outputs: &mut VecDeque<Output>, which: impl Fn(&Ringing) -> bool) {
        for call in self.ringing.iter().filter(|call| which(call)) {
            self.send(outputs, Kind::Expire, &call.name, None);
        }
        self.ringing.retain(|call| !which(call));
    }

    /// Whether one of the client and that other one called the other.
    pub(super) fn calls_with(&self, who: MemberId) -> bool {
        let called = |(key, end): (&LinkKey, &End)| key.who == who && end.pair.is_some() && end.style.media();
        self.ends.iter().any(called) || self.ringing.iter().any(|ringing| ringing.key.who == who)
    }

    /// The session of another client of this mount says something.
    pub(in super::super) fn handle_told(&mut self, outputs: &mut VecDeque<Output>, text: &str) {
        match serde_json::from_str(text) {
            Ok(Between::Calls { from, connection, form, media, says }) => {
                self.called(outputs, &from, &connection, form, media, &says);
            }
            Ok(Between::Takes { from, connection }) => {
                if let Some(key) = self.key_with(&from, &connection) {
                    self.call_taken(outputs, &key);
                }
            }
            Ok(Between::HangsUp { from, connection }) => {
                let Some(key) = self.key_with(&from, &connection) else { return };
                self.stop_ringing(outputs, |ringing| ringing.key == key);
                if self.ends.get(&key).is_some_and(|end| end.pair.is_some()) {
                    self.ends.remove(&key);
                    self.links.stop(&key);
                }
            }
            Err(error) => debug!(%error, "another session's text is not understood"),
        }
        self.drain(outputs);
    }

    fn key_with(&self, from: &str, connection: &str) -> Option<LinkKey> {
        let shown = self.roster.find(from, IdForm::Hex).filter(|shown| shown.reach == Reach::Portico)?;
        LinkKey::named(shown.member, connection)
    }

    /// Calls the client in the name of another one that opened a connection with it; without a form it is a call with media alone.
    fn called(
        &mut self,
        outputs: &mut VecDeque<Output>,
        from: &str,
        connection: &str,
        form: Option<Form>,
        media: Vec<MediaKind>,
        says: &Says<'_>,
    ) {
        let Some(key) = self.key_with(from, connection) else { return };
        // a second offer of the other client for the connection replaces it
        self.links.stop(&key);
        self.ends.remove(&key);
        let opened = |(of, end): &(&LinkKey, &End)| of.who == key.who && matches!(end.pair, Some(Pair::Opened(_)));
        let too_many = self.ends.iter().filter(opened).count() >= MAX_OPENED;
        let (framing, label) = match (form, self.library) {
            (None, _) => (Framing::None, HANG_UP),
            (Some(form), library) => {
                // simple-peerjs has one form, and so has a client that has not shown what it is
                let framing = match library {
                    Some(Library::Peerjs | Library::OldPeerjs) => self.own(form.framing()),
                    Some(Library::Simple) | None => Framing::Plain,
                };
                (framing, says.label.as_deref().filter(|label| label.len() <= NewChannel::MAX_NAME).unwrap_or(connection))
            }
        };
        let channel = NewChannel { ordered: says.reliable || form.is_none(), ..NewChannel::labelled(label) };
        let call = Call { play: !media.is_empty(), expects: media, framing, channels: vec![channel] };
        let pair = Some(Pair::Opened(Repeats::new(framing, says)));
        let end = End { style: self.style(form.is_none()), name: from.into(), placed: true, pair };
        if too_many || self.links.call(key.clone(), call).is_err() {
            return self.hang_up(outputs, &key, &end);
        }
        self.ends.insert(key, end);
    }

    /// A connection of the client is up: if another one called it by that, the call is taken.
    pub(super) fn taken(&self, outputs: &mut VecDeque<Output>, key: &LinkKey) {
        let Some(end) = self.ends.get(key) else { return };
        if end.style.media() && matches!(end.pair, Some(Pair::Opened(_))) {
            let (from, connection) = (self.me.as_ref().into(), key.connection.as_ref().into());
            tell(outputs, &end.name, &Between::Takes { from, connection });
        }
    }

    /// The other client took the call: the client's offer is answered.
    fn call_taken(&mut self, outputs: &mut VecDeque<Output>, key: &LinkKey) {
        let Some(at) = self.ringing.iter().position(|ringing| ringing.key == *key) else { return };
        let Some(Ringing { key, name, style, offer }) = self.ringing.remove(at) else { return };
        if self.links.offered(key.clone(), offer, true, Framing::None).is_err() {
            self.tell_end(outputs, &name, &key);
            return self.send(outputs, Kind::Expire, &name, None);
        }
        self.ends.insert(key, End { style, name, placed: false, pair: Some(Pair::Called) });
    }

    /// The client's end of a connection is closed: the other end is to be.
    pub(super) fn hang_up(&self, outputs: &mut VecDeque<Output>, key: &LinkKey, end: &End) {
        if end.pair.is_some() {
            self.tell_end(outputs, &end.name, key);
        }
    }

    fn tell_end(&self, outputs: &mut VecDeque<Output>, name: &str, key: &LinkKey) {
        let (from, connection) = (self.me.as_ref().into(), key.connection.as_ref().into());
        tell(outputs, name, &Between::HangsUp { from, connection });
    }
}

impl Style {
    /// Whether it is a call, not a data connection.
    fn media(self) -> bool {
        matches!(self, Self::Peerjs { media: true } | Self::Either { media: true })
    }
}

fn tell(outputs: &mut VecDeque<Output>, dst: &str, what: &Between<'_>) {
    outputs.push_back(Output::Realm(RealmMessage::Peerjs(Ask::Tell { dst: dst.into(), text: what.write() })));
}
