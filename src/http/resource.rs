//! WHIP and WHEP sessions: the task that owns a hub session, and the table by which requests find it.
//!
//! The task opens the session (join, then publish or play), answers the POST, carries out PATCHes one after the other, and ends by
//! DELETE, by the peer's or the place's end, or with the gateway. The entry in the table goes with the task, so a request to an
//! ended session finds nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::ApiError;
use crate::hub::HubSession;
use crate::ops::metrics::Metrics;
use crate::room::{Command, Joining, Notice, StreamChoice};
use crate::signalling::whip::{EntityTag, Exchange, Fragment, Patch, Role, cut};
use crate::vocab::{PeerId, RequestId, RoomId, Sdp, StreamName};

/// A session must be described in this time; a camera or RTSP server may need ten seconds to open (`[sources] open_limit`).
const OPEN_LIMIT: Duration = Duration::from_secs(20);
/// An ICE restart must be answered in this time: no device is opened for it.
const RESTART_LIMIT: Duration = Duration::from_secs(5);
/// PATCHes waiting for their turn; a client that trickles sends one at a time.
const WAITING_PATCHES: usize = 8;

/// All living sessions.
pub(super) struct Resources {
    table: Arc<Table>,
    places: Arc<Semaphore>,
}

type Table = Mutex<HashMap<Uuid, Arc<Resource>>>;

/// One session as requests see it.
pub(super) struct Resource {
    /// Which way its media goes.
    pub role: Role,
    /// Its room.
    pub room: RoomId,
    /// The client authorised itself with a header when it opened the session; it must do so again (the path alone does not do).
    pub bearer: bool,
    /// The token's subject.
    pub subject: String,
    patches: mpsc::Sender<PatchOrder>,
    stop: CancellationToken,
    ended: CancellationToken,
}

struct PatchOrder {
    if_match: Option<String>,
    fragment: Fragment,
    reply: oneshot::Sender<Result<Patched, ApiError>>,
}

/// What a PATCH led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Patched {
    /// Candidates were added.
    Added,
    /// ICE was restarted: the new entity tag and the answering fragment.
    Restarted(EntityTag, String),
}

/// A session to be opened.
pub(super) struct Opening {
    pub role: Role,
    pub joining: Joining,
    pub stream: Option<StreamName>,
    pub offer: String,
    pub bearer: bool,
}

/// A session that was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub id: Uuid,
    pub tag: EntityTag,
    pub answer: String,
}

impl Resources {
    pub(super) fn new(most: usize) -> Self {
        Self { table: Arc::default(), places: Arc::new(Semaphore::new(most)) }
    }

    /// The session, if it lives.
    pub(super) fn find(&self, id: Uuid) -> Option<Arc<Resource>> {
        lock(&self.table).get(&id).cloned()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        lock(&self.table).len()
    }

    /// Opens a session in a task of its own, so that a client which goes away meanwhile leaves nothing behind.
    pub(super) async fn open(&self, app: &super::App, opening: Opening) -> Result<Opened, ApiError> {
        let full = || ApiError::unavailable("too_many_sessions", "too many WHIP and WHEP sessions", 10);
        let permit = self.places.clone().try_acquire_owned().map_err(|_| full())?;
        let session = app.parts.hub.open_session().await?;
        let exchange = Exchange::new(opening.role, opening.offer.clone(), EntityTag::from_bits(rand::random()))?;
        let (patches, orders) = mpsc::channel(WAITING_PATCHES); // full: the PATCH waits in its request
        let stop = app.parts.shutdown.child_token();
        let id = Uuid::new_v4();
        let resource = Arc::new(Resource {
            role: opening.role,
            room: opening.joining.room.clone(),
            bearer: opening.bearer,
            subject: opening.joining.grant.subject.clone(),
            patches,
            stop: stop.clone(),
            ended: CancellationToken::new(),
        });
        let task = Task { session, exchange, orders, stop, peer: PeerId::next(), over: false };
        let entry = Entry { table: self.table.clone(), id, resource, _permit: permit };
        let (reply, opened) = oneshot::channel();
        app.parts.tasks.spawn(run(task, opening, entry, app.parts.figures.clone(), reply));
        opened.await.unwrap_or_else(|_| Err(ApiError::unavailable("stopping", "the gateway is stopping", 5)))
    }
}

