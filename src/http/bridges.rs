//! What HTTP needs of the bridges, so that handlers can be tested without them.

use async_trait::async_trait;

use crate::bridge::{AddError, BridgeConfig, BridgeView, Bridges, RemoveError};
use crate::ops::access::Secret;
use crate::vocab::BridgeName;

/// The bridges as HTTP sees them.
#[async_trait]
pub trait BridgeDoor: Send + Sync {
    /// All, in order of their names.
    async fn views(&self) -> Vec<BridgeView>;
    /// Adds one for as long as the process runs.
    fn add(&self, bridge: BridgeConfig, token: Option<Secret>) -> Result<BridgeView, AddError>;
    /// Ends one that was added.
    async fn remove(&self, name: &BridgeName) -> Result<(), RemoveError>;
}

#[async_trait]
impl BridgeDoor for Bridges {
    async fn views(&self) -> Vec<BridgeView> {
        Bridges::views(self).await
    }
    fn add(&self, bridge: BridgeConfig, token: Option<Secret>) -> Result<BridgeView, AddError> {
        Bridges::add(self, bridge, token)
    }
    async fn remove(&self, name: &BridgeName) -> Result<(), RemoveError> {
        Bridges::remove(self, name).await
    }
}
