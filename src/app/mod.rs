//! Wiring: the one module that may know every other. Builds everything from the configuration, and ends it in order.
//!
//! Start: access rules, TLS, the listener, media plane, sources, hub, router. Stop (SIGTERM, SIGINT): the hub ends every place,
//! HTTP sessions and websockets say goodbye, then peers, then pipelines; all within 2 s.

mod access;
mod bridges;
mod channels;
mod desk_metrics;
mod events;
mod found;
mod inventory;
mod mounts;
#[cfg(feature = "mdns")]
mod names;
mod peerjs_metrics;
mod recordings;
mod relays;
mod reload;
mod rtsp;
mod running;
mod sockets;
mod stage_metrics;
mod star_metrics;
mod stills;
mod systemd;
mod warmth;
mod whereabouts;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::bridge::{Bridges, BridgesParts};
use crate::cli::{self, run::Job};
use crate::config::Config;
use crate::forward::Stages;
use crate::http::{Origins, Parts, Readiness};
use crate::hub::{Hub, HubParts};
use crate::media::snapshot::{SnapshotFigures, Snapshots};
use crate::media::{Media, MediaError, MediaSourceConfig, device};
use crate::ops::access::{Access, SecretError, TokenRequest, check_exposure, find_secret};
use crate::ops::metrics::{self, Metrics, Registry};
use crate::ops::turn::IceServers;
use crate::ops::{announce, archive, net, tls};
use crate::peer::{self, Mint, NamedCandidate, Place, Processor, RelayAccess, RelayUse, ShardConfig, Shards, ShardsError};
use crate::room::{Report, Rooms};
use crate::signalling::peerjs::PeerjsFigures;
use crate::signalling::star::StarFigures;
use bridges::{BridgeCollector, LatestTotals};
use desk_metrics::{DeskCollector, LatestFigures};
use events::ToldEvents;
use found::Found;
use inventory::Stock;
use peerjs_metrics::PeerjsCollector;
use recordings::RecordingCollector;
use relays::RelayCollector;
use running::{Running, Signals, wait};
use sockets::Sockets;
use stage_metrics::StageCollector;
use star_metrics::StarCollector;
use stills::{RoomStills, SnapshotCollector};
use whereabouts::Whereabouts;

/// Everything is ended within this time of the signal; what is not by then is cut off.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// Threads for signalling and HTTP. A message passes three tasks; a second thread would be woken to share them, which costs about as
/// much as the message. What takes long has threads of its own: packets, codecs, files.
const SIGNALLING_THREADS: usize = 1;

/// What `/readyz` waits for: the first look at the sources.
const SOURCES: &str = "sources";
/// A driver that does not answer in this time does not keep the gateway from being ready.
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// While a source cannot be opened it is looked at this often, so that the API tells what is true now. A look costs some
/// milliseconds; viewers do not wait for it, their demand is tried at once.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The key of the listener of the page, the API and all dialects.
const MAIN_LISTENER: &str = "http.listen";

/// Why the gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port is taken, or the address is not ours.
    #[error("cannot listen on {address} ({key})")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// By which key.
        key: String,
        /// The system's word.
        #[source]
        source: std::io::Error,
    },
    /// A `[[listener]]` for a dialect that was left out when the program was built.
    #[error("this build does not have the dialect {dialect} (listener)")]
    NotBuilt {
        /// It.
        dialect: &'static str,
    },
    /// The token secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// No certificate.
    #[error("no certificate to listen with")]
    Tls(#[from] tls::TlsError),
    /// The media port is taken.
    #[error(transparent)]
    Peers(#[from] ShardsError),
    /// GStreamer or the board file.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// An entry of `http.allowed_origins`; `portico check` finds it before.
    #[error("http.allowed_origins: {0}")]
    Origins(String),
    /// systemd's socket can be reached by others, and there are no rules for them.
    #[error("the socket of systemd, {listen}, can be reached by others, and nothing says who may do what")]
    Exposed {
        /// Its address.
        listen: SocketAddr,
    },
    /// `portico restore` is at work.
    #[error("{} is being restored now", .0.display())]
    Restoring(std::path::PathBuf),
    /// No runtime, no signal handler.
    #[error("the system refuses what every program needs")]
    System(#[source] std::io::Error),
}

impl StartError {
    /// What somebody must change in the configuration is 78, what the system does not give is 69.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Secret(_)
            | Self::Origins(_)
            | Self::NotBuilt { .. }
            | Self::Exposed { .. }
            | Self::Media(MediaError::Board(_)) => cli::exit::CONFIG,
            _ => cli::exit::UNAVAILABLE,
        }
    }
}

