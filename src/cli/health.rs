//! `portico health`: does the running gateway serve, and is media really produced?
//!
//! Being ready is what the gateway says of itself. That a picture comes out is not taken on trust: each source is played for a
//! moment, by WHEP, over the way that viewers go. So camera, encoder, packets and encryption have all worked when it says yes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{ConfigArgs, exit, print, tell};
use crate::config::{Config, Flags};
use crate::ops::access::{Access, TokenRequest};
use crate::ops::{net, web};
use crate::peer::outgoing::{OutgoingConfig, OutgoingPlayer};
use crate::room::Topology;
use crate::vocab::{Codec, MediaKind, Right, RoomPattern, Sdp, SourceName, TrackFormat};

/// A pause between two tries.
const PAUSE: Duration = Duration::from_millis(500);
/// A source that gives no picture in this time is asked anew. Cold cameras and RTSP take some seconds.
const PLAY_LIMIT: Duration = Duration::from_secs(15);
/// An answer to a request takes no longer than this.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Most of an error's text that is told.
const MOST_ERROR: usize = 300;

/// Whom to ask, for how long.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  # after an update: keep it, or go back
  portico health --wait 60 && rauc status mark-good
  # one camera that must work; another may be unplugged
  portico health --wait 30 --source door
  # for scripts
  portico health --json | jq .sources

The gateway is ready when /readyz says so. Then every configured source is played for a moment: it is opened, encoded and sent as to a
viewer, and a whole picture must arrive. Sources that are only in mesh rooms cannot be played by themselves; they are named, and do not
count. Where no source is configured, being ready is enough.

Exit codes: 0 healthy, 69 not, with the reasons, 78 wrong configuration.")]
pub struct Args {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// How long it may take until all is well, in seconds. 1 to 3600.
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub wait: u64,
    /// Only this source must give a picture. May be given more than once. Default: all.
    #[arg(long, value_name = "NAME", value_parser = source_name)]
    pub source: Vec<SourceName>,
    /// Where the gateway is. Default: this machine, at the port of the configuration (http.listen).
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Print the outcome as JSON.
    #[arg(long)]
    pub json: bool,
}

fn source_name(text: &str) -> Result<SourceName, String> {
    SourceName::new(text).map_err(|error| error.to_string())
}

/// How it was.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    healthy: bool,
    ready: bool,
    /// Why not.
    reasons: Vec<String>,
    sources: Vec<SourceOutcome>,
    took_ms: u64,
}

#[derive(Clone, Debug, Serialize)]
struct SourceOutcome {
    source: String,
    /// Where it was played.
    room: Option<String>,
    /// `produced`, `failed`, or `unplayable` for one that is in no room where it can be played.
    outcome: &'static str,
    error: Option<String>,
    /// Until the first whole picture.
    first_picture_ms: Option<u64>,
}

/// Why something is not well now.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotWell(String);

impl NotWell {
    fn of(what: &str) -> impl FnOnce(reqwest::Error) -> Self {
        move |error| {
            let mut text = format!("{what}: {error}");
            let mut cause = std::error::Error::source(&error);
            while let Some(inner) = cause {
                text.push_str(&format!(": {inner}"));
                cause = inner.source();
            }
            Self(text)
        }
    }
}

pub(super) fn main(args: &Args) -> ExitCode {
    let loaded = match args.config.load(Flags::default()) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let config = loaded.config;
    let effective = config.effective(!crate::media::device::cameras().is_empty());
    if let Some(unknown) = args.source.iter().find(|name| !effective.sources.iter().any(|source| source.name == **name)) {
        tell(&format!("portico: no source is called {unknown}\n"));
        return ExitCode::from(exit::USAGE);
    }
    let place = |name: &SourceName| {
        let room = effective.rooms.iter().find(|room| room.topology != Topology::Mesh && room.sources.contains(name));
        (name.clone(), room.map(|room| room.name.to_string()))
    };
    let names = effective.sources.iter().map(|source| &source.name);
    let wanted = names.filter(|name| args.source.is_empty() || args.source.contains(name)).map(place).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked = runtime.map_err(|error| NotWell(error.to_string())).and_then(|runtime| {
        let asker = Asker::new(&config, args)?;
        Ok(runtime.block_on(asker.ask(wanted, Duration::from_secs(args.wait))))
    });
    let outcome = asked.unwrap_or_else(|error| Outcome { reasons: vec![error.to_string()], ..Outcome::default() });
    if args.json {
        print(&format!("{:#}\n", json!(outcome)));
    } else {
        tell_people(&outcome);
    }
    if outcome.healthy { exit::OK } else { ExitCode::from(exit::UNAVAILABLE) }
}

