//! The figures behind `/metrics`, in the OpenMetrics text format.
//!
//! Others count by the handles here: clones of a counter count into the same figure, so a thread keeps its own clone. Label
//! values are words of an enum, never ids.

mod board;
mod events;
mod process;

pub use board::{BoardFigures, Throttled};
pub use events::{EventMetrics, SinkTotals};
pub use process::ProcessFigures;
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::registry::Registry;

use std::sync::atomic::Ordering;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::info::Info;

/// What `/metrics` answers with.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the names of the gateway's own figures begin with.
pub const PREFIX: &str = "portico";

/// One label; its value is a word of an enum.
type Label = [(&'static str, &'static str); 1];

/// Which way something went, seen from Portico.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To members.
    Sent,
    /// From members.
    Received,
}

impl Direction {
    fn label(self) -> Label {
        [("direction", if self == Self::Sent { "sent" } else { "received" })]
    }
}

/// The figures of the gateway. Shared in an `Arc`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Rooms now.
    pub rooms: Gauge,
    /// Published streams now.
    pub streams: Gauge,
    /// Peer connections now.
    pub peers: Gauge,
    /// Video encoders running now.
    pub encoders: Gauge,
    /// Key frames that viewers asked for.
    pub key_frame_requests: Counter,
    /// Frames left out for viewers that were behind.
    pub frames_dropped: Counter,
    members: Family<Label, Gauge>,
    sources: Family<Label, Gauge>,
    strained: Family<Label, Gauge>,
    sessions: Family<Label, Gauge>,
    sessions_opened: Family<Label, Counter>,
    sessions_refused: Family<Label, Counter>,
    packets: Family<Label, Counter>,
    bytes: Family<Label, Counter>,
    http_requests: Family<Label, Counter>,
    websocket_frames: Family<Label, Counter>,
    /// The events that leave the gateway.
    pub events: EventMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(Registry::default())
    }
}

impl Metrics {
    /// Adds the gateway's figures to a registry in which other modules may have registered theirs, and keeps it. The board's are
    /// read below `/sys`.
    pub fn new(registry: Registry) -> Self {
        Self::reading(registry, "/sys".into())
    }

