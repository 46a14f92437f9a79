//! What members of different dialects are to each other in one room: the promise.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Who receives, in the order of the tables' columns.
pub const MEMBERS: [&str; 10] =
    ["tribe", "page", "whip", "whep", "algorea", "peerjs", "simple-peerjs", "vamp", "sigver", "webrtc-star"];
/// Who sends, in the order of the tables' rows.
pub const SENDERS: [&str; 11] =
    ["source", "tribe", "page", "whip", "whep", "algorea", "peerjs", "simple-peerjs", "vamp", "sigver", "webrtc-star"];

// A cell is what gets from the row's member to the column's: `v` its picture, `a` its sound, `t` its text, `r` a refusal of its offer; `-`
// nothing, `=` itself. What follows `/` gets there in one order of joining only. What follows `!` is promised and not kept yet.

#[rustfmt::skip]
const SFU: &str = "
source          va  va  -   va  -   va  -   a   -   -
tribe           =   vat -   /va t   vat t   at/v t  -
page            vat =   -   -   t   vat t   at/v t  -
whip            va  va  =   va  -   va  -   a/v -   -
whep            -   -   -   =   -   -   -   -   -   -
algorea         t   t   -   r   =   t   t   t   t   r
peerjs          vat vat -   r   t   =   t   at/v t  r
simple-peerjs   t   t   -   r   t   t   =   t   t   r
vamp            at  at  -   -   t   at  t   =   t   -
sigver          t   t   -   -   t   t   t   t   =   -
webrtc-star     -   -   -   -   -   -   -   -   -   =
";

#[rustfmt::skip]
const MESH: &str = "
source          va  va  -   va  -   va  -   a   -   -
tribe           =   vat -   /va t   t   t   t   t   -
page            vat =   -   -   t   t   t   t   t   -
whip            va  va  =   va  -   -   -   -   -   -
whep            -   -   -   =   -   -   -   -   -   -
algorea         t   tr  r   r   =   r   r   r   tr  r
peerjs          vat vatr r  r   r   =   -   vat tr  r
simple-peerjs   t   tr  r   r   r   -   =   t   tr  r
vamp            at  at  -   -   -   at  t   =   t   -
sigver          t   t   -   -   t   t   t   t   =   -
webrtc-star     -   -   -   -   -   -   -   -   -   =
";

/// A picture that was not asked for.
const PICTURE: &str = "A Vamp client asks for no picture of those who are there. In what Portico offers it for who comes later there is one, for pages \
    that show it.";
/// Why a WHEP player does not get everybody.
const WHEP: &str = "A WHEP address names a stream, not whose it is; without a name it is the first `main`, else the first source, of those \
    that are there when the player comes. A player that wants one publisher asks for its stream by a name of its own, as WHIP gives it.";
/// Who is not to be called.
const UNSEEN: &str = "A WHEP player and a webrtc-star peer are shown to nobody; who calls their ids hears that there is nobody.";
/// What a mesh client reaches only through the room.
const ROOM: &str = "Who cannot be reached directly is not called by its own id but met through the room: what the client sends reaches it by that \
    connection. A refusal is what a call by the own id meets.";
/// What comes by a call of the room.
const FIRST: &str = "By its connection with the room a client gets one stream: the first source, else the first `main`, else the first publisher, \
    of the others.";
/// Two libraries of one dialect.
const LIBRARIES: &str = "PeerJS and simple-peerjs write their offers differently and connect directly with their own kind only; a broker of either \
    is no help. Not tried here: simple-peerjs ends its program over an offer of PeerJS.";

/// Why a cell holds less than one might expect: topology, rows, columns, and the reason. `*` is any.
pub const NOTES: &[(&str, &str, &str, &str)] = &[
    ("sfu", "tribe page peerjs vamp", "whep", WHEP),
    ("sfu", "algorea peerjs simple-peerjs", "whep webrtc-star", UNSEEN),
    ("sfu", "tribe page whip peerjs", "vamp", PICTURE),
    ("mesh", "tribe page peerjs vamp", "whep", WHEP),
    ("mesh", "algorea peerjs simple-peerjs", "whep webrtc-star", UNSEEN),
    ("mesh", "algorea peerjs simple-peerjs", "page whip sigver", ROOM),
    ("mesh", "source page whip tribe", "peerjs vamp", FIRST),
    ("mesh", "peerjs simple-peerjs", "peerjs simple-peerjs", LIBRARIES),
];

/// Kinds of what gets from one to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kinds(BTreeSet<char>);

impl Kinds {
    fn read(text: &str) -> Self {
        let known = |c: &char| "vatr".contains(*c);
        assert!(text.chars().all(|c| known(&c)), "what is {text}?");
        Self(text.chars().collect())
    }

