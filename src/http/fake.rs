//! A hub for tests: answers each session's commands as it is told to, and writes down what it heard.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::{broadcast, mpsc};

use super::HubDoor;
use crate::hub::{HubGone, HubSession, Reports, RoomView, ToHub, Told};
use crate::room::{Command, EndReason, Notice, Refusal, Report, Topology, Welcome};
use crate::vocab::{MemberId, RequestId, RoomId, Sdp, SessionId};

/// An answer with the given credentials, as the engine would write it.
pub(super) fn answer(ufrag: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
         a=ice-ufrag:{ufrag}\r\na=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 AA\r\na=recvonly\r\n\
         a=candidate:1 1 udp 2130706431 127.0.0.1 8781 typ host\r\na=end-of-candidates\r\n"
    )
}

/// What the hub does with a request.
#[derive(Clone, Debug, Default)]
pub(super) enum Does {
    /// Accepts it.
    #[default]
    Accepts,
    /// Refuses it.
    Refuses(Refusal),
    /// Accepts it, but the peer ends before it is described.
    Drops(EndReason),
    /// Ends the whole place.
    Ends(EndReason),
    /// Says nothing.
    Keeps,
}

/// How the fake behaves; each can be changed while it runs.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub join: Does,
    /// Publish and play.
    pub media: Does,
    pub describe: Does,
    pub rooms: Vec<RoomView>,
    pub gone: bool,
}

/// The fake.
#[derive(Clone)]
pub(super) struct FakeHub {
    pub script: Arc<Mutex<Script>>,
    heard: Arc<Mutex<Vec<Command>>>,
    evicted: Arc<Mutex<Vec<(RoomId, MemberId)>>>,
    sessions: Arc<Mutex<Vec<mpsc::Sender<Told>>>>,
    pub reports: broadcast::Sender<Report>,
}

impl FakeHub {
    pub(super) fn new() -> Self {
        Self {
            script: Arc::default(),
            heard: Arc::default(),
            evicted: Arc::default(),
            sessions: Arc::default(),
            reports: broadcast::channel(512).0,
        }
    }

    pub(super) fn heard(&self) -> Vec<Command> {
        self.heard.lock().unwrap().clone()
    }

    pub(super) fn evicted(&self) -> Vec<(RoomId, MemberId)> {
        self.evicted.lock().unwrap().clone()
    }

    /// How often a session left.
    pub(super) fn leaves(&self) -> usize {
        self.heard().iter().filter(|command| matches!(command, Command::Leave)).count()
    }

    /// Tells every session something.
    pub(super) async fn tell(&self, notice: Notice) {
        let sessions = self.sessions.lock().unwrap().clone();
        for session in sessions {
            let _ = session.send(Told::Notice(Box::new(notice.clone()))).await;
        }
    }

    fn act(&self, req: RequestId, command: Command) -> Option<Notice> {
        self.heard.lock().unwrap().push(command.clone());
        let script = self.script.lock().unwrap();
        let (does, accepted, peer) = match command {
            Command::Join(joining) => {
                let room = joining.room;
                let welcome =
                    Welcome { req, member: MemberId([7; 16]), room, topology: Topology::Sfu, size: 1, others: Vec::new() };
                (&script.join, Notice::Welcome(Box::new(welcome)), None)
            }
            Command::Publish { peer, .. } | Command::Play { peer, .. } => {
                (&script.media, Notice::Description { peer, sdp: Sdp::answer(answer("first")) }, Some(peer))
            }
            Command::Describe { peer, .. } => {
                (&script.describe, Notice::Description { peer, sdp: Sdp::answer(answer("second")) }, Some(peer))
            }
            _ => return None,
        };
        match (does, peer) {
            (Does::Accepts, _) => Some(accepted),
            (Does::Refuses(why), _) => Some(Notice::Refused { req, why: why.clone() }),
            (Does::Drops(reason), Some(peer)) => Some(Notice::PeerDown { peer, reason: *reason }),
            (Does::Ends(reason), _) => Some(Notice::Ended { reason: *reason }),
            (Does::Drops(_), None) | (Does::Keeps, _) => None,
        }
    }
}

#[async_trait]
impl HubDoor for FakeHub {
    async fn open_session(&self) -> Result<HubSession, HubGone> {
        if self.script.lock().unwrap().gone {
            return Err(HubGone);
        }
        let (to_hub, mut commands) = mpsc::channel(16);
        let (tell, told) = mpsc::channel(64);
        self.sessions.lock().unwrap().push(tell.clone());
        let fake = self.clone();
        tokio::spawn(async move {
            while let Some(message) = commands.recv().await {
                if let ToHub::Command(_, req, command) = message
                    && let Some(notice) = fake.act(req, command)
                {
                    let _ = tell.send(Told::Notice(Box::new(notice))).await;
                }
            }
        });
        Ok(HubSession { id: SessionId::next(), to_hub, told })
    }

    fn reports(&self) -> Reports {
        self.reports.subscribe()
    }

    async fn rooms(&self) -> Result<Vec<RoomView>, HubGone> {
        let script = self.script.lock().unwrap();
        if script.gone { Err(HubGone) } else { Ok(script.rooms.clone()) }
    }

    async fn evict(&self, room: RoomId, member: MemberId) -> Result<bool, HubGone> {
        let known = {
            let script = self.script.lock().unwrap();
            script.rooms.iter().any(|view| view.room == room && view.members.iter().any(|m| m.view.member == member))
        };
        if known {
            self.evicted.lock().unwrap().push((room, member));
        }
        Ok(known)
    }
}
