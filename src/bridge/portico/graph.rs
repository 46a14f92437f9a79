//! PURE. Which rooms of which gateways are joined to a room of this one, so that none is joined twice.
//!
//! A node is a room of a gateway. Rooms that are joined must form a tree: in a ring every picture would come back to where it is from. Each
//! side of a link tells the other which nodes are behind it; a node that is behind two links closes a ring, and the newer link goes. Of two
//! links between the same two nodes, as when both sides dial, the one that the lesser node has dialled stays.

use std::collections::{BTreeMap, BTreeSet};

use crate::vocab::RoomId;

/// A room of a gateway: the gateway's id, a slash, the room.
pub(super) type Node = String;

/// Most nodes that may be behind a link.
pub(super) const MAX_NODES: usize = 64;
/// Longest name of a node, in bytes.
pub(super) const MAX_NODE: usize = 256;

/// A link of this gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LinkId(pub(super) u64);

#[derive(Debug)]
struct Link {
    far: Node,
    /// By this side.
    dialled: bool,
    /// What is behind it, the far side included.
    reach: BTreeSet<Node>,
}

/// What the other side of a new link says of itself.
#[derive(Clone, Debug)]
pub(super) struct Far {
    pub(super) node: Node,
    /// What is behind it.
    pub(super) reach: BTreeSet<Node>,
    /// It has a link with this side already.
    pub(super) twin: bool,
}

/// Why there is no link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The rooms are joined by another way; the node that is behind both.
    Loop(Node),
    /// They are joined by a link that goes before.
    Duplicate,
}

/// All links of a gateway.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// By the room here.
    rooms: BTreeMap<RoomId, BTreeMap<LinkId, Link>>,
    /// Counts changes.
    version: u64,
}

impl Graph {
    /// Takes a link between a room here, which is the node `own`, and the node `far`. A link that has to make room for it is gone from then on.
    pub(super) fn admit(&mut self, room: &RoomId, own: &Node, id: LinkId, dialled: bool, far: Far) -> Result<(), Refused> {
        self.judge(room, own, dialled, &far)?;
        let links = self.rooms.entry(room.clone()).or_default();
        let before = links.iter().find(|(_, link)| link.far == far.node).map(|(id, _)| *id);
        if let Some(old) = before {
            links.remove(&old);
        }
        // what it says of itself it says with the other link in mind, and says anew when that is gone
        let mut reach = if before.is_some() || far.twin { BTreeSet::new() } else { far.reach };
        reach.insert(far.node.clone());
        links.insert(id, Link { far: far.node, dialled, reach });
        self.version += 1;
        Ok(())
    }

    /// Whether [`Self::admit`] would take a new link.
    pub(super) fn judge(&self, room: &RoomId, own: &Node, dialled: bool, far: &Far) -> Result<(), Refused> {
        if far.node == *own {
            return Err(Refused::Loop(far.node.clone()));
        }
        let none = BTreeMap::new();
        let links = self.rooms.get(room).unwrap_or(&none);
        // of two links between two nodes that of the lesser one stays
        let ours_first = *own < far.node;
        match links.values().find(|link| link.far == far.node) {
            // of two that the same side has dialled, the old one is dead and does not know it
            Some(old) if old.dialled == dialled => Ok(()),
            Some(old) if old.dialled == ours_first => Err(Refused::Duplicate),
            Some(_) => Ok(()),
            // this side's own link, of which it has not heard that the other side took it
            None if far.twin && dialled != ours_first => Err(Refused::Duplicate),
            None if far.twin => Ok(()),
            None => closes_ring(links, own, None, &far.reach).map_or(Ok(()), |node| Err(Refused::Loop(node))),
        }
    }

    /// What the far side says is behind it now. An error ends the link.
    pub(super) fn update(&mut self, room: &RoomId, own: &Node, id: LinkId, mut reach: BTreeSet<Node>) -> Result<(), Refused> {
        let Some(links) = self.rooms.get_mut(room) else { return Ok(()) };
        let Some(link) = links.get(&id) else { return Ok(()) };
        reach.insert(link.far.clone());
        if let Some(node) = closes_ring(links, own, Some(id), &reach) {
            self.remove(room, id);
            return Err(Refused::Loop(node));
        }
        if let Some(link) = links.get_mut(&id).filter(|link| link.reach != reach) {
            link.reach = reach;
            self.version += 1;
        }
        Ok(())
    }

