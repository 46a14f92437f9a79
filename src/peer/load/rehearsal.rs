//! Forwarding without a network, to be counted instruction by instruction (`tools/count-instructions`).
//!
//! What a shard does for each frame and viewer is done here by the same code: numbers are rewritten, packets protected and put into the
//! batch, and kept for retransmission. The sockets are left out, and so is what they cost.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rtc::shared::error::Error;

use super::feed::Frames;
use super::{Feed, LoadError, LoadPeer};
use crate::forward::{FramePackets, KeyframeRequest, Layer, Refresh};
use crate::peer::connection::Connection;
use crate::peer::engine::Identity;
use crate::peer::keys::KEY;
use crate::peer::mailbox::Mailbox;
use crate::peer::protect::{Protector, Suite};
use crate::peer::reach::Reach;
use crate::peer::ring::Waker;
use crate::peer::socket::{Outbox, Sockets};
use crate::peer::tcp::Streams;
use crate::peer::{PeerSpec, SendTrack};
use crate::vocab::{LayerId, PeerId, TrackId};

/// Bits per second of the picture.
const BITRATE: u64 = 2_000_000;

struct Nobody;
impl KeyframeRequest for Nobody {
    fn request(&self) {}
}

/// Forwards the first `played` of `made` frames to so many viewers. Returns how many packets were written. What is made but not
/// played costs the same in every call, so that the difference of two calls is that of forwarding.
pub fn rehearse(viewers: usize, made: usize, played: usize) -> Result<u64, LoadError> {
    let feed = Feed::picture(BITRATE);
    let mut source = Frames::new(feed).map_err(other)?;
    let mut make = || source.next(false).map(|frame| Arc::new(frame.packets)).map_err(other);
    let frames: Vec<Arc<FramePackets>> = (0..made).map(|_| make()).collect::<Result<_, _>>()?;
    let id = LayerId { track: TrackId(0), index: 0 };
    let layer = Arc::new(Layer::new(id, feed.format(), Refresh::OnRequest, Box::new(Nobody)));
    let mailbox = Mailbox::new(mpsc::channel().0, Arc::new(Waker::new()?));
    let here = SocketAddr::from(([127, 0, 0, 1], 5000));
    let identity = Identity::generate(Reach { hosts: [here].into(), ..Reach::default() }, Suite::Gcm)?;
    let mut now = Instant::now();
    let mut viewers: Vec<Connection> =
        (0..viewers).map(|number| viewer(now, number, &layer, feed, &identity, &mailbox)).collect::<Result<_, _>>()?;
    let (mut out, nowhere) = (Outbox::default(), Sockets::default());
    for frame in frames.iter().take(played) {
        for viewer in &mut viewers {
            viewer.send_frame(now, 0, frame, &mut out);
            if out.is_large() {
                out.flush(&nowhere, &mut Streams::default());
            }
        }
        out.flush(&nowhere, &mut Streams::default());
        now += feed.spacing();
    }
    Ok(viewers.iter_mut().map(|viewer| viewer.figures().packets_sent).sum())
}

/// A connection that sends the layer to nobody.
fn viewer(
    now: Instant,
    number: usize,
    layer: &Arc<Layer>,
    feed: Feed,
    identity: &Identity,
    mailbox: &Mailbox,
) -> Result<Connection, LoadError> {
    let (_, offer) = LoadPeer::player(feed)?;
    let spec = PeerSpec {
        peer: PeerId::next(),
        offer: Some(offer),
        send: vec![SendTrack { layers: Arc::clone(layer).into(), stream_label: "main".into() }],
        receive: None,
        data: None,
        connect_limit: Duration::from_secs(60),
        own_port: false,
    };
    let (mut connection, ..) = Connection::open(now, spec, identity, mailbox).map_err(|reason| other(format!("{reason:?}")))?;
    let provider = rtc::crypto::default_provider().map_err(|_| LoadError::Cipher)?;
    let protector = Protector::new(Suite::Gcm, &[9; KEY], &[7; KEY], provider.crypto()).map_err(|_| LoadError::Cipher)?;
    let there = SocketAddr::from(([127, 0, 0, 2], 5000 + number as u16));
    connection.rehearse(protector, (identity.reach.hosts[0], there));
    Ok(connection)
}

fn other(error: impl ToString) -> LoadError {
    Error::Other(error.to_string()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_viewer_gets_every_packet() {
        let [one, two] = [1, 2].map(|viewers| rehearse(viewers, 70, 65).unwrap());
        assert!(one > 65 * 2 && two == 2 * one, "{one} {two}");
        assert_eq!(rehearse(3, 70, 0).unwrap(), 0);
    }
}
