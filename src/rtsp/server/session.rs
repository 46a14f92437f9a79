//! PURE. One client's session: which requests follow on which, and what is answered (RFC 2326 appendix A.2).
//!
//! A session lives in its connection and ends with it. What opens a stream takes time and is done by the caller in between:
//!
//! ```text
//! DESCRIBE ─► Step::Open ─► (the caller joins the room) ─► described ─► SETUP … ─► PLAY ─► Step::Play
//! ```

use super::describe::payload_type;
use super::target::{TRACK, Target};
use super::transport::Transport;
use super::wire::{Request, Response, Status};

/// A client that is sent RTP by UDP and says nothing for longer is gone. Told in seconds; a client speaks at half the time.
pub const TIMEOUT_SECONDS: u64 = 60;

const METHODS: &str = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER";

/// What the caller must do about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Answer it.
    Answer(Response),
    /// Open what it names; then call [`Session::described`] or [`Session::refuse`], and answer.
    Open {
        /// The number of the request.
        cseq: u32,
        /// What is to be opened.
        target: Box<Target>,
    },
    /// Answer it, and send from now on.
    Play(Response),
    /// Answer it, and send nothing from now on.
    Pause(Response),
    /// Answer it; what was opened is let go.
    End(Response),
}

/// One track as it was set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetUp {
    /// How it travels. Channels are chosen by now.
    pub transport: Transport,
    /// Its synchronisation source.
    pub ssrc: u32,
    /// The number of its first packet.
    pub sequence: u16,
}

/// A client's session.
#[derive(Debug)]
pub struct Session {
    id: String,
    /// RTP and reports of the server.
    udp_ports: (u16, u16),
    /// The stream that was described.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    base: String,
    tracks: Vec<Option<SetUp>>,
    playing: bool,
}

impl Session {
    /// A session that has nothing yet. `id` is what clients name it by: letters and digits, not to be guessed.
    pub fn new(id: String, udp_ports: (u16, u16)) -> Self {
        Self { id, udp_ports, open: None }
    }

    /// What is to be done about a request. `random` gives numbers that nobody guesses.
    pub fn handle(&mut self, request: &Request, mut random: impl FnMut() -> u32) -> Step {
        let answer = |status| Step::Answer(Response::new(request.cseq, status));
        // RFC 2326 section 12.32: nothing that may be required is known here
        if let Some(required) = request.header("require") {
            let tag: String = required.chars().filter(|c| c.is_ascii_graphic()).take(100).collect();
            return Step::Answer(Response::new(request.cseq, Status::OptionNotSupported).with("Unsupported", &tag));
        }
        if let Some(named) = request.header("session")
            && named.split(';').next().map(str::trim) != Some(&self.id)
        {
            return answer(Status::SessionNotFound);
        }
        match request.method.as_str() {
            "OPTIONS" => Step::Answer(Response::new(request.cseq, Status::Ok).with("Public", METHODS)),
            "DESCRIBE" => match Target::parse(&request.uri) {
                // what is sent already stays as it is
                Ok(_) if self.open.as_ref().is_some_and(|open| open.playing) => answer(Status::NotInThisState),
                Ok(target) if target.track.is_none() => Step::Open { cseq: request.cseq, target: Box::new(target) },
                _ => answer(Status::NotFound),
            },
            "SETUP" => Step::Answer(self.set_up(request, &mut random)),
            "PLAY" => self.play(request),
            "PAUSE" => match &mut self.open {
                Some(open) if open.is_set_up() => {
                    open.playing = false;
                    Step::Pause(Response::new(request.cseq, Status::Ok).with("Session", &self.id))
                }
                _ => answer(Status::NotInThisState),
            },
            "TEARDOWN" => {
                self.open = None;
                Step::End(Response::new(request.cseq, Status::Ok))
            }
            // asked to keep the session alive
            "GET_PARAMETER" | "SET_PARAMETER" => Step::Answer(Response::new(request.cseq, Status::Ok).with("Session", &self.id)),
            _ => Step::Answer(Response::new(request.cseq, Status::NotImplemented).with("Public", METHODS)),
        }
    }

    /// The stream was opened: the answer tells its description.
    pub fn described(&mut self, cseq: u32, target: &Target, tracks: usize, sdp: String) -> Response {
        self.open = Some(Open { base: target.base.clone(), tracks: vec![None; tracks], playing: false });
        Response::new(cseq, Status::Ok).with_sdp(&format!("{}/", target.base), sdp)
    }

