//! A gateway with its load: publishers come by WHIP, viewers by WHEP.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::BenchError;
use crate::peer::load::{Feed, LoadPeer, Rig, RigNews};
use crate::vocab::Sdp;

/// Where the load meets: an ad-hoc room.
const ROOM: &str = "bench";
/// Longest wait for a connection or a picture; a machine that needs longer has nothing to measure.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A gateway with its load.
pub(super) struct Stage {
    client: reqwest::Client,
    base: String,
    pub(super) rig: Rig,
    news: mpsc::UnboundedReceiver<RigNews>,
    feed: Feed,
    /// Part of the far ends' datagrams that is lost.
    loss: f64,
}

/// How long a viewer's way in took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joined {
    /// From the answer to the connection (ICE and DTLS).
    pub(super) connected: Duration,
    /// From the request to a complete key frame; to the first packet of sound.
    pub(super) first_frame: Duration,
}

impl Stage {
    pub(super) fn new(base: &str, feed: Feed, loss: f64) -> Result<Self, BenchError> {
        let (rig, news) = Rig::start()?;
        Ok(Self { client: reqwest::Client::new(), base: base.to_owned(), rig, news, feed, loss })
    }

    /// Adds a publisher of this stream, whose number in the rig is `number`, and waits for its connection.
    pub(super) async fn publish(&mut self, number: u64, stream: usize) -> Result<(), BenchError> {
        let (peer, offer) = LoadPeer::publisher(self.feed)?;
        let mut peer = peer.losing(self.loss);
        peer.accept(&self.open("the WHIP request", &format!("whip/{ROOM}/s{stream}"), offer).await?.0)?;
        self.rig.add(number, peer);
        self.wait(|news| matches!(news, RigNews::Connected(its, _) if its == number).then_some(())).await
    }

    /// Adds a viewer of this stream and waits for its picture.
    pub(super) async fn join(&mut self, number: u64, stream: usize) -> Result<Joined, BenchError> {
        let began = Instant::now();
        let answered = self.enter(number, stream).await?.1;
        let mut connected = answered;
        self.wait(|news| match news {
            RigNews::Connected(its, at) if its == number => {
                connected = at;
                None
            }
            RigNews::FirstFrame(its, at) if its == number => Some(at),
            _ => None,
        })
        .await
        .map(|at| Joined { connected: connected.saturating_duration_since(answered), first_frame: at.duration_since(began) })
    }

    /// Adds a viewer and waits for the gateway's answer only. Returns the session's URL, and when the answer came.
    pub(super) async fn enter(&mut self, number: u64, stream: usize) -> Result<(String, Instant), BenchError> {
        let (peer, offer) = LoadPeer::player(self.feed)?;
        let mut peer = peer.losing(self.loss);
        let (answer, session) = self.open("the WHEP request", &format!("whep/{ROOM}/s{stream}"), offer).await?;
        let answered = Instant::now();
        peer.accept(&answer)?;
        self.rig.add(number, peer);
        Ok((session, answered))
    }

    /// Ends a session by signalling.
    pub(super) async fn delete(&self, session: &str) -> Result<(), BenchError> {
        let failed = |source| BenchError::Http { what: "the DELETE request", source };
        self.client.delete(session).timeout(PATIENCE).send().await.map_err(failed)?;
        Ok(())
    }

    /// What the gateway's metrics say.
    pub(super) async fn count(&self, metric: &str) -> Result<u64, BenchError> {
        let failed = |source| BenchError::Http { what: "the request for metrics", source };
        let request = self.client.get(format!("{}/metrics", self.base)).timeout(PATIENCE);
        let text = request.send().await.map_err(failed)?.text().await.map_err(failed)?;
        let value = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' ')?.parse().ok());
        value.ok_or(BenchError::Nothing("the gateway's metrics do not have what is looked for"))
    }

    /// Drops what nobody waited for.
    pub(super) fn forget_news(&mut self) {
        while self.news.try_recv().is_ok() {}
    }

    /// Adds a viewer of whatever is played at a path, and waits for its connection.
    pub(super) async fn watch(&mut self, number: u64, path: &str) -> Result<(), BenchError> {
        let (mut peer, offer) = LoadPeer::player(self.feed)?;
        peer.accept(&self.open("the WHEP request", path, offer).await?.0)?;
        self.rig.add(number, peer);
        self.wait(|news| matches!(news, RigNews::Connected(its, _) if its == number).then_some(())).await
    }

    async fn open(&self, what: &'static str, path: &str, offer: Sdp) -> Result<(Sdp, String), BenchError> {
        let failed = |source| BenchError::Http { what, source };
        let url = format!("{}/{path}", self.base);
        let request = self.client.post(url).header("content-type", "application/sdp").body(offer.text);
        let response = request.timeout(PATIENCE).send().await.map_err(failed)?;
        let status = response.status();
        let location = response.headers().get("location").and_then(|value| value.to_str().ok());
        let session = format!("{}{}", self.base, location.unwrap_or_default());
        let body = response.text().await.map_err(failed)?;
        match status {
            reqwest::StatusCode::CREATED => Ok((Sdp::answer(body), session)),
            _ => Err(BenchError::Refused { what, status, body }),
        }
    }

    async fn wait<T>(&mut self, wanted: impl FnMut(RigNews) -> Option<T>) -> Result<T, BenchError> {
        wait(&mut self.news, wanted).await
    }
}

/// Waits for a piece of news; others are passed over.
pub(super) async fn wait<T>(
    news: &mut mpsc::UnboundedReceiver<RigNews>,
    mut wanted: impl FnMut(RigNews) -> Option<T>,
) -> Result<T, BenchError> {
    let search = async {
        while let Some(news) = news.recv().await {
            if let Some(found) = wanted(news) {
                return Some(found);
            }
        }
        None
    };
    let found = tokio::time::timeout(PATIENCE, search).await.ok().flatten();
    found.ok_or(BenchError::Nothing("a connection or its picture did not come within a minute"))
}
