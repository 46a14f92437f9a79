//! A viewer without a browser: Portico's own outgoing player, over real HTTP and real UDP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use portico::peer::outgoing::{OutgoingConfig, OutgoingPlayer};
use portico::vocab::{MediaKind, Sdp};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::support::PATIENCE;

/// What a server answered.
pub struct Answer {
    /// The status code.
    pub status: u16,
    head: String,
    /// The body.
    pub body: String,
}

impl Answer {
    /// A header's value, by its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find(|line| line.split(':').next().is_some_and(|it| it.eq_ignore_ascii_case(name)))?;
        line.split_once(':').map(|(_, value)| value.trim())
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {}\n{}", self.head, self.body))
    }
}

/// One request of its own connection to `http://HOST:PORT` and a path.
pub fn request(method: &str, base: &str, path: &str, content_type: &str, body: &str) -> Answer {
    let host = base.strip_prefix("http://").expect("plain HTTP");
    let mut stream = TcpStream::connect(host).unwrap_or_else(|error| panic!("{base} does not answer: {error}"));
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: {content_type}\r\n");
    stream.write_all(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes()).expect("the request is sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}: no answer in {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
    assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "a body without a length: {head}");
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// GET of a JSON resource.
pub fn get(base: &str, path: &str) -> Answer {
    request("GET", base, path, "application/json", "")
}

/// One picture as it came: its H.264 NAL units.
pub struct Frame {
    /// The RTP time, 90 kHz.
    pub timestamp: u32,
    /// NAL units without start codes.
    pub units: Vec<Vec<u8>>,
}

impl Frame {
    /// The types of its NAL units (ITU-T H.264 table 7-1).
    pub fn types(&self) -> Vec<u8> {
        self.units.iter().map(|unit| unit[0] & 0x1f).collect()
    }

    /// Whether it can be decoded by itself: parameter sets and an IDR slice.
    pub fn is_key(&self) -> bool {
        let types = self.types();
        [7, 8, 5].iter().all(|wanted| types.contains(wanted))
    }

    /// As a byte stream (Annex B).
    pub fn byte_stream(&self) -> Vec<u8> {
        self.units.iter().flat_map(|unit| [&[0, 0, 0, 1], &unit[..]].concat()).collect()
    }
}

/// Plays the video of one stream. Frames are taken from the network whether or not the test looks at them.
pub struct Viewer {
    base: String,
    session: String,
    frames: mpsc::Receiver<Frame>,
    stop: Option<oneshot::Sender<()>>,
    runtime: Option<Runtime>,
}

impl Viewer {
    /// Asks for `/whep/…`. Returns what was answered instead where it is not 201.
    pub fn try_join(base: &str, path: &str) -> Result<Self, Answer> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let (mut player, offer) =
            runtime.block_on(async { OutgoingPlayer::offer(&OutgoingConfig::default()).await }).expect("the player offers");
        let answer = request("POST", base, path, "application/sdp", &offer.text);
        if answer.status != 201 {
            return Err(answer);
        }
        let session = answer.header("location").expect("201 has a Location").to_owned();
        let (taken, frames) = mpsc::channel();
        let (stop, mut stopped) = oneshot::channel();
        runtime
            .block_on(async {
                player.accept(&Sdp::answer(answer.body)).await?;
                player.connected(PATIENCE).await
            })
            .expect("the player connects");
        runtime.spawn(async move {
            let mut assembler = Assembler::default();
            loop {
                tokio::select! {
                    packet = player.next_packet() => match packet {
                        Some(packet) if packet.kind == MediaKind::Video => {
                            let packet = packet.packet;
                            let frame = assembler.take(packet.sequence, packet.timestamp, packet.marker, &packet.payload);
                            // a test that no longer looks is fine
                            let _ = frame.map(|frame| taken.send(frame));
                        }
                        Some(_) => {}
                        None => return,
                    },
                    _ = &mut stopped => {
                        let _ = player.close().await;
                        return;
                    }
                }
            }
        });
        Ok(Self { base: base.to_owned(), session, frames, stop: Some(stop), runtime: Some(runtime) })
    }

    /// Asks, and panics when refused.
    pub fn join(base: &str, path: &str) -> Self {
        Self::try_join(base, path).unwrap_or_else(|answer| panic!("{path} answered {}: {}", answer.status, answer.body))
    }

    /// Asks until it is not told 503 any more.
    pub fn join_when_ready(base: &str, path: &str) -> Self {
        let until = Instant::now() + PATIENCE;
        loop {
            match Self::try_join(base, path) {
                Ok(viewer) => return viewer,
                Err(answer) if answer.status == 503 && Instant::now() < until => {
                    let wait = answer.header("retry-after").and_then(|text| text.parse().ok()).unwrap_or(1);
                    std::thread::sleep(Duration::from_secs(wait));
                }
                Err(answer) => panic!("{path} answered {}: {}", answer.status, answer.body),
            }
        }
    }

    /// The next frame.
    pub fn frame(&self) -> Frame {
        self.frames.recv_timeout(PATIENCE).expect("a frame arrives in time")
    }

    /// The next so many frames.
    pub fn take(&self, count: usize) -> Vec<Frame> {
        (0..count).map(|_| self.frame()).collect()
    }

    /// Forgets what came until now.
    pub fn forget(&self) {
        while self.frames.try_recv().is_ok() {}
    }

    /// Ends the session by DELETE, and the connection.
    pub fn leave(mut self) {
        assert_eq!(request("DELETE", &self.base, &self.session, "text/plain", "").status, 200);
        self.end();
    }

    fn end(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.end();
    }
}

/// Puts H.264 together from its RTP packets (RFC 6184 sections 5.6 to 5.8); a frame with a packet lost is left out.
#[derive(Default)]
struct Assembler {
    units: Vec<Vec<u8>>,
    next: Option<u16>,
    torn: bool,
}

impl Assembler {
    fn take(&mut self, sequence: u16, timestamp: u32, marker: bool, payload: &[u8]) -> Option<Frame> {
        self.torn |= self.next.is_some_and(|next| next != sequence);
        self.next = Some(sequence.wrapping_add(1));
        match payload {
            // padding
            [] => return None,
            [head, rest @ ..] if head & 0x1f == 24 => {
                let mut rest = rest;
                while let [high, low, more @ ..] = rest {
                    let length = usize::from(u16::from_be_bytes([*high, *low])).min(more.len());
                    self.units.push(more[..length].to_vec());
                    rest = &more[length..];
                }
            }
            [head, part, rest @ ..] if head & 0x1f == 28 => {
                if part & 0x80 != 0 {
                    self.units.push(vec![head & 0xe0 | part & 0x1f]);
                }
                if let Some(unit) = self.units.last_mut() {
                    unit.extend_from_slice(rest);
                }
            }
            whole => self.units.push(whole.to_vec()),
        }
        if !marker {
            return None;
        }
        let units = std::mem::take(&mut self.units);
        let torn = std::mem::take(&mut self.torn) || units.iter().any(Vec::is_empty);
        (!torn).then_some(Frame { timestamp, units })
    }
}
