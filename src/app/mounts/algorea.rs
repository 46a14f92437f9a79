//! The dialect algorea.

use axum::Router;
use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use super::{Asked, Mounts, asked};
use crate::http::{ApiError, Caller};
use crate::signalling::algorea::{self, Algorea, Variant};
use crate::signalling::listener::ListenerConfig;
use crate::vocab::{Right, RoomId};

/// What a client may say in its address.
#[derive(Deserialize)]
pub(super) struct Named {
    variant: Option<String>,
    room: Option<String>,
}

pub(super) fn routes(mounts: Mounts) -> Router {
    let route = get(async move |caller: Caller, Query(named): Query<Named>, ws: Asked| mounts.algorea(caller, named, ws));
    Router::new().route(algorea::ENTRY.carrier.path, route)
}

/// Clients use any path: the original's cloud puts a stage's name there.
pub(super) fn listener_routes(mounts: Mounts, _: &ListenerConfig) -> Router {
    let serve = async move |caller: Caller, Query(named): Query<Named>, ws: Asked| mounts.algorea(caller, named, ws);
    Router::new().fallback(serve)
}

impl Mounts {
    fn algorea(self, caller: Caller, named: Named, ws: Asked) -> Response {
        match self.algorea_deps(&caller, named) {
            Ok(deps) => match asked(ws) {
                Ok(ws) => {
                    let entry = algorea::entry(&self.algorea);
                    self.run(&entry, None, caller.remote, ws, |_| Box::new(Algorea::new(deps)))
                }
                Err(refusal) => refusal.into_response(),
            },
            Err(refusal) => refusal.into_response(),
        }
    }

    /// Everything is asked before the upgrade: what a browser is told afterwards its page sees as a close code at best.
    fn algorea_deps(&self, caller: &Caller, named: Named) -> Result<algorea::Deps, ApiError> {
        let bad = |message: String| ApiError::new(StatusCode::BAD_REQUEST, "bad_query", message);
        let variant = match named.variant.as_deref() {
            None => None,
            Some(text) => Some(Variant::named(text).ok_or_else(|| bad("variant is document or branch".into()))?),
        };
        let room = named.room.as_deref().filter(|room| !room.is_empty()).unwrap_or(algorea::DEFAULT_ROOM);
        let room = RoomId::new(room).map_err(|error| bad(error.to_string()))?;
        let real = self.prefix(&algorea::ENTRY).add(room.clone()).map_err(|error| bad(error.to_string()))?;
        // either right lets a member in
        let grant = caller.require(&real, Right::Subscribe).or_else(|_| caller.require(&real, Right::Publish))?;
        if self.hub.is_gone() {
            return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the gateway is stopping"));
        }
        Ok(algorea::Deps { room, grant, remote: Some(caller.remote), variant, config: self.algorea.clone() })
    }
}
