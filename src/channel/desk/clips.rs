//! Clips: from whoever records to whoever listens.

use std::time::Instant;

use super::super::clip::ClipUse;
use super::super::clip::feed::Feed;
use super::super::clip::shelf::{ClipId, Replay, StoreEvent};
use super::super::clip::tape::{Header, SILENCE, Slice, is_header};
use super::super::framing::is_plain;
use super::{Desk, Output, Stands};
use crate::vocab::{DataMessage, MemberId, PeerId};

impl Desk {
    /// The store has done something.
    pub fn handle_store(&mut self, now: Instant, event: StoreEvent) {
        match event {
            StoreEvent::Kept { clip } => {
                self.figures.clips_stored += 1;
                self.shelf.kept(clip);
                self.replay_in_room_of(now, clip);
            }
            StoreEvent::Lost { clip } => {
                let Some(room) = self.shelf.get(clip).map(|shelved| shelved.room.clone()) else {
                    self.stop_replays_of(now, clip);
                    return;
                };
                self.figures.clips_lost += 1;
                let command = self.shelf.remove(clip);
                self.outputs.extend(command.map(Output::Store));
                self.stop_replays_of(now, clip);
                let members: Vec<MemberId> = self.rooms.get(&room).into_iter().flat_map(|room| &room.members).copied().collect();
                members.into_iter().for_each(|member| self.start_replay(now, member));
            }
            StoreEvent::Block { clip, offset, reader, bytes } => {
                let Some(member) = self.members.get_mut(&reader) else { return };
                let Some(replay) = member.replay.as_mut().filter(|replay| replay.clip == clip) else { return };
                if replay.handle_block(offset, bytes) {
                    let by = replay.by;
                    self.pump(now, by);
                } else {
                    self.replay_ends(now, reader, false);
                }
            }
        }
    }

    /// Takes a message that belongs to a recording; tells whether it did.
    pub(super) fn take_clip(&mut self, now: Instant, peer: PeerId, message: &DataMessage) -> bool {
        let Some(owner) = self.lines.get(&peer).map(|line| line.is.owner) else { return false };
        let Some(member) = self.members.get_mut(&owner) else { return false };
        let usage = self.rooms.get(&member.seat.room).map_or(ClipUse::Ignore, |room| room.clips);
        let ignored = usage == ClipUse::Ignore || (usage == ClipUse::Store && !self.clips.store_in_mesh);
        match message {
            DataMessage::Text(text) if is_header(text.as_str()) => {
                member.records = true;
                if ignored {
                    return true;
                }
                self.order += 1;
                match member.tape.header(now, peer, text.as_str(), self.order) {
                    Header::New => {
                        self.figures.clips += 1;
                        self.assign_feeds(now, owner, None);
                    }
                    Header::Copy | Header::Repeated => self.figures.clip_copies += 1,
                }
                self.wake_at(now + SILENCE);
                self.settle_tape(now, owner);
                true
            }
            DataMessage::Text(_) => false,
            DataMessage::Binary(_) if !member.records || ignored => member.records,
            DataMessage::Binary(bytes) => {
                let before = member.tape.bytes();
                let slice = member.tape.slice(now, peer, bytes.clone(), self.clips.max_clip_bytes, self.clips.max_age);
                self.taped = self.taped + member.tape.bytes() - before;
                match slice {
                    Slice::New => self.figures.clip_slices += 1,
                    Slice::Copy => self.figures.clip_copies += 1,
                    Slice::Stray => self.figures.clip_strays += 1,
                }
                if slice == Slice::New {
                    // first it is heard, then the bound is kept
                    self.settle_tape(now, owner);
                    self.bound_tapes();
                }
                true
            }
        }
    }

    /// Lets the oldest clips go until all fit. Who has heard them up to now hears on.
    fn bound_tapes(&mut self) {
        while self.taped > self.clips.max_memory_bytes {
            let oldest = self.members.values_mut().filter_map(|member| Some((member.tape.oldest_start()?, member)));
            let Some((_, member)) = oldest.min_by_key(|(start, _)| *start) else { return };
            let before = member.tape.bytes();
            member.tape.let_go_oldest();
            self.taped -= before - member.tape.bytes();
        }
    }

    /// A tape has changed: listeners hear on, and what all have heard is let go, to the shelf where clips are stored.
    pub(super) fn settle_tape(&mut self, now: Instant, owner: MemberId) {
        let listeners = self.listeners(owner);
        listeners.into_iter().for_each(|peer| self.pump(now, peer));
        self.trim_tape(now, owner);
    }

