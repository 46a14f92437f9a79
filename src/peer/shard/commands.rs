//! What the hub asks of a shard.

use std::time::Instant;

use super::{CLOSE_LIMIT, Shard, Slot};
use crate::peer::connection::{Connection, Described};
use crate::peer::engine::Identity;
use crate::peer::timers;
use crate::peer::{PeerCommand, PeerEvent, PeerSpec};
use crate::room::EndReason;

impl Shard {
    pub(super) fn command(&mut self, now: Instant, command: PeerCommand) {
        match command {
            PeerCommand::Open(spec) => {
                let peer = spec.peer;
                if self.peers.contains_key(&peer) || self.apart.contains_key(&peer) {
                    tracing::error!(%peer, "peer opened twice");
                    return;
                }
                match spec.own_port {
                    true => self.open_apart(now, spec),
                    false => self.open(now, *spec, &self.identity.clone()),
                }
            }
            PeerCommand::Describe { peer, sdp } => {
                let mailbox = self.mailbox().clone();
                let Some(slot) = self.living(peer) else { return };
                let described = slot.connection.describe(now, &sdp, &mailbox);
                let ufrag = slot.connection.ufrag().to_owned();
                self.know(peer, &ufrag);
                self.touched.push(peer);
                self.look_up_names(peer);
                match described {
                    Described::Taken(tracks) => {
                        if !tracks.is_empty() {
                            self.tell(PeerEvent::Tracks { peer, tracks });
                        }
                    }
                    Described::Answer { sdp, tracks } => {
                        if let Some(tracks) = tracks {
                            self.tell(PeerEvent::Tracks { peer, tracks });
                        }
                        self.tell(PeerEvent::Description { peer, sdp });
                        self.attach(now, peer);
                    }
                    Described::Rejected(reason) => self.tell(PeerEvent::Rejected { peer, reason }),
                    Described::Down(reason) => {
                        self.remove(peer);
                        self.tell(PeerEvent::Down { peer, reason });
                    }
                }
            }
            PeerCommand::AddCandidate { peer, candidate } => {
                if let Some(slot) = self.living(peer) {
                    slot.connection.add_candidate(&candidate);
                    self.touched.push(peer);
                    self.look_up_names(peer);
                }
            }
            PeerCommand::Feed { peer, send } => {
                if let Some(slot) = self.peers.get_mut(&peer) {
                    slot.connection.feed_tracks(send);
                    self.attach(now, peer);
                }
            }
            PeerCommand::SendLane { peer, lane, send } => {
                let sent = self.living(peer).map_or(Err(EndReason::Lost), |slot| slot.connection.send_lane(lane, send));
                match sent {
                    Ok(tracks) => {
                        // the far end hears of it before its first packet comes, or nearly
                        self.tell(PeerEvent::LaneSent { lane, tracks });
                        self.attach(now, peer);
                        self.touched.push(peer);
                    }
                    Err(reason) => self.tell(PeerEvent::LaneRefused { lane, reason }),
                }
            }
            PeerCommand::TakeLane { peer, lane, tracks } => {
                let mailbox = self.mailbox().clone();
                let taken =
                    self.living(peer).map_or(Err(EndReason::Lost), |slot| slot.connection.take_lane(lane, &tracks, &mailbox));
                self.tell(match taken {
                    Ok(tracks) => PeerEvent::LaneTaken { lane, tracks },
                    Err(reason) => PeerEvent::LaneRefused { lane, reason },
                });
                self.touched.push(peer);
            }
            PeerCommand::EndLane { peer, lane } => {
                if let Some(slot) = self.living(peer) {
                    slot.connection.end_lane(lane);
                    self.attach(now, peer);
                    self.touched.push(peer);
                }
            }
            PeerCommand::OpenChannel { peer, channel, new } => {
                self.act(peer, |connection, news| connection.open_channel(channel, new, news));
            }
            PeerCommand::SendMessage { peer, channel, message } => {
                self.act(peer, |connection, news| connection.send_message(channel, message, news));
            }
            PeerCommand::CloseChannel { peer, channel } => {
                self.act(peer, |connection, news| connection.close_channel(channel, news));
            }
            PeerCommand::Close { peer } => self.close(now, peer, CLOSE_LIMIT),
            PeerCommand::Figures { peer, reply } => {
                // those of all are asked for by an order of its own
                let slot = peer.and_then(|peer| self.living(peer));
                let figures = slot.map(|slot| slot.connection.figures()).into_iter().collect();
                // the asker may have given up
                let _ = reply.send(figures);
            }
        }
    }

    /// Makes a connection, which far ends are told to find as `identity` says.
    pub(super) fn open(&mut self, now: Instant, spec: PeerSpec, identity: &Identity) {
        let peer = spec.peer;
        match Connection::open(now, spec, identity, self.mailbox()) {
            Ok((connection, sdp, tracks)) => {
                self.know(peer, connection.ufrag());
                let due = timers::due(self.epoch, connection.next_timeout(), connection.slack());
                self.timers.insert((due, peer));
                self.peers.insert(peer, Slot { connection, due });
                self.touched.push(peer);
                self.look_up_names(peer);
                if !tracks.is_empty() {
                    self.tell(PeerEvent::Tracks { peer, tracks });
                }
                self.tell(PeerEvent::Description { peer, sdp });
            }
            Err(reason) => {
                self.common.placement().leave(peer);
                self.part(peer);
                self.tell(PeerEvent::Down { peer, reason });
            }
        }
    }
}