    pub fn has(&self, kind: char) -> bool {
        self.0.contains(&kind)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order of the tables.
    pub fn iter(&self) -> impl Iterator<Item = char> {
        "vatr".chars().filter(|kind| self.has(*kind))
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = self.iter().collect();
        f.pad(if text.is_empty() { "-" } else { &text })
    }
}

/// What is promised of one ordered pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Whoever came first.
    pub always: Kinds,
    /// In one order of joining.
    pub sometimes: Kinds,
    /// Not yet.
    pub later: Kinds,
}

impl Cell {
    fn read(text: &str) -> Self {
        if matches!(text, "-" | "=") {
            return Self::default();
        }
        let (rest, later) = text.split_once('!').unwrap_or((text, ""));
        let (always, sometimes) = rest.split_once('/').unwrap_or((rest, ""));
        Self { always: Kinds::read(always), sometimes: Kinds::read(sometimes), later: Kinds::read(later) }
    }
}

/// The promise of one topology.
pub struct Promise(BTreeMap<(&'static str, &'static str), Cell>);

impl Promise {
    pub fn of(topology: &str) -> Self {
        let table = if topology == "sfu" { SFU } else { MESH };
        let mut cells = BTreeMap::new();
        for (line, from) in table.trim().lines().zip(SENDERS) {
            let words: Vec<&'static str> = line.split_whitespace().collect();
            assert_eq!((words[0], words.len()), (from, MEMBERS.len() + 1), "{topology}: {line}");
            for (to, text) in MEMBERS.into_iter().zip(&words[1..]) {
                assert_eq!(from == to, *text == "=", "{topology}: {from} to {to}");
                cells.insert((from, to), Cell::read(text));
            }
        }
        Self(cells)
    }

    pub fn cell(&self, from: &str, to: &str) -> &Cell {
        let found = self.0.iter().find(|((f, t), _)| (*f, *t) == (from, to));
        found.map(|(_, cell)| cell).unwrap_or_else(|| panic!("no cell of {from} to {to}"))
    }

    /// Where one run differs from it.
    pub fn faults(&self, seen: &Grid) -> Vec<String> {
        let mut faults = Vec::new();
        for ((from, to), cell) in &self.0 {
            let seen = seen.kinds(from, to);
            for kind in "vatr".chars() {
                let said = match (seen.has(kind), cell) {
                    (false, cell) if cell.always.has(kind) => "does not get there",
                    (true, cell) if cell.later.has(kind) => "gets there now: promise it",
                    (true, cell) if !cell.always.has(kind) && !cell.sometimes.has(kind) => "gets there and should not",
                    _ => continue,
                };
                faults.push(format!("{from} to {to}: {} {said}", word(kind)));
            }
        }
        faults
    }

    /// What should have been in one of the runs, given what was in any.
    pub fn never(&self, any: &Grid) -> Vec<String> {
        let missing = self.0.iter().flat_map(|((from, to), cell)| {
            let missing = cell.sometimes.iter().filter(|kind| !any.kinds(from, to).has(*kind));
            missing.map(|kind| format!("{from} to {to}: {} gets there in no order", word(kind))).collect::<Vec<_>>()
        });
        missing.collect()
    }
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Grid(BTreeMap<(String, String), Kinds>);

impl Grid {
    pub fn add(&mut self, from: &str, to: &str, kind: char) {
        self.0.entry((from.to_owned(), to.to_owned())).or_default().0.insert(kind);
    }

    pub fn kinds(&self, from: &str, to: &str) -> Kinds {
        self.0.get(&(from.to_owned(), to.to_owned())).cloned().unwrap_or_default()
    }

    /// Adds what was seen in another run.
    pub fn join(&mut self, other: &Self) {
        for (pair, kinds) in &other.0 {
            self.0.entry(pair.clone()).or_default().0.extend(&kinds.0);
        }
    }
}

impl fmt::Display for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for from in SENDERS {
            write!(f, "{from:15}")?;
            for to in MEMBERS {
                match from == to {
                    true => write!(f, " {:4}", "=")?,
                    false => write!(f, " {:4}", self.kinds(from, to))?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// A kind in words.
pub fn word(kind: char) -> &'static str {
    match kind {
        'v' => "picture",
        'a' => "sound",
        't' => "text",
        _ => "refused",
    }
}

/// The reasons that are given for a pair.
pub fn notes<'a>(topology: &'a str, from: &'a str, to: &'a str) -> impl Iterator<Item = &'static str> + 'a {
    let fits = |pattern: &str, name: &str| pattern == "*" || pattern.split(' ').any(|one| one == name);
    let of_pair = NOTES.iter().filter(move |(t, f, r, _)| fits(t, topology) && fits(f, from) && fits(r, to));
    of_pair.map(|(.., reason)| *reason)
}
