//! Which others a client of a mesh dialect is shown, and how each is reached.

use super::ids::{IdForm, room_member};
use crate::room::{DialectName, MemberView, Notice, Topology, Welcome};
use crate::vocab::{MemberId, RoomId};

/// Where a connection with somebody ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// At the other's client; Portico carries the signals (`Command::Tell`).
    Direct,
    /// At Portico, which stands for the other (`Command::Meet`).
    Portico,
}

/// Somebody whom a client is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The member, or the room's own id ([`room_member`]).
    pub member: MemberId,
    /// How it is reached.
    pub reach: Reach,
    /// What is known of it; `None` for the room itself.
    pub view: Option<MemberView>,
}

impl Shown {
    /// Whom a connection with it stands for in a [`Meeting`](crate::room::Meeting).
    pub fn with(&self) -> Option<MemberId> {
        self.view.as_ref().map(|view| view.member)
    }
}

/// When Portico is one more member of a `mesh` room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Portico {
    /// While the room holds somebody who cannot be reached directly, or who hears text by signalling only.
    IfNeeded,
    Always,
}

/// Whom a client is shown of the others in its room, in order of joining.
///
/// - `sfu`: everybody but webrtc-star's, who have nothing for others; each connection ends at Portico.
/// - `mesh`: the clients that plain descriptions reach, each directly, and last the room itself if it holds something that only
///   Portico can give, or somebody (a tribe client) who hears text by signalling only.
pub fn shown(topology: Topology, room: &RoomId, others: &[MemberView]) -> Vec<Shown> {
    shown_with(topology, Portico::IfNeeded, room, others)
}

fn shown_with(topology: Topology, portico: Portico, room: &RoomId, others: &[MemberView]) -> Vec<Shown> {
    let one = |view: &MemberView| {
        let reach = reach(topology, view.dialect)?;
        Some(Shown { member: view.member, reach, view: Some(view.clone()) })
    };
    let mut shown: Vec<Shown> = others.iter().filter_map(one).collect();
    shown.extend(holds_more(topology, portico, others).then(|| the_room(room)));
    shown
}

/// How a member is reached as itself; `None`: it is not shown as itself.
fn reach(topology: Topology, dialect: DialectName) -> Option<Reach> {
    match topology {
        _ if dialect == DialectName::Star => None,
        Topology::Sfu | Topology::Mcu => Some(Reach::Portico),
        Topology::Mesh => dialect.meets_directly().then_some(Reach::Direct),
    }
}

/// Whether Portico is one more member.
fn holds_more(topology: Topology, portico: Portico, others: &[MemberView]) -> bool {
    topology == Topology::Mesh && (portico == Portico::Always || others.iter().any(|view| needs_portico(view.dialect)))
}

fn needs_portico(dialect: DialectName) -> bool {
    dialect != DialectName::Star && (!dialect.meets_directly() || dialect.hears_words())
}

fn the_room(room: &RoomId) -> Shown {
    Shown { member: room_member(room), reach: Reach::Portico, view: None }
}

/// Who is in the room, as one client is shown it. As large as the room, whose size is bounded.
#[derive(Clone, Debug)]
pub struct Roster {
    own: DialectName,
    room: RoomId,
    topology: Topology,
    portico: Portico,
    others: Vec<MemberView>,
}

/// What became of the list of those shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Somebody to be shown came. In `mesh` rooms also the room itself, after the first who needs it.
    Came(Box<Shown>),
    /// Somebody who was shown is gone, the room itself after the last who needs it; what the client had with it is over.
    Gone(MemberId),
}

impl Roster {
    /// As a member of dialect `own` is welcomed.
    pub fn new(own: DialectName, welcome: &Welcome) -> Self {
        let portico = Portico::IfNeeded;
        Self { own, room: welcome.room.clone(), topology: welcome.topology, portico, others: welcome.others.clone() }
    }

    /// With Portico as one more member in any case, for what it keeps (Vamp's clips) or answers.
    pub fn with_portico(self) -> Self {
        Self { portico: Portico::Always, ..self }
    }

    /// The room.
    pub fn room(&self) -> &RoomId {
        &self.room
    }