impl Resource {
    /// Carries out a PATCH.
    pub(super) async fn patch(&self, if_match: Option<String>, fragment: Fragment) -> Result<Patched, ApiError> {
        let (reply, done) = oneshot::channel();
        let sent = self.patches.send(PatchOrder { if_match, fragment, reply }).await;
        let answer = if sent.is_ok() { done.await.ok() } else { None };
        answer.unwrap_or_else(|| Err(gone()))
    }

    /// Ends the session and waits until it has left the room.
    pub(super) async fn end(&self) {
        self.stop.cancel();
        self.ended.cancelled().await;
    }
}

/// There is no session of that path (any more).
pub(super) fn gone() -> ApiError {
    ApiError::not_found("unknown_session", "there is no such session (any more)")
}

fn lock(table: &Table) -> std::sync::MutexGuard<'_, HashMap<Uuid, Arc<Resource>>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The session's place in the table; dropping it frees the place.
struct Entry {
    table: Arc<Table>,
    id: Uuid,
    resource: Arc<Resource>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Entry {
    fn drop(&mut self) {
        lock(&self.table).remove(&self.id);
        self.resource.ended.cancel();
    }
}

struct Task {
    session: HubSession,
    exchange: Exchange,
    orders: mpsc::Receiver<PatchOrder>,
    stop: CancellationToken,
    peer: PeerId,
    /// The peer or the place has ended, or the hub is gone.
    over: bool,
}

async fn run(
    mut task: Task,
    opening: Opening,
    entry: Entry,
    metrics: Arc<Metrics>,
    reply: oneshot::Sender<Result<Opened, ApiError>>,
) {
    let (role, room) = (opening.role, opening.joining.room.clone());
    let deadline = Instant::now() + OPEN_LIMIT;
    let stop = task.stop.clone();
    let opened = tokio::select! {
        opened = task.open(opening, deadline) => opened,
        () = stop.cancelled() => Err(ApiError::unavailable("stopping", "the gateway is stopping", 5)),
    };
    match opened {
        Ok(answer) => {
            lock(&entry.table).insert(entry.id, entry.resource.clone());
            let opened = Opened { id: entry.id, tag: task.exchange.tag().clone(), answer };
            if reply.send(Ok(opened)).is_ok() {
                metrics.session_opened(role.segment());
                tracing::info!(%room, dialect = role.segment(), session = %task.session.id, peer = %task.peer, "session opened");
                tokio::select! {
                    () = task.serve() => {}
                    () = stop.cancelled() => {}
                }
                metrics.session_closed(role.segment());
                tracing::info!(%room, dialect = role.segment(), session = %task.session.id, "session ended");
            }
            task.leave().await;
        }
        Err(refusal) => {
            metrics.session_refused(refusal.code());
            task.leave().await;
            let _ = reply.send(Err(refusal)); // the client may be gone
        }
    }
}

impl Task {
    /// Joins and asks for the peer; gives the answer.
    async fn open(&mut self, opening: Opening, deadline: Instant) -> Result<String, ApiError> {
        let (join, ask) = (RequestId::next(), RequestId::next());
        self.session.send(join, Command::Join(Box::new(opening.joining))).await?;
        self.wait(deadline, |notice| match notice {
            Notice::Welcome(welcome) if welcome.req == join => Some(Ok(String::new())),
            Notice::Refused { req, why } if *req == join => Some(Err(why.clone().into())),
            _ => None,
        })
        .await?;

        let (peer, offer) = (self.peer, Sdp::offer(opening.offer));
        let command = match (opening.role, opening.stream) {
            (Role::Ingest, Some(stream)) => Command::Publish { peer, stream, offer: Some(offer) },
            (Role::Ingest, None) => return Err(ApiError::bad_request("bad_name", "a WHIP session needs a stream name")),
            (Role::Egress, stream) => {
                let of = stream.map_or(StreamChoice::Default, StreamChoice::Named);
                Command::Play { peer, of, offer: Some(offer) }
            }
        };
        self.session.send(ask, command).await?;
        self.wait(deadline, |notice| match notice {
            Notice::Description { peer: described, sdp } if *described == peer => Some(Ok(sdp.text.clone())),
            Notice::Refused { req, why } if *req == ask => Some(Err(why.clone().into())),
            _ => None,
        })
        .await
    }

