//! What the engine's statistics say that the connection does not count itself.

use rtc::statistics::report::RTCStatsReport;

/// The user fragment of Portico's side since the last ICE restart; `None` without one.
pub(super) fn local_ufrag(report: &RTCStatsReport) -> Option<&str> {
    report.transport().map(|transport| transport.ice_local_username_fragment.as_str()).filter(|ufrag| !ufrag.is_empty())
}

/// The last round trip of a connectivity check on the pair in use, in milliseconds.
pub(super) fn check_rtt_ms(report: &RTCStatsReport) -> Option<f64> {
    let selected = report.transport()?.selected_candidate_pair_id.as_str();
    let pair = report.candidate_pairs().find(|pair| pair.stats.id == selected)?;
    (pair.responses_received > 0).then_some(pair.current_round_trip_time * 1000.0)
}
