//! Figures of the events that leave the gateway, by the type of their sink.

use std::collections::BTreeMap;

use super::{Counter, Family, Gauge, Label, Registry, counter, counters, gauge, gauges, raise_to};

/// What sinks of one type have come to, all of them together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkTotals {
    /// Sinks that take events now.
    pub connected: usize,
    /// Sinks that do not.
    pub away: usize,
    /// Stored events that are not confirmed.
    pub backlog: u64,
    /// Age of the oldest of them, in whole seconds.
    pub oldest_age_s: u64,
    /// Confirmed events.
    pub confirmed: u64,
    /// Those among them that nobody there wanted.
    pub unrouted: u64,
    /// Events a sink will never take.
    pub refused: u64,
    /// Events that were let go before they were confirmed.
    pub dropped: u64,
}

/// The figures. Nothing is told by sink type while no sink is configured.
#[derive(Debug)]
pub struct EventMetrics {
    /// Bytes of stored events.
    pub store_bytes: Gauge,
    /// Events that never reached the store.
    pub lost: Counter,
    made: Family<Label, Counter>,
    connected: Family<Label, Gauge>,
    away: Family<Label, Gauge>,
    backlog: Family<Label, Gauge>,
    oldest_age: Family<Label, Gauge>,
    confirmed: Family<Label, Counter>,
    unrouted: Family<Label, Counter>,
    refused: Family<Label, Counter>,
    dropped: Family<Label, Counter>,
}

impl EventMetrics {
    pub(super) fn register(ours: &mut Registry) -> Self {
        Self {
            store_bytes: gauge(ours, "events_store_bytes", "Bytes of events on disk"),
            lost: counter(ours, "events_lost", "Events that never reached the disk, because it took nothing for too long"),
            made: counters(ours, "events_made", "Events made, by `event`: room.join, room.leave, room.live and others"),
            connected: gauges(
                ours,
                "event_sinks_connected",
                "Sinks of events that take them now, by `sink`: amqp, mqtt, webhook",
            ),
            away: gauges(ours, "event_sinks_away", "Sinks of events that do not take them now, by `sink`"),
            backlog: gauges(ours, "events_backlog", "Stored events that a sink has not confirmed, by `sink`"),
            oldest_age: gauges(
                ours,
                "events_oldest_age_seconds",
                "Age of the oldest event that a sink has not confirmed, by `sink`",
            ),
            confirmed: counters(ours, "events_confirmed", "Events a sink has confirmed, by `sink`"),
            unrouted: counters(ours, "events_unrouted", "Confirmed events that nobody at the sink wanted, by `sink`"),
            refused: counters(ours, "events_refused", "Events a sink will never take, left out, by `sink`"),
            dropped: counters(ours, "events_dropped", "Events dropped for size or age before a sink had them, by `sink`"),
        }
    }

    /// How many events of a name were made.
    pub fn set_made(&self, event: &'static str, count: u64) {
        raise_to(&self.made.get_or_create(&[("event", event)]), count);
    }

    /// All sinks, by type.
    pub fn set_sinks(&self, all: &BTreeMap<&'static str, SinkTotals>) {
        for (sink, totals) in all {
            let label = [("sink", *sink)];
            let gauges = [
                (&self.connected, totals.connected as u64),
                (&self.away, totals.away as u64),
                (&self.backlog, totals.backlog),
                (&self.oldest_age, totals.oldest_age_s),
            ];
            for (family, value) in gauges {
                family.get_or_create(&label).set(i64::try_from(value).unwrap_or(i64::MAX));
            }
            let counters = [
                (&self.confirmed, totals.confirmed),
                (&self.unrouted, totals.unrouted),
                (&self.refused, totals.refused),
                (&self.dropped, totals.dropped),
            ];
            for (family, value) in counters {
                raise_to(&family.get_or_create(&label), value);
            }
        }
    }
}
