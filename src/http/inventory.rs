//! Figures that live outside the rooms, as the API asks for them.

use async_trait::async_trait;
use serde::Serialize;

use crate::event::EventFigures;
use crate::hub::PeerOwner;
use crate::media::SourceFigures;
use crate::media::plan::{Choice, Refusal};
use crate::peer::PeerFigures;
use crate::vocab::{MixLayout, SourceName};

/// Sources, plans and peers.
#[async_trait]
pub trait Inventory: Send + Sync {
    /// All configured sources.
    async fn sources(&self) -> Vec<SourceFigures>;
    /// For each source and each codec a viewer might want: the path that would be chosen now, or why there is none.
    async fn plan(&self) -> Vec<PlanRow>;
    /// The layout of a mix, which is `layout` from now on if that is given. `None` where there is no such mix.
    async fn mix_layout(&self, mix: SourceName, layout: Option<MixLayout>) -> Option<MixLayout>;
    /// How the events for brokers stand.
    async fn events(&self) -> EventFigures;
    /// The living peers with their owners.
    async fn peers(&self) -> Vec<(PeerOwner, PeerFigures)>;
}

/// One (source, demand) pair.
#[derive(Clone, Debug, Serialize)]
pub struct PlanRow {
    /// The source.
    pub source: String,
    /// What a viewer wants, as in `H264` or `opus`.
    pub want: String,
    /// What the planner says.
    #[serde(flatten)]
    pub outcome: PlanOutcome,
}

/// The planner's word.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PlanOutcome {
    /// The path and its reason.
    Chosen(Choice),
    /// Why there is none.
    Refused(Refusal),
}
