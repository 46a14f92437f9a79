//! Logs through `tracing`: to the journal with fields when systemd started us, else to stderr.
//!
//! Users of the `log` crate (the WebRTC engine, mDNS) are bridged in. Nothing here knows what is logged.

mod catalog;
mod config;
mod journal;

pub use config::{LogConfig, LogFormat};
pub use journal::JournalLayer;

use systemd_journal_logger::{JournalLog, connected_to_journal};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// Crates that tell of every lost packet or odd client as if somebody should act. What matters of it Portico says itself.
const QUIET: &str = "rtc=error,rtc_dtls=error,rtc_ice=error,rtc_interceptor=error,rtc_mdns=error,rtc_rtcp=error,rtc_rtp=error,\
                     rtc_sctp=error,rtc_datachannel=error,rtc_sdp=error,rtc_srtp=error,rtc_stun=error,rtc_turn=error,\
                     webrtc=error,hyper=info,h2=info,quinn_udp=error,rustls=info,notify=info,lapin=off,\
                     rumqttc=error,goog_cc=error";

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error("not a log filter")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Logging was set up before in this process.
    #[error("logging is set up already")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
    /// The filter cannot be changed any more.
    #[error("the log filter cannot be changed")]
    Reload(#[from] reload::Error),
}

/// Changes the filter of a running process.
#[derive(Clone, Debug)]
pub struct LogHandle {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl LogHandle {
    /// Logs by this filter from now on.
    pub fn set_filter(&self, filter: &str) -> Result<(), LogError> {
        Ok(self.filter.reload(parse_filter(filter)?)?)
    }
}

/// Whether stderr is a stream of the journal: systemd started us.
pub fn to_journal() -> bool {
    connected_to_journal()
}

/// Sets logging up for the whole process. Falls back to stderr when the journal cannot be reached.
pub fn init(config: &LogConfig) -> Result<LogHandle, LogError> {
    let (filter, handle) = reload::Layer::new(parse_filter(&config.filter)?);
    let registry = tracing_subscriber::registry().with(filter);
    let journal = match config.format {
        LogFormat::Auto if connected_to_journal() => JournalLog::new().ok(),
        _ => None,
    };
    let colour =
        std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let stderr = fmt::layer().with_writer(std::io::stderr);
    let output = match (journal, config.format) {
        (Some(journal), _) => JournalLayer::new(journal).boxed(),
        (None, LogFormat::Json) => stderr.json().flatten_event(true).with_span_list(false).boxed(),
        (None, _) => stderr.with_ansi(colour).with_target(false).boxed(),
    };
    registry.with(output).try_init()?;
    Ok(LogHandle { filter: handle })
}

/// Whether a text is a filter; else what is wrong with it.
pub fn check_filter(filter: &str) -> Result<(), String> {
    parse_filter(filter).map(|_| ()).map_err(|error| error.to_string())
}

/// The quiet crates first: what the user names of them wins.
fn parse_filter(filter: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    EnvFilter::builder().parse(format!("{QUIET},{}", if filter.trim().is_empty() { "info" } else { filter }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_checked() {
        for good in ["info", "", "warn,portico::room=debug", "rtc_ice=trace", "off"] {
            assert_eq!(check_filter(good), Ok(()), "{good}");
        }
        for bad in ["portico=loud", "a=b=c"] {
            assert!(check_filter(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_user_wins_over_the_quiet_list() {
        let shown = parse_filter("info,rtc_ice=debug").unwrap().to_string();
        assert!(shown.contains("rtc_ice=debug") && !shown.contains("rtc_ice=error"), "{shown}");
        assert!(shown.contains("rtc_dtls=error"), "{shown}");
    }
}