    /// A link is gone.
    pub(super) fn remove(&mut self, room: &RoomId, id: LinkId) {
        let Some(links) = self.rooms.get_mut(room) else { return };
        self.version += u64::from(links.remove(&id).is_some());
        if links.is_empty() {
            self.rooms.remove(room);
        }
    }

    /// Whether the link is there still: another may have taken its place.
    pub(super) fn has(&self, room: &RoomId, id: LinkId) -> bool {
        self.rooms.get(room).is_some_and(|links| links.contains_key(&id))
    }

    /// What is behind this side of a link: this node, and what is behind its other links.
    pub(super) fn behind(&self, room: &RoomId, own: &Node, id: LinkId) -> BTreeSet<Node> {
        let others = self.rooms.get(room).into_iter().flatten().filter(|(other, _)| **other != id);
        others.flat_map(|(_, link)| link.reach.iter().cloned()).chain([own.clone()]).collect()
    }

    /// The nodes at the other ends of this room's links.
    pub(super) fn next_to(&self, room: &RoomId) -> BTreeSet<Node> {
        self.rooms.get(room).into_iter().flatten().map(|(_, link)| link.far.clone()).collect()
    }

    /// Another number after each change.
    pub(super) fn version(&self) -> u64 {
        self.version
    }
}

fn closes_ring(links: &BTreeMap<LinkId, Link>, own: &Node, but: Option<LinkId>, reach: &BTreeSet<Node>) -> Option<Node> {
    if reach.contains(own) {
        return Some(own.clone());
    }
    let others = links.iter().filter(|(other, _)| Some(**other) != but);
    others.flat_map(|(_, link)| link.reach.intersection(reach)).next().cloned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn room() -> RoomId {
        RoomId::new("r").unwrap()
    }

    fn nodes(names: &[&str]) -> BTreeSet<Node> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn far(node: &str, reach: BTreeSet<Node>) -> Far {
        Far { node: node.into(), reach, twin: false }
    }

    #[test]
    fn a_ring_is_refused_whoever_closes_it() {
        let (mut b, r) = (Graph::default(), room());
        b.admit(&r, &"b".into(), LinkId(1), false, far("a", nodes(&["a"]))).unwrap();
        b.admit(&r, &"b".into(), LinkId(2), true, far("c", nodes(&["c"]))).unwrap();
        assert_eq!(b.behind(&r, &"b".into(), LinkId(2)), nodes(&["a", "b"]), "what c is told");
        // c dials a, and says what is behind it
        let mut a = Graph::default();
        a.admit(&r, &"a".into(), LinkId(1), true, far("b", nodes(&["b", "c"]))).unwrap();
        let closing = a.admit(&r, &"a".into(), LinkId(2), false, far("c", nodes(&["a", "b", "c"])));
        assert_eq!(closing, Err(Refused::Loop("a".into())));
        // both ends of a ring are dialled in the same moment: who hears of it afterwards ends its link
        let mut a = Graph::default();
        a.admit(&r, &"a".into(), LinkId(1), true, far("b", nodes(&["b"]))).unwrap();
        a.admit(&r, &"a".into(), LinkId(2), false, far("c", nodes(&["c"]))).unwrap();
        assert_eq!(a.update(&r, &"a".into(), LinkId(1), nodes(&["b", "c"])), Err(Refused::Loop("c".into())));
        assert!(!a.has(&r, LinkId(1)) && a.has(&r, LinkId(2)));
        assert_eq!(a.admit(&r, &"a".into(), LinkId(3), true, far("a", nodes(&[]))), Err(Refused::Loop("a".into())));
        // other rooms of the same gateways are other nodes
        let other = RoomId::new("s").unwrap();
        a.admit(&other, &"as".into(), LinkId(4), true, far("cs", nodes(&["cs"]))).unwrap();
    }

    #[test]
    fn when_both_sides_dial_both_keep_the_same_link() {
        let r = room();
        // in either order at either side
        for a_first in [false, true] {
            for b_first in [false, true] {
                let (mut a, mut b) = (Graph::default(), Graph::default());
                let at = |graph: &mut Graph, own: &str, other: &str, dialled: bool| {
                    let id = LinkId(u64::from(dialled));
                    graph.admit(&r, &own.to_owned(), id, dialled, far(other, nodes(&[other]))).is_ok()
                };
                for dialled in [a_first, !a_first] {
                    at(&mut a, "a", "b", dialled);
                }
                for dialled in [b_first, !b_first] {
                    at(&mut b, "b", "a", dialled);
                }
                // the one that a has dialled
                assert!(a.has(&r, LinkId(1)) && !a.has(&r, LinkId(0)), "{a:?}");
                assert!(b.has(&r, LinkId(0)) && !b.has(&r, LinkId(1)), "{b:?}");
                assert_eq!(a.behind(&r, &"a".into(), LinkId(1)), nodes(&["a"]));
            }
        }
        // the other side took this side's link, dials itself, and says so before this side has heard of it
        for (own, other, stays) in [("a", "b", false), ("b", "a", true)] {
            let mut graph = Graph::default();
            let hello = Far { node: other.into(), reach: nodes(&[own, other]), twin: true };
            let admitted = graph.admit(&r, &own.into(), LinkId(1), false, hello);
            assert_eq!(admitted, if stays { Ok(()) } else { Err(Refused::Duplicate) });
        }
        // who comes again after it was killed takes the place of the dead link
        let mut a = Graph::default();
        for id in 1..4 {
            a.admit(&r, &"a".into(), LinkId(id), false, far("b", nodes(&["b"]))).unwrap();
            assert!(a.has(&r, LinkId(id)) && !a.has(&r, LinkId(id - 1)));
        }
        a.remove(&r, LinkId(3));
        assert_eq!(a.rooms.len(), 0);
    }

    proptest! {
        /// Gateways dial each other at random and tell each other what changes: when all is said, joined rooms form trees.
        #[test]
        fn joined_rooms_form_trees(dials in proptest::collection::vec((0u8..5, 0u8..5), 1..30)) {
            let r = room();
            let name = |n: u8| format!("{n}");
            let mut graphs: Vec<Graph> = (0..5).map(|_| Graph::default()).collect();
            for (next, (from, to)) in (1u64..).zip(dials) {
                let id = LinkId(next);
                let (f, t) = (usize::from(from), usize::from(to));
                let hello = graphs[f].behind(&r, &name(from), id);
                if graphs[t].admit(&r, &name(to), id, false, far(&name(from), hello)).is_ok() {
                    let welcome = graphs[t].behind(&r, &name(to), id);
                    if graphs[f].admit(&r, &name(from), id, true, far(&name(to), welcome)).is_err() {
                        graphs[t].remove(&r, id);
                    }
                }
                // both ends know the link or none
                loop {
                    let mut changed = false;
                    for at in 0..5 {
                        let links: Vec<(LinkId, usize)> = graphs[at].rooms.get(&r).into_iter().flatten()
                            .map(|(id, link)| (*id, link.far.parse().unwrap())).collect();
                        for (id, other) in links {
                            if !graphs[other].has(&r, id) {
                                graphs[at].remove(&r, id);
                                changed = true;
                                continue;
                            }
                            let said = graphs[other].behind(&r, &name(other as u8), id);
                            let before = graphs[at].version();
                            let _ = graphs[at].update(&r, &name(at as u8), id, said);
                            changed |= graphs[at].version() != before;
                        }
                    }
                    if !changed { break }
                }
                let mut joined: Vec<usize> = (0..5).collect();
                fn root(joined: &[usize], mut at: usize) -> usize { while joined[at] != at { at = joined[at]; } at }
                for at in 0..5 {
                    for (_, link) in graphs[at].rooms.get(&r).into_iter().flatten().filter(|(_, link)| link.dialled) {
                        let end: usize = link.far.parse().unwrap();
                        let (one, other) = (root(&joined, at), root(&joined, end));
                        prop_assert_ne!(one, other, "a ring: {:?}", graphs);
                        joined[one] = other;
                    }
                }
            }
        }
    }
}