/// Runs the gateway until it is told to stop. What goes wrong at start is told on stderr.
pub fn run(job: Job) -> ExitCode {
    let started = Instant::now();
    raise_file_limit();
    let builder = &mut tokio::runtime::Builder::new_multi_thread();
    let runtime = match builder.worker_threads(SIGNALLING_THREADS).enable_all().thread_name("signalling").build() {
        Ok(runtime) => runtime,
        Err(source) => return failed(&StartError::System(source)),
    };
    let outcome = runtime.block_on(serve(job, started));
    // nothing that is left may hold the exit up
    runtime.shutdown_timeout(Duration::from_millis(200));
    match outcome {
        Ok(()) => cli::exit::OK,
        Err(error) => failed(&error),
    }
}

impl StartError {
    /// What to do about it, where that is not in the message.
    fn help(&self) -> Option<&'static str> {
        let in_use = |source: &std::io::Error| source.kind() == std::io::ErrorKind::AddrInUse;
        match self {
            Self::Listen { source, key, .. } if in_use(source) && key != MAIN_LISTENER => Some(
                "another program, perhaps the server that this listener replaces, has this port: stop it, or choose another \
                      with `listen` in that [[listener]]",
            ),
            Self::Listen { source, .. } if in_use(source) => {
                Some("another program, perhaps another Portico, has this port: stop it, or choose another with --listen")
            }
            Self::Listen { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("ports below 1024 are for root: choose another with --listen")
            }
            Self::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrNotAvailable => {
                Some("this machine has no such address: `ip address` lists those it has")
            }
            Self::Peers(ShardsError::Bind { source, .. }) if in_use(source) => {
                Some("another program, perhaps another Portico, has this port: stop it, or choose another with --ice-port")
            }
            Self::Exposed { .. } => Some(
                "set [access] token_secret_file (and make tokens with `portico token`), or grant rights to everyone by name with \
                 [access] anonymous = [\"subscribe\"]",
            ),
            _ => None,
        }
    }
}

/// Every connection is an open file, and shells give a process 1024 by default: takes what the system allows it, up to 65536.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const WANTED: u64 = 65_536;
    let now = getrlimit(Resource::Nofile);
    let wanted = now.maximum.map_or(WANTED, |most| most.min(WANTED));
    if now.current.is_some_and(|current| current < wanted)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: now.maximum })
    {
        warn!(%error, "limit of open files stays as it is");
    }
}

/// Tells why, once: people at a terminal by a sentence, logs by an event.
fn failed(error: &StartError) -> ExitCode {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    if tracing::enabled!(tracing::Level::ERROR) && !terminal {
        error!(error = text, help = error.help(), "the gateway cannot start");
    } else {
        let help = error.help().map(|help| format!("  help: {help}\n")).unwrap_or_default();
        cli::tell(&format!("portico: {text}\n{help}"));
    }
    ExitCode::from(error.exit_code())
}

