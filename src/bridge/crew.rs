//! The owner of the bridges: which there are, where they come from, and the task of each.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::{self, BridgeConfig, BridgeKind, UrlError};
use super::portico::Links;
use super::status::{Board, BridgeView, Flow, StateWord};
use super::{peerjs, portico, tribe, whip};
use crate::hub::Hub;
use crate::ops::access::{Access, Secret};
use crate::vocab::{BridgeName, PeerId, RoomId};

/// A bridge that ends says goodbye to the far side; whoever removes it waits that long at most.
const END_LIMIT: Duration = Duration::from_secs(6);

/// What passed is looked at this often, so that little of it is missing when a connection ends.
const LOOK: Duration = Duration::from_secs(10);

/// Tells what passed over connections.
pub type FlowPort = Arc<dyn Fn(Vec<PeerId>) -> BoxFuture<'static, Vec<(PeerId, Flow)>> + Send + Sync>;

/// What bridges work with.
pub struct BridgesParts {
    /// The rooms.
    pub hub: Hub,
    /// Tells what passed over connections.
    pub flows: FlowPort,
    /// Judges tokens.
    pub access: Arc<Access>,
    /// Their tasks; whoever stops the gateway waits for it.
    pub tasks: TaskTracker,
    /// Cancelled when the gateway stops.
    pub stop: CancellationToken,
}

/// The bridges of a gateway. Cheap to clone.
#[derive(Clone)]
pub struct Bridges(Arc<Crew>);

struct Crew {
    parts: BridgesParts,
    links: Arc<Links>,
    table: Mutex<Table>,
    /// Somebody looks at the figures from time to time.
    watched: AtomicBool,
}

#[derive(Default)]
struct Table {
    entries: BTreeMap<BridgeName, Entry>,
    /// Counted by bridges that are gone.
    gone: BTreeMap<BridgeKind, Counted>,
}

struct Entry {
    config: BridgeConfig,
    configured: bool,
    /// Given by the API in place of a file.
    token: Option<Secret>,
    board: Arc<Board>,
    stop: CancellationToken,
    ended: CancellationToken,
}

/// What a kind of bridge needs to run.
pub(super) struct Context {
    pub(super) config: BridgeConfig,
    /// Given by the API in place of a file.
    pub(super) token: Option<Secret>,
    pub(super) hub: Hub,
    pub(super) access: Arc<Access>,
    pub(super) links: Arc<Links>,
    pub(super) board: Arc<Board>,
    pub(super) stop: CancellationToken,
}

/// A bridge of another gateway, taken in.
pub(super) struct Adopted {
    pub(super) context: Context,
    /// For [`Bridges::dismiss`].
    pub(super) gone: Gone,
}

/// Which one has ended.
pub(super) struct Gone {
    name: BridgeName,
    board: Arc<Board>,
    token: CancellationToken,
}

/// What bridges of a kind counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// How often far sides were asked.
    pub attempts: u64,
    /// How often connections came of it.
    pub connections: u64,
    /// What passed.
    pub flow: Flow,
}

/// What bridges have counted, for the metrics.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// How many bridges are in which state now.
    pub states: BTreeMap<StateWord, usize>,
    /// By kind, those that are gone included.
    pub counted: BTreeMap<BridgeKind, Counted>,
}

/// Why a bridge is not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// The name is taken.
    #[error("there is a bridge named \"{0}\" already")]
    Taken(BridgeName),
    /// There are as many as may be.
    #[error("there are {0} bridges already, which is the most")]
    TooMany(usize),
    /// The address is none.
    #[error("the address {0}")]
    Url(#[from] UrlError),
    /// Something else of it does not fit its kind.
    #[error("`{0}`: {1}")]
    Misfit(&'static str, String),
}

/// Why a bridge is not removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    /// There is none of that name.
    #[error("there is no bridge named \"{0}\"")]
    Unknown(BridgeName),
    /// It is in the configuration, and would be back with the next start.
    #[error("the bridge \"{0}\" is in the configuration: set `enabled = false` there and reload")]
    Configured(BridgeName),
}

