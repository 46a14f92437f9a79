//! The owner of all sources (skeleton).
use super::{MediaCommand, MediaEvent, MediaSourceConfig};
use tokio::sync::mpsc;

/// Why the media subsystem cannot start.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// GStreamer did not initialise.
    #[error("GStreamer cannot start")]
    Init(#[source] gstreamer::glib::Error),
}

/// The running sources.
pub struct Media {}

impl Media {
    /// Initialises GStreamer and starts the owner thread.
    pub fn start(_config: MediaSourceConfig, _events: mpsc::UnboundedSender<MediaEvent>) -> Result<Self, MediaError> {
        unimplemented!("skeleton")
    }
    /// Hands over an order. Never blocks.
    pub fn send(&self, _command: MediaCommand) {
        unimplemented!("skeleton")
    }
    /// Closes every pipeline and joins the thread; takes at most 1 s.
    pub fn stop(self) {
        unimplemented!("skeleton")
    }
}