async fn serve(job: Job, started: Instant) -> Result<(), StartError> {
    let mut sockets = Sockets::handed_over();
    let config = &sockets.applied(&job.loaded.config);
    for listen in config.addresses() {
        // the configuration was checked; a socket of systemd was not
        check_exposure(&config.access, listen).map_err(|exposed| StartError::Exposed { listen: exposed.listen })?;
    }
    let loopback = config.is_local();
    let access = Arc::new(Access::new(&config.access, loopback)?);
    if let Some(warning) = access.start_warning() {
        warn!("{warning}");
    }
    // kept until the end: `portico restore` keeps off
    let _in_use = hold_state(config)?;
    let certificate = match config.tls.enabled(loopback) {
        true => Some(tls::server_config(&config.tls, &net::certificate_names(), SystemTime::now())?),
        false => None,
    };
    // held for as long as the gateway runs
    let _watch = certificate.as_ref().map(tls::Tls::watch).transpose()?;
    let (listener, listen) = sockets.listen(config.http.listen, MAIN_LISTENER)?;
    let mut extra = Vec::with_capacity(config.listener.len());
    for (index, listener) in config.listener.iter().enumerate() {
        let key = format!("listener[{index}], {}", listener.dialect.as_str());
        extra.push((sockets.listen(listener.address(config.http.listen.ip()), &key)?, listener));
    }

    let rtsp_socket = config.rtsp.listen.map(|listen| sockets.listen(listen, rtsp::KEY)).transpose()?;

    let mut signals = Signals::new().map_err(StartError::System)?;
    let (peer_news, peer_events) = mpsc::unbounded_channel();
    let stages = Arc::<Stages>::default();
    let whereabouts = Whereabouts::new(config);
    let (names, named) = hidden_names(config);
    let players = rtsp::Players::new(peer_news.clone());
    let plane = &config.media;
    let turn_secret = plane.turn_secret_file.as_deref().map(find_secret).transpose()?;
    let ice_servers = IceServers::new(plane.ice_servers.clone(), turn_secret, plane.turn_lifetime);
    let mut shard_config = shard_config(config, &whereabouts, names, &stages);
    shard_config.place.relay = ice_servers
        .own()
        .filter(|_| whereabouts.relays())
        .map(|make| RelayAccess { mint: Mint::new(make), for_all: plane.relay == RelayUse::All });
    let shards = Arc::new(Shards::start(shard_config, peer_news)?);
    let effective = config.effective(!device::cameras().is_empty());
    let (media_news, media_events) = mpsc::unbounded_channel();
    let media_config = MediaSourceConfig {
        habits: config.sources.clone(),
        sources: effective.all_sources(),
        strain: config.strain.clone(),
        speaker: config.speaker.clone(),
        stages: Arc::clone(&stages),
    };
    let media = Arc::new(Media::start(media_config, &crate::ops::default_state_dir(), media_news)?);

    let mut realms = mounts::realms();
    let peerjs_figures = PeerjsFigures::shared();
    let peerjs = Arc::new(mounts::peerjs::Brokers::new(&config.peerjs, &config.listener, &peerjs_figures, &mut realms));
    let star_figures = StarFigures::shared();
    #[cfg(feature = "socketio")]
    let socketio = Arc::new(mounts::socketio::Endpoints::new(config, &star_figures, &mut realms));
    let tasks = TaskTracker::new();
    let stop = CancellationToken::new();
    let snapshot_figures = Arc::<SnapshotFigures>::default();
    let snapshots = Snapshots::new(Arc::clone(&media), Arc::clone(&snapshot_figures), tasks.clone(), stop.clone());
    let events = ToldEvents::start(config, &effective, listen, (&media, &snapshots), &tasks, stop.clone());
    let (to_players, to_shards, to_media) = (players.clone(), Arc::clone(&shards), Arc::clone(&media));
    let (hub, hub_task) = Hub::start(HubParts {
        rooms: Rooms::new(config.rooms.clone(), effective.rooms.clone()),
        peers: Box::new(move |order| {
            if let Some(order) = to_players.carry_out(order) {
                to_shards.send(order);
            }
        }),
        peer_events,
        media: Box::new(move |order| to_media.send(order)),
        media_events,
        publish_codecs: config.media.publish_codecs.clone(),
        sources: reload::present(&effective),
        channels: channels::parts(config, &tasks),
        witness: Some({
            let events = events.events.clone();
            Box::new(move |report: &Report| events.report(report))
        }),
        realms,
    });

    let recorder = recordings::start(config, &hub, &media, &tasks, stop.clone());
    let bridges = Bridges::start(
        BridgesParts {
            hub: hub.clone(),
            flows: bridges::flows(&shards),
            access: Arc::clone(&access),
            tasks: tasks.clone(),
            stop: stop.clone(),
        },
        &config.bridge,
    );
    let (desk, latest) = (LatestFigures::default(), LatestTotals::default());
    let recordings = RecordingCollector { figures: Arc::clone(recorder.figures()), recorder: Some(recorder.clone()) };
    let relays = RelayCollector(Some(Arc::clone(&shards)));
    let registry = registry(&star_figures, &peerjs_figures, &desk, &latest, &stages, &snapshot_figures, (recordings, relays));
    let metrics = Arc::new(Metrics::reading(registry, config.strain.sysfs.clone()));
    let bridged = (bridges.clone(), latest);
    let stock = Stock::new(
        hub.clone(),
        (Arc::clone(&shards), players.clone()),
        Arc::clone(&media),
        events.events.clone(),
        Arc::clone(&metrics),
        desk,
        bridged,
    );
    #[cfg(feature = "mdns")]
    if let Some(named) = named {
        tasks.spawn(names::look_up(named, Arc::clone(&shards), stop.clone()));
    }
    #[cfg(not(feature = "mdns"))]
    drop(named);
    tasks.spawn(whereabouts.follow(Arc::clone(&shards), stop.clone()));
    let readiness = Readiness::waiting_for(&[SOURCES]);
    let look_again = Arc::new(Notify::new());
    tasks.spawn(examine_sources(Arc::clone(&media), readiness.clone(), Arc::clone(&look_again), stop.clone()));
    if config.strain.enabled {
        tasks.spawn(warmth::watch(config.strain.sysfs.clone(), Arc::clone(&media), stop.clone()));
    }
    let owners = systemd::Owners {
        hub: hub.clone(),
        shards: Arc::clone(&shards),
        media: Arc::clone(&media),
        readiness: readiness.clone(),
    };
    let parts = Parts {
        hub: Arc::new(hub.clone()),
        access: Arc::new(access::Door(Arc::clone(&access))),
        signer: access.has_secret().then(|| Arc::new(access::Door(Arc::clone(&access))) as _),
        inventory: Arc::new(stock.clone()),
        stills: Arc::new(RoomStills { hub: hub.clone(), snapshots }),
        recorder: recorder.clone(),
        bridges: Arc::new(bridges.clone()),
        ice_servers: ice_servers.clone(),
        origins: Origins::parse(&config.http.allowed_origins).map_err(|error| StartError::Origins(error.to_string()))?,
        trusted_proxies: config.http.trusted_proxies.clone(),
        limits: config.http.limits.clone(),
        figures: Arc::clone(&metrics),
        metrics: stock.exporter(),
        readiness,
        shutdown: stop.clone(),
        tasks: tasks.clone(),
    };
    let mounts = mounts::Mounts {
        hub: hub.clone(),
        access: Arc::clone(&access),
        ice_servers,
        tribe: config.tribe.clone(),
        algorea: config.algorea.clone(),
        #[cfg(feature = "socketio")]
        socketio,
        prefixes: Arc::new(config.room_prefix.clone()),
        listener_prefix: None,
        peerjs,
        bridges: bridges.clone(),
        stop: stop.clone(),
        tasks: tasks.clone(),
        metrics: Arc::clone(&metrics),
    };
    let gate = crate::http::Gate::new(&parts);
    let admission = crate::http::Admission::new(&config.http.limits);
    let tls_config = certificate.as_ref().map(|certificate| Arc::clone(&certificate.config));
    let serve = |listener, router| crate::http::serve(listener, router, tls_config.clone(), stop.clone(), admission.clone());
    let router = crate::http::router(parts, &gate, mounts::routes(mounts.clone()));
    let http = tokio::spawn(serve(listener, router));
    for ((listener, listen), config) in extra {
        let dialect = config.dialect.as_str();
        let routes = mounts::listener_routes(mounts.clone(), config).ok_or(StartError::NotBuilt { dialect })?;
        info!(%listen, dialect, "listening for one dialect");
        let served = serve(listener, gate.guard(routes));
        tasks.spawn(async move {
            if let Err(error) = served.await {
                error!(%listen, %error, "a listener has failed");
            }
        });
    }

    let rtsp_listen = rtsp_socket.as_ref().map(|(_, listen)| *listen);
    if let Some(socket) = rtsp_socket {
        let needs = rtsp::Needs { hub: &hub, access: &access, metrics: &metrics, tasks: &tasks, stop: &stop };
        players.serve(socket, &config.rtsp, needs)?;
    }

    announce(&job, listen, certificate.as_ref(), &access);
    let listening_ms = started.elapsed().as_millis() as u64;
    info!(%listen, ice = ?shards.addresses(), sources = effective.sources.len(), listening_ms, "listening");
    systemd::tell(sd_notify::NotifyState::Ready);
    tasks.spawn(systemd::look_after(owners, config.sources.open_limit, stop.clone()));

    let found = Found::start(config, (listen, rtsp_listen), &access, &effective.rooms, certificate.is_some());
    let mut running =
        Running { hub: hub.clone(), media: Arc::clone(&media), look_again, access, found, events, recorder, bridges, effective };
    wait(&mut signals, &job, &mut running).await;

    let stopping = Instant::now();
    systemd::tell(sd_notify::NotifyState::Stopping);
    let goodbye = tokio::task::spawn_blocking(move || running.found.stop());
    info!("stopping: sessions are ended");
    // a hub that is gone has ended its places
    let _ = hub.stop().await;
    stop.cancel();
    tasks.close();
    let drained = async {
        tasks.wait().await;
        let _ = http.await;
        let _ = hub_task.await;
        let _ = goodbye.await;
    };
    if tokio::time::timeout(STOP_LIMIT.saturating_sub(stopping.elapsed()) / 2, drained).await.is_err() {
        warn!("some connections did not end in time and are cut off");
    }
    shards.stop();
    media.stop();
    info!(took_ms = stopping.elapsed().as_millis() as u64, "stopped");
    Ok(())
}

