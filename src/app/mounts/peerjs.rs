//! The dialect peerjs: brokers on their paths, by HTTP and websocket.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::Query;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;

use super::{Asked, Mounts, asked};
use crate::http::{Caller, Verbatim};
use crate::room::Topology;
use crate::signalling::listener::ListenerConfig;
use crate::signalling::peerjs::http::{Endpoint, endpoint, info, nodes};
use crate::signalling::peerjs::{self, Introduction, Peerjs, PeerjsConfig, PeerjsFigures, PeerjsMount, PeerjsRealm, RealmConfig};
use crate::signalling::{Realm, RealmId};
use crate::vocab::{Grant, RoomId};

/// What every answer of a broker has: ids and lists are true at that moment alone, and nobody may keep them.
const NO_STORE: (header::HeaderName, &str) = (header::CACHE_CONTROL, "no-store");
const JSON: (header::HeaderName, &str) = (header::CONTENT_TYPE, "application/json; charset=utf-8");
const HTML: (header::HeaderName, &str) = (header::CONTENT_TYPE, "text/html; charset=utf-8");
/// As the original answers a browser's question.
const METHODS: &str = "GET,HEAD,PUT,PATCH,POST,DELETE";

/// All brokers.
#[derive(Clone)]
pub(in crate::app) struct Brokers {
    /// Those of the main listener.
    list: Vec<Broker>,
    /// Those of listeners of their own.
    listeners: Vec<(ListenerConfig, Broker)>,
    alive_timeout: Duration,
}

/// One (path, key) with its realm and room.
#[derive(Clone)]
struct Broker {
    path: String,
    key: String,
    /// Without the prefix that mounts put before it.
    room: RoomId,
    realm: RealmId,
    allow_discovery: bool,
    /// The node list, where it is offered.
    nodes: Option<String>,
}

impl Brokers {
    /// Brokers for all mounts and listeners; their realms are added to those of the hub. A listener whose key is that of a mount
    /// leads to it; another one, or one that keeps its rooms apart by a prefix of its own, is a broker of its own.
    pub(in crate::app) fn new(
        config: &PeerjsConfig,
        listeners: &[ListenerConfig],
        figures: &Arc<PeerjsFigures>,
        realms: &mut Vec<Box<dyn Realm>>,
    ) -> Self {
        let mut open = |mount: &PeerjsMount| {
            let room = mount.room()?; // a mount without a room's name was refused with the configuration
            let reserved = room.as_str().into();
            let realm = RealmConfig { reserved, limit: config.concurrent_limit, expire: config.expire_timeout };
            realms.push(Box::new(PeerjsRealm::new(realm, Arc::clone(figures))));
            Some(Broker {
                path: mount.path().into(),
                key: mount.key().into(),
                nodes: mount.nodes.then(|| nodes(&mount.node, room.as_str())),
                room,
                realm: RealmId(realms.len() - 1),
                allow_discovery: mount.allow_discovery,
            })
        };
        let list: Vec<Broker> = config.mount.iter().filter_map(&mut open).collect();
        let listener = |listener: &ListenerConfig| {
            let mount = listener.peerjs_mount()?;
            let same = list.iter().find(|broker| broker.key == mount.key() && listener.room_prefix.is_none());
            let broker = match same {
                Some(broker) => Broker { path: mount.path().into(), ..broker.clone() },
                None => open(&mount)?,
            };
            Some((listener.clone(), broker))
        };
        let listeners = listeners.iter().filter_map(listener).collect();
        Self { list, listeners, alive_timeout: config.alive_timeout }
    }

    /// Only the broker of a listener.
    fn of_listener(&self, listener: &ListenerConfig) -> Option<Self> {
        let (_, broker) = self.listeners.iter().find(|(of, _)| of == listener)?;
        Some(Self { list: vec![broker.clone()], listeners: Vec::new(), alive_timeout: self.alive_timeout })
    }

    /// The broker at a path with that key.
    fn find(&self, path: &str, key: &str) -> Option<&Broker> {
        self.list.iter().find(|broker| broker.path == path && broker.key == key)
    }

    /// The node list at a path.
    fn nodes(&self, path: &str) -> Option<&str> {
        self.list.iter().filter(|broker| broker.path == path).find_map(|broker| broker.nodes.as_deref())
    }
}

/// The routes of all brokers but those at `/`, which is the page's.
pub(super) fn routes(mounts: &Mounts) -> Router {
    let mut paths: Vec<&str> = mounts.peerjs.list.iter().map(|broker| broker.path.as_str()).filter(|path| *path != "/").collect();
    paths.sort_unstable();
    paths.dedup();
    paths.into_iter().fold(Router::new(), |router, path| router.merge(at(mounts, path)))
}

/// The routes of a listener of its own; elsewhere there is nothing on it.
pub(super) fn listener_routes(mut mounts: Mounts, listener: &ListenerConfig) -> Option<Router> {
    mounts.peerjs = Arc::new(mounts.peerjs.of_listener(listener)?);
    let path = mounts.peerjs.list.first()?.path.clone();
    Some(at(&mounts, &path))
}