    /// Lets go what all have heard.
    fn trim_tape(&mut self, now: Instant, owner: MemberId) {
        let listeners = self.listeners(owner);
        let heard = listeners.iter().filter_map(|peer| self.lines.get(peer)?.feed.as_ref()).map(Feed::clip).min();
        let Some(member) = self.members.get_mut(&owner) else { return };
        let room = member.seat.room.clone();
        let stores = self.rooms.get(&room).is_some_and(|room| room.clips == ClipUse::Store);
        let below = heard.unwrap_or(member.tape.next());
        let before = member.tape.bytes();
        while let Some(clip) = member.tape.take_ended(below) {
            if !stores {
                continue;
            }
            let worth = clip.count() > 0;
            let commands = self.shelf.put(now, &room, owner, clip, self.clips.max_disk_bytes);
            self.figures.clips_lost += u64::from(worth && commands.is_empty());
            self.outputs.extend(commands.into_iter().map(Output::Store));
        }
        self.taped -= before - member.tape.bytes();
        let wake = self.shelf.next_timeout(self.clips.max_age);
        wake.into_iter().for_each(|at| self.wake_at(at));
    }

    /// All of a member's clips end.
    pub(super) fn end_clips(&mut self, now: Instant, owner: MemberId) {
        if let Some(member) = self.members.get_mut(&owner)
            && self.rooms.get(&member.seat.room).is_some_and(|room| room.clips == ClipUse::Store)
        {
            member.tape.end_all();
            self.settle_tape(now, owner);
        }
    }

    /// The connections that hear a member's clips as they run.
    fn listeners(&self, sender: MemberId) -> Vec<PeerId> {
        let standing = self.standing_for.get(&sender).into_iter().flatten();
        standing.copied().filter(|peer| self.lines.get(peer).is_some_and(|line| line.feed.is_some())).collect()
    }

    /// Gives each receiver one connection by which it hears the sender's clips: from the running one's start, or, for a receiver
    /// that is named, from the next one on.
    pub(super) fn assign_feeds(&mut self, now: Instant, sender: MemberId, from_next: Option<MemberId>) {
        let Some(from) = self.members.get(&sender) else { return };
        let room = &from.seat.room;
        if self.rooms.get(room).is_none_or(|room| room.clips != ClipUse::Relay) {
            return;
        }
        let standing: Vec<PeerId> = self.standing_for.get(&sender).into_iter().flatten().copied().collect();
        let mut served: Vec<MemberId> = self.listeners(sender).iter().map(|peer| self.lines[peer].is.owner).collect();
        let mut new = Vec::new();
        for peer in standing {
            let Some(line) = self.lines.get_mut(&peer) else { continue };
            let owner = line.is.owner;
            let may = |member: &super::Member| member.seat.may_read && member.seat.room == *room;
            let takes = line.is.may_read && is_plain(line.is.framing) && line.writes_on().is_some();
            if owner != sender && takes && !served.contains(&owner) && self.members.get(&owner).is_some_and(may) {
                let next = from_next == Some(owner);
                line.feed = Some(if next { Feed::from_next(sender, &from.tape) } else { Feed::from_entry(sender, &from.tape) });
                served.push(owner);
                new.push(peer);
            }
        }
        new.into_iter().for_each(|peer| self.pump(now, peer));
    }

    /// A channel is open: what waited can leave, and clips find a way.
    pub(super) fn channel_opened(&mut self, now: Instant, peer: PeerId) {
        let Some(is) = self.lines.get(&peer).map(|line| (line.is.owner, line.is.stands)) else { return };
        if let Stands::Member(sender) = is.1 {
            self.assign_feeds(now, sender, None);
        }
        self.start_replay(now, is.0);
        self.pump(now, peer);
    }

    /// A message that was handed over is lost; of a clip, the rest is of no use.
    pub(super) fn handle_refused(&mut self, now: Instant, peer: PeerId, too_large: bool) {
        let Some(line) = self.lines.get_mut(&peer) else { return };
        let owner = line.is.owner;
        if too_large {
            self.figures.too_large += 1;
        } else {
            self.figures.queue_full += 1;
        }
        if let Some(feed) = line.feed.as_mut().filter(|feed| feed.has_begun()) {
            feed.skip();
            self.figures.clips_broken += 1;
        }
        self.replay_stops(now, owner, peer);
        self.pump(now, peer);
    }

