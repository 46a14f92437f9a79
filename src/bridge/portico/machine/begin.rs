//! How a link begins, and what both sides know of the other links.

use std::time::Instant;

use super::super::graph::{Far, MAX_NODE, Node, Refused};
use super::super::wire::{self, Message, VERSION};
use super::{LOOK, Machine, Role, TRUNK_LIMIT, Trunk};
use crate::bridge::far::{self, OWN, Output, plain};
use crate::bridge::retry::Pace;
use crate::bridge::whip::verdict::Fault;
use crate::room::{Command, Facts, LINK};
use crate::vocab::{PeerId, RequestId};

impl Machine {
    pub(super) fn enter(&mut self) {
        let req = RequestId::next();
        self.joining = Some(req);
        let facts = Facts { name: Some(self.plan.name.clone()), platform: Some(LINK.into()), ..Facts::default() };
        let mut joining = far::joining(&self.plan.room, &self.plan.name, facts);
        if let Role::Answer { expires, .. } = &self.plan.role {
            joining.grant.expires = *expires;
        }
        self.outputs.push_back(Output::Enter(OWN, req, Box::new(joining)));
    }

    /// Who answers has its place in the room: it looks at who has dialled.
    pub(super) fn answer_hello(&mut self, now: Instant) {
        let Role::Answer { hello, token, .. } = &self.plan.role else { return };
        let (far, reach, token) = (hello.node.clone(), hello.reach.clone(), token.clone());
        let twin = hello.next_to.contains(&self.node);
        if !self.life.dialled(now) || !self.admit(now, far, &reach, twin) {
            return;
        }
        let reach = self.behind();
        let token = token.map(|token| token.to_string());
        self.send(&Message::Welcome { version: VERSION, node: self.node.clone(), reach, token });
        self.opened(now);
    }

    pub(super) fn welcomed_there(&mut self, now: Instant, version: u32, far: Node, reach: &[Node], token: Option<&str>) {
        let Role::Dial { judge, .. } = &self.plan.role else { return };
        if version != VERSION {
            let message = format!("the far side speaks version {version} of bridges, this one {VERSION}");
            return self.refuse(now, Fault::new("version", message, Pace::Slow));
        }
        if let Err(why) = judge(token) {
            return self
                .refuse(now, Fault::new("unauthorised", format!("the far side does not show who it is: {why}"), Pace::Slow));
        }
        if !self.admit(now, far, reach, false) {
            return;
        }
        self.opened(now);
        let (peer, req) = (PeerId::next(), RequestId::next());
        self.trunk = Some(Trunk { peer, req, up: false, until: now + TRUNK_LIMIT });
        self.outputs.push_back(Output::Ask(OWN, req, Box::new(Command::Trunk { peer, offer: None })));
    }

    /// Asks whether the two rooms may be joined by this link.
    pub(super) fn admit(&mut self, now: Instant, far: Node, reach: &[Node], twin: bool) -> bool {
        let Some(reach) = wire::nodes(reach).filter(|_| (1..=MAX_NODE).contains(&far.len())) else {
            self.refuse(now, Fault::new("bad_answer", "the far side does not say which rooms are behind it", Pace::Slow));
            return false;
        };
        let (dialled, far) = (!self.answers(), Far { node: far, reach, twin });
        let admitted = self.plan.links.lock().admit(&self.plan.room, &self.node, self.id, dialled, far);
        if let Err(why) = admitted {
            self.refuse(now, of_refused(&why));
            return false;
        }
        self.admitted = true;
        true
    }

    pub(super) fn opened(&mut self, now: Instant) {
        self.life.opened(now);
        self.look = Some(now + LOOK);
        self.seen = self.plan.links.lock().version();
        for member in self.ours.everybody() {
            self.send(&member);
        }
        let held = self.held.fresh(now);
        self.held.clear();
        for (from, text) in held {
            // who said it may have left since
            if self.ours.has(from) {
                self.send(&Message::Said { from: from.to_string(), to: None, text });
            }
        }
    }

    pub(super) fn behind(&self) -> Vec<Node> {
        self.plan.links.lock().behind(&self.plan.room, &self.node, self.id).into_iter().collect()
    }

    /// Tells the far side what is behind this one, if that has changed; ends a link whose place another has taken.
    pub(super) fn look(&mut self, now: Instant) {
        self.look = Some(now + LOOK);
        let (version, has) = {
            let graph = self.plan.links.lock();
            (graph.version(), graph.has(&self.plan.room, self.id))
        };
        if !has {
            return self.refuse(now, of_refused(&Refused::Duplicate));
        }
        if std::mem::replace(&mut self.seen, version) != version {
            let nodes = self.behind();
            self.send(&Message::Reach { nodes });
        }
    }
}

/// Why two rooms are not joined.
pub(in crate::bridge::portico) fn of_refused(why: &Refused) -> Fault {
    match why {
        Refused::Loop(node) => {
            let message = format!("the rooms are joined already by other gateways ({}): a ring", plain(node, 80));
            Fault::new("loop", message, Pace::Usual)
        }
        Refused::Duplicate => Fault::new("duplicate", "another bridge joins these two rooms", Pace::Slow),
    }
}