fn tell_people(outcome: &Outcome) {
    for source in &outcome.sources {
        let room = source.room.as_deref().unwrap_or("-");
        let took = source.first_picture_ms.map(|ms| format!(", first picture after {ms} ms")).unwrap_or_default();
        print(&format!("{} (room {room}): {}{took}\n", source.source, source.outcome));
    }
    match outcome.healthy {
        true if outcome.sources.is_empty() => print("healthy: ready; there is no source to play\n"),
        true => print("healthy\n"),
        false => outcome.reasons.iter().for_each(|reason| tell(&format!("portico: {reason}\n"))),
    }
}

struct Asker {
    client: Client,
    base: String,
    token: Option<String>,
}

impl Asker {
    fn new(config: &Config, args: &Args) -> Result<Self, NotWell> {
        let listen = config.http.listen;
        let host = match listen.ip() {
            ip if !ip.is_unspecified() => ip,
            // `[::]` takes IPv4 as well
            _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        let scheme = if config.tls.enabled(config.is_local()) { "https" } else { "http" };
        let base = args.url.clone().unwrap_or_else(|| format!("{scheme}://{}", SocketAddr::new(host, listen.port())));
        let access = Access::new(&config.access, config.is_local()).map_err(|error| NotWell(error.to_string()))?;
        let now = SystemTime::now();
        let request = TokenRequest {
            rooms: RoomPattern::any(),
            rights: [Right::Subscribe].into_iter().collect(),
            expires: Some(now + Duration::from_secs(args.wait + 60)),
            subject: "health".into(),
            user_id: None,
        };
        // a certificate of this machine's own, for names that are not its loopback address; nothing secret is sent but a token
        // that is good for a minute, and only where the configuration of this machine says
        let own = args.url.is_none();
        let client = web::client(|it| it.tls_danger_accept_invalid_certs(own).timeout(ANSWER_LIMIT).no_proxy());
        let client = client.map_err(NotWell::of("no HTTP client"))?;
        Ok(Self { client, base: base.trim_end_matches('/').into(), token: access.sign(&request, now) })
    }

    async fn ask(&self, wanted: Vec<(SourceName, Option<String>)>, wait: Duration) -> Outcome {
        let begun = Instant::now();
        let end = begun + wait;
        let mut outcome = Outcome::default();
        match again_until(end, async || self.ready().await).await {
            Ok(()) => outcome.ready = true,
            Err(error) => outcome.reasons.push(error.to_string()),
        }
        if outcome.ready {
            // one after the other: a board may have one encoder
            for (source, room) in &wanted {
                let seen = self.source(source, room.as_deref(), end).await;
                if seen.outcome == "failed" {
                    let why = seen.error.as_deref().unwrap_or_default();
                    outcome.reasons.push(format!("source {source} gives no picture: {why}"));
                }
                outcome.sources.push(seen);
            }
        }
        outcome.healthy = outcome.reasons.is_empty();
        outcome.took_ms = begun.elapsed().as_millis() as u64;
        outcome
    }

    async fn ready(&self) -> Result<(), NotWell> {
        let response =
            self.client.get(format!("{}/readyz", self.base)).send().await.map_err(NotWell::of("no gateway answers"))?;
        if response.status() == StatusCode::OK {
            return Ok(());
        }
        #[derive(Default, Deserialize)]
        struct Ready {
            #[serde(default)]
            waiting: Vec<Waiting>,
        }
        #[derive(Deserialize)]
        struct Waiting {
            what: String,
            why: String,
        }
        let ready: Ready = response.json().await.unwrap_or_default();
        let waiting: Vec<String> = ready.waiting.iter().map(|item| format!("{} ({})", item.what, item.why)).collect();
        Err(NotWell(format!("the gateway is not ready: {}", cut(&waiting.join(", ")))))
    }

    async fn source(&self, source: &SourceName, room: Option<&str>, end: Instant) -> SourceOutcome {
        let mut seen = SourceOutcome {
            source: source.to_string(),
            room: room.map(Into::into),
            outcome: "unplayable",
            error: None,
            first_picture_ms: None,
        };
        let Some(room) = room else { return seen };
        match again_until(end, async || self.play(room, source.as_str(), end).await).await {
            Ok(took) => (seen.outcome, seen.first_picture_ms) = ("produced", Some(took.as_millis() as u64)),
            Err(error) => (seen.outcome, seen.error) = ("failed", Some(error.to_string())),
        }
        seen
    }

    /// Plays until a whole picture has come; how long that took.
    async fn play(&self, room: &str, stream: &str, end: Instant) -> Result<Duration, NotWell> {
        let begun = Instant::now();
        let limit = PLAY_LIMIT.min(end.saturating_duration_since(begun)).max(Duration::from_secs(1));
        let own = |ip: &IpAddr| ip.is_ipv4() || net::is_loopback(*ip);
        let mut bind: Vec<SocketAddr> = net::machine_addresses().into_iter().filter(own).map(|ip| (ip, 0).into()).collect();
        if bind.is_empty() {
            bind.push((Ipv4Addr::LOCALHOST, 0).into());
        }
        let plain = [Codec::VP8, Codec::Opus].map(TrackFormat::plain);
        let formats = std::iter::once(TrackFormat::h264_baseline()).chain(plain).collect();
        let config = OutgoingConfig { bind, formats, ..OutgoingConfig::default() };
        let failed = |error: crate::peer::outgoing::OutgoingError| NotWell(error.to_string());
        let (mut player, offer) = OutgoingPlayer::offer(&config).await.map_err(failed)?;
        let played = async {
            let mut url = reqwest::Url::parse(&self.base).map_err(|error| NotWell(format!("{}: {error}", self.base)))?;
            if let Ok(mut path) = url.path_segments_mut() {
                path.pop_if_empty().extend(["whep", room, stream]);
            }
            let request = self.client.post(url.clone()).header(CONTENT_TYPE, "application/sdp").body(offer.text.clone());
            let response = self.with_token(request).send().await.map_err(NotWell::of("cannot play"))?;
            let status = response.status();
            let session = response.headers().get(LOCATION).and_then(|value| url.join(value.to_str().ok()?).ok());
            let body = response.text().await.map_err(NotWell::of("cannot play"))?;
            if status != StatusCode::CREATED {
                return Err(NotWell(format!("{status}: {}", cut(&body))));
            }
            let outcome = self.first_picture(&mut player, body, limit).await;
            if let Some(session) = session {
                // one that is not ended so ends when its packets are not answered
                let _ = self.with_token(self.client.delete(session)).send().await;
            }
            outcome
        }
        .await;
        let _ = player.close().await;
        played.map(|()| begun.elapsed())
    }

    async fn first_picture(&self, player: &mut OutgoingPlayer, answer: String, limit: Duration) -> Result<(), NotWell> {
        player.accept(&Sdp::answer(answer)).await.map_err(|error| NotWell(error.to_string()))?;
        let picture = async {
            player.connected(limit).await.map_err(|error| NotWell(error.to_string()))?;
            while let Some(played) = player.next_packet().await {
                if played.kind == MediaKind::Video && played.packet.marker {
                    return Ok(());
                }
            }
            Err(NotWell("the connection ended before a picture came".into()))
        };
        let late = |_| NotWell(format!("no picture within {} s", limit.as_secs()));
        tokio::time::timeout(limit, picture).await.map_err(late)?
    }

    fn with_token(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }
}

/// Tries until it is well or the time is over; then the last reason.
async fn again_until<T>(end: Instant, mut attempt: impl AsyncFnMut() -> Result<T, NotWell>) -> Result<T, NotWell> {
    loop {
        match attempt().await {
            Err(_) if Instant::now() + PAUSE < end => tokio::time::sleep(PAUSE).await,
            last => return last,
        }
    }
}

fn cut(text: &str) -> &str {
    text.char_indices().nth(MOST_ERROR).map_or(text, |(at, _)| &text[..at]).trim()
}
