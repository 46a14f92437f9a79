//! Portico as a member of the groups whose rooms hold others than netflux clients: its share of the groups' state.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::{Binding, Errand, Groups, Way, Word};
use crate::signalling::sigver::flow::BURST;
use crate::signalling::sigver::member::{Action, Gateway, Order};
use crate::vocab::SessionId;

/// What a message weighs besides its bytes, so that small ones are bounded in number as well.
const MESSAGE_WEIGHT: usize = 1024;

/// The groups that Portico is a member of.
#[derive(Default)]
pub(super) struct Company {
    groups: HashMap<Arc<str>, Joined>,
    /// When each wants to be called.
    wakes: BTreeSet<(Instant, Arc<str>)>,
}

/// One of them.
struct Joined {
    portico: Gateway,
    /// Connections that say so; Portico leaves with the last.
    wanted: usize,
    wake: Option<Instant>,
}

impl Company {
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.wakes.first().map(|(at, _)| *at)
    }
}

impl Groups {
    /// Notes whether a connection's room holds others; the first that says so lets Portico join, the last that does not leave.
    pub(super) fn set_company(&mut self, now: Instant, session: SessionId, there: bool) {
        let Some(connection) = self.connections.get_mut(&session) else { return };
        if std::mem::replace(&mut connection.company, there) == there {
            return;
        }
        let key = connection.key.clone();
        if let Some(joined) = self.company.groups.get_mut(&key) {
            joined.wanted = if there { joined.wanted + 1 } else { joined.wanted - 1 };
            if joined.wanted == 0 {
                self.with_portico(now, &key, Gateway::leave);
                self.forget_portico(&key);
            }
        } else if there {
            let portico = Gateway::new(now, (self.random)());
            self.company.groups.insert(key.clone(), Joined { portico, wanted: 1, wake: None });
            let members = self.groups.get(&key).cloned().unwrap_or_default();
            self.with_portico(now, &key, |portico| members.into_iter().for_each(|member| portico.member(now, member)));
        }
    }

    /// Lets Portico hear something in a group it is a member of, and carries out what it wants.
    pub(super) fn with_portico(&mut self, now: Instant, key: &Arc<str>, hear: impl FnOnce(&mut Gateway)) {
        let Some(joined) = self.company.groups.get_mut(key) else { return };
        hear(&mut joined.portico);
        while let Some(action) = self.company.groups.get_mut(key).and_then(|joined| joined.portico.poll_action()) {
            self.carry_out(now, key, action);
        }
        let Some(joined) = self.company.groups.get_mut(key) else { return };
        let wake = joined.portico.next_timeout();
        if joined.wake != wake {
            if let Some(before) = std::mem::replace(&mut joined.wake, wake) {
                self.company.wakes.remove(&(before, key.clone()));
            }
            self.company.wakes.extend(wake.map(|at| (at, key.clone())));
        }
    }

    pub(super) fn company_timeout(&mut self, now: Instant) {
        while let Some((at, key)) = self.company.wakes.first().cloned()
            && at <= now
        {
            self.with_portico(now, &key, |portico| portico.timeout(now));
            // whatever it says next is looked at in the next round at the earliest
            if self.company.wakes.first().is_some_and(|first| *first == (at, key)) {
                return;
            }
        }
    }

    fn forget_portico(&mut self, key: &Arc<str>) {
        if let Some(joined) = self.company.groups.remove(key)
            && let Some(wake) = joined.wake
        {
            self.company.wakes.remove(&(wake, key.clone()));
        }
        let numbers = |it: &super::Connection| it.portico.filter(|_| it.key == *key);
        for number in self.connections.values().filter_map(numbers).collect::<Vec<_>>() {
            self.unbind(number);
        }
    }

    fn carry_out(&mut self, now: Instant, key: &Arc<str>, action: Action) {
        match action {
            Action::Bind(member) => {
                if let Some(before) = self.connections.get(&member).and_then(|member| member.portico) {
                    self.unbind(before);
                }
                let number = self.fresh_number();
                let Some(connection) = self.connections.get_mut(&member) else { return };
                connection.portico = Some(number);
                connection.serves.insert(number);
                let binding = Binding { joiner: None, member, to_member: Way::new(now), to_joiner: Way::new(now) };
                self.bindings.insert(number, binding);
            }
            Action::Content(member, data) => {
                if let Some(number) = self.connections.get(&member).and_then(|member| member.portico) {
                    self.deliver(member, number, false, Some(data));
                }
            }
            Action::Order(member, order) => self.order(member, order),
            Action::Said(id, text) => {
                // the one with a channel, else the one that named this id to the server
                let by_channel = self.company.groups.get(key).and_then(|joined| joined.portico.session_of(id));
                let by_name = || {
                    let named = |session: &&SessionId| self.connections.get(session).is_some_and(|it| it.member == Some(id));
                    self.groups.get(key)?.iter().find(named).copied()
                };
                if let Some(session) = by_channel.or_else(by_name) {
                    self.tell(session, Word::Said(text.into()));
                }
            }
        }
    }

    /// Hands a session something to do. A message for a client that does not keep up is left out, as a mesh may.
    fn order(&mut self, session: SessionId, order: Order) {
        let Some(connection) = self.connections.get(&session) else { return };
        let weight = if let Order::Send(bytes) = &order { MESSAGE_WEIGHT + bytes.len() } else { 0 };
        let Some(share) = connection.errands.take(weight, BURST) else { return };
        self.tell(session, Word::Order(Box::new(Errand { order, share })));
    }
}
