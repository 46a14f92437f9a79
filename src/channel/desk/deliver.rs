//! Text and values: who hears what, by which way.

use std::time::Instant;

use super::super::framing::{Content, Framing, NoPlace, Written, is_plain, read_json};
use super::super::value::Value;
use super::super::value::binarypack;
use super::super::value::chunks::{Part, Taken};
use super::line::Line;
use super::{Desk, DropReason, Member, Output, Stands};
use crate::vocab::{DataMessage, MemberId, PeerId, Utf8Bytes};

impl Desk {
    /// A member speaks by signalling: to one member, or to all others of its room.
    pub fn say(&mut self, now: Instant, from: MemberId, to: Option<MemberId>, text: impl Into<Utf8Bytes>) {
        let text = text.into();
        if !self.members.get(&from).is_some_and(|member| member.seat.may_send) {
            self.figures.forbidden += 1;
            return;
        }
        if text.as_bytes().len() > Self::MAX_TEXT {
            self.figures.too_large += 1;
            return;
        }
        let stands = to.map_or(Stands::Room, Stands::Member);
        self.deliver(now, from, stands, &Content::Text(text));
    }

    /// A message came by a connection.
    pub(super) fn handle_message(&mut self, now: Instant, peer: PeerId, message: DataMessage) {
        let Some(line) = self.lines.get_mut(&peer) else { return };
        let (owner, framing) = (line.is.owner, line.is.framing);
        let may_send = line.is.may_send && self.members.get(&owner).is_some_and(|member| member.seat.may_send);
        if !may_send || matches!(framing, Framing::None | Framing::Own) {
            self.figures.forbidden += 1;
            return;
        }
        let len = message.len();
        let content = match framing {
            Framing::Json => {
                line.json_as_text = matches!(message, DataMessage::Text(_));
                read_json(&message).ok()
            }
            Framing::BinaryPack => match self.read_packed(now, peer, message) {
                Ok(None) => return,
                Ok(content) => content,
                Err(Malformed) => None,
            },
            Framing::Free | Framing::Plain | Framing::OwnChannels | Framing::None | Framing::Own => {
                if is_plain(framing) && self.take_clip(now, peer, &message) {
                    return;
                }
                Some(match message {
                    DataMessage::Text(text) => Content::Text(text),
                    DataMessage::Binary(bytes) => Content::Bytes(bytes),
                })
            }
        };
        let Some(content) = content else {
            self.figures.malformed += 1;
            return;
        };
        if matches!(&content, Content::Value(value) if is_close(value)) {
            self.outputs.push_back(Output::HangUp { peer });
            return;
        }
        if self.answer_request(now, peer, &content, len) {
            return;
        }
        if let Some(stands) = self.lines.get(&peer).map(|line| line.is.stands) {
            self.deliver(now, owner, stands, &content);
        }
    }

    /// Reads a BinaryPack frame; nothing while its message is not complete.
    fn read_packed(&mut self, now: Instant, peer: PeerId, message: DataMessage) -> Result<Option<Content>, Malformed> {
        let Some(line) = self.lines.get_mut(&peer) else { return Ok(None) };
        let value = binarypack::decode(message.bytes()).map_err(|_| Malformed)?;
        let (message, index, total, data) = match Part::of(value) {
            Part::Whole(value) => return Ok(Some(value.into())),
            Part::Chunk { message, index, total, data } => (message, index, total, data),
            Part::Close => {
                self.outputs.push_back(Output::HangUp { peer });
                return Ok(None);
            }
            Part::Broken => return Err(Malformed),
        };
        if self.queued + data.len() > Self::MAX_QUEUED {
            self.figures.queue_full += 1;
            return Ok(None);
        }
        let before = line.bytes();
        let taken = line.chunks.take(now, message, index, total, data);
        let wake = line.chunks.next_timeout();
        self.queued = self.queued + line.bytes() - before;
        wake.into_iter().for_each(|at| self.wake_at(at));
        match taken {
            Taken::Complete(whole) => match binarypack::decode(&whole).map(Part::of) {
                Ok(Part::Whole(value)) => Ok(Some(value.into())),
                _ => Err(Malformed),
            },
            Taken::Kept | Taken::Ignored => Ok(None),
            Taken::GivenUp => Err(Malformed),
        }
    }

