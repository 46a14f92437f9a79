//! For `crate::fuzz`: whatever a far side says, line by line, to a link that answers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Links;
use super::machine::{Machine, Plan, Role};
use super::wire::{Hello, MAX_MESSAGE, VERSION};
use crate::bridge::far::{Guest, MAX_MEMBERS, Machine as _, Output};
use crate::room::{Command, Notice, Topology, Welcome};
use crate::vocab::{MAX_LANES, MemberId, RoomId, Sdp};

/// Takes any bytes.
pub fn fuzz(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let room = RoomId::new("r").expect("a short constant is a name");
    let hello = Hello {
        version: VERSION,
        node: "far/r".into(),
        name: "far".into(),
        room: room.to_string(),
        reach: vec!["far/r".into()],
        next_to: Vec::new(),
    };
    let role = Role::Answer { hello, token: None, expires: None };
    let plan = Plan { name: "far".into(), room, role, links: Arc::new(Links::new()) };
    let begun = Instant::now();
    let mut world = World { now: begun, machine: Machine::new(begun, plan, 1), guests: BTreeSet::new(), lanes: 0 };
    world.serve();
    for line in text.split('\n').filter(|line| line.len() <= MAX_MESSAGE) {
        world.now += Duration::from_millis(20);
        world.machine.handle_text(world.now, line);
        world.serve();
        if world.machine.next_timeout().is_some_and(|at| at <= world.now) {
            world.machine.handle_timeout(world.now);
            world.serve();
        }
    }
    world.machine.stop();
    world.serve();
    assert!(world.guests.iter().all(|guest| guest.0 == 0), "what is brought is let go of: {:?}", world.guests);
}

struct World {
    now: Instant,
    machine: Machine,
    guests: BTreeSet<Guest>,
    /// Asked for in the life of the link.
    lanes: usize,
}

impl World {
    /// A room that says yes.
    fn serve(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Enter(guest, req, joining) => {
                    self.guests.insert(guest);
                    assert!(self.guests.len() <= MAX_MEMBERS + 1, "members are bounded");
                    let (member, room) = (MemberId::random(), joining.room.clone());
                    let welcome = Welcome { req, member, room, topology: Topology::Sfu, size: 1, others: Vec::new() };
                    self.machine.handle_notice(self.now, guest, &Notice::Welcome(Box::new(welcome)));
                }
                Output::Ask(guest, _, command) => match *command {
                    Command::Trunk { peer, .. } => {
                        self.machine.handle_notice(self.now, guest, &Notice::Description { peer, sdp: Sdp::answer("a") });
                        self.machine.handle_notice(self.now, guest, &Notice::PeerUp { peer });
                    }
                    Command::TakeLane { .. } => self.lanes += 1,
                    Command::Stop { .. } => self.lanes = self.lanes.saturating_sub(1),
                    Command::Leave => self.lanes = 0,
                    _ => {}
                },
                Output::Release(guest) => {
                    self.guests.remove(&guest);
                }
                Output::Dial | Output::Send(_) | Output::HangUp => {}
            }
            assert!(self.lanes <= 2 * MAX_LANES, "lanes are bounded");
        }
    }
}
