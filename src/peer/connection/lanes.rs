//! Lanes: streams that are added to a living connection and taken off it, without another description.
//!
//! Between two Porticos a description would say nothing that both do not know: media passes beside the engine, which has the transport
//! alone. So the two tell each other, by signalling, what a lane's tracks look like ([`LaneTrack`]), and each packet finds its track by its
//! SSRC. Each lane crosses once, whoever watches it on the other side, and all of them share one estimate of the way.

use std::sync::Arc;

use super::super::codecs;
use super::super::mailbox::Mailbox;
use super::super::negotiate::{Agreed, Incoming, Stream};
use super::super::receiving::Receiving;
use super::super::{LaneTrack, MAX_LANES, ReceivedTrack, SendTrack};
use super::Connection;
use super::describe::new_layer;
use super::sending::Sending;
use crate::forward::Layer;
use crate::room::EndReason;
use crate::vocab::{Codec, PeerId, TrackFormat, TrackId};

/// Header extension number of transport-wide numbers in all lanes.
const NUMBER_ID: u8 = 5;
/// Tracks of a lane at most: a picture and its sound.
const MAX_TRACKS: usize = 2;

/// Payload types of a lane's track: media and retransmission. Apart from those of Portico's offers, whose sections the connection may have too.
fn payload_types(codec: Codec) -> (u8, Option<u8>) {
    match codec {
        Codec::Opus => (116, None),
        Codec::H264 => (117, Some(118)),
        Codec::VP8 => (119, Some(120)),
        Codec::VP9 => (121, Some(122)),
        Codec::AV1 => (123, Some(124)),
        Codec::H265 => (125, Some(126)),
    }
}

impl Connection {
    /// Sends a stream by a lane of its own from now on. Returns what the far end must know of its tracks.
    pub(in crate::peer) fn send_lane(&mut self, lane: PeerId, send: Vec<SendTrack>) -> Result<Vec<LaneTrack>, EndReason> {
        let lanes = self.sendings.iter().filter_map(|sending| sending.lane);
        if send.is_empty() || send.len() > MAX_TRACKS {
            return Err(EndReason::NoCommonCodec);
        }
        if self.sendings.iter().any(|sending| sending.lane == Some(lane)) {
            return Err(EndReason::Internal);
        }
        if distinct(lanes) >= MAX_LANES {
            return Err(EndReason::Overloaded);
        }
        let mut tracks = Vec::with_capacity(send.len());
        for track in send {
            let format = track.layers.format().clone();
            let (payload_type, rtx) = payload_types(format.codec);
            let mut sending = Sending::new(&track);
            sending.lane = Some(lane);
            (sending.pt, sending.rtx_pt, sending.nack) = (payload_type, rtx, rtx.is_some());
            (sending.number_id, sending.active) = (Some(NUMBER_ID), true);
            let repair = rtx.map(|rtx| (rtx, sending.rtx_ssrc));
            tracks.push(LaneTrack { ssrc: sending.ssrc, payload_type, repair, format });
            // numbers of tracks stay: a place that is free is used again
            match self.sendings.iter().position(|sending| sending.free) {
                Some(index) => (self.send[index], self.sendings[index]) = (track, sending),
                None => {
                    self.send.push(track);
                    self.sendings.push(sending);
                }
            }
        }
        Ok(tracks)
    }

    /// Receives a stream by a lane from now on, whose tracks the far end described like this. Nothing is taken that could be mistaken for
    /// another lane's.
    pub(in crate::peer) fn take_lane(
        &mut self,
        lane: PeerId,
        tracks: &[LaneTrack],
        mailbox: &Mailbox,
    ) -> Result<Vec<ReceivedTrack>, EndReason> {
        if tracks.is_empty() || tracks.len() > MAX_TRACKS || self.receivings.iter().any(|known| known.lane == Some(lane)) {
            return Err(EndReason::BadDescription);
        }
        if distinct(self.receivings.iter().filter_map(|known| known.lane)) >= MAX_LANES {
            return Err(EndReason::Overloaded);
        }
        let mut taken: Vec<u32> = self
            .receivings
            .iter()
            .flat_map(|known| &known.encodings)
            .flat_map(|encoding| [encoding.ssrc, encoding.repair])
            .flatten()
            .collect();
        let mut received = Vec::with_capacity(tracks.len());
        for track in tracks {
            let repair = track.repair.map(|(_, ssrc)| ssrc);
            let (usual, usual_rtx) = payload_types(track.format.codec);
            let numbers = (track.payload_type, track.repair.map(|(rtx, _)| rtx)) == (usual, usual_rtx);
            if !numbers
                || taken.contains(&track.ssrc)
                || repair.is_some_and(|repair| taken.contains(&repair) || repair == track.ssrc)
            {
                return Err(EndReason::BadDescription);
            }
            taken.extend([Some(track.ssrc), repair].into_iter().flatten());
            received.extend(self.receiving_of(lane, track, mailbox));
        }
        let told = received.iter().map(|receiving| ReceivedTrack { track: receiving.track, layers: receiving.layers.clone() });
        let told = told.collect();
        self.receivings.extend(received);
        self.follow_streams();
        Ok(told)
    }