/// Says that the folders of the state are in use.
fn hold_state(config: &Config) -> Result<Vec<std::fs::File>, StartError> {
    let folders = config.tls.state_dir.iter().cloned().chain([crate::ops::default_state_dir()]);
    let mut held = Vec::new();
    for folder in folders {
        held.extend(archive::hold(&folder).map_err(|_| StartError::Restoring(folder))?);
    }
    Ok(held)
}

/// The figures of modules that count for themselves.
fn registry(
    star: &Arc<StarFigures>,
    peerjs: &Arc<PeerjsFigures>,
    desk: &LatestFigures,
    bridges: &LatestTotals,
    stages: &Arc<Stages>,
    snapshots: &Arc<SnapshotFigures>,
    (recordings, relays): (RecordingCollector, RelayCollector),
) -> Registry {
    let mut registry = Registry::default();
    // under the names that its original gave them
    registry.register_collector(Box::new(StarCollector(Arc::clone(star))));
    let ours = registry.sub_registry_with_prefix(metrics::PREFIX);
    ours.register_collector(Box::new(PeerjsCollector(Arc::clone(peerjs))));
    ours.register_collector(Box::new(DeskCollector(Arc::clone(desk))));
    ours.register_collector(Box::new(BridgeCollector(Arc::clone(bridges))));
    ours.register_collector(Box::new(StageCollector(Arc::clone(stages))));
    ours.register_collector(Box::new(SnapshotCollector(Arc::clone(snapshots))));
    ours.register_collector(Box::new(recordings));
    ours.register_collector(Box::new(relays));
    registry
}

