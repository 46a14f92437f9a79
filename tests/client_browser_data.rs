//! Headless Chromium and data channels: `Shards` behind a small exchange of descriptions, which echoes what it hears.

mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse};
use axum::routing::{get, post};
use portico::forward::{FramePackets, KeyframeRequest, Layer, MediaPacket, Refresh};
use portico::peer::{
    DataSpec, PeerCommand, PeerEvent, PeerFigures, PeerSpec, Place, Receive, SendTrack, ShardConfig, Shards, Suite,
};
use portico::vocab::{Codec, DataMessage, LayerId, NewChannel, PeerId, Sdp, TrackFormat, TrackId};
use serde_json::Value;
use support::node;
use tokio::sync::{mpsc, oneshot};

struct Nobody;
impl KeyframeRequest for Nobody {
    fn request(&self) {}
}

struct Exchange {
    shards: Shards,
    /// Sound for those who take it.
    layer: Arc<Layer>,
    descriptions: Mutex<HashMap<PeerId, oneshot::Sender<String>>>,
    events: Mutex<HashMap<PeerId, Vec<String>>>,
}

impl Exchange {
    /// Opens a peer and gives its description. `sound` is what the browser sends (`up`) and takes (`down`).
    async fn open(&self, offer: Option<String>, sound: &str) -> (PeerId, String) {
        let peer = PeerId::next();
        let (sender, description) = oneshot::channel();
        self.descriptions.lock().unwrap().insert(peer, sender);
        let open = if offer.is_none() { vec![NewChannel::labelled("portico")] } else { vec![] };
        let track = SendTrack { layers: Arc::clone(&self.layer).into(), stream_label: "main".into() };
        self.shards.send(PeerCommand::Open(Box::new(PeerSpec {
            peer,
            offer: offer.map(Sdp::offer),
            send: if matches!(sound, "down" | "both") { vec![track] } else { vec![] },
            receive: matches!(sound, "up" | "both").then(|| Receive { video: vec![], audio: true }),
            data: Some(DataSpec { open }),
            connect_limit: Duration::from_secs(15),
            own_port: false,
        })));
        (peer, description.await.expect("a description"))
    }

    /// Takes a later offer and gives the answer.
    async fn describe(&self, peer: PeerId, offer: String) -> (PeerId, String) {
        let (sender, description) = oneshot::channel();
        self.descriptions.lock().unwrap().insert(peer, sender);
        self.shards.send(PeerCommand::Describe { peer, sdp: Sdp::offer(offer) });
        (peer, description.await.expect("an answer"))
    }

    fn hear(&self, event: PeerEvent) {
        let (peer, said) = match event {
            PeerEvent::LaneSent { .. } | PeerEvent::LaneTaken { .. } | PeerEvent::LaneRefused { .. } => return,
            PeerEvent::Description { peer, sdp } => {
                if let Some(waiting) = self.descriptions.lock().unwrap().remove(&peer) {
                    waiting.send(sdp.text).expect("somebody asked");
                }
                return;
            }
            PeerEvent::ChannelMessage { peer, channel, message, credit } => {
                match &message {
                    DataMessage::Text(text) if text.as_str() == "close this channel" => {
                        self.shards.send(PeerCommand::SendMessage { peer, channel, message: DataMessage::text("last word") });
                        self.shards.send(PeerCommand::CloseChannel { peer, channel });
                    }
                    DataMessage::Text(text) if text.as_str() == "end this connection" => {
                        let (reply, figures) = oneshot::channel();
                        self.shards.send(PeerCommand::Figures { peer: Some(peer), reply });
                        let figures: PeerFigures = figures.blocking_recv().expect("an answer").pop().expect("the peer lives");
                        let received = figures.packets_received;
                        self.events.lock().unwrap().entry(peer).or_default().push(format!("received {received}"));
                        self.shards.send(PeerCommand::Close { peer });
                    }
                    _ => self.shards.send(PeerCommand::SendMessage { peer, channel, message }),
                }
                drop(credit);
                return;
            }
            PeerEvent::ChannelOpen { peer, label, protocol, ordered, ours, .. } => {
                (peer, format!("open {label} {protocol:?} ordered={ordered} ours={ours}"))
            }
            PeerEvent::ChannelClosed { peer, .. } => (peer, "closed".to_owned()),
            PeerEvent::MessageRefused { peer, refusal, .. } => (peer, format!("refused {refusal}")),
            PeerEvent::Tracks { peer, tracks } => (peer, format!("tracks {}", tracks.len())),
            PeerEvent::Up { peer } => (peer, "up".to_owned()),
            PeerEvent::Down { peer, reason } => (peer, format!("down {reason:?}")),
            PeerEvent::Rejected { peer, reason } => (peer, format!("rejected {reason:?}")),
            PeerEvent::Flowing { .. } | PeerEvent::ChannelDrained { .. } => return,
        };
        self.events.lock().unwrap().entry(peer).or_default().push(said);
    }
}