    fn receiving_of(&self, lane: PeerId, track: &LaneTrack, mailbox: &Mailbox) -> Option<Receiving> {
        let kind = track.format.codec.kind();
        let agreed = Agreed {
            pt: track.payload_type,
            rtx: track.repair.map(|(rtx, _)| rtx),
            format: track.format.clone(),
            feedback: codecs::feedback(kind).iter().map(|value| (*value).to_owned()).collect(),
            number_id: Some(NUMBER_ID),
            instead: Vec::new(),
        };
        let stream = Stream { rid: None, ssrc: Some(track.ssrc), repair: track.repair.map(|(_, ssrc)| ssrc) };
        let incoming = Incoming { streams: vec![stream], transport_cc: Some(NUMBER_ID), ..Incoming::default() };
        let id = TrackId::next();
        let layer = |index| new_layer(self.peer, id, index, &track.format, mailbox);
        let mut receiving = Receiving::new("", kind, id, &agreed, incoming, layer)?;
        receiving.lane = Some(lane);
        Some(receiving)
    }

    /// Ends a lane, whichever way it went.
    pub(in crate::peer) fn end_lane(&mut self, lane: PeerId) {
        for (track, sending) in self.send.iter_mut().zip(&mut self.sendings).filter(|(_, sending)| sending.lane == Some(lane)) {
            track.layers = idle(track.layers.format()).into();
            let mut rest = Sending::new(track);
            rest.free = true;
            *sending = rest;
        }
        let before = self.receivings.len();
        self.receivings.retain(|receiving| receiving.lane != Some(lane));
        if self.receivings.len() != before {
            self.follow_streams();
        }
    }
}

fn idle(format: &TrackFormat) -> Arc<Layer> {
    Arc::new(Layer::idle(format.clone()))
}

fn distinct(lanes: impl Iterator<Item = PeerId>) -> usize {
    let mut lanes: Vec<PeerId> = lanes.collect();
    lanes.sort_unstable();
    lanes.dedup();
    lanes.len()
}

/// What each picture gets of what the way carries: all alike, but for those who want less, whose rest the others share. What nobody wants is
/// everybody's: a picture alone gets all.
pub(super) fn shares(room: u64, wants: &[u64]) -> Vec<u64> {
    let mut order: Vec<usize> = (0..wants.len()).collect();
    order.sort_by_key(|index| wants[*index]);
    let mut shares = vec![0; wants.len()];
    let mut rest = room;
    for (done, index) in order.iter().enumerate() {
        let fair = rest / (wants.len() - done) as u64;
        shares[*index] = wants[*index].min(fair);
        rest -= shares[*index];
    }
    let spare = rest / (wants.len().max(1)) as u64;
    shares.iter_mut().for_each(|share| *share += spare);
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vocab::MediaKind;

    #[test]
    fn a_way_is_shared_by_what_is_wanted() {
        assert_eq!(shares(1000, &[5000]), [1000]);
        assert_eq!(shares(5000, &[1000]), [5000], "a picture alone gets all");
        assert_eq!(shares(3000, &[2000, 2000, 2000]), [1000, 1000, 1000]);
        assert_eq!(shares(3000, &[200, 9000, 1000]), [200, 1800, 1000]);
        assert_eq!(shares(6000, &[1000, 2000]), [2500, 3500], "what is left is everybody's");
        assert_eq!(shares(100, &[]), Vec::<u64>::new());
    }

    #[test]
    fn payload_types_of_lanes_are_apart_from_all_others() {
        let all = [Codec::Opus, Codec::H264, Codec::VP8, Codec::VP9, Codec::AV1, Codec::H265];
        let mut used: Vec<u8> = all
            .iter()
            .flat_map(|codec| {
                let (pt, rtx) = payload_types(*codec);
                [Some(pt), rtx]
            })
            .flatten()
            .collect();
        used.extend(codecs::OTHER_PAYLOAD_TYPES.iter().flat_map(|(pt, rtx)| [Some(*pt), *rtx]).flatten());
        used.extend(
            [MediaKind::Audio, MediaKind::Video]
                .iter()
                .flat_map(|kind| {
                    let (pt, rtx) = codecs::own_payload_types(*kind);
                    [Some(pt), rtx]
                })
                .flatten(),
        );
        let count = used.len();
        used.sort_unstable();
        used.dedup();
        assert_eq!(used.len(), count);
        assert!(used.iter().all(|pt| (96..=127).contains(pt)));
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_there_is(room in 0u64..10_000_000, wants in proptest::collection::vec(0u64..5_000_000, 1..8)) {
            let shares = shares(room, &wants);
            prop_assert!(shares.iter().sum::<u64>() <= room);
            // who gets less than it wants gets no less than anybody else
            let most = shares.iter().zip(&wants).filter(|(share, want)| share > want).count();
            if most == 0 {
                let least = shares.iter().zip(&wants).filter(|(share, want)| share < want).map(|(share, _)| *share).min();
                if let Some(least) = least {
                    prop_assert!(shares.iter().all(|share| *share <= least + wants.len() as u64));
                }
            }
        }
    }
}
