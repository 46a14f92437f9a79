//! `/api/v1/events`: what happens in the rooms, as server-sent events.
//!
//! One task numbers the hub's reports and keeps the last of them, so that a reader that comes back with `Last-Event-ID` misses
//! nothing that is still kept. Each report is written as JSON once, however many read.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use tokio_util::sync::CancellationToken;

use super::api::rooms::sees;
use super::{ApiError, App, Caller};
use crate::hub::Reports;
use crate::room::Report;
use crate::vocab::{Grant, Right, RoomId};

/// Events kept for readers that come back. A busy room makes a few per second; 256 of 200 bytes are 50 kB.
const KEPT: usize = 256;
/// Events a slow reader may be behind before it loses the oldest.
const BEHIND: usize = 256;
/// A comment is sent this often, so that proxies keep the connection and dead readers are noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One numbered report.
struct Numbered {
    id: u64,
    room: RoomId,
    name: &'static str,
    json: String,
}

/// The numbered reports.
pub(super) struct EventLog {
    kept: Mutex<VecDeque<Arc<Numbered>>>,
    live: broadcast::Sender<Arc<Numbered>>,
}

impl EventLog {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { kept: Mutex::default(), live: broadcast::channel(BEHIND).0 })
    }

    /// Numbers reports until the hub or the gateway stops. Numbers begin at the present time in ms, so that they grow over
    /// restarts too.
    pub(super) async fn run(self: Arc<Self>, mut reports: Reports, shutdown: CancellationToken) {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut id = u64::try_from(since_1970.as_millis()).unwrap_or_default();
        loop {
            let report = tokio::select! {
                report = reports.recv() => report,
                () = shutdown.cancelled() => return,
            };
            match report {
                Ok(report) => {
                    id += 1;
                    self.add(id, &report);
                }
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    id += missed;
                    tracing::warn!(missed, "event log fell behind");
                }
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    fn add(&self, id: u64, report: &Report) {
        let (room, name) = subject(report);
        let Ok(json) = serde_json::to_string(report) else { return };
        let event = Arc::new(Numbered { id, room: room.clone(), name, json });
        let mut kept = self.lock();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(event.clone());
        // under the lock, so that a reader which begins now gets it exactly once; no reader is no fault
        let _ = self.live.send(event);
    }

    /// Everything kept after that number, and what comes.
    fn read(&self, after: Option<u64>) -> (VecDeque<Arc<Numbered>>, u64, broadcast::Receiver<Arc<Numbered>>) {
        let kept = self.lock();
        let Some(after) = after else { return (VecDeque::new(), 0, self.live.subscribe()) };
        let missed = kept.front().map_or(0, |first| first.id.saturating_sub(after.saturating_add(1)));
        (kept.iter().filter(|event| event.id > after).cloned().collect(), missed, self.live.subscribe())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Numbered>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A report's room and the name of its kind, as in its JSON.
fn subject(report: &Report) -> (&RoomId, &'static str) {
    match report {
        Report::RoomOpened { room } => (room, "room-opened"),
        Report::RoomClosed { room } => (room, "room-closed"),
        Report::MemberJoined { room, .. } => (room, "member-joined"),
        Report::MemberLost { room, .. } => (room, "member-lost"),
        Report::MemberResumed { room, .. } => (room, "member-resumed"),
        Report::MemberLeft { room, .. } => (room, "member-left"),
        Report::StreamUp { room, .. } => (room, "stream-up"),
        Report::StreamDown { room, .. } => (room, "stream-down"),
        Report::PeerUp { room, .. } => (room, "peer-up"),
        Report::PeerDown { room, .. } => (room, "peer-down"),
        Report::Remark { room, .. } => (room, "remark"),
    }
}

/// What may be asked for.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Filter {
    room: Option<String>,
}

/// Server-sent events. `room` filters; `Last-Event-ID` continues. A reader that lost events gets `missed` with their number.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/api/v1/events", tag = "rooms",
    params(("room" = Option<String>, Query, description = "Only events of this room"),
           ("Last-Event-ID" = Option<u64>, Header, description = "Continue after this event"),
           ("token" = Option<String>, Query, description = "For readers that cannot set Authorization")),
    responses((status = 200, content_type = "text/event-stream", body = String,
        description = "Events: room-opened, room-closed, member-joined, member-lost, member-resumed, member-left, stream-up, \
                       stream-down, peer-up, peer-down, remark, missed")),
))]
pub(super) async fn events(
    State(app): State<App>,
    caller: Caller,
    filter: Result<Query<Filter>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let Query(filter) = filter.map_err(|error| ApiError::bad_request("malformed", error.body_text()))?;
    let room = match filter.room {
        Some(name) => Some(RoomId::new(&name).map_err(|error| ApiError::bad_request("bad_name", error.to_string()))?),
        None => None,
    };
    let grant = caller.grant()?;
    let seen = match &room {
        Some(room) => sees(&grant, room),
        None => grant.rights.has(Right::Subscribe) || grant.rights.has(Right::Control),
    };
    if !seen {
        return Err(caller.lacking(Right::Subscribe));
    }
    let full = || ApiError::unavailable("too_many_streams", "too many event streams are open", 10);
    let permit = app.streams.clone().try_acquire_owned().map_err(|_| full())?;
    let after = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
    let (backlog, missed, live) = app.events.read(after);
    let life = grant.expires.map(|end| end.duration_since(SystemTime::now()).unwrap_or_default());
    let reader = Reader {
        grant,
        room,
        backlog,
        missed,
        live,
        end: life.map(|life| tokio::time::Instant::now() + life),
        shutdown: app.parts.shutdown.clone(),
        _permit: permit,
    };
    let stream = futures_util::stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok(event), reader))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// One reader's place in the log.
struct Reader {
    grant: Grant,
    room: Option<RoomId>,
    backlog: VecDeque<Arc<Numbered>>,
    missed: u64,
    live: broadcast::Receiver<Arc<Numbered>>,
    end: Option<tokio::time::Instant>,
    shutdown: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    /// The next event; `None` when the token or the gateway ended.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if self.missed > 0 {
                let missed = std::mem::take(&mut self.missed);
                return Some(Event::default().event("missed").data(format!("{{\"event\":\"missed\",\"count\":{missed}}}")));
            }
            let event = match self.backlog.pop_front() {
                Some(event) => event,
                None => match self.receive().await? {
                    Ok(event) => event,
                    Err(missed) => {
                        self.missed = missed;
                        continue;
                    }
                },
            };
            if self.room.as_ref().is_none_or(|room| *room == event.room) && sees(&self.grant, &event.room) {
                return Some(Event::default().id(event.id.to_string()).event(event.name).data(&event.json));
            }
        }
    }

    async fn receive(&mut self) -> Option<Result<Arc<Numbered>, u64>> {
        let end = self.end;
        let expiry = async {
            match end {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = self.live.recv() => match event {
                Ok(event) => Some(Ok(event)),
                Err(broadcast::error::RecvError::Lagged(missed)) => Some(Err(missed)),
                Err(broadcast::error::RecvError::Closed) => None,
            },
            () = expiry => None,
            () = self.shutdown.cancelled() => None,
        }
    }
}
