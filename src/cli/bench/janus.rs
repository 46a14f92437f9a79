//! Janus' streaming plugin under the same load, set to its cheapest: plain RTP in, the same viewers out.
//!
//! Debian's package `janus` is enough; its service need not run, and its configuration is not used.

use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::BenchError;
use super::forward::{Cast, SETTLE, Spent, megabytes, times};
use super::gateway::Sample;
use super::report::Other;
use super::stage::{PATIENCE, wait};
use crate::peer::load::{Feed, LoadPeer, PlainFeed, Rig, RigNews};
use crate::vocab::{Codec, Sdp};

/// After the last join before counting begins: everybody has had a key frame, which comes every 2 s.
const KEY_FRAME: Duration = Duration::from_secs(2);
/// Plugins and transports that are not needed; their threads would be counted.
const UNUSED_PLUGINS: [&str; 11] = [
    "audiobridge",
    "duktape",
    "echotest",
    "lua",
    "nosip",
    "recordplay",
    "sip",
    "textroom",
    "videocall",
    "videoroom",
    "voicemail",
];
const UNUSED_TRANSPORTS: [&str; 5] = ["mqtt", "nanomsg", "pfunix", "rabbitmq", "websockets"];

/// A running Janus; stopped when dropped.
struct Janus {
    child: Child,
    folder: PathBuf,
    base: String,
    client: reqwest::Client,
    /// What it is sent.
    feeds: Vec<PlainFeed>,
}

/// The same streams and viewers as of a row.
pub(super) async fn measure(cast: Cast, length: Duration) -> Result<Other, BenchError> {
    let janus = Janus::start(cast.feed, cast.streams).await?;
    let (rig, mut news) = Rig::start()?;
    let mut number = 0;
    for stream in 0..cast.streams {
        for _ in 0..cast.viewers {
            number += 1;
            let (handle, offer) = janus.watch(stream).await?;
            let (peer, answer) = LoadPeer::answering(cast.feed, &offer)?;
            rig.add(number, peer);
            janus.play(&handle, answer).await?;
            wait(&mut news, |news| matches!(news, RigNews::Connected(its, _) if its == number).then_some(())).await?;
        }
    }
    tokio::time::sleep(SETTLE + KEY_FRAME).await;
    let before = Sample::of(janus.child.id())?;
    rig.begin();
    tokio::time::sleep(length).await;
    let mut seen = rig.take().await;
    let after = Sample::of(janus.child.id())?;
    let spent = Spent::between(&before, &after);
    Ok(Other {
        packets: seen.packets,
        packets_per_second: seen.packets as f64 / spent.seconds,
        lost: seen.missing,
        cpu_percent: spent.cpu_percent,
        cpu_us_per_packet: (seen.packets > 0).then(|| spent.busy_us / seen.packets as f64),
        latency_ms: times(&mut seen.delta),
        key_latency_ms: times(&mut seen.key),
        rss_mb: megabytes(after.rss),
    })
}

