//! The dialect sigver: every path below the mount is a group's key. All mounts share the groups.

use std::time::SystemTime;

use axum::Router;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;

use super::{Asked, Mounts};
use crate::http::{ApiError, Caller};
use crate::signalling::listener::ListenerConfig;
use crate::signalling::sigver::{self, Address, Groups};
use crate::signalling::{Realm, RealmId};
use crate::vocab::Grant;

/// The place of the groups among the realms.
const REALM: RealmId = RealmId(0);

/// Without any group.
pub(super) fn realm() -> Box<dyn Realm> {
    Box::new(Groups::default())
}

/// Below the prefix, on a listener with other things.
pub(super) fn routes(mounts: Mounts) -> Router {
    let path = sigver::ENTRY.carrier.path;
    let route = any(async move |caller: Caller, uri: Uri, ws: Asked| mounts.sigver(caller, &uri, path, ws));
    Router::new().route(path, route.clone()).route(&format!("{path}/"), route.clone()).route(&format!("{path}/{{*key}}"), route)
}

/// On a listener of its own, where every path is a key. `GET /` answers probes.
pub(super) fn listener_routes(mounts: Mounts, _: &ListenerConfig) -> Router {
    Router::new().fallback(async move |caller: Caller, uri: Uri, ws: Asked| match (ws.is_ok(), uri.path()) {
        (false, "/") => "sigver\n".into_response(),
        _ => mounts.sigver(caller, &uri, "", ws),
    })
}

impl Mounts {
    /// What is wrong with the URL or the token is told by a close frame: browsers show no more of a refused upgrade than that.
    fn sigver(self, caller: Caller, uri: &Uri, mount: &str, ws: Asked) -> Response {
        let Ok(ws) = ws else { return upgrade_required().into_response() };
        let behind = uri.path().strip_prefix(mount).unwrap_or_default();
        let deps = sigver::Deps {
            address: Address::read(behind.strip_prefix('/').unwrap_or_default(), uri.query())
                .map(|address| address.with_prefix(&self.prefix(&sigver::ENTRY))),
            grant: caller.grant().unwrap_or_else(|_| Grant::nothing()),
            remote: Some(caller.remote),
            wall: SystemTime::now(),
        };
        self.run(&sigver::ENTRY, Some(REALM), caller.remote, ws, |now| Box::new(sigver::Sigver::new(now, deps)))
    }
}

fn upgrade_required() -> ApiError {
    let message = "this path is a websocket for netflux clients; the page for people is at /";
    ApiError::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message).with(header::UPGRADE, "websocket")
}
