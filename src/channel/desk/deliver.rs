//! Text and values: who hears what, by which way.

use std::time::Instant;

use super::super::framing::{Content, Framing, NoPlace, Written, is_plain, read_json};
use super::super::value::Value;
use super::super::value::binarypack;
use super::super::value::chunks::{Part, Taken};
use super::line::Line;
use super::{Desk, DropReason, Member, Output, Seat, Stands};
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
        self.deliver(now, from, stands, None, &Content::Text(text));
    }

    /// A message came by a connection.
    pub(super) fn handle_message(&mut self, now: Instant, peer: PeerId, message: DataMessage) {
        let Some(line) = self.lines.get_mut(&peer) else { return };
        let (owner, framing, asks) = (line.is.owner, line.is.framing, line.is.rpc.is_some());
        let may_send = line.is.may_send && self.members.get(&owner).is_some_and(|member| member.seat.may_send);
        // a request of who may not send is read, so that it can be refused
        if !(may_send || asks) || matches!(framing, Framing::None | Framing::Own) {
            self.figures.forbidden += 1;
            return;
        }
        let len = message.len();
        let read = match framing {
            Framing::Json | Framing::JsonText => {
                line.json_as_text = matches!(message, DataMessage::Text(_));
                read_json(&message).map(|content| Some((content, len))).map_err(|_| Unread::Malformed)
            }
            Framing::BinaryPack => self.read_packed(now, peer, message),
            Framing::Free | Framing::Plain | Framing::OwnChannels | Framing::None | Framing::Own => {
                if may_send && is_plain(framing) && self.take_clip(now, peer, &message) {
                    return;
                }
                Ok(Some(match message {
                    DataMessage::Text(text) => (Content::Text(text), len),
                    DataMessage::Binary(bytes) => (Content::Bytes(bytes), len),
                }))
            }
        };
        let (content, len) = match read {
            Ok(Some(read)) => read,
            Ok(None) => return,
            Err(why) => {
                let count = if why == Unread::TooLarge { &mut self.figures.too_large } else { &mut self.figures.malformed };
                *count += 1;
                return self.answer_unread(now, peer, why);
            }
        };
        if matches!(&content, Content::Value(value) if is_close(value)) {
            self.outputs.push_back(Output::HangUp { peer });
            return;
        }
        if self.answer_request(now, peer, &content, len, may_send) {
            return;
        }
        if !may_send {
            self.figures.forbidden += 1;
            return;
        }
        if let Some((stands, pair)) = self.lines.get(&peer).map(|line| (line.is.stands, line.is.pair.clone())) {
            self.deliver(now, owner, stands, pair.as_deref(), &content);
        }
    }

    /// Reads a BinaryPack frame: what it says and the bytes of all its parts; nothing while its message is not complete.
    fn read_packed(&mut self, now: Instant, peer: PeerId, message: DataMessage) -> Result<Option<(Content, usize)>, Unread> {
        let Some(line) = self.lines.get_mut(&peer) else { return Ok(None) };
        let value = binarypack::decode(message.bytes()).map_err(|_| Unread::Malformed)?;
        let len = message.len();
        let (message, index, total, data) = match Part::of(value) {
            Part::Whole(value) => return Ok(Some((value.into(), len))),
            Part::Chunk { message, index, total, data } => (message, index, total, data),
            Part::Close => {
                self.outputs.push_back(Output::HangUp { peer });
                return Ok(None);
            }
            Part::Broken => return Err(Unread::Malformed),
        };
        let before = line.bytes();
        let taken = if self.queued + data.len() > Self::MAX_QUEUED {
            line.chunks.refuse(now, message, total)
        } else {
            line.chunks.take(now, message, index, total, data)
        };
        let wake = line.chunks.next_timeout();
        self.queued = self.queued + line.bytes() - before;
        wake.into_iter().for_each(|at| self.wake_at(at));
        match taken {
            Taken::Complete(whole) => match binarypack::decode(&whole).map(Part::of) {
                Ok(Part::Whole(value)) => Ok(Some((value.into(), whole.len()))),
                _ => Err(Unread::Malformed),
            },
            Taken::Kept | Taken::Ignored => Ok(None),
            Taken::GivenUp => Err(Unread::TooLarge),
        }
    }

    /// Hands content on to those for whom Portico stands: by a connection where there is one, else by signalling.
    fn deliver(&mut self, now: Instant, from: MemberId, stands: Stands, pair: Option<&str>, content: &Content) {
        let Some(sender) = self.members.get(&from) else { return };
        let receivers: Vec<MemberId> = match stands {
            Stands::Gateway => {
                self.figures.no_route += 1;
                return;
            }
            Stands::Member(to) => vec![to],
            Stands::Room => {
                let sender = &sender.seat;
                let apart = |to: &Seat| (sender.direct && to.direct) || (sender.bridged && to.bridged);
                let heard = |to: &MemberId| !self.members.get(to).is_some_and(|to| apart(&to.seat));
                let room = self.rooms.get(&sender.room);
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
            match (self.route(receiver, from, pair), receiver.seat.hears_text) {
                (Some(peer), _) => {
                    if let Some(len) = self.send(now, from, peer, content) {
                        self.relayed(len);
                    }
                }
                (None, true) => self.tell(from, to, content),
                (None, false) => self.dropped(from, to, DropReason::NoRoute),
            }
        }
    }

    /// The receiver's connection by which it hears a sender: one that stands for the sender, else one that stands for the room. Of
    /// several, the one that belongs to the sender's.
    fn route(&self, receiver: &Member, from: MemberId, pair: Option<&str>) -> Option<PeerId> {
        let best = |stands: Stands| {
            let lines = receiver.lines.iter().filter_map(|peer| Some((*peer, self.lines.get(peer)?)));
            let fitting = lines.filter(|(_, line)| line.is.stands == stands && line.takes_messages());
            let other = |line: &Line| pair.is_none() || line.is.pair.as_deref() != pair;
            // one where something waits keeps the order; then one that is up; then the first
            let first = fitting.min_by_key(|(peer, line)| (other(line), line.is_idle(), line.writes_on().is_none(), *peer));
            first.map(|(peer, _)| peer)
        };
        best(Stands::Member(from)).or_else(|| best(Stands::Room))
    }

    /// Tells a member by signalling. A long text comes in parts; what is JSON would be of no use in parts.
    fn tell(&mut self, from: MemberId, to: MemberId, content: &Content) {
        let max = if matches!(content, Content::Text(_)) { Self::MAX_LONG_TEXT } else { Self::MAX_TEXT };
        match content.to_text() {
            Ok(text) if text.as_bytes().len() <= max => {
                self.relayed(text.as_bytes().len());
                self.outputs.extend(text.parts(Self::MAX_TEXT).map(|text| Output::Tell { to, from, text }));
            }
            Ok(text) => self.dropped(from, to, DropReason::TooLarge { len: text.as_bytes().len(), max }),
            Err(NoPlace) => self.dropped(from, to, DropReason::NoPlace),
        }
    }

    fn relayed(&mut self, len: usize) {
        self.figures.relayed += 1;
        self.figures.relayed_bytes += len as u64;
    }

    /// Puts content behind what waits for a connection; tells its bytes there, if there was room.
    pub(super) fn send(&mut self, now: Instant, from: MemberId, peer: PeerId, content: &Content) -> Option<usize> {
        let line = self.lines.get_mut(&peer)?;
        let to = line.is.owner;
        let written = content.write(line.is.framing, line.json_as_text).map_err(|NoPlace| DropReason::NoPlace);
        match written.and_then(|written| Ok((fits(line, self.queued, &written)?, written))) {
            Err(why) => {
                self.dropped(from, to, why);
                None
            }
            Ok((cost, written)) => {
                let len = written.len();
                line.push(from, written);
                self.queued += cost;
                self.pump(now, peer);
                Some(len)
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

/// Why a message could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// Bytes that are not what the framing promises.
    Malformed,
    /// A message in parts that is larger, or in more messages at once, than is kept.
    TooLarge,
}

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
