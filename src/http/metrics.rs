//! What the HTTP side counts.

use std::sync::atomic::AtomicI64;

use axum::http::StatusCode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::signalling::whip::Role;

/// The figures. Cheap to clone; every clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    requests: Family<Answered, Counter>,
    sessions: Family<Kind, Gauge<i64, AtomicI64>>,
    opened: Family<Kind, Counter>,
    connections: Gauge,
    refused: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    status: Class,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types)] // the label's value as it is read
enum Class {
    informational,
    success,
    redirect,
    client_error,
    server_error,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    dialect: &'static str,
}

impl Metrics {
    /// Makes the figures and puts them into the registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("http_requests", "Requests answered, by class of status", metrics.requests.clone());
        registry.register("http_sessions", "Living WHIP and WHEP sessions", metrics.sessions.clone());
        registry.register("http_sessions_opened", "WHIP and WHEP sessions opened", metrics.opened.clone());
        registry.register("http_connections", "Open connections, websockets included", metrics.connections.clone());
        registry.register("http_connections_refused", "Connections refused by a limit", metrics.refused.clone());
        metrics
    }

    pub(super) fn answered(&self, status: StatusCode) {
        let status = match status.as_u16() {
            ..200 => Class::informational,
            200..300 => Class::success,
            300..400 => Class::redirect,
            400..500 => Class::client_error,
            500.. => Class::server_error,
        };
        self.requests.get_or_create(&Answered { status }).inc();
    }

    pub(super) fn session_opened(&self, role: Role) {
        let kind = Kind { dialect: role.segment() };
        self.sessions.get_or_create(&kind).inc();
        self.opened.get_or_create(&kind).inc();
    }

    pub(super) fn session_ended(&self, role: Role) {
        self.sessions.get_or_create(&Kind { dialect: role.segment() }).dec();
    }

    pub(super) fn connected(&self) {
        self.connections.inc();
    }

    pub(super) fn disconnected(&self) {
        self.connections.dec();
    }

    pub(super) fn connection_refused(&self) {
        self.refused.inc();
    }
}
