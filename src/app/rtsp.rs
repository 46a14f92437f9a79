//! Viewers by RTSP, where they are served and where this build has none.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::StartError;
use crate::hub::Hub;
use crate::ops::access::Access;
use crate::ops::metrics::Metrics;
use crate::peer::{PeerCommand, PeerEvent, PeerFigures};
use crate::rtsp::RtspConfig;

/// The key of its listener.
pub(super) const KEY: &str = "rtsp.listen";

/// Those viewers, for the hub and for who asks how they are. Cheap to clone.
#[derive(Clone)]
pub(super) struct Players {
    #[cfg(feature = "rtsp")]
    plane: Arc<crate::rtsp::Plane>,
}

/// What serving needs.
#[cfg_attr(not(feature = "rtsp"), expect(dead_code, reason = "nothing is served"))]
pub(super) struct Needs<'n> {
    pub hub: &'n Hub,
    pub access: &'n Arc<Access>,
    pub metrics: &'n Arc<Metrics>,
    pub tasks: &'n TaskTracker,
    pub stop: &'n CancellationToken,
}

#[cfg(feature = "rtsp")]
impl Players {
    /// None yet.
    pub fn new(news: mpsc::UnboundedSender<PeerEvent>) -> Self {
        Self { plane: crate::rtsp::Plane::new(news) }
    }

    /// Carries out an order for one of them; gives back any other.
    pub fn carry_out(&self, order: PeerCommand) -> Option<PeerCommand> {
        self.plane.carry_out(order)
    }

    /// How they are.
    pub fn figures(&self) -> Vec<PeerFigures> {
        self.plane.figures()
    }

    /// Serves them.
    pub fn serve(
        &self,
        (listener, listen): (TcpListener, SocketAddr),
        config: &RtspConfig,
        needs: Needs<'_>,
    ) -> Result<(), StartError> {
        let parts = crate::rtsp::Parts {
            hub: needs.hub.clone(),
            plane: Arc::clone(&self.plane),
            access: Arc::clone(needs.access),
            metrics: Arc::clone(needs.metrics),
            stop: needs.stop.clone(),
        };
        let failed = |source| StartError::Listen { address: listen, key: format!("{KEY}, UDP"), source };
        crate::rtsp::serve(listener, config, parts, needs.tasks).map_err(failed)
    }
}

#[cfg(not(feature = "rtsp"))]
impl Players {
    pub fn new(_news: mpsc::UnboundedSender<PeerEvent>) -> Self {
        Self {}
    }

    #[expect(clippy::unused_self, reason = "there are none")]
    pub fn carry_out(&self, order: PeerCommand) -> Option<PeerCommand> {
        Some(order)
    }

    #[expect(clippy::unused_self, reason = "there are none")]
    pub fn figures(&self) -> Vec<PeerFigures> {
        Vec::new()
    }

    #[expect(clippy::unused_self, reason = "there are none")]
    pub fn serve(&self, _socket: (TcpListener, SocketAddr), _config: &RtspConfig, _needs: Needs<'_>) -> Result<(), StartError> {
        Err(StartError::NotBuilt { dialect: "rtsp" })
    }
}