/// The list of figures for `docs/ref/metrics.md`.
#[cfg(test)]
pub(crate) fn metrics_reference() -> String {
    let (star, peerjs) = (StarFigures::shared(), PeerjsFigures::shared());
    let recordings = RecordingCollector { figures: Arc::default(), recorder: None };
    metrics::reference(registry(
        &star,
        &peerjs,
        &LatestFigures::default(),
        &LatestTotals::default(),
        &Arc::default(),
        &Arc::default(),
        (recordings, RelayCollector(None)),
    ))
}

/// Says at start, and when others are configured, what is wrong with sources, without holding anything up.
async fn examine_sources(media: Arc<Media>, readiness: Readiness, look_again: Arc<Notify>, stop: CancellationToken) {
    let looks = async {
        loop {
            let media = Arc::clone(&media);
            // not aborted by a stop: what hangs in a driver is left to the exit
            let mut look = tokio::task::spawn_blocking(move || media.examine());
            let bad = match tokio::time::timeout(LOOK_LIMIT, &mut look).await {
                Ok(bad) => bad,
                Err(_) => {
                    warn!(limit_ms = LOOK_LIMIT.as_millis() as u64, "a source's device does not answer");
                    readiness.ready(SOURCES);
                    look.await
                }
            };
            readiness.ready(SOURCES);
            let others = look_again.notified();
            match bad.unwrap_or_default() {
                0 => others.await,
                // whichever comes first
                _ => drop(tokio::time::timeout(LOOK_AGAIN, others).await),
            }
        }
    };
    tokio::select! {
        () = looks => {}
        () = stop.cancelled() => {}
    }
}