    /// The stream cannot be opened. Whoever lacks a token is told how to bring one.
    pub fn refuse(&mut self, cseq: u32, status: Status) -> Response {
        self.open = None;
        let response = Response::new(cseq, status);
        match status {
            Status::Unauthorized => response.with("WWW-Authenticate", "Basic realm=\"Portico\""),
            _ => response,
        }
    }

    /// The tracks of what is open, in the order of the description; `None` for one that the client does not want.
    pub fn tracks(&self) -> &[Option<SetUp>] {
        self.open.as_ref().map(|open| open.tracks.as_slice()).unwrap_or_default()
    }

    /// Whether it plays.
    #[cfg(test)]
    pub fn is_playing(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.playing)
    }

    fn set_up(&mut self, request: &Request, random: &mut impl FnMut() -> u32) -> Response {
        let answer = |status| Response::new(request.cseq, status);
        let Some(open) = &mut self.open else { return answer(Status::NotInThisState) };
        let Ok(target) = Target::parse(&request.uri) else { return answer(Status::NotFound) };
        // of one track the description's own address is its address as well
        let index = match target.track {
            Some(index) => index,
            None if open.tracks.len() == 1 => 0,
            None => return answer(Status::AggregateNotAllowed),
        };
        if open.playing {
            return answer(Status::NotInThisState);
        }
        let Some(transport) = request.header("transport").and_then(Transport::choose) else {
            return answer(Status::UnsupportedTransport);
        };
        if index >= open.tracks.len() {
            return answer(Status::NotFound);
        }
        let transport = match transport {
            Transport::Interleaved(channels) => {
                let first = u8::try_from(index * 2).unwrap_or(u8::MAX - 1);
                let (rtp, rtcp) = channels.unwrap_or((first, first + 1));
                // two tracks on one channel cannot be told apart
                let others = open.tracks.iter().enumerate().filter(|(other, _)| *other != index);
                let taken = others.filter_map(|(_, track)| track.as_ref()).any(|other| match other.transport {
                    Transport::Interleaved(Some((a, b))) => [a, b].iter().any(|used| *used == rtp || *used == rtcp),
                    _ => false,
                });
                if taken || rtp == rtcp {
                    return answer(Status::UnsupportedTransport);
                }
                Transport::Interleaved(Some((rtp, rtcp)))
            }
            Transport::Udp { .. } => transport,
        };
        let set = SetUp { transport, ssrc: random(), sequence: random() as u16 };
        open.tracks[index] = Some(set);
        let told = match transport {
            Transport::Interleaved(channels) => {
                let (rtp, rtcp) = channels.unwrap_or_default();
                format!("RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp};ssrc={:08X}", set.ssrc)
            }
            Transport::Udp { rtp, rtcp } => {
                let (own_rtp, own_rtcp) = self.udp_ports;
                format!("RTP/AVP;unicast;client_port={rtp}-{rtcp};server_port={own_rtp}-{own_rtcp};ssrc={:08X}", set.ssrc)
            }
        };
        answer(Status::Ok).with("Transport", &told).with("Session", &format!("{};timeout={TIMEOUT_SECONDS}", self.id))
    }

    fn play(&mut self, request: &Request) -> Step {
        let Some(open) = self.open.as_mut().filter(|open| open.is_set_up()) else {
            return Step::Answer(Response::new(request.cseq, Status::NotInThisState));
        };
        open.playing = true;
        let track = |(index, set): (usize, &Option<SetUp>)| {
            let set = set.as_ref()?;
            Some(format!("url={}/{TRACK}{index};seq={}", open.base, set.sequence))
        };
        // no `rtptime`: the first packets of picture and sound are not of the same time, which the reports tell
        let info: Vec<String> = open.tracks.iter().enumerate().filter_map(track).collect();
        let response = Response::new(request.cseq, Status::Ok).with("Session", &self.id).with("Range", "npt=now-");
        Step::Play(response.with("RTP-Info", &info.join(",")))
    }
}

impl Open {
    fn is_set_up(&self) -> bool {
        self.tracks.iter().any(Option::is_some)
    }
}

/// The payload type of a track and what it was set up with, for those that were.
pub fn set_up_tracks(tracks: &[Option<SetUp>]) -> impl Iterator<Item = (usize, u8, SetUp)> + '_ {
    tracks.iter().enumerate().filter_map(|(index, set)| Some((index, payload_type(index), (*set)?)))
}

#[cfg(test)]
mod tests;
