//! The router against a fake hub.

mod api;
mod bridges;
mod edge;
mod sessions;
mod socket;
mod stills;
mod transcripts;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::fake::FakeHub;
use super::*;
use crate::bridge::{AddError, BridgeConfig, BridgeView, Flow, Reason, RemoveError, StateWord};
use crate::hub::PeerOwner;
use crate::media::SourceFigures;
use crate::media::plan::{Choice, Path, Refusal};
use crate::media::record::{self, Recorder};
use crate::ops::access::Secret;
use crate::ops::turn::IceServers;
use crate::peer::PeerFigures;
use crate::vocab::{BridgeName, Codec, Grant, MemberId, MixLayout, PeerId, Right, Rights, RoomId, RoomPattern, SourceName};

/// A browser's offer for WHIP; `recvonly` makes it one for WHEP.
pub(super) const OFFER: &str = "v=0\r\no=- 52 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:EsAw\r\na=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y\r\n\
    a=fingerprint:sha-256 DA:7B\r\na=setup:actpass\r\na=mid:0\r\na=sendonly\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n";

/// Tokens are `RIGHTS@ROOMS` with the letters p, s, c, b; without one, loopback may do everything and others nothing.
struct FakeAccess;

impl AccessCheck for FakeAccess {
    fn grant(&self, remote: IpAddr, token: Option<&str>, _: SystemTime) -> Result<Grant, AccessDenied> {
        let denied = |reason: &str| Err(AccessDenied { reason: reason.into() });
        match token {
            None if remote.is_loopback() => Ok(Grant::all("")),
            None => denied("no token"),
            Some(token) => match token.split_once('@') {
                Some((letters, rooms)) => {
                    let right = |letter| match letter {
                        'p' => Right::Publish,
                        's' => Right::Subscribe,
                        'b' => Right::Bridge,
                        _ => Right::Control,
                    };
                    let rights: Rights = letters.chars().map(right).collect();
                    Ok(Grant { subject: letters.into(), rooms: RoomPattern(rooms.into()), rights, expires: None })
                }
                None => denied("not a token"),
            },
        }
    }
}

struct FakeSigner;

impl TokenSigner for FakeSigner {
    fn sign(&self, order: &TokenOrder, _: SystemTime) -> Result<String, SignError> {
        Ok(format!("signed for {} in {}", order.subject, order.rooms.0))
    }
}

struct FakeInventory;

#[async_trait]
impl Inventory for FakeInventory {
    async fn sources(&self) -> Vec<SourceFigures> {
        let error = Some("rtsp://user:secret@camera is missing".to_owned());
        vec![SourceFigures { source: "door".into(), state: "failed", error, ..SourceFigures::default() }]
    }
    async fn plan(&self) -> Vec<PlanRow> {
        let choice = Choice { path: Path::Pass, codec: Codec::H264, encoder: None, reason: "it fits".into() };
        let refusal = Refusal { have: "H264".into(), want: "AV1".into(), reason: "no encoder".into() };
        vec![
            PlanRow { source: "door".into(), want: "H264".into(), outcome: PlanOutcome::Chosen(choice) },
            PlanRow { source: "door".into(), want: "AV1".into(), outcome: PlanOutcome::Refused(refusal) },
        ]
    }
    async fn mix_layout(&self, mix: SourceName, layout: Option<MixLayout>) -> Option<MixLayout> {
        (mix.as_str() == "mix:hall").then(|| layout.unwrap_or_default())
    }
    async fn events(&self) -> crate::event::EventFigures {
        let sink = crate::event::SinkFigures {
            name: "backend".into(),
            kind: "amqp",
            connected: false,
            error: Some("connection refused".into()),
            backlog: 3,
            oldest_age: Some(std::time::Duration::from_millis(61_500)),
            confirmed: 9,
            unrouted: 2,
            refused: 0,
            dropped: 1,
        };
        crate::event::EventFigures { store_bytes: 4096, sinks: vec![sink], ..Default::default() }
    }
    async fn peers(&self) -> Vec<(PeerOwner, PeerFigures)> {
        let owner = |peer, room| PeerOwner { peer: PeerId(peer), room: RoomId::new(room).unwrap(), member: MemberId([7; 16]) };
        let figures = |peer| PeerFigures { peer, remote: Some("192.0.2.9:5000".parse().unwrap()), ..PeerFigures::default() };
        vec![(owner(1, "studio"), figures(1)), (owner(2, "yard"), figures(2))]
    }
}

/// Takes nothing.
struct NoStills;

#[async_trait]
impl Stills for NoStills {
    async fn take(&self, _: Still) -> Result<Arc<crate::media::snapshot::Picture>, NoStill> {
        Err(NoStill::Refused(crate::room::Refusal::UnknownStream))
    }
}