    /// Hands over what is next of the clips a connection hears.
    pub(super) fn pump_clips(&mut self, now: Instant, peer: PeerId) {
        loop {
            let Some(line) = self.lines.get_mut(&peer) else { return };
            let Some((channel, limit)) = line.writes_on().map(|(id, channel)| (id, channel.max_message)) else { return };
            let owner = line.is.owner;
            let tape = line.feed.as_ref().and_then(|feed| self.members.get(&feed.sender)).map(|member| &member.tape);
            let (live, broken) = match (line.feed.as_mut(), tape) {
                (Some(feed), Some(tape)) => feed.next(tape, limit),
                _ => (None, 0),
            };
            self.figures.clips_broken += broken;
            let stored = || {
                let replay = self.members.get(&owner)?.replay.as_ref().filter(|replay| replay.by == peer)?;
                replay.next(limit)
            };
            let is_live = live.is_some();
            let Some(message) = live.or_else(stored) else {
                if let Some(sender) = line.feed.as_ref().map(|feed| feed.sender) {
                    self.trim_tape(now, sender);
                }
                return;
            };
            if !line.has_room(now, message.len()) {
                let at = line.retry_at(now);
                self.wake_at(at);
                return;
            }
            line.handed(now, message.len());
            if let (true, Some(feed), Some(tape)) = (is_live, line.feed.as_mut(), tape) {
                feed.sent(tape, &message);
            }
            self.outputs.push_back(Output::Send { peer, channel, message: message.clone() });
            if !is_live && let Some(replay) = self.members.get_mut(&owner).and_then(|member| member.replay.as_mut()) {
                replay.sent(&message);
                let (done, read) = (replay.is_done(), replay.read(owner));
                self.outputs.extend(read.map(Output::Store));
                if done {
                    self.replay_ends(now, owner, true);
                    return;
                }
            }
        }
    }

    /// Begins with the next stored clip that a member has missed, if it has none under way.
    fn start_replay(&mut self, now: Instant, to: MemberId) {
        let Some(member) = self.members.get(&to) else { return };
        if member.replay.is_some() || !member.seat.may_read {
            return;
        }
        let Some(clip) = self.shelf.missed(&member.seat.room, to, member.joined, member.replay_from) else { return };
        let Some(shelved) = self.shelf.get(clip) else { return };
        let lines = member.lines.iter().filter_map(|peer| Some((*peer, self.lines.get(peer)?)));
        let usable = lines.filter(|(_, line)| line.is.may_read && is_plain(line.is.framing) && line.writes_on().is_some());
        let fitting = usable.filter(|(_, line)| match line.is.stands {
            Stands::Member(stands_for) => stands_for == shelved.sender,
            Stands::Room | Stands::Gateway => true,
        });
        let Some((by, _)) = fitting.min_by_key(|(peer, line)| (!matches!(line.is.stands, Stands::Member(_)), *peer)) else {
            return;
        };
        let replay = Replay::new(clip, shelved, by);
        if let Some(member) = self.members.get_mut(&to) {
            member.replay = Some(replay);
        }
        self.pump(now, by);
    }

    /// A member's replay is over, played to the end or not; the next one begins.
    fn replay_ends(&mut self, now: Instant, to: MemberId, whole: bool) {
        let Some(member) = self.members.get_mut(&to) else { return };
        let Some(replay) = member.replay.take() else { return };
        member.replay_from = ClipId(replay.clip.0 + 1);
        if whole {
            self.figures.clips_replayed += 1;
        } else {
            self.figures.clips_broken += 1;
        }
        self.start_replay(now, to);
    }

    /// The connection by which a member hears a stored clip is of no use any more.
    pub(super) fn replay_stops(&mut self, now: Instant, to: MemberId, by: PeerId) {
        let replay = self.members.get(&to).and_then(|member| member.replay.as_ref());
        if replay.is_some_and(|replay| replay.by == by) {
            self.replay_ends(now, to, false);
        }
    }

    fn stop_replays_of(&mut self, now: Instant, clip: ClipId) {
        let hears = |member: &super::Member| member.replay.as_ref().is_some_and(|replay| replay.clip == clip);
        let members: Vec<MemberId> = self.members.iter().filter(|(_, member)| hears(member)).map(|(id, _)| *id).collect();
        members.into_iter().for_each(|member| self.replay_ends(now, member, false));
    }

    fn replay_in_room_of(&mut self, now: Instant, clip: ClipId) {
        let room = self.shelf.get(clip).and_then(|shelved| self.rooms.get(&shelved.room));
        let members: Vec<MemberId> = room.into_iter().flat_map(|room| &room.members).copied().collect();
        members.into_iter().for_each(|member| self.start_replay(now, member));
    }
}
