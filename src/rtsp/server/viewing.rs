//! A viewer's place in a room: joins, has the stream opened, and leaves when it is dropped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::describe::{self, Described};
use super::parameters::ParameterSets;
use super::plane::{Entry, Order, Plane};
use super::target::Target;
use super::wire::Status;
use crate::hub::{Hub, HubSession};
use crate::ops::metrics::Metrics;
use crate::peer::{PeerEvent, SendTrack};
use crate::room::{Command, DialectName, EndReason, Facts, Joining, Notice, Refusal, StreamChoice, Topology};
use crate::vocab::{Grant, MediaKind, PeerId, RequestId, RoomId, Sdp};

/// A stream must be open in this time; a camera may need ten seconds (`[sources] open_limit`).
const OPEN_LIMIT: Duration = Duration::from_secs(20);
/// Parameter sets are waited for so long; a description without them is of use to most.
const SETS_LIMIT: Duration = Duration::from_secs(3);
/// How often it is looked for them.
const LOOK: Duration = Duration::from_millis(40);
/// How the metrics and the log name these sessions.
const NAME: &str = "rtsp";

/// A viewer in its room.
pub struct Viewing {
    place: Place,
    entry: Entry,
    orders: mpsc::UnboundedReceiver<Order>,
    /// What it is sent, in the order of the description.
    pub sends: Vec<SendTrack>,
    /// The description.
    pub sdp: String,
    room: RoomId,
    metrics: Arc<Metrics>,
    _permit: OwnedSemaphorePermit,
    up: bool,
}

/// What a viewer is opened with.
pub struct Opening {
    /// Its room is here.
    pub hub: Hub,
    /// It is a peer of these.
    pub plane: Arc<Plane>,
    /// It is counted here.
    pub metrics: Arc<Metrics>,
    /// Its place among all.
    pub permit: OwnedSemaphorePermit,
    /// What is to be seen.
    pub target: Target,
    /// What it may.
    pub grant: Grant,
    /// Where it is.
    pub remote: SocketAddr,
    /// Where it reached us.
    pub local: SocketAddr,
}

impl Viewing {
    /// Joins and has the stream opened. Dropping it on the way leaves nothing behind.
    pub async fn open(opening: Opening) -> Result<Self, Status> {
        let Opening { hub, plane, metrics, permit, target, grant, remote, local } = opening;
        let room = target.room.clone();
        let mut place = Place(Some(hub.open_session().await.map_err(|_| Status::ServiceUnavailable)?));
        let (entry, orders) = plane.enter(PeerId::next(), remote);
        let subject = grant.subject.clone();
        let user_id = if subject.is_empty() { NAME.to_owned() } else { subject };
        let joining = Joining {
            room: room.clone(),
            user_id: user_id.clone(),
            dialect: DialectName::Rtsp,
            remote: Some(remote.ip().to_canonical()),
            grant,
            visible: false,
            facts: Facts { name: Some(user_id), ..Facts::default() },
            opens: Topology::Sfu,
            dialect_limit: None,
            replaces_lost: false,
        };
        let limit = tokio::time::sleep(OPEN_LIMIT);
        let mut parts = Parts { place: &mut place, entry: &entry, orders };
        let sends = tokio::select! {
            sends = parts.open(joining, &target) => sends.inspect_err(|(_, code)| metrics.session_refused(code)).map_err(|(status, _)| status)?,
            () = limit => {
                metrics.session_refused("timeout");
                return Err(Status::ServiceUnavailable);
            }
        };
        let orders = parts.orders;
        let described = describe(&sends).await;
        let name = target.stream.as_ref().map_or_else(|| room.to_string(), |stream| format!("{room}/{stream}"));
        let sdp = describe::sdp(local.ip(), rand::random(), &name, &described);
        metrics.session_opened(NAME);
        let codecs: Vec<_> = sends.iter().map(|send| send.layers.format().codec).collect();
        tracing::info!(%room, dialect = NAME, peer = %entry.peer, remote_addr = %remote, ?codecs, "session opened");
        Ok(Self { place, entry, orders, sends, sdp, room, metrics, _permit: permit, up: false })
    }

    /// The viewer's figures.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Waits until the room ends it. Cancel-safe.
    pub async fn ended(&mut self) {
        let Some(session) = &mut self.place.0 else { return };
        loop {
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(Order::Open(_)) => {}
                    Some(Order::Close) | None => return,
                },
                notice = session.notice() => match notice {
                    None | Some(Notice::Ended { .. }) => return,
                    Some(Notice::PeerDown { peer, .. }) if peer == self.entry.peer => return,
                    Some(_) => {}
                },
            }
        }
    }

    /// It plays, for the first time or again.
    pub fn plays(&mut self) {
        if !std::mem::replace(&mut self.up, true) {
            self.entry.tell(PeerEvent::Up { peer: self.entry.peer });
        }
    }

    /// Something of that kind was sent, for the first time.
    pub fn flows(&self, kind: MediaKind) {
        self.entry.tell(PeerEvent::Flowing { peer: self.entry.peer, kind });
    }
}