    /// Hands content on to those for whom Portico stands: by a connection where there is one, else by signalling.
    fn deliver(&mut self, now: Instant, from: MemberId, stands: Stands, content: &Content) {
        let Some(sender) = self.members.get(&from) else { return };
        let receivers: Vec<MemberId> = match stands {
            Stands::Gateway => {
                self.figures.no_route += 1;
                return;
            }
            Stands::Member(to) => vec![to],
            Stands::Room => {
                let heard = |to: &MemberId| !(sender.seat.direct && self.members.get(to).is_some_and(|to| to.seat.direct));
                let room = self.rooms.get(&sender.seat.room);
                room.map(|room| room.members.iter().filter(|to| heard(to)).copied().collect()).unwrap_or_default()
            }
        };
        let room = sender.seat.room.clone();
        for to in receivers.into_iter().filter(|to| *to != from) {
            let Some(receiver) = self.members.get(&to).filter(|member| member.seat.room == room) else {
                self.figures.no_route += 1;
                continue;
            };
            if !receiver.seat.may_read {
                continue;
            }
            match (self.route(receiver, from), receiver.seat.hears_text) {
                (Some(peer), _) => {
                    let taken = self.send(now, from, peer, content);
                    self.figures.relayed += u64::from(taken);
                }
                (None, true) => self.tell(from, to, content),
                (None, false) => self.dropped(from, to, DropReason::NoRoute),
            }
        }
    }

    /// The receiver's connection by which it hears a sender: one that stands for the sender, else one that stands for the room.
    fn route(&self, receiver: &Member, from: MemberId) -> Option<PeerId> {
        let best = |stands: Stands| {
            let lines = receiver.lines.iter().filter_map(|peer| Some((*peer, self.lines.get(peer)?)));
            let fitting = lines.filter(|(_, line)| line.is.stands == stands && line.takes_messages());
            // one where something waits keeps the order; then one that is up; then the first
            fitting.min_by_key(|(peer, line)| (line.is_idle(), line.writes_on().is_none(), *peer)).map(|(peer, _)| peer)
        };
        best(Stands::Member(from)).or_else(|| best(Stands::Room))
    }

    /// Tells a member by signalling. A long text comes in parts; what is JSON would be of no use in parts.
    fn tell(&mut self, from: MemberId, to: MemberId, content: &Content) {
        let max = if matches!(content, Content::Text(_)) { Self::MAX_LONG_TEXT } else { Self::MAX_TEXT };
        match content.to_text() {
            Ok(text) if text.as_bytes().len() <= max => {
                self.figures.relayed += 1;
                self.outputs.extend(text.parts(Self::MAX_TEXT).map(|text| Output::Tell { to, from, text }));
            }
            Ok(text) => self.dropped(from, to, DropReason::TooLarge { len: text.as_bytes().len(), max }),
            Err(NoPlace) => self.dropped(from, to, DropReason::NoPlace),
        }
    }

    /// Puts content behind what waits for a connection; tells whether there was room.
    pub(super) fn send(&mut self, now: Instant, from: MemberId, peer: PeerId, content: &Content) -> bool {
        let Some(line) = self.lines.get_mut(&peer) else { return false };
        let to = line.is.owner;
        let written = content.write(line.is.framing, line.json_as_text).map_err(|NoPlace| DropReason::NoPlace);
        match written.and_then(|written| Ok((fits(line, self.queued, &written)?, written))) {
            Err(why) => {
                self.dropped(from, to, why);
                false
            }
            Ok((cost, written)) => {
                line.push(from, written);
                self.queued += cost;
                self.pump(now, peer);
                true
            }
        }
    }

    fn dropped(&mut self, from: MemberId, to: MemberId, why: DropReason) {
        let count = match why {
            DropReason::TooLarge { .. } => &mut self.figures.too_large,
            DropReason::QueueFull => &mut self.figures.queue_full,
            DropReason::NoPlace => &mut self.figures.no_place,
            DropReason::NoRoute => &mut self.figures.no_route,
        };
        *count += 1;
        self.outputs.push_back(Output::Dropped { from, to, why });
    }
}

/// Bytes that are not what the framing promises.
struct Malformed;

/// What the message costs, if there is room for it.
fn fits(line: &Line, queued: usize, written: &Written) -> Result<usize, DropReason> {
    let cost = Line::cost(written);
    if let (Written::Frame(frame), Some((_, channel))) = (written, line.writes_on())
        && frame.len() > channel.max_message
    {
        return Err(DropReason::TooLarge { len: frame.len(), max: channel.max_message });
    }
    let full = line.bytes() + cost > Desk::MAX_QUEUED_EACH || queued + cost > Desk::MAX_QUEUED;
    if full { Err(DropReason::QueueFull) } else { Ok(cost) }
}

/// PeerJS's last message before it closes (peerjs.md §4.1).
fn is_close(value: &Value) -> bool {
    value.get("__peerData").and_then(|mark| mark.get("type")).and_then(Value::as_text) == Some("close")
}
