//! What is shown of a bridge, and what the journal is told of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::config::BridgeConfig;
use crate::vocab::PeerId;

/// How far a bridge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StateWord {
    /// It is configured not to run.
    Off,
    /// It waits: for the next attempt, or for the stream that it pushes.
    Waiting,
    /// It asks the far side, or its connection is being made.
    Connecting,
    /// Media can flow.
    Connected,
}

impl StateWord {
    /// All.
    pub const ALL: [Self; 4] = [Self::Off, Self::Waiting, Self::Connecting, Self::Connected];

    /// Lower-case name, as in the API, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Waiting => "waiting",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
        }
    }
}

/// Why a bridge is not connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Stable, lower snake case.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// How a bridge stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) state: StateWord,
    pub(super) reason: Option<Reason>,
    /// When it tries again, while it waits.
    pub(super) next: Option<Instant>,
    /// How often the far side was asked.
    pub(super) attempts: u64,
    /// How often a connection came of it.
    pub(super) connections: u64,
    /// The connection there is, or is being made.
    pub(super) peer: Option<PeerId>,
}

impl Standing {
    pub(super) fn off() -> Self {
        Self { state: StateWord::Off, reason: None, next: None, attempts: 0, connections: 0, peer: None }
    }
}

/// What passed over a bridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// RTP packets sent to the far side.
    pub packets_sent: u64,
    /// RTP payload bytes sent to it.
    pub bytes_sent: u64,
    /// RTP packets received from it.
    pub packets_received: u64,
    /// RTP payload bytes received from it.
    pub bytes_received: u64,
}

impl std::ops::Add for Flow {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            packets_sent: self.packets_sent + other.packets_sent,
            bytes_sent: self.bytes_sent + other.bytes_sent,
            packets_received: self.packets_received + other.packets_received,
            bytes_received: self.bytes_received + other.bytes_received,
        }
    }
}

/// A bridge as the API shows it.
#[derive(Clone, Debug)]
pub struct BridgeView {
    /// What it is to do.
    pub config: BridgeConfig,
    /// Whether it is in the configuration; else it came by the API and goes with the process.
    pub configured: bool,
    /// How far it is.
    pub state: StateWord,
    /// Why it is not connected.
    pub reason: Option<Reason>,
    /// For how many seconds it has been in this state.
    pub since_s: u64,
    /// In how many seconds it tries again, while it waits.
    pub next_attempt_s: Option<u64>,
    /// How often the far side was asked.
    pub attempts: u64,
    /// How often a connection came of it.
    pub connections: u64,
    /// The connection there is, or is being made.
    pub peer: Option<PeerId>,
    /// How many members of the far side are in the room, of kinds that bring them.
    pub members: Option<usize>,
    /// What passed, as far as it was looked at.
    pub flow: Flow,
}

/// What a bridge with several connections has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Company {
    /// Its connections.
    pub(super) peers: BTreeSet<PeerId>,
    /// Members of the far side that are in the room.
    pub(super) members: usize,
}

/// Where a bridge's task writes how it stands.
#[derive(Debug)]
pub(super) struct Board(Mutex<Written>);

#[derive(Debug)]
struct Written {
    standing: Standing,
    since: Instant,
    /// The code that was logged last, so that the same trouble is told once.
    told: Option<&'static str>,
    /// Of connections that are over.
    past: Flow,
    /// Of the connection there is, as it was seen last.
    living: Flow,
    /// The same of each of several.
    several: BTreeMap<PeerId, Flow>,
    members: Option<usize>,
}

impl Board {
    /// Before its task has written anything.
    pub(super) fn new(now: Instant, enabled: bool) -> Self {
        let (past, living) = (Flow::default(), Flow::default());
        let state = if enabled { StateWord::Connecting } else { StateWord::Off };
        let standing = Standing { state, ..Standing::off() };
        let (several, members) = (BTreeMap::new(), None);
        Self(Mutex::new(Written { standing, since: now, told: None, past, living, several, members }))
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over how the bridge stands now, and tells the journal what is new about it.
    pub(super) fn show(&self, now: Instant, config: &BridgeConfig, standing: Standing) {
        let mut written = self.lock();
        if written.standing == standing {
            return;
        }
        if written.standing.peer != standing.peer {
            written.past = written.past + std::mem::take(&mut written.living);
        }
        if written.standing.state != standing.state {
            written.since = now;
        }
        let changed = written.standing.state != standing.state;
        let code = standing.reason.as_ref().map(|reason| reason.code);
        let (bridge, kind, room) = (&config.name, config.kind.as_str(), &config.room);
        match (standing.state, &standing.reason) {
            (StateWord::Connected, _) if changed => {
                written.told = None;
                tracing::info!(%bridge, kind, %room, attempts = standing.attempts, "bridge connected");
            }
            (StateWord::Waiting, Some(reason)) if written.told != code => {
                written.told = code;
                tracing::warn!(%bridge, kind, %room, code = reason.code, reason = reason.message, "bridge waits");
            }
            (StateWord::Off, _) if changed => tracing::info!(%bridge, kind, %room, "bridge ended"),
            (state, _) if changed => tracing::debug!(%bridge, kind, %room, state = state.as_str(), code, "bridge state"),
            _ => {}
        }
        written.standing = standing;
    }

    /// Takes over which connections and members a bridge with several has now.
    pub(super) fn show_company(&self, company: &Company) {
        let mut written = self.lock();
        let Written { several, past, .. } = &mut *written;
        several.retain(|peer, flow| {
            let stays = company.peers.contains(peer);
            if !stays {
                *past = *past + *flow;
            }
            stays
        });
        for peer in &company.peers {
            several.entry(*peer).or_default();
        }
        written.members = Some(company.members);
    }

    /// How many members of the far side it has brought.
    pub(super) fn members(&self) -> Option<usize> {
        self.lock().members
    }

    /// The connections whose figures are wanted.
    pub(super) fn peers(&self) -> Vec<PeerId> {
        let written = self.lock();
        written.standing.peer.into_iter().chain(written.several.keys().copied()).collect()
    }

    /// Figures of a connection; those of another than the present one come too late.
    pub(super) fn take_flow(&self, peer: PeerId, flow: Flow) {
        let mut written = self.lock();
        if written.standing.peer == Some(peer) {
            written.living = flow;
        } else if let Some(seen) = written.several.get_mut(&peer) {
            *seen = flow;
        }
    }

    /// How it stands and what passed.
    pub(super) fn read(&self) -> (Standing, Instant, Flow) {
        let written = self.lock();
        let several = written.several.values().fold(written.living, |sum, flow| sum + *flow);
        (written.standing.clone(), written.since, written.past + several)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_several_connections_are_added_and_kept_when_one_is_gone() {
        let board = Board::new(Instant::now(), true);
        let company = |peers: &[u64]| Company { peers: peers.iter().map(|peer| PeerId(*peer)).collect(), members: peers.len() };
        let flow = |packets_sent| Flow { packets_sent, ..Flow::default() };
        board.show_company(&company(&[1, 2]));
        assert_eq!(board.peers(), [PeerId(1), PeerId(2)]);
        for (peer, packets) in [(1, 10), (2, 5), (2, 6), (3, 100)] {
            board.take_flow(PeerId(peer), flow(packets));
        }
        assert_eq!((board.read().2, board.members()), (flow(16), Some(2)));
        board.show_company(&company(&[2, 3]));
        board.take_flow(PeerId(1), flow(1000));
        board.take_flow(PeerId(3), flow(1));
        assert_eq!(board.read().2, flow(17));
    }
}