impl Bridges {
    /// Starts those that are listed.
    pub fn start(parts: BridgesParts, listed: &[BridgeConfig]) -> Self {
        let this = Self(Arc::new(Crew {
            parts,
            links: Arc::new(Links::new()),
            table: Mutex::default(),
            watched: AtomicBool::default(),
        }));
        this.configure(listed);
        this
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over another list. Bridges whose entry is as before are not touched, those of the API neither, unless the list has one of
    /// the same name.
    pub fn configure(&self, listed: &[BridgeConfig]) {
        let mut table = self.lock();
        let gone = |name: &BridgeName, entry: &Entry| entry.configured && !listed.iter().any(|bridge| bridge.name == *name);
        let names: Vec<BridgeName> =
            table.entries.iter().filter(|(name, entry)| gone(name, entry)).map(|(name, _)| name.clone()).collect();
        for name in names {
            let _ = table.take_out(&name);
        }
        for bridge in listed {
            let same = table.entries.get(&bridge.name).is_some_and(|entry| entry.configured && entry.config == *bridge);
            if !same {
                let before = table.take_out(&bridge.name);
                let entry = self.launch(bridge.clone(), true, None, before);
                table.entries.insert(bridge.name.clone(), entry);
            }
        }
    }

    /// Adds one for as long as the process runs.
    pub fn add(&self, bridge: BridgeConfig, token: Option<Secret>) -> Result<BridgeView, AddError> {
        config::endpoint(&bridge.url)?;
        if let Some(misfit) = config::misfit(&bridge) {
            return Err(AddError::Misfit(misfit.key, misfit.message));
        }
        let mut table = self.lock();
        if table.entries.contains_key(&bridge.name) {
            return Err(AddError::Taken(bridge.name));
        }
        if table.entries.len() >= config::MOST {
            return Err(AddError::TooMany(config::MOST));
        }
        let entry = self.launch(bridge.clone(), false, token, None);
        let view = entry.view(Instant::now());
        table.entries.insert(bridge.name, entry);
        Ok(view)
    }

    /// Ends one that was added, and waits for its goodbye.
    pub async fn remove(&self, name: &BridgeName) -> Result<(), RemoveError> {
        let ended = {
            let mut table = self.lock();
            match table.entries.get(name) {
                None => return Err(RemoveError::Unknown(name.clone())),
                Some(entry) if entry.configured => return Err(RemoveError::Configured(name.clone())),
                Some(_) => table.take_out(name),
            }
        };
        if let Some(ended) = ended {
            // one that takes longer ends all the same
            let _ = tokio::time::timeout(END_LIMIT, ended.cancelled()).await;
        }
        Ok(())
    }

    /// All, in order of their names.
    pub async fn views(&self) -> Vec<BridgeView> {
        self.look().await;
        let now = Instant::now();
        self.lock().entries.values().map(|entry| entry.view(now)).collect()
    }

    /// What they have counted.
    pub async fn totals(&self) -> Totals {
        self.look().await;
        let table = self.lock();
        let mut totals = Totals { states: BTreeMap::new(), counted: table.gone.clone() };
        for entry in table.entries.values() {
            let (standing, _, flow) = entry.board.read();
            *totals.states.entry(standing.state).or_default() += 1;
            totals.counted.entry(entry.config.kind).or_default().add(entry.counted(), flow);
        }
        totals
    }

    /// Asks for the figures of the living connections.
    async fn look(&self) {
        let boards: Vec<Arc<Board>> = self.lock().entries.values().map(|entry| Arc::clone(&entry.board)).collect();
        let peers: Vec<PeerId> = boards.iter().flat_map(|board| board.peers()).collect();
        if peers.is_empty() {
            return;
        }
        for (peer, flow) in (self.0.parts.flows)(peers).await {
            boards.iter().for_each(|board| board.take_flow(peer, flow));
        }
    }

    /// Looks at the figures until the gateway stops. Begun with the first bridge: most gateways have none.
    fn watch(&self) {
        if self.0.watched.swap(true, Ordering::Relaxed) {
            return;
        }
        let (this, stop) = (self.clone(), self.0.parts.stop.clone());
        self.0.parts.tasks.spawn(async move {
            let looks = async {
                loop {
                    tokio::time::sleep(LOOK).await;
                    this.look().await;
                }
            };
            stop.run_until_cancelled(looks).await
        });
    }

    /// `after`: the bridge whose place it takes; what that one says to the far side comes first.
    fn launch(&self, bridge: BridgeConfig, configured: bool, token: Option<Secret>, after: Option<CancellationToken>) -> Entry {
        let (entry, context) = self.prepare(bridge, configured, token);
        let ended = entry.ended.clone();
        self.0.parts.tasks.spawn(async move {
            // cancels it in any case
            let _ended = ended.drop_guard();
            if let Some(after) = after {
                after.cancelled().await;
            }
            if !context.config.enabled {
                return;
            }
            match context.config.kind {
                BridgeKind::Whip | BridgeKind::Whep => whip::run(context).await,
                BridgeKind::Tribe => tribe::run(context).await,
                BridgeKind::Peerjs => peerjs::run(context).await,
                BridgeKind::Portico => portico::run(context).await,
            }
        });
        entry
    }

    /// What is kept of a bridge, and what it runs with.
    fn prepare(&self, bridge: BridgeConfig, configured: bool, token: Option<Secret>) -> (Entry, Context) {
        self.watch();
        let parts = &self.0.parts;
        let (board, stop) = (Arc::new(Board::new(Instant::now(), bridge.enabled)), parts.stop.child_token());
        let entry = Entry {
            config: bridge.clone(),
            configured,
            token: token.clone(),
            board: Arc::clone(&board),
            stop: stop.clone(),
            ended: CancellationToken::new(),
        };
        let (hub, access, links) = (parts.hub.clone(), Arc::clone(&parts.access), Arc::clone(&self.0.links));
        (entry, Context { config: bridge, token, hub, access, links, board, stop })
    }

    /// Cancelled when the gateway stops.
    pub(super) fn stopping(&self) -> &CancellationToken {
        &self.0.parts.stop
    }

    /// The links to other gateways.
    pub(super) fn links(&self) -> &Links {
        &self.0.links
    }

    /// Takes in a bridge of another gateway, which has come by itself; it is shown like one of the API, under its own name there or one like
    /// it. `None` where there are as many as may be. To be [dismissed](Self::dismiss).
    pub(super) fn adopt(&self, name: &BridgeName, room: RoomId, url: String) -> Option<Adopted> {
        let mut table = self.lock();
        if table.entries.len() >= config::MOST {
            return None;
        }
        let others = (2..=config::MOST + 1).filter_map(|n| BridgeName::new(&format!("{name}-{n}")).ok());
        let name = std::iter::once(name.clone()).chain(others).find(|name| !table.entries.contains_key(name))?;
        let bridge = BridgeConfig::plain(name.clone(), BridgeKind::Portico, room, url);
        let (entry, context) = self.prepare(bridge, false, None);
        let gone = Gone { name: name.clone(), board: Arc::clone(&entry.board), token: entry.ended.clone() };
        table.entries.insert(name, entry);
        Some(Adopted { context, gone })
    }

    /// The bridge of another gateway has ended.
    pub(super) fn dismiss(&self, ended: &Gone) {
        let mut table = self.lock();
        // whoever removes it has taken it out already, and another may have its name
        if table.entries.get(&ended.name).is_some_and(|entry| Arc::ptr_eq(&entry.board, &ended.board)) {
            let _ = table.take_out(&ended.name);
        }
        ended.token.cancel();
    }

    /// The entry of this name and room that joins it to another gateway, whether it dials or not.
    pub(super) fn entry_of(&self, name: &str, room: &RoomId) -> Option<(BridgeConfig, Option<Secret>)> {
        let table = self.lock();
        let is = |entry: &&Entry| {
            let config = &entry.config;
            config.kind == BridgeKind::Portico && config.name.as_str() == name && config.room == *room
        };
        table.entries.values().find(is).map(|entry| (entry.config.clone(), entry.token.clone()))
    }
}

impl Table {
    /// Takes a bridge out and has it end; what is returned tells when it has.
    fn take_out(&mut self, name: &BridgeName) -> Option<CancellationToken> {
        let entry = self.entries.remove(name)?;
        entry.stop.cancel();
        self.gone.entry(entry.config.kind).or_default().add(entry.counted(), entry.board.read().2);
        Some(entry.ended)
    }
}

impl Counted {
    fn add(&mut self, other: Counted, flow: Flow) {
        self.attempts += other.attempts;
        self.connections += other.connections;
        self.flow = self.flow + flow;
    }
}

impl Entry {
    /// Without what passed.
    fn counted(&self) -> Counted {
        let (standing, ..) = self.board.read();
        Counted { attempts: standing.attempts, connections: standing.connections, flow: Flow::default() }
    }

    fn view(&self, now: Instant) -> BridgeView {
        let (standing, since, flow) = self.board.read();
        BridgeView {
            config: self.config.clone(),
            configured: self.configured,
            state: standing.state,
            reason: standing.reason,
            since_s: now.saturating_duration_since(since).as_secs(),
            next_attempt_s: standing.next.map(|next| next.saturating_duration_since(now).as_secs()),
            attempts: standing.attempts,
            connections: standing.connections,
            peer: standing.peer,
            members: self.board.members(),
            flow,
        }
    }
}