/// Serves the exchange on a free port and gives its address.
async fn serve() -> String {
    let (sender, mut events) = mpsc::unbounded_channel();
    let shards = Shards::start(
        ShardConfig {
            place: Place::default(),
            port: 0,
            tcp: true,
            addresses: vec![[127, 0, 0, 1].into()],
            shards: 1,
            fill: 1,
            prefer: Suite::Gcm,
            stages: Arc::default(),
        },
        sender,
    )
    .unwrap();
    let id = LayerId { track: TrackId::next(), index: 0 };
    let layer = Arc::new(Layer::new(id, TrackFormat::plain(Codec::Opus), Refresh::Always, Box::new(Nobody)));
    let exchange =
        Arc::new(Exchange { shards, layer: Arc::clone(&layer), descriptions: Mutex::default(), events: Mutex::default() });
    let heard = Arc::clone(&exchange);
    std::thread::spawn(move || {
        while let Some(event) = events.blocking_recv() {
            heard.hear(event);
        }
    });
    tokio::spawn(async move {
        let mut every = tokio::time::interval(Duration::from_millis(20));
        for n in 0..u16::MAX {
            every.tick().await;
            // 20 ms of silence
            let payload = vec![0xf8, 0xff, 0xfe].into();
            let packet = MediaPacket { sequence: n, timestamp: u32::from(n) * 960, marker: false, payload };
            layer.write(FramePackets { layer: id, key: true, packets: vec![packet], arrived: Instant::now() });
        }
    });
    let sdp = |(peer, text): (PeerId, String)| {
        ([(CONTENT_TYPE, "application/sdp".to_owned()), ("x-peer".parse().unwrap(), peer.to_string())], text).into_response()
    };
    let router = Router::new()
        .route("/", get(|| async { Html("<!doctype html><title>data</title>") }))
        .route(
            "/offer/{sound}",
            post(move |State(exchange): State<Arc<Exchange>>, Path(sound): Path<String>, offer: String| async move {
                sdp(exchange.open(Some(offer), &sound).await)
            }),
        )
        .route(
            "/ask/{sound}",
            get(move |State(exchange): State<Arc<Exchange>>, Path(sound): Path<String>| async move {
                sdp(exchange.open(None, &sound).await)
            }),
        )
        .route(
            "/answer/{peer}",
            post(|State(exchange): State<Arc<Exchange>>, Path(peer): Path<u64>, answer: String| async move {
                exchange.shards.send(PeerCommand::Describe { peer: PeerId(peer), sdp: Sdp::answer(answer) });
            }),
        )
        .route(
            "/describe/{peer}",
            post(move |State(exchange): State<Arc<Exchange>>, Path(peer): Path<u64>, offer: String| async move {
                sdp(exchange.describe(PeerId(peer), offer).await)
            }),
        )
        .route(
            "/events/{peer}",
            get(|State(exchange): State<Arc<Exchange>>, Path(peer): Path<u64>| async move {
                let events = exchange.events.lock().unwrap().get(&PeerId(peer)).cloned().unwrap_or_default();
                axum::Json(events)
            }),
        )
        .with_state(exchange);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    base
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chromium_and_portico_talk_by_data_channels_whoever_offers() {
    let base = serve().await;
    let seen = tokio::task::spawn_blocking(move || node("browser_data.mjs", &[&base])).await.unwrap();
    let runs = seen["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 7, "{seen:#}");
    for run in runs {
        assert!(
            run["kindsKept"].as_array().is_some_and(|kinds| kinds.len() == 7 && kinds.iter().all(|kept| *kept == true)),
            "{run:#}"
        );
        assert_eq!(run["inOrder"], true, "{run:#}");
        assert_eq!(run["word"], "last word", "{run:#}");
        assert_eq!(run["afterRestart"], true, "{run:#}");
        assert_eq!(run["transports"], 1, "one BUNDLE: {run:#}");
        let log = strings(&run["log"]);
        assert!(!log.iter().any(|line| line.contains("error")), "{run:#}");
        let events = strings(&run["events"]);
        let (offers, sound) = (run["offerer"].as_str().unwrap(), run["sound"].as_str().unwrap());
        let main = if offers == "browser" {
            "open chat \"lines\" ordered=true ours=false"
        } else {
            "open portico \"\" ordered=true ours=true"
        };
        assert!(events.contains(&main), "{run:#}");
        assert!(events.contains(&"open second \"\" ordered=false ours=false"), "{run:#}");
        assert_eq!(events.iter().filter(|event| **event == "closed").count(), 2, "{run:#}");
        assert!(!events.iter().any(|event| event.starts_with("refused") || event.starts_with("down")), "{run:#}");
        let received: u64 = events.iter().find_map(|event| event.strip_prefix("received ")).and_then(|n| n.parse().ok()).unwrap();
        let audio = &run["audio"];
        assert_eq!(received > 20, matches!(sound, "up" | "both"), "{run:#}");
        assert_eq!(audio["received"].as_u64() > Some(20), matches!(sound, "down" | "both"), "{run:#}");
    }
    assert_eq!(seen["late"], "here", "{seen:#}");
    assert_eq!(strings(&seen["left"]).last(), Some(&"down Left"), "{seen:#}");
}