/// Records nothing: no stream is anywhere.
fn recorder(tasks: &TaskTracker, stop: CancellationToken) -> Recorder {
    let ports = record::Ports { find: Box::new(|_, _| Box::pin(async { None })), media: Box::new(|_| {}) };
    let folder = std::env::temp_dir().join(format!("portico-nothing-{:016x}", rand::random::<u64>()));
    Recorder::start(&Default::default(), folder, Vec::new(), ports, tasks, stop)
}

/// One, in the room `yard`, which is in the configuration; takes others and forgets them.
struct FakeBridges;

fn shown(config: BridgeConfig, configured: bool) -> BridgeView {
    let message = "the endpoint wants another token (401)".to_owned();
    BridgeView {
        config,
        configured,
        state: StateWord::Waiting,
        reason: Some(Reason { code: "unauthorised", message }),
        since_s: 3,
        next_attempt_s: Some(40),
        attempts: 1,
        connections: 0,
        peer: None,
        members: None,
        flow: Flow::default(),
    }
}

#[async_trait]
impl BridgeDoor for FakeBridges {
    async fn views(&self) -> Vec<BridgeView> {
        let config = "name = 'yard-in'\nkind = 'whep'\nroom = 'yard'\nurl = 'https://media.example/whep'";
        vec![shown(toml::from_str(config).unwrap(), true)]
    }
    fn add(&self, bridge: BridgeConfig, _: Option<Secret>) -> Result<BridgeView, AddError> {
        if bridge.name.as_str() == "yard-in" { Err(AddError::Taken(bridge.name)) } else { Ok(shown(bridge, false)) }
    }
    async fn remove(&self, name: &BridgeName) -> Result<(), RemoveError> {
        Err(RemoveError::Configured(name.clone()))
    }
}

fn router_of(parts: Parts, extra: Router) -> Router {
    let gate = Gate::new(&parts);
    router(parts, &gate, extra)
}

/// A router and what it stands on.
pub(super) struct Rig {
    pub hub: FakeHub,
    pub router: Router,
    pub shutdown: CancellationToken,
    pub readiness: Readiness,
    pub tasks: TaskTracker,
}

impl Rig {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// With changed parts.
    pub fn with(change: impl FnOnce(&mut Parts)) -> Self {
        Self::with_extra(change, Router::new())
    }

    pub fn with_extra(change: impl FnOnce(&mut Parts), extra: Router) -> Self {
        let hub = FakeHub::new();
        let (shutdown, readiness, tasks) =
            (CancellationToken::new(), Readiness::waiting_for(&["udp", "sources"]), TaskTracker::new());
        let mut parts = Parts {
            hub: Arc::new(hub.clone()),
            access: Arc::new(FakeAccess),
            signer: Some(Arc::new(FakeSigner)),
            inventory: Arc::new(FakeInventory),
            stills: Arc::new(NoStills),
            recorder: recorder(&tasks, shutdown.clone()),
            bridges: Arc::new(FakeBridges),
            ice_servers: IceServers::new(vec!["stun:stun.example.net:3478".into()], None, Duration::ZERO),
            origins: Origins::parse(&["https://app.example"]).unwrap(),
            trusted_proxies: Vec::new(),
            limits: Limits::default(),
            figures: Arc::default(),
            metrics: Arc::new(|| Box::pin(async { "portico_up 1\n# EOF\n".into() })),
            readiness: readiness.clone(),
            shutdown: shutdown.clone(),
            tasks: tasks.clone(),
        };
        change(&mut parts);
        Self { hub, router: router_of(parts, extra), shutdown, readiness, tasks }
    }

    /// Sends a request as the given address.
    pub async fn send_from(&self, remote: &str, mut request: Request<Body>) -> Reply {
        let remote = SocketAddr::new(remote.parse().unwrap(), 40_000);
        request.extensions_mut().insert(ConnectInfo(remote));
        if !request.headers().contains_key(header::HOST) {
            request.headers_mut().insert(header::HOST, "127.0.0.1:8780".parse().unwrap());
        }
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        Reply { status: head.status, headers: head.headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    /// Sends a request from loopback.
    pub async fn send(&self, request: Request<Body>) -> Reply {
        self.send_from("127.0.0.1", request).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(ask(Method::GET, path, &[], "")).await
    }

    /// Opens a WHIP session; gives its path and entity tag.
    pub async fn publish(&self) -> (String, String) {
        let reply = self.send(ask(Method::POST, "/whip/studio", &[("content-type", "application/sdp")], OFFER)).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.body);
        (reply.header("location").to_owned(), reply.header("etag").to_owned())
    }
}

/// A finished answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Reply {
    /// A header, empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// Asserts a refusal in the one form.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> &Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let body = self.json();
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["status"], status);
        assert!(!body["message"].as_str().unwrap().is_empty());
        assert_eq!(body["request_id"].as_str().unwrap(), self.header("x-request-id"));
        self
    }
}

pub(super) fn ask(method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::from(body.to_owned())).unwrap()
}
