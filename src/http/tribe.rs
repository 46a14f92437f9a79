//! `/memstats` and `/state`, which tribe's operators know. Both need the control right.

use std::fmt::Write;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{ApiError, App, Caller};
use crate::hub::{PeerOwner, RoomMember};
use crate::peer::PeerFigures;
use crate::vocab::Right;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/memstats", get(memstats)).route("/state", get(state))
}

/// `key: value` lines.
async fn memstats(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    caller.require_anywhere(Right::Control)?;
    let rooms = app.parts.hub.rooms().await?;
    let members: usize = rooms.iter().map(|room| room.members.len()).sum();
    let peers: usize = rooms.iter().flat_map(|room| &room.members).map(|member| member.peers.len()).sum();
    let mut text = String::new();
    // procfs answers from memory: reading it does not block
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let figure =
        |key: &str| status.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse::<u64>().ok());
    let mut line = |key: &str, value: Option<u64>| {
        if let Some(value) = value {
            let _ = writeln!(text, "{key}: {value}"); // writing to a String cannot fail
        }
    };
    line("resident_bytes", figure("VmRSS:").map(|kib| kib * 1024));
    line("threads", figure("Threads:"));
    line("rooms", Some(rooms.len() as u64));
    line("connections", Some(members as u64));
    line("media_sessions", Some(peers as u64));
    line("http_sessions", Some(app.resources.count() as u64));
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// Tribe's form (protocol page, section 10). What Portico does not keep in that form is `null`.
async fn state(State(app): State<App>, caller: Caller) -> Result<Json<Value>, ApiError> {
    caller.require_anywhere(Right::Control)?;
    let rooms = app.parts.hub.rooms().await?;
    let peers = app.parts.inventory.peers().await;
    let rooms: Vec<Value> = rooms
        .iter()
        .map(|room| {
            let connections: Vec<Value> = room.members.iter().map(|member| connection(member, &peers)).collect();
            json!({ "id": room.room.as_str(), "topology": room.topology.as_str(), "connections": connections })
        })
        .collect();
    let unit = concat!("portico ", env!("CARGO_PKG_VERSION"));
    Ok(Json(json!({ "s": true, "d": { "full_unit_name": unit, "log_filters": null, "rooms": rooms } })))
}

fn connection(member: &RoomMember, peers: &[(PeerOwner, PeerFigures)]) -> Value {
    let own = peers.iter().filter(|(owner, _)| owner.member == member.view.member);
    let (publishing, listening): (Vec<_>, Vec<_>) = own.partition(|(_, figures)| figures.packets_received > 0);
    let listeners: serde_json::Map<String, Value> =
        listening.into_iter().map(|(owner, figures)| (owner.peer.to_string(), media(figures))).collect();
    json!({
        "socketId": member.view.member.to_string().to_uppercase(),
        "dateCreation": null,
        "userId": member.view.user_id,
        "ip": null,
        "state": if member.lost { "lost" } else { "connected" },
        "exit": null,
        "maxVideoBitrate": null,
        "maxAudioBitrate": null,
        "publisher": publishing.first().map(|(_, figures)| media(figures)),
        "listeners": listeners,
    })
}

fn media(figures: &PeerFigures) -> Value {
    json!({
        "stunCtx": { "state": if figures.connected { "connected" } else { "connecting" }, "mode": null, "rtt": figures.rtt_ms },
        "packetsSent": figures.packets_sent,
        "packetsReceived": figures.packets_received,
        "packetsLost": figures.packets_lost,
    })
}
