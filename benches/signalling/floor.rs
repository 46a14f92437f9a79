//! The least that passing messages on costs: one thread, one `recv` and one `send` for what came at once, and nothing known of it.
//!
//! It speaks just enough websocket for the load's own sessions (handshake, frames that come whole and are masked) and passes what
//! session `2n` says to `2n + 1` and back. Whatever a server adds to this is its own; what this costs, the system takes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;

use rustix::event::epoll;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const LISTENER: u64 = u64::MAX;
/// Bytes read at once: more than a burst of the load.
const READ: usize = 64 << 10;

struct Session {
    stream: TcpStream,
    /// Its number, from the path it asked for; `None` before the handshake.
    number: Option<usize>,
    /// The begin of a frame whose end was not read yet; nearly always empty.
    begun: Vec<u8>,
}

/// Runs until it is killed.
pub fn run(address: SocketAddr) -> ExitCode {
    match relay(address) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("signalling: floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn relay(address: SocketAddr) -> std::io::Result<std::convert::Infallible> {
    let listener = TcpListener::bind(address)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let mut sessions: Vec<Option<Session>> = Vec::new();
    let mut places: Vec<Option<usize>> = Vec::new();
    let mut events = Vec::with_capacity(256);
    let mut buffer = vec![0; READ];
    let mut out = Vec::with_capacity(READ);
    loop {
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            let place = event.data.u64();
            if place == LISTENER {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                epoll::add(&poll, &stream, epoll::EventData::new_u64(sessions.len() as u64), epoll::EventFlags::IN)?;
                sessions.push(Some(Session { stream, number: None, begun: Vec::new() }));
                continue;
            }
            let Some(Some(session)) = sessions.get_mut(place as usize) else { continue };
            let read = session.stream.read(&mut buffer).unwrap_or(0);
            if read == 0 {
                sessions[place as usize] = None; // closing takes it off the list
                continue;
            }
            match session.number {
                None => {
                    let number = shake_hands(session, &buffer[..read])?;
                    session.number = Some(number);
                    if places.len() <= number {
                        places.resize(number + 1, None);
                    }
                    places[number] = Some(place as usize);
                }
                Some(number) => {
                    let pair = places.get(number ^ 1).copied().flatten();
                    let mut bytes = std::mem::take(&mut session.begun);
                    let mut rest = if bytes.is_empty() {
                        &mut buffer[..read]
                    } else {
                        bytes.extend_from_slice(&buffer[..read]);
                        &mut bytes[..]
                    };
                    while let Some(length) = frame_length(rest) {
                        let (frame, after) = rest.split_at_mut(length);
                        out.extend_from_slice(unmask(frame));
                        rest = after;
                    }
                    let begun = rest.to_vec();
                    if let Some(Some(pair)) = pair.and_then(|pair| sessions.get_mut(pair)) {
                        pair.stream.write_all(&out)?;
                    }
                    out.clear();
                    if let Some(Some(session)) = sessions.get_mut(place as usize) {
                        session.begun = begun;
                    }
                }
            }
        }
    }
}

/// Answers `GET /NUMBER`, and greets.
fn shake_hands(session: &mut Session, request: &[u8]) -> std::io::Result<usize> {
    let text = String::from_utf8_lossy(request);
    let number = text.split(' ').nth(1).and_then(|path| path.trim_start_matches('/').parse().ok());
    let key =
        text.lines().find_map(|line| line.to_ascii_lowercase().starts_with("sec-websocket-key:").then(|| line[18..].trim()));
    let (Some(number), Some(key)) = (number, key) else { return Err(std::io::Error::other("not a handshake of the load")) };
    let accept = derive_accept_key(key.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    session.stream.write_all(answer.as_bytes())?;
    session.stream.write_all(b"\x81\x05hello")?;
    Ok(number)
}

/// RFC 6455 §5.2: how long a client's frame is, header and all; `None` before it is whole. The load's frames have 126 to 65535 bytes.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let length = 8 + usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]));
    (bytes.len() >= length).then_some(length)
}

/// A client's frame becomes a server's, in place.
fn unmask(frame: &mut [u8]) -> &[u8] {
    let mask = [frame[4], frame[5], frame[6], frame[7]];
    for (byte, mask) in frame[8..].iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    frame.copy_within(0..4, 4);
    frame[5] = 126;
    &frame[4..]
}