/// Names that wait to be looked up.
const WAITING_NAMES: usize = 64;

type Names = Option<mpsc::Sender<NamedCandidate>>;

/// Where names go that browsers write in place of their addresses, and come out: unless multicast DNS is switched off, or nobody of another machine comes.
fn hidden_names(config: &Config) -> (Names, Option<mpsc::Receiver<NamedCandidate>>) {
    let wanted = cfg!(feature = "mdns") && config.mdns.enabled && !config.is_local();
    wanted.then(|| mpsc::channel(WAITING_NAMES)).unzip()
}

fn shard_config(config: &Config, whereabouts: &Whereabouts, names: Names, stages: &Arc<Stages>) -> ShardConfig {
    let shards = match config.media.shards {
        0 => peer::threads(std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)),
        some => some,
    };
    ShardConfig {
        port: config.media.ice_port,
        prefer: config.media.srtp.suite(&Processor::here()),
        tcp: config.media.ice_tcp,
        addresses: whereabouts.addresses(),
        place: Place {
            external: config.media.ice_external_addresses.clone(),
            lite: config.media.ice_lite,
            changes: whereabouts.changes(),
            names,
            asks: whereabouts.asks(),
            relay: None,
        },
        shards,
        fill: peer::FILL,
        stages: Arc::clone(stages),
    }
}

/// Prints where the page is, and an invitation where the configuration wants one. This is standard output and not the log: where logs
/// are copied to, no token goes; where systemd started us, it is in the journal all the same.
fn announce(job: &Job, listen: SocketAddr, certificate: Option<&tls::Tls>, access: &Access) {
    let urls = announce::urls(listen, certificate.is_some(), &net::machine_addresses());
    let fingerprint = certificate.filter(|it| it.self_signed).map(|it| it.fingerprint().to_string());
    let (terminal, colour) = (std::io::IsTerminal::is_terminal(&std::io::stdout()), cli::colour(&std::io::stdout()));
    let holds = job.loaded.config.access.join_link;
    let request = TokenRequest::invitation(SystemTime::now(), holds);
    let link = match (request.and_then(|request| access.sign(&request, SystemTime::now())), urls.first()) {
        (Some(token), Some(base)) => Some(cli::token::join_link(base, &[], &token)),
        _ => None,
    };
    let with_qr = (terminal || job.args.qr) && link.is_none();
    cli::print(&announce::welcome(&urls, fingerprint.as_deref(), with_qr, colour));
    if let Some(link) = link {
        cli::print(&announce::invitation(&link, holds, colour));
    }
}