    /// Who talks to whom in it.
    pub fn topology(&self) -> Topology {
        self.topology
    }

    /// Everybody shown now.
    pub fn shown(&self) -> Vec<Shown> {
        shown_with(self.topology, self.portico, &self.room, &self.others)
    }

    /// How somebody is reached: a member, or the room itself by its own id. `None`: the client is not shown it.
    pub fn reach(&self, who: MemberId) -> Option<Reach> {
        match self.view(who) {
            Some(view) => reach(self.topology, view.dialect),
            None => (self.holds_more() && who == room_member(&self.room)).then_some(Reach::Portico),
        }
    }

    /// What is known of another member, shown or not.
    pub fn view(&self, member: MemberId) -> Option<&MemberView> {
        self.others.iter().find(|view| view.member == member)
    }

    /// Follows the room; gives what becomes of the list of those shown, in this order: two changes at most.
    pub fn handle_notice(&mut self, notice: &Notice) -> Vec<Change> {
        match notice {
            Notice::MemberJoined { member, .. } => self.joined(member),
            Notice::MemberLeft { member, .. } => self.left(*member),
            Notice::MemberChanged { member } => {
                if let Some(known) = self.known(member.member) {
                    *known = member.clone();
                }
                Vec::new()
            }
            Notice::StreamUp { member, stream } => {
                if let Some(known) = self.known(*member) {
                    known.streams.retain(|other| other.name != stream.name);
                    known.streams.push(stream.clone());
                }
                Vec::new()
            }
            Notice::StreamDown { member, stream } => {
                if let Some(known) = self.known(*member) {
                    known.streams.retain(|other| other.name != *stream);
                }
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// Somebody shown, by the text that the client has for it: the id in its own dialect's world for one of its own, else the
    /// member's id in this form.
    pub fn find(&self, text: &str, form: IdForm) -> Option<Shown> {
        // asked for every signal: the others are looked at, and only the one that is found is copied
        let is_named = |view: &MemberView| match view.dialect == self.own && !view.user_id.is_empty() {
            true => view.user_id == text,
            false => form.is(text, view.member),
        };
        let itself = self.others.iter().find_map(|view| {
            let reach = reach(self.topology, view.dialect).filter(|_| is_named(view))?;
            Some(Shown { member: view.member, reach, view: Some(view.clone()) })
        });
        itself.or_else(|| {
            let room = self.holds_more().then(|| the_room(&self.room))?;
            form.is(text, room.member).then_some(room)
        })
    }

    /// The text that the client has for somebody shown; reads back by [`Self::find`].
    pub fn name_of(&self, shown: &Shown, form: IdForm) -> String {
        match &shown.view {
            Some(view) if view.dialect == self.own && !view.user_id.is_empty() => view.user_id.clone(),
            _ => form.write(shown.member),
        }
    }

    fn joined(&mut self, member: &MemberView) -> Vec<Change> {
        let held_more = self.holds_more();
        self.others.retain(|view| view.member != member.member);
        self.others.push(member.clone());
        let direct = reach(self.topology, member.dialect);
        let itself = direct.map(|reach| Shown { member: member.member, reach, view: Some(member.clone()) });
        let room = (!held_more && self.holds_more()).then(|| the_room(&self.room));
        itself.into_iter().chain(room).map(|shown| Change::Came(Box::new(shown))).collect()
    }

    fn left(&mut self, member: MemberId) -> Vec<Change> {
        let held_more = self.holds_more();
        let Some(at) = self.others.iter().position(|view| view.member == member) else { return Vec::new() };
        let gone = self.others.remove(at);
        let itself = reach(self.topology, gone.dialect).map(|_| member);
        let room = (held_more && !self.holds_more()).then(|| room_member(&self.room));
        itself.into_iter().chain(room).map(Change::Gone).collect()
    }

    fn known(&mut self, member: MemberId) -> Option<&mut MemberView> {
        self.others.iter_mut().find(|view| view.member == member)
    }

    fn holds_more(&self) -> bool {
        holds_more(self.topology, self.portico, &self.others)
    }
}