    /// As [`Self::new`], with the board's figures from another place.
    pub fn reading(mut registry: Registry, sys: std::path::PathBuf) -> Self {
        registry.register_collector(Box::new(process::ProcessCollector));
        registry.register_collector(Box::new(board::BoardCollector { sys }));
        let ours = registry.sub_registry_with_prefix(PREFIX);
        ours.register("build", "What is running", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let rooms = gauge(ours, "rooms", "Rooms now");
        let streams = gauge(ours, "streams", "Published streams now");
        let peers = gauge(ours, "peers", "Peer connections now");
        let encoders = gauge(ours, "video_encoders", "Video encoders running now");
        let key_frame_requests = counter(ours, "key_frame_requests", "Key frames that viewers asked for");
        let frames_dropped = counter(ours, "frames_dropped", "Frames left out for viewers that were behind");
        let members = gauges(ours, "members", "Members now, by `dialect`");
        let sources = gauges(ours, "sources", "Configured sources, by `state`: idle, opening, running, lingering, failed");
        let strained = gauges(
            ours,
            "sources_strained",
            "Sources that do with less because the board is hot or their encoder slow, by `degree`: one-layer, half-rate, half-size, no-new-viewers",
        );
        let sessions = gauges(ours, "sessions", "Signalling sessions now, by `dialect`");
        let sessions_opened = counters(ours, "sessions_opened", "Signalling sessions opened, by `dialect`");
        let sessions_refused =
            counters(ours, "sessions_refused", "Requests to open a session or join a room that were refused, by `code`");
        let packets = counters(ours, "rtp_packets", "RTP packets, by `direction`: sent, received");
        let bytes = counters(ours, "rtp_bytes", "RTP payload bytes, by `direction`: sent, received");
        let http_requests = counters(ours, "http_requests", "HTTP requests answered, by `status`: 1xx to 5xx");
        let websocket_frames = counters(ours, "websocket_frames", "Websocket messages, by `direction`: sent, received");
        let events = EventMetrics::register(ours);
        let metrics = Self {
            events,
            registry,
            rooms,
            streams,
            peers,
            encoders,
            key_frame_requests,
            frames_dropped,
            members,
            sources,
            strained,
            sessions,
            sessions_opened,
            sessions_refused,
            packets,
            bytes,
            http_requests,
            websocket_frames,
        };
        for direction in [Direction::Sent, Direction::Received] {
            // told from the start as 0, so that rates are right from the first change on
            metrics.traffic(direction);
            drop(metrics.websocket_frames.get_or_create(&direction.label()));
        }
        (100..600).step_by(100).for_each(|status| drop(metrics.http_requests.get_or_create(&status_label(status))));
        metrics
    }

    /// Everything registered, as text; see [`CONTENT_TYPE`].
    pub fn encode(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("writing to a String does not fail");
        text
    }

    /// Counters of RTP packets and payload bytes, for a thread to keep.
    pub fn traffic(&self, direction: Direction) -> Traffic {
        let label = direction.label();
        Traffic { packets: self.packets.get_or_create_owned(&label), bytes: self.bytes.get_or_create_owned(&label) }
    }

    /// A session began.
    pub fn session_opened(&self, dialect: &'static str) {
        self.sessions_opened.get_or_create(&[("dialect", dialect)]).inc();
        self.sessions.get_or_create(&[("dialect", dialect)]).inc();
    }

    /// A session ended.
    pub fn session_closed(&self, dialect: &'static str) {
        self.sessions.get_or_create(&[("dialect", dialect)]).dec();
    }

    /// Somebody was turned away; `code` is the stable code of the refusal.
    pub fn session_refused(&self, code: &'static str) {
        self.sessions_refused.get_or_create(&[("code", code)]).inc();
    }

    /// A request was answered.
    pub fn http_request(&self, status: u16) {
        self.http_requests.get_or_create(&status_label(status)).inc();
    }

    /// A websocket message went.
    pub fn websocket_frame(&self, direction: Direction) {
        self.websocket_frames.get_or_create(&direction.label()).inc();
    }

    /// Members now, by dialect. Dialects that are not named have none.
    pub fn set_members(&self, counts: impl IntoIterator<Item = (&'static str, usize)>) {
        set(&self.members, "dialect", counts);
    }

    /// Sources that do with less now, by degree. Degrees that are not named have none.
    pub fn set_strained(&self, counts: impl IntoIterator<Item = (&'static str, usize)>) {
        set(&self.strained, "degree", counts);
    }

    /// Sources now, by state. States that are not named have none.
    pub fn set_sources(&self, counts: impl IntoIterator<Item = (&'static str, usize)>) {
        set(&self.sources, "state", counts);
    }
}

/// Counters of one direction. Clones count into the same figures.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// RTP packets.
    pub packets: Counter,
    /// RTP payload bytes.
    pub bytes: Counter,
}

/// Lifts a counter to a total that somebody else counted. A smaller total changes nothing: counters never fall.
pub fn raise_to(counter: &Counter, total: u64) {
    counter.inner().fetch_max(total, Ordering::Relaxed);
}

/// The list of figures for `docs/ref/metrics.md`, with those of other modules.
pub fn reference(registry: Registry) -> String {
    let metrics = Metrics::new(registry);
    // a family without any label is not written
    metrics.session_opened("any");
    metrics.session_refused("any");
    metrics.set_members([("any", 0)]);
    metrics.set_sources([("any", 0)]);
    metrics.set_strained([("any", 0)]);
    metrics.events.set_made("any", 0);
    metrics.events.set_sinks(&[("any", SinkTotals::default())].into());
    let text = metrics.encode();
    let mut rows = Vec::new();
    let mut help = "";
    for line in text.lines() {
        if let Some((_, words)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            help = words;
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            rows.push(format!("| `{name}{suffix}` | {kind} | {help} |"));
        }
    }
    rows.sort();
    format!(
        "# Metrics\n\n`GET /metrics` answers in the OpenMetrics text format. This page is generated; a test compares it with the program.\n\n\
         | name | type | meaning |\n|---|---|---|\n{}\n",
        rows.join("\n")
    )
}

fn status_label(status: u16) -> Label {
    let class = match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    };
    [("status", class)]
}

fn set(family: &Family<Label, Gauge>, key: &'static str, counts: impl IntoIterator<Item = (&'static str, usize)>) {
    family.clear();
    for (word, count) in counts {
        family.get_or_create(&[(key, word)]).inc_by(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let metric = Gauge::default();
    registry.register(name, help, metric.clone());
    metric
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let metric = Counter::default();
    registry.register(name, help, metric.clone());
    metric
}

fn gauges(registry: &mut Registry, name: &str, help: &str) -> Family<Label, Gauge> {
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

fn counters(registry: &mut Registry, name: &str, help: &str) -> Family<Label, Counter> {
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_as_openmetrics() {
        let metrics = Metrics::default();
        metrics.rooms.set(2);
        metrics.session_opened("tribe");
        metrics.session_opened("tribe");
        metrics.session_closed("tribe");
        metrics.session_refused("room_full");
        metrics.http_request(404);
        metrics.traffic(Direction::Sent).packets.inc_by(7);
        metrics.set_members([("page", 3)]);
        metrics.set_members([("whep", 1)]);
        raise_to(&metrics.frames_dropped, 5);
        raise_to(&metrics.frames_dropped, 3);
        let text = metrics.encode();
        for line in [
            "portico_rooms 2",
            "portico_sessions{dialect=\"tribe\"} 1",
            "portico_sessions_opened_total{dialect=\"tribe\"} 2",
            "portico_sessions_refused_total{code=\"room_full\"} 1",
            "portico_http_requests_total{status=\"4xx\"} 1",
            "portico_rtp_packets_total{direction=\"sent\"} 7",
            "portico_rtp_packets_total{direction=\"received\"} 0",
            "portico_members{dialect=\"whep\"} 1",
            "portico_frames_dropped_total 5",
            "# TYPE process_cpu_seconds counter",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        assert!(!text.contains("dialect=\"page\""));
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_registry_may_hold_more_than_ours() {
        let mut registry = Registry::default();
        registry.register("others", "Of another module", Gauge::<i64>::default());
        assert!(Metrics::new(registry).encode().contains("others 0"));
    }
}