/// The routes of the brokers of one path.
fn at(mounts: &Mounts, path: &str) -> Router {
    let path: Arc<str> = path.into();
    let base = path.trim_end_matches('/').to_owned();
    let mounts = mounts.clone();
    let handler = any(async move |caller: Caller, ws: Asked, method: Method, uri: Uri, headers: HeaderMap| {
        mounts.peerjs(&path, caller, ws, Asking { method, uri, headers }).await
    });
    let router = Router::new().route(&format!("{base}/"), handler.clone()).route(&format!("{base}/{{*below}}"), handler.clone());
    if base.is_empty() { router } else { router.route(&base, handler) }
}

/// What is looked at of a request.
struct Asking {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Mounts {
    async fn peerjs(self, path: &str, caller: Caller, ws: Asked, asking: Asking) -> Response {
        let endpoint = endpoint(asking.uri.path().get(path.trim_end_matches('/').len()..).unwrap_or_default());
        let upgrade = asking.headers.contains_key(header::UPGRADE);
        let mut response = match (endpoint, &asking.method) {
            (Endpoint::Socket, &Method::GET) => return self.broker(path, caller, ws, &asking.uri),
            (_, _) if upgrade => (StatusCode::BAD_REQUEST, [HTML], page("Bad Request")).into_response(),
            (_, &Method::OPTIONS) => (StatusCode::NO_CONTENT, [(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS)]).into_response(),
            (Endpoint::Info, &Method::GET | &Method::HEAD) => ([JSON], info()).into_response(),
            (Endpoint::Id, &Method::GET | &Method::HEAD) => ([HTML], uuid::Uuid::new_v4().to_string()).into_response(),
            // the browser's page learns who is there only if the gateway's own rule of origins lets it
            (Endpoint::Peers { key }, &Method::GET | &Method::HEAD) => return self.peers(path, key).await,
            (Endpoint::Nodes, &Method::GET | &Method::HEAD) => match self.peerjs.nodes(path) {
                Some(nodes) => ([JSON], nodes.to_owned()).into_response(),
                None => (StatusCode::NOT_FOUND, [HTML], page("Not Found")).into_response(),
            },
            _ => (StatusCode::NOT_FOUND, [HTML], page("Not Found")).into_response(),
        };
        share(&asking.headers, &mut response);
        finish(response)
    }

    /// A client brings its key, id and secret in the query, and hears of refusals on the websocket.
    fn broker(self, path: &str, caller: Caller, ws: Asked, uri: &Uri) -> Response {
        let ws = match asked(ws) {
            Ok(ws) => ws,
            Err(refusal) => return refusal.into_response(),
        };
        // a query that cannot be read names nothing
        let who = Query::<Introduction>::try_from_uri(uri).map(|Query(who)| who).unwrap_or_default();
        let broker = self.peerjs.find(path, &who.key);
        let deps = peerjs::Deps {
            room: broker.map(|broker| broker.room.clone()),
            who,
            grant: self.grant(&caller),
            remote: Some(caller.remote),
            alive_timeout: self.peerjs.alive_timeout,
        };
        let realm = broker.map(|broker| broker.realm);
        self.run(&peerjs::ENTRY, realm, caller.remote, ws, |now| Box::new(Peerjs::new(now, deps)))
    }

    /// The client's secret may be one of Portico's tokens; by itself it is any text and gives what everybody may.
    fn grant(&self, caller: &Caller) -> Grant {
        let now = SystemTime::now();
        let grant = |token| self.access.grant(caller.remote, token, now);
        grant(caller.token()).or_else(|_| grant(None)).unwrap_or_else(|_| Grant::nothing())
    }

    async fn peers(self, path: &str, key: &str) -> Response {
        let unauthorised = || finish((StatusCode::UNAUTHORIZED, "Unauthorized").into_response());
        let Some(broker) = self.peerjs.find(path, key).filter(|broker| broker.allow_discovery) else { return unauthorised() };
        let (Ok(mut ids), Ok(rooms)) = (self.hub.realm_names(broker.realm).await, self.hub.rooms().await) else {
            return finish(StatusCode::SERVICE_UNAVAILABLE.into_response());
        };
        // where connections end at Portico, everyone can be called, and the room itself
        let real = self.prefix(&peerjs::ENTRY).add(broker.room.clone()).ok();
        if let Some(room) = rooms.iter().find(|room| Some(&room.room) == real.as_ref() && room.topology != Topology::Mesh) {
            ids.push(broker.room.to_string());
            let others = room.members.iter().filter(|member| member.visible && member.view.dialect != peerjs::ENTRY.name);
            ids.extend(others.map(|member| member.view.member.to_string()));
        }
        finish(([NO_STORE], axum::Json(ids)).into_response())
    }
}

fn page(title: &str) -> String {
    format!("<!doctype html><title>{title}</title><p>{title}\n")
}

/// What a broker gives without asking who asks may be read by any page: ids are random, and nothing else is told.
fn share(request: &HeaderMap, response: &mut Response) {
    if let Some(origin) = request.get(header::ORIGIN) {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
}

fn finish(mut response: Response) -> Response {
    let (name, value) = NO_STORE;
    response.headers_mut().insert(name, header::HeaderValue::from_static(value));
    response.extensions_mut().insert(Verbatim);
    response
}
