//! The least that a client of each dialect must say: to be there, to stay, and to pass a message to its pair.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// A dialect as the load speaks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    Peerjs,
    Vamp,
    Star,
    Sigver,
    Algorea,
    /// No dialect: what the system takes for passing a message on.
    Floor,
}

/// A session's part in the load.
#[derive(Clone, Debug)]
pub struct Part {
    /// Counts all sessions of a run.
    pub number: usize,
    /// Whether it talks; talking sessions `2n` and `2n + 1` are a pair.
    pub active: bool,
    /// What the server calls this session, once known.
    pub own: String,
    /// What the server calls its pair, once known.
    pub pair: String,
    /// Whether it is where it can talk.
    pub ready: bool,
}

/// What a frame from the server means.
pub enum Heard {
    /// To be answered so.
    Answer(Vec<Message>),
    /// A message of the pair: the bytes it sent.
    Told(String),
    /// Nothing.
    Nothing,
}

impl Speech {
    pub const ALL: [Self; 5] = [Self::Peerjs, Self::Vamp, Self::Star, Self::Sigver, Self::Algorea];

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|speech| speech.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Peerjs => "peerjs",
            Self::Vamp => "vamp",
            Self::Star => "webrtc-star",
            Self::Sigver => "sigver",
            Self::Algorea => "algorea",
            Self::Floor => "floor",
        }
    }

    /// The script that starts the original server on the port it is given.
    pub fn original(self) -> Option<&'static str> {
        match self {
            Self::Peerjs => Some("peer_server.mjs"),
            Self::Vamp => Some("vamp_server.mjs"),
            Self::Star => Some("star_server.mjs"),
            Self::Sigver => Some("sigver_server.mjs"),
            Self::Algorea | Self::Floor => None,
        }
    }

    /// Path and query of its websocket. `original`: as the original server has it.
    pub fn path(self, part: &Part, original: bool) -> String {
        let (number, pair) = (part.number, part.number / 2);
        match self {
            Self::Peerjs if original => format!("/peerjs?key=peerjs&id=p{number}&token=t{number}"),
            Self::Peerjs => format!("/peerjs/peerjs?key=peerjs&id=p{number}&token=t{number}"),
            Self::Vamp => "/socket.io/?EIO=3&transport=websocket".into(),
            Self::Star => "/socket.io-next/?EIO=4&transport=websocket".into(),
            Self::Sigver if original => format!("/k{pair}"),
            Self::Sigver => format!("/sigver/k{pair}"),
            Self::Algorea => format!("/algorea?room=r{pair}"),
            Self::Floor => format!("/{number}"),
        }
    }

    /// What it says when the websocket is open.
    pub fn opening(self, part: &Part) -> Vec<Message> {
        match self {
            Self::Vamp => vec![event("join vamp", &json!(format!("v{}", part.number / 2)))],
            Self::Sigver => vec![Message::binary(sigver::connect(part.number as u32 + 3_000_000_000))],
            Self::Peerjs | Self::Star | Self::Algorea | Self::Floor => Vec::new(),
        }
    }

    /// Its sign of life, and how many seconds are between two.
    pub fn heartbeat(self) -> Option<(u64, Message)> {
        match self {
            Self::Peerjs => Some((5, Message::text(r#"{"type":"HEARTBEAT"}"#))),
            Self::Vamp => Some((25, Message::text("2"))),
            Self::Sigver => Some((5, Message::binary(vec![0x08, 0x01]))),
            Self::Star | Self::Algorea | Self::Floor => None,
        }
    }

    /// Takes a frame of the server.
    pub fn hear(self, part: &mut Part, frame: &Message) -> Heard {
        match (self, frame) {
            (Self::Sigver, Message::Binary(bytes)) => sigver::hear(part, bytes),
            (Self::Peerjs, Message::Text(text)) => peerjs(part, text),
            (Self::Algorea, Message::Text(text)) => algorea(part, text),
            (Self::Floor, Message::Text(text)) if part.ready => Heard::Told(text.to_string()),
            (Self::Floor, _) => {
                part.ready = true;
                part.pair = "the other".into();
                Heard::Nothing
            }
            (Self::Vamp | Self::Star, Message::Text(text)) => self.socket_io(part, text),
            _ => Heard::Nothing,
        }
    }

    /// A message with this text to the pair; `None` before the pair is known.
    pub fn say(self, part: &Part, text: &str) -> Option<Message> {
        if part.pair.is_empty() {
            return None;
        }
        let signal = json!({"type": "offer", "sdp": text});
        Some(match self {
            Self::Peerjs => {
                let payload =
                    json!({"sdp": signal, "type": "data", "connectionId": "dc_1", "label": "x", "serialization": "raw"});
                Message::text(json!({"type": "OFFER", "dst": part.pair, "payload": payload}).to_string())
            }
            Self::Vamp => event("sending signal", &json!({"userToSignal": part.pair, "callerID": part.own, "signal": signal})),
            Self::Star => {
                let handshake = json!({"srcMultiaddr": part.own, "dstMultiaddr": part.pair, "intentId": "i", "signal": signal});
                event("ss-handshake", &handshake)
            }
            Self::Sigver => Message::binary(sigver::content(text.as_bytes())),
            Self::Algorea => {
                Message::text(json!({"action": "forward-offer", "offer": signal, "toPeerId": part.pair}).to_string())
            }
            Self::Floor => Message::text(text),
        })
    }

    fn socket_io(self, part: &mut Part, text: &str) -> Heard {
        let (own, pair) = (star_address(part.number), star_address(part.number ^ 1));
        match (self, text.as_bytes()) {
            (Self::Vamp, [b'0', ..]) => {
                part.own = json_of(&text[1..])["sid"].as_str().unwrap_or_default().into();
                Heard::Nothing
            }
            (Self::Star, [b'0', ..]) => Heard::Answer(vec![Message::text("40")]),
            (Self::Star, [b'2', ..]) => Heard::Answer(vec![Message::text("3")]),
            (Self::Star, [b'4', b'0', ..]) if part.active => {
                (part.own, part.pair, part.ready) = (own.clone(), pair, true);
                Heard::Answer(vec![event("ss-join", &json!(own))])
            }
            (Self::Star, [b'4', b'0', ..]) => {
                part.ready = true;
                Heard::Nothing
            }
            (_, [b'4', b'2', ..]) => {
                let event = json_of(&text[2..]);
                match event[0].as_str() {
                    Some("all users") => {
                        part.ready = true;
                        if let Some(pair) = event[1][0].as_str() {
                            part.pair = pair.into();
                        }
                        Heard::Nothing
                    }
                    Some("user joined" | "ws-handshake") => said(&event[1]["signal"]["sdp"]),
                    _ => Heard::Nothing,
                }
            }
            _ => Heard::Nothing,
        }
    }
}

fn peerjs(part: &mut Part, text: &str) -> Heard {
    let frame = json_of(text);
    match frame["type"].as_str() {
        Some("OPEN") => {
            part.ready = true;
            part.pair = format!("p{}", part.number ^ 1);
            Heard::Nothing
        }
        Some("OFFER") => said(&frame["payload"]["sdp"]["sdp"]),
        _ => Heard::Nothing,
    }
}

fn algorea(part: &mut Part, text: &str) -> Heard {
    let frame = json_of(text);
    match frame["type"].as_str() {
        Some("connected-peers") => {
            part.ready = true;
            part.pair = frame["peerIds"][0].as_str().unwrap_or_default().into();
            Heard::Nothing
        }
        Some("offer") => said(&frame["offer"]["sdp"]),
        _ => Heard::Nothing,
    }
}

fn said(text: &Value) -> Heard {
    text.as_str().map_or(Heard::Nothing, |text| Heard::Told(text.into()))
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

fn event(name: &str, argument: &Value) -> Message {
    Message::text(format!("42{}", json!([name, argument])))
}

fn star_address(number: usize) -> String {
    format!("/dns4/gw.local/tcp/8010/ws/p2p-webrtc-star/p2p/p{number}")
}

mod sigver {
    use super::{Heard, Part};

    fn varint(mut value: u32, out: &mut Vec<u8>) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }

    fn field(number: u8, content: &[u8], out: &mut Vec<u8>) {
        out.push(number << 3 | 2);
        varint(content.len() as u32, out);
        out.extend(content);
    }

    pub fn connect(id: u32) -> Vec<u8> {
        let (mut group, mut frame) = (vec![0x08], Vec::new());
        varint(id, &mut group);
        field(3, &group, &mut frame);
        frame
    }

    pub fn content(data: &[u8]) -> Vec<u8> {
        let (mut content, mut frame) = (vec![0x08, 0, 0x10, 0, 0x18, 0], Vec::new());
        field(4, data, &mut content);
        field(2, &content, &mut frame);
        frame
    }

    /// The joiner of a pair talks to the member it is bound to.
    pub fn hear(part: &mut Part, bytes: &[u8]) -> Heard {
        match bytes {
            [0x20, connected] => {
                part.ready = true;
                part.pair = if *connected == 0 { "bound".into() } else { String::new() };
                Heard::Nothing
            }
            // the data is at the end and starts with the mark of what the load says
            [0x12, ..] => match bytes.iter().rposition(|byte| *byte == b'@') {
                Some(at) => Heard::Told(String::from_utf8_lossy(&bytes[at..]).into_owned()),
                None => Heard::Nothing,
            },
            _ => Heard::Nothing,
        }
    }
}
