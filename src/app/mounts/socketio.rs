//! The Socket.IO endpoints, which the dialects vamp and webrtc-star share: one on the main listener, one per listener for
//! webrtc-star.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};

use super::{Mounts, Open};
use crate::app::star_metrics::StarCollector;
use crate::config::Config;
use crate::http::{ApiError, Caller};
use crate::ops::access::PageTokens;
use crate::ops::metrics::{CONTENT_TYPE, Registry};
use crate::room::DialectName;
use crate::signalling::listener::{ListenerConfig, ListenerDialect};
use crate::signalling::socketio::{self, Front};
use crate::signalling::star::{StarConfig, StarFigures, StarRealm};
use crate::signalling::transport::socketio::{Endpoint, Opening, Wiring};
use crate::signalling::vamp::VampConfig;
use crate::signalling::{Dialect, Realm, RealmId};
use crate::vocab::{Grant, Right, RoomId};

/// What all endpoints have, and what each has of its own.
pub(in crate::app) struct Endpoints {
    vamp: VampConfig,
    stores_clips: bool,
    star: StarConfig,
    request_time: Duration,
    max_per_address: usize,
    figures: Arc<StarFigures>,
    main: Table,
    listeners: Vec<(ListenerConfig, Table)>,
}

/// An endpoint's table of webrtc-star peers, and the room they are members of.
#[derive(Clone)]
struct Table {
    room: RoomId,
    realm: RealmId,
}

impl Endpoints {
    /// For the main listener and those for webrtc-star; their realms are added to those of the hub.
    pub(in crate::app) fn new(config: &Config, figures: &Arc<StarFigures>, realms: &mut Vec<Box<dyn Realm>>) -> Self {
        let mut table = |room: RoomId| {
            realms.push(Box::new(StarRealm::new(config.star.clone(), Arc::clone(figures))));
            Table { room, realm: RealmId(realms.len() - 1) }
        };
        let main = table(config.star.room.clone());
        let of_listener = |listener: &ListenerConfig| {
            let port = listener.address(config.http.listen.ip()).port();
            // a room's name that is too long already stands for itself
            let room = RoomId::new(&format!("{}-{port}", config.star.room)).unwrap_or_else(|_| config.star.room.clone());
            (listener.clone(), table(room))
        };
        let for_star = config.listener.iter().filter(|listener| listener.dialect == ListenerDialect::WebrtcStar);
        Self {
            vamp: config.vamp.clone(),
            stores_clips: config.clips.store_in_mesh,
            star: config.star.clone(),
            request_time: config.http.limits.request_time,
            max_per_address: config.http.limits.max_connections_per_address,
            figures: Arc::clone(figures),
            listeners: for_star.map(of_listener).collect(),
            main,
        }
    }
}

pub(super) fn routes(mounts: Mounts) -> Router {
    let table = mounts.socketio.main.clone();
    endpoint(mounts, table)
}

/// The same paths, and the answers of the original's start page and of its unknown paths.
pub(super) fn listener_routes(mounts: Mounts, listener: &ListenerConfig) -> Option<Router> {
    let (_, table) = mounts.socketio.listeners.iter().find(|(config, _)| config == listener)?;
    let table = table.clone();
    let figures = Arc::clone(&mounts.socketio.figures);
    let metrics = get(async move |caller: Caller| metrics(&caller, &figures));
    let routes = endpoint(mounts, table).route("/", any(start_page)).route("/metrics", metrics);
    Some(routes.fallback(not_found))
}

/// The original's figures alone, for whoever may read those of the gateway.
fn metrics(caller: &Caller, figures: &Arc<StarFigures>) -> Result<Response, ApiError> {
    caller.require_anywhere(Right::Control)?;
    let mut registry = Registry::default();
    registry.register_collector(Box::new(StarCollector(Arc::clone(figures))));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("writing to a String does not fail");
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

fn endpoint(mounts: Mounts, table: Table) -> Router {
    let endpoint = Endpoint::new(Wiring {
        hub: mounts.hub.clone(),
        realm: Some(table.realm),
        entry: socketio::ENTRY,
        stop: mounts.stop.clone(),
        tasks: mounts.tasks.clone(),
        request_time: mounts.socketio.request_time,
        max_per_address: mounts.socketio.max_per_address,
    });
    let route = any(async move |caller: Caller, request: Request| {
        if Endpoint::opens(request.uri().query()) && caller.token().is_some() && caller.grant().is_err() {
            return Endpoint::forbidden();
        }
        endpoint.serve(request, mounts.opening(&caller, &table)).await
    });
    Router::new().route(socketio::ENTRY.carrier.path, route.clone()).route(socketio::NEXT_PATH, route)
}

impl Mounts {
    /// A client may bring a token in the query or in its connect packet; without one it may do what everybody may.
    fn opening(&self, caller: &Caller, table: &Table) -> Opening {
        let prefix = |dialect| self.listener_prefix.clone().unwrap_or_else(|| self.prefixes.of(dialect).clone());
        let deps = socketio::Deps {
            access: Arc::new(PageTokens(Arc::clone(&self.access))),
            grant: caller.grant().unwrap_or_else(|_| Grant::nothing()),
            remote: Some(caller.remote),
            socket_id: String::new(),
            vamp: self.socketio.vamp.clone(),
            stores_clips: self.socketio.stores_clips,
            vamp_prefix: prefix(DialectName::Vamp),
            star: self.socketio.star.clone(),
            star_room: table.room.clone(),
            star_prefix: prefix(DialectName::Star),
            wall: SystemTime::now(),
        };
        let dialect = move |now: Instant, socket_id: String| -> Box<dyn Dialect> {
            Box::new(Front::new(now, socketio::Deps { socket_id, ..deps }))
        };
        // counted when the session begins, not when it is asked for
        let (metrics, tasks) = (Arc::clone(&self.metrics), self.tasks.clone());
        let guard = move || -> Box<dyn Send> { Box::new((tasks.token(), Open::new(metrics, socketio::ENTRY.name.as_str()))) };
        Opening { remote: caller.remote, dialect: Box::new(dialect), guard: Box::new(guard) }
    }
}

/// What MUTE asks for every few seconds to see whether its server is there.
async fn start_page(method: Method, headers: HeaderMap) -> Response {
    let page = "<!doctype html><title>webrtc-star</title><p>Portico: a rendez-vous for libp2p's webrtc-star.\n";
    let response = match method {
        Method::GET | Method::HEAD => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response(),
        // the edge answers a browser's question
        Method::OPTIONS => StatusCode::METHOD_NOT_ALLOWED.into_response(),
        _ => not_found(headers.clone()).await,
    };
    shared(&headers, response)
}

async fn not_found(headers: HeaderMap) -> Response {
    let body = r#"{"statusCode":404,"error":"Not Found","message":"Not Found"}"#;
    let response = (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "application/json; charset=utf-8")], body).into_response();
    shared(&headers, response)
}

/// Any page may read these answers: they tell nothing.
fn shared(request: &HeaderMap, mut response: Response) -> Response {
    if let Some(origin) = request.get(header::ORIGIN) {
        let exposed = HeaderValue::from_static("WWW-Authenticate,Server-Authorization");
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        response.headers_mut().insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    response
}
