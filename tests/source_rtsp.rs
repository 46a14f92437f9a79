//! An RTSP source, from Debian's GStreamer RTSP server to a viewer's depacketiser.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use portico::forward::MediaPacket;
use portico::peer::outgoing::{OutgoingConfig, OutgoingPlayer};
use portico::vocab::{MediaKind, Sdp};
use rtc::rtp::codec::h264::H264Packet;
use rtc::rtp::packetizer::Depacketizer;
use serde_json::Value;
use support::{Gateway, PATIENCE, film, http, tests_dir};

/// A picture that never ends.
const LIVE: &str = "( videotestsrc is-live=true ! video/x-raw,format=I420,width=160,height=120,framerate=25/1 ! \
    x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! video/x-h264,profile=baseline ! rtph264pay name=pay0 pt=96 )";

/// A server process, ended with its test.
struct Server(Child);

impl Server {
    fn start(port: u16, launch: &str) -> Self {
        let script = tests_dir().join("../src/media/tests/rtsp_server.py");
        let mut child = Command::new("/usr/bin/python3")
            .arg(script)
            .args([&port.to_string(), "-", launch])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 runs");
        let mut line = String::new();
        let out = child.stdout.take().expect("stdout is piped");
        BufReader::new(out).read_line(&mut line).expect("the server says something");
        assert_eq!(line.trim(), "ready", "needs Debian packages python3-gi and gir1.2-gst-rtsp-server-1.0");
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn gateway(port: u16) -> Gateway {
    Gateway::start(&format!(
        "[[room]]\nname = \"main\"\nsources = [\"cam\"]\n\
         [[source]]\nname = \"cam\"\ntype = \"rtsp\"\nurl = \"rtsp://127.0.0.1:{port}/live\"\n"
    ))
}

/// The source as the API shows it.
async fn source(gateway: &Gateway) -> Value {
    let text = http().get(format!("{}/api/v1/sources", gateway.base)).send().await.expect("an answer").text().await;
    let all: Value = serde_json::from_str(&text.expect("a text")).expect("JSON");
    all[0].clone()
}

/// Waits for the source to come into a state.
async fn until(gateway: &Gateway, state: &str) {
    let start = Instant::now();
    loop {
        let now = source(gateway).await;
        if now["state"] == state {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "not {state}: {now:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A viewer that takes NAL units out of the packets.
struct Viewer {
    player: OutgoingPlayer,
    depacketiser: H264Packet,
    /// Came before one that is missing yet; by sequence number, counted on over its wraps.
    early: BTreeMap<i64, MediaPacket>,
    next: Option<i64>,
    slices: Vec<Bytes>,
}

impl Viewer {
    /// Packets that may come before a missing one is sent again.
    const EARLY: usize = 400;

    async fn play(gateway: &Gateway) -> Self {
        let (player, offer) = OutgoingPlayer::offer(&OutgoingConfig::default()).await.expect("an offer");
        let request = http().post(format!("{}/whep/main", gateway.base)).header("content-type", "application/sdp");
        let answer = request.body(offer.text).send().await.expect("an answer");
        assert_eq!(answer.status(), 201);
        player.accept(&Sdp::answer(answer.text().await.expect("a text"))).await.expect("the answer fits");
        let mut depacketiser = H264Packet::default();
        depacketiser.is_avc = true; // a length before each unit
        Self { player, depacketiser, early: BTreeMap::new(), next: None, slices: Vec::new() }
    }

    /// Takes in the next packet of the picture.
    async fn step(&mut self) {
        let played = tokio::time::timeout(PATIENCE, self.player.next_packet()).await.expect("packets come");
        let played = played.expect("the connection goes on");
        if played.kind != MediaKind::Video {
            return;
        }
        let next = *self.next.get_or_insert(played.packet.sequence.into());
        let ahead = played.packet.sequence.wrapping_sub(next as u16) as i16;
        if ahead >= 0 {
            self.early.insert(next + i64::from(ahead), played.packet);
        }
        assert!(self.early.len() < Self::EARLY, "a packet was lost and not sent again");
        while let Some(packet) = self.next.and_then(|next| self.early.remove(&next)) {
            self.next = self.next.map(|next| next + 1);
            // padding
            if packet.payload.is_empty() {
                continue;
            }
            let mut units = self.depacketiser.depacketize(&packet.payload).expect("a payload of RFC 6184");
            while units.len() > 4 {
                let len = u32::from_be_bytes([units[0], units[1], units[2], units[3]]) as usize;
                let unit = units.split_to(4 + len).slice(4..);
                if is_slice(&unit) {
                    self.slices.push(unit);
                }
            }
        }
    }

    async fn slices(&mut self, count: usize) {
        while self.slices.len() < count {
            self.step().await;
        }
    }

    /// Waits for so many more key frames.
    async fn keys(&mut self, count: usize) {
        self.slices.clear();
        while self.slices.iter().filter(|slice| slice[0] & 0x1f == 5).count() < count {
            self.step().await;
        }
    }
}

/// Coded slices, of an IDR picture or not (ITU-T H.264 table 7-1).
fn is_slice(unit: &[u8]) -> bool {
    unit.first().is_some_and(|head| matches!(head & 0x1f, 1 | 5))
}

/// NAL units of a byte stream (ITU-T H.264 annex B).
fn units_of(stream: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> =
        stream.windows(3).enumerate().filter(|(_, three)| three == &[0, 0, 1]).map(|(at, _)| at + 3).collect();
    let ends = starts.iter().skip(1).map(|start| start - 3).chain([stream.len()]);
    let unit = |(start, end): (&usize, usize)| {
        let zeros = stream[*start..end].iter().rev().take_while(|byte| **byte == 0).count();
        &stream[*start..end - zeros]
    };
    starts.iter().zip(ends).map(unit).collect()
}

/// Writes a film of 10 s as a byte stream and as Matroska; gives what serves it, and the stream.
fn film(dir: &Path) -> (String, Vec<u8>) {
    let (raw, boxed) = (dir.join("film.h264"), dir.join("film.mkv"));
    film::run(&format!(
        "videotestsrc num-buffers=250 pattern=ball ! video/x-raw,format=I420,width=320,height=240,framerate=25/1 ! \
         x264enc key-int-max=25 bframes=0 speed-preset=veryfast threads=1 ! video/x-h264,profile=constrained-baseline ! h264parse ! \
         video/x-h264,stream-format=byte-stream,alignment=au ! tee name=both ! queue ! filesink location={} \
         both. ! queue ! h264parse ! matroskamux ! filesink location={}",
        raw.display(),
        boxed.display()
    ));
    let launch = format!("( filesrc location={} ! matroskademux ! h264parse ! rtph264pay name=pay0 pt=96 )", boxed.display());
    (launch, std::fs::read(raw).expect("the film is there"))
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_reach_the_viewer_byte_by_byte_as_they_were_encoded() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (launch, stream) = film(dir.path());
    let slices: Vec<&[u8]> = units_of(&stream).into_iter().filter(|unit| is_slice(unit)).collect();
    let port = free_port();
    let _server = Server::start(port, &launch);
    let gateway = gateway(port);
    let mut viewer = Viewer::play(&gateway).await;
    viewer.slices(75).await;
    let shown = source(&gateway).await;
    assert_eq!((&shown["encoders"], &shown["state"]), (&0.into(), &"running".into()), "{shown:#}");
    let path = shown["paths"][0]["path"].as_str().unwrap_or_default();
    assert!(["pass", "repacketise"].contains(&path), "{shown:#}");
    let first = slices.iter().position(|slice| *slice == viewer.slices[0]).expect("the first slice is one of the film");
    for (number, (received, encoded)) in viewer.slices.iter().zip(&slices[first..]).enumerate() {
        assert_eq!(received, encoded, "slice {number} of the viewer, {} of the film", first + number);
    }
    assert!(slices.len() - first >= viewer.slices.len(), "the viewer has more than the film");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_picture_comes_back_with_the_server() {
    let port = free_port();
    let server = Server::start(port, LIVE);
    let gateway = gateway(port);
    let mut viewer = Viewer::play(&gateway).await;
    viewer.keys(2).await;
    drop(server);
    until(&gateway, "failed").await;
    // what was under way
    while tokio::time::timeout(Duration::from_millis(300), viewer.step()).await.is_ok() {}
    let _server = Server::start(port, LIVE);
    viewer.keys(3).await;
    until(&gateway, "running").await;
}