impl Janus {
    async fn start(feed: Feed, streams: usize) -> Result<Self, BenchError> {
        // free now; whoever takes one in between is found out by the waiting below
        let http = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let sockets: Vec<UdpSocket> =
            (0..streams).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, io::Error>>()?;
        let ports: Vec<u16> = sockets.iter().map(|socket| Ok(socket.local_addr()?.port())).collect::<Result<_, io::Error>>()?;
        drop(sockets);
        let folder = std::env::temp_dir().join(format!("portico-bench-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder)?;
        let main = folder.join("janus.jcfg");
        std::fs::write(&main, main_config(&folder.to_string_lossy()))?;
        std::fs::write(folder.join("janus.transport.http.jcfg"), http_config(http))?;
        std::fs::write(folder.join("janus.plugin.streaming.jcfg"), streaming_config(feed, &ports))?;
        let mut command = Command::new("janus");
        command.arg("--configs-folder").arg(&folder).arg("--config").arg(&main);
        let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = match started {
            Ok(child) => child,
            Err(error) => {
                let _ = std::fs::remove_dir_all(&folder);
                return Err(match error.kind() {
                    io::ErrorKind::NotFound => BenchError::Nothing("there is no janus here; on Debian: apt-get install janus"),
                    _ => error.into(),
                });
            }
        };
        let base = format!("http://127.0.0.1:{http}/janus");
        let mut janus = Self { child, folder, base, client: reqwest::Client::new(), feeds: Vec::new() };
        let began = Instant::now();
        while let Err(error) = janus.ask(&format!("{}/info", janus.base), None).await {
            if began.elapsed() > Duration::from_secs(10) {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        janus.feeds = ports.iter().map(|port| PlainFeed::start(feed, *port)).collect::<Result<_, _>>()?;
        Ok(janus)
    }

    /// One more viewer's handle, and Janus' offer to it.
    async fn watch(&self, stream: usize) -> Result<(String, Sdp), BenchError> {
        let session = self.create(&self.base, json!({ "janus": "create" })).await?;
        let handle = self.create(&session, json!({ "janus": "attach", "plugin": "janus.plugin.streaming" })).await?;
        let body = json!({ "request": "watch", "id": stream + 1 });
        self.ask(&handle, Some(json!({ "janus": "message", "body": body }))).await?;
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let event = self.ask(&format!("{session}?maxev=1"), None).await?;
            if let Some(sdp) = event["jsep"]["sdp"].as_str() {
                return Ok((handle, Sdp::offer(sdp.to_owned())));
            }
        }
        Err(BenchError::Nothing("janus made no offer within a minute"))
    }

    async fn play(&self, handle: &str, answer: Sdp) -> Result<(), BenchError> {
        let (body, jsep) = (json!({ "request": "start" }), json!({ "type": "answer", "sdp": answer.text }));
        self.ask(handle, Some(json!({ "janus": "message", "body": body, "jsep": jsep }))).await?;
        Ok(())
    }

    /// Makes something below this address. Returns its own address.
    async fn create(&self, below: &str, request: Value) -> Result<String, BenchError> {
        let answer = self.ask(below, Some(request)).await?;
        let id = answer["data"]["id"].as_u64().ok_or(BenchError::Nothing("janus names nothing that it made"))?;
        Ok(format!("{below}/{id}"))
    }

    async fn ask(&self, url: &str, request: Option<Value>) -> Result<Value, BenchError> {
        let what = "the request to janus";
        let failed = |source| BenchError::Http { what, source };
        let builder = match request {
            Some(mut request) => {
                request["transaction"] = "bench".into();
                self.client.post(url).json(&request)
            }
            None => self.client.get(url),
        };
        let response = builder.timeout(PATIENCE).send().await.map_err(failed)?;
        let status = response.status();
        let answer: Value = response.json().await.map_err(failed)?;
        match answer["janus"].as_str() {
            Some("error") | None => Err(BenchError::Refused { what, status, body: answer.to_string() }),
            Some(_) => Ok(answer),
        }
    }
}

impl Drop for Janus {
    fn drop(&mut self) {
        self.feeds.clear();
        // there is nobody to tell
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// One thread for all viewers, and sessions that need no long poll to stay.
fn main_config(folder: &str) -> String {
    let list = |names: &[&str]| names.iter().map(|name| format!("libjanus_{name}.so")).collect::<Vec<_>>().join(",");
    format!(
        "general: {{ configs_folder = \"{folder}\" debug_level = 2 event_loops = 1 session_timeout = 0 }}\n\
         media: {{}}\nnat: {{}}\n\
         plugins: {{ disable = \"{}\" }}\ntransports: {{ disable = \"{}\" }}\n",
        list(&UNUSED_PLUGINS),
        list(&UNUSED_TRANSPORTS),
    )
}

fn http_config(port: u16) -> String {
    format!(
        "general: {{ json = \"compact\" base_path = \"/janus\" http = true port = {port} ip = \"127.0.0.1\" https = false }}\n\
         admin: {{ admin_http = false admin_https = false }}\n"
    )
}

fn streaming_config(feed: Feed, ports: &[u16]) -> String {
    let pt = PlainFeed::PAYLOAD_TYPE;
    let media = |port: u16| match feed.codec {
        Codec::Opus => format!("audio = true audioport = {port} audiopt = {pt} audiocodec = \"opus\""),
        _ => format!(
            "video = true videoport = {port} videopt = {pt} videocodec = \"h264\" \
             videofmtp = \"level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\""
        ),
    };
    let mountpoint = |(at, port): (usize, &u16)| format!("s{at}: {{ type = \"rtp\" id = {} {} }}\n", at + 1, media(*port));
    ports.iter().enumerate().map(mountpoint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mountpoint_for_each_stream() {
        let pictures = streaming_config(Feed::picture(1_000_000), &[5000, 5001]);
        assert!(pictures.contains("s1: { type = \"rtp\" id = 2 video = true videoport = 5001 videopt = 96"), "{pictures}");
        let sound = streaming_config(Feed::sound(), &[5000]);
        assert!(sound.contains("audioport = 5000") && !sound.contains("video"), "{sound}");
        assert!(main_config("/tmp/x").contains("event_loops = 1"));
    }
}