    /// Reads notices until one decides. The end of the place or of the peer decides too, and is remembered in `over`.
    async fn wait(
        &mut self,
        deadline: Instant,
        mut decides: impl FnMut(&Notice) -> Option<Result<String, ApiError>>,
    ) -> Result<String, ApiError> {
        loop {
            let notice = tokio::time::timeout_at(deadline, self.session.notice()).await;
            let slow = || ApiError::unavailable("timeout", "the room did not answer in time", 5);
            let notice = notice.map_err(|_| slow())?;
            self.over = self.is_end(notice.as_ref());
            match notice {
                None => return Err(crate::hub::HubGone.into()),
                Some(Notice::Ended { reason } | Notice::PeerDown { reason, .. }) if self.over => return Err(reason.into()),
                Some(notice) => {
                    if let Some(decision) = decides(&notice) {
                        return decision;
                    }
                }
            }
        }
    }

    /// Lives until the peer or the place ends.
    async fn serve(&mut self) {
        while !self.over {
            tokio::select! {
                notice = self.session.notice() => self.over = self.is_end(notice.as_ref()),
                Some(order) = self.orders.recv() => {
                    let result = self.patch(order.if_match.as_deref(), order.fragment).await;
                    let _ = order.reply.send(result); // the client may be gone; what it asked for is done all the same
                }
            }
        }
    }

    fn is_end(&self, notice: Option<&Notice>) -> bool {
        match notice {
            None | Some(Notice::Ended { .. }) => true,
            Some(Notice::PeerDown { peer, .. }) => *peer == self.peer,
            Some(_) => false,
        }
    }

    async fn patch(&mut self, if_match: Option<&str>, fragment: Fragment) -> Result<Patched, ApiError> {
        match self.exchange.judge(if_match, fragment)? {
            Patch::Candidates(candidates) => {
                for candidate in candidates {
                    self.session.send(RequestId::next(), Command::Candidate { peer: self.peer, candidate }).await?;
                }
                Ok(Patched::Added)
            }
            Patch::Restart(offer) => self.restart(offer).await,
        }
    }

    /// RFC 9725 section 4.3.3: a restart that cannot be had leaves the session as it was.
    async fn restart(&mut self, offer: String) -> Result<Patched, ApiError> {
        let (peer, ask) = (self.peer, RequestId::next());
        self.session.send(ask, Command::Describe { peer, sdp: Sdp::offer(offer.clone()) }).await?;
        let answer = self
            .wait(Instant::now() + RESTART_LIMIT, |notice| match notice {
                Notice::Description { peer: described, sdp } if *described == peer => Some(Ok(sdp.text.clone())),
                Notice::Refused { req, why } if *req == ask => Some(Err(why.clone().into())),
                _ => None,
            })
            .await
            .map_err(|error| if self.over { gone() } else { error })?;
        let broken = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the answer cannot be told");
        let fragment = cut(&answer).map_err(broken)?;
        let tag = EntityTag::from_bits(rand::random());
        self.exchange.restarted(offer, tag.clone()).map_err(broken)?;
        Ok(Patched::Restarted(tag, fragment))
    }

    /// Leaves, so that the place is not kept for a client that will not come back. A hub that is gone needs no goodbye.
    async fn leave(&mut self) {
        let _ = self.session.send(RequestId::next(), Command::Leave).await;
    }
}