impl Drop for Viewing {
    fn drop(&mut self) {
        self.metrics.session_closed(NAME);
        tracing::info!(room = %self.room, dialect = NAME, peer = %self.entry.peer, "session ended");
    }
}

/// A session of the hub that says goodbye: a place is not kept for a player, which would begin anew.
struct Place(Option<HubSession>);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(session) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // a hub that is gone needs no goodbye
            runtime.spawn(async move { session.send(RequestId::next(), Command::Leave).await });
        }
    }
}

struct Parts<'p> {
    place: &'p mut Place,
    entry: &'p Entry,
    orders: mpsc::UnboundedReceiver<Order>,
}

type Refused = (Status, &'static str);

impl Parts<'_> {
    async fn open(&mut self, joining: Joining, target: &Target) -> Result<Vec<SendTrack>, Refused> {
        let gone = (Status::ServiceUnavailable, "stopping");
        let session = self.place.0.as_mut().ok_or(gone)?;
        let (join, ask, peer) = (RequestId::next(), RequestId::next(), self.entry.peer);
        session.send(join, Command::Join(Box::new(joining))).await.map_err(|_| gone)?;
        loop {
            match session.notice().await.ok_or(gone)? {
                Notice::Welcome(welcome) if welcome.req == join => break,
                Notice::Refused { req, why } if req == join => return Err(refusal(&why)),
                Notice::Ended { reason } => return Err(end(reason)),
                _ => {}
            }
        }
        let of = target.stream.clone().map_or(StreamChoice::Default, StreamChoice::Named);
        let offer = Some(Sdp::offer(describe::offer()));
        session.send(ask, Command::Play { peer, of, offer }).await.map_err(|_| gone)?;
        let mut opened = None;
        loop {
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(Order::Open(sends)) => {
                        opened = Some(one_of_each(sends));
                        // the room waits for a description before it counts the viewer; nobody reads it
                        self.entry.tell(PeerEvent::Description { peer, sdp: Sdp::answer("v=0\r\n") });
                    }
                    Some(Order::Close) | None => return Err(gone),
                },
                notice = session.notice() => match notice.ok_or(gone)? {
                    Notice::Description { peer: described, .. } if described == peer => break,
                    Notice::Refused { req, why } if req == ask => return Err(refusal(&why)),
                    Notice::PeerDown { peer: ended, reason } if ended == peer => return Err(end(reason)),
                    Notice::Ended { reason } => return Err(end(reason)),
                    _ => {}
                },
            }
        }
        match opened {
            Some(sends) if !sends.is_empty() => Ok(sends),
            _ => Err((Status::NotFound, "unknown_stream")),
        }
    }
}

/// A picture and a sound: that is what players show.
fn one_of_each(sends: Vec<SendTrack>) -> Vec<SendTrack> {
    let first =
        |kind| sends.iter().find(|send| send.layers.format().codec.kind() == kind && !send.layers.first().is_idle()).cloned();
    [MediaKind::Video, MediaKind::Audio].into_iter().filter_map(first).collect()
}

/// What is known of the tracks, once it is.
async fn describe(sends: &[SendTrack]) -> Vec<Described> {
    let limit = Instant::now() + SETS_LIMIT;
    let mut described = Vec::with_capacity(sends.len());
    for send in sends {
        let format = send.layers.format().clone();
        let sets = loop {
            let now = Instant::now();
            let layer = send.layers.flowing(now);
            let cached = layer.cached();
            let sets = ParameterSets::of(format.codec, cached.iter().map(|frame| &**frame));
            if !ParameterSets::exist_for(format.codec) || sets.are_complete(format.codec) || now >= limit {
                break sets;
            }
            layer.request_keyframe(now);
            tokio::time::sleep(LOOK).await;
        };
        described.push(Described { format, sets });
    }
    described
}

fn refusal(why: &Refusal) -> Refused {
    let status = match why {
        Refusal::UnknownRoom(_)
        | Refusal::UnknownStream
        | Refusal::UnknownMember
        | Refusal::UnknownPlace
        | Refusal::UnknownPeer => Status::NotFound,
        Refusal::Forbidden { .. } => Status::Forbidden,
        Refusal::RoomFull { .. } | Refusal::TooMany { .. } | Refusal::Overloaded => Status::NotEnoughBandwidth,
        // of a room that is to be made there is nothing to see
        Refusal::TooManyRooms { .. } => Status::NotFound,
        Refusal::SourceFailed | Refusal::Stopping => Status::ServiceUnavailable,
        Refusal::NoCommonCodec => Status::UnsupportedTransport,
        Refusal::Topology { .. } | Refusal::StreamTaken(_) => Status::NotFound,
        Refusal::NotJoined
        | Refusal::AlreadyJoined(_)
        | Refusal::BadDescription
        | Refusal::TooLong { .. }
        | Refusal::Internal => Status::InternalError,
    };
    (status, why.code())
}

fn end(reason: EndReason) -> Refused {
    match reason {
        EndReason::StreamEnded => (Status::NotFound, "unknown_stream"),
        EndReason::Expired => (Status::Unauthorized, "unauthorised"),
        EndReason::Overloaded => (Status::NotEnoughBandwidth, "overloaded"),
        _ => (Status::ServiceUnavailable, "session_ended"),
    }
}
