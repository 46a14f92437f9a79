//! `docs/ref/dialects.md`, from what the run saw and from the program's own tables.

use std::fmt::Write as _;
use std::path::Path;

use portico::signalling::gateway::{IdForm, MEETINGS};
use portico::signalling::listener::ListenerDialect;
use portico::signalling::{DIALECTS, Manners, Offers, PeerPer};
use portico::vocab::MemberId;

use crate::promise::{Grid, MEMBERS, NOTES, Promise, SENDERS, word};

const HEAD: &str = "# Dialects side by side

<!-- Written by tests/matrix.rs: UPDATE=1 cargo test --test matrix -->

What gets from a member of one dialect to a member of another in the same room. The tables are what a test saw: it brings one genuine
client of each dialect into one room, in both orders of joining, lets each send a picture and a sound of its own and say something, and
looks at what the others show, play and read. How to point a client here is in the [guide](../guide/dialects.md).

What a client sends and takes by itself: tribe, PeerJS and the page picture, sound and text; WHIP and WHEP picture and sound; Vamp
sound and text; algorea, simple-peerjs and netflux (sigver) text. webrtc-star is a meeting place for libp2p only, and stays within
itself. Two members of the same dialect are the business of that dialect's own tests (`tests/client_*.rs`). In a `mesh` room the test also
sees that no text arrives twice; in an `sfu` room a PeerJS client says it to each member and to the room, and is heard as often.
";

/// Writes the page, or compares it with the one checked in.
pub fn check(page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ref/dialects.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, page).expect("the page is written");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == page,
        "docs/ref/dialects.md is not what was seen: UPDATE=1 cargo test --test matrix writes it; seen now:\n{page}"
    );
}

pub fn write(seen: &[(&str, Grid)]) -> String {
    let mut page = HEAD.to_owned();
    for (topology, grid) in seen {
        let title = match *topology {
            "sfu" => "## In an `sfu` room\n\nEvery connection ends at Portico.",
            _ => {
                "## In a `mesh` room\n\nClients connect directly where they can; Portico is one more member for what only it can bring."
            }
        };
        let _ = writeln!(page, "\n{title} Rows send, columns receive.\n");
        matrix(&mut page, topology, grid);
    }
    negotiation(&mut page);
    addresses(&mut page);
    ids(&mut page);
    meetings(&mut page);
    page
}

fn matrix(page: &mut String, topology: &str, grid: &Grid) {
    let promise = Promise::of(topology);
    row(page, std::iter::once("from \\ to").chain(MEMBERS));
    row(page, std::iter::repeat_n("---", MEMBERS.len() + 1));
    let mut used: Vec<&str> = Vec::new();
    for from in SENDERS {
        let mut cells = vec![format!("**{from}**")];
        for to in MEMBERS {
            if from == to {
                cells.push(String::new());
                continue;
            }
            let promised = promise.cell(from, to);
            let mut parts: Vec<String> = grid.kinds(from, to).iter().map(|kind| word(kind).to_owned()).collect();
            for (part, kind) in parts.iter_mut().zip(grid.kinds(from, to).iter()) {
                if promised.sometimes.has(kind) {
                    *part = format!("({part})");
                }
            }
            let later: Vec<&str> = promised.later.iter().map(word).collect();
            if !later.is_empty() {
                parts.push(format!("*not yet: {}*", later.join(", ")));
            }
            let mut cell = if parts.is_empty() { "–".to_owned() } else { parts.join(", ") };
            for reason in crate::promise::notes(topology, from, to) {
                let number = used.iter().position(|known| *known == reason).unwrap_or_else(|| {
                    used.push(reason);
                    used.len() - 1
                });
                let _ = write!(cell, " [{}]", number + 1);
            }
            cells.push(cell);
        }
        row(page, cells.iter().map(String::as_str));
    }
    let _ = writeln!(page, "\nIn brackets: only in one order of joining.");
    if !used.is_empty() {
        page.push('\n');
    }
    for (number, reason) in used.iter().enumerate() {
        let _ = writeln!(page, "{}. {reason}", number + 1);
    }
    assert!(
        NOTES.iter().filter(|note| note.0 == topology).all(|note| used.contains(&note.3)),
        "a note of {topology} belongs to no pair"
    );
}

fn negotiation(page: &mut String) {
    page.push_str("\n## Who offers, and what a client can take\n\n");
    row(
        page,
        ["dialect", "offers", "candidates after a description", "a second offer on a connection", "one connection for each"],
    );
    row(page, ["---"; 5]);
    for entry in DIALECTS {
        let Manners { offers, trickle, renegotiate, peer_per } = entry.manners;
        let offers = match offers {
            Offers::ServerOffersDownlinks => "the client its own stream, Portico the others'",
            Offers::Client => "the client",
            Offers::Newcomer => "who comes later",
            Offers::Present => "who is there",
            Offers::Caller => "who calls",
        };
        let per = match peer_per {
            PeerPer::Stream => "stream",
            PeerPer::Member => "other member",
            PeerPer::Call => "call",
        };
        row(page, [entry.name.as_str(), offers, yes(trickle), yes(renegotiate), per]);
    }
    row(page, ["whip, whep", "the client", "yes, by `PATCH`", "only to restart ICE", "stream"]);
    page.push_str(
        "\nA side that takes no candidates after a description gets one that is complete: Portico holds it until they are in, at most 5 s.\n",
    );
}

fn addresses(page: &mut String) {
    page.push_str("\n## Where each is served\n\n");
    row(page, ["dialect", "on the main listener", "on a `[[listener]]` of its own", "names the room by"]);
    row(page, ["---"; 4]);
    for entry in DIALECTS {
        let name = entry.name.as_str();
        let own = [ListenerDialect::Algorea, ListenerDialect::Peerjs, ListenerDialect::WebrtcStar, ListenerDialect::Sigver];
        let own = own.into_iter().find(|own| own.as_str() == name);
        let own = match (own, name) {
            (_, "peerjs") => {
                format!("port {}; `liberdus`: port {}", ListenerDialect::Peerjs.port(), ListenerDialect::Liberdus.port())
            }
            (Some(own), "algorea" | "sigver") => format!("port {}, any path", own.port()),
            (Some(own), _) => format!("port {}", own.port()),
            (None, _) => "–".to_owned(),
        };
        let path = match name {
            "webrtc-star" => "`/socket.io/`, `/socket.io-next/`".to_owned(),
            "peerjs" => format!("`{}`, `path` of each mount", entry.carrier.path),
            _ => format!("`{}`", entry.carrier.path),
        };
        let room = match name {
            "tribe" => "`roomId` of `join`",
            "algorea" => "`?room=`, else `algorea`",
            "peerjs" => "the mount's `room`, else its key",
            "vamp" => "the `join vamp` event",
            "sigver" => "the path behind the mount",
            "webrtc-star" => "`star.room`; with the port on a listener of its own",
            _ => "`room` of `join`",
        };
        row(page, [name, &path, &own, room]);
    }
    row(page, ["whip", "`/whip/ROOM[/STREAM]`", "–", "the path"]);
    row(page, ["whep", "`/whep/ROOM[/STREAM]`", "–", "the path"]);
    page.push_str("\nEqual names are the same room, whatever the dialect; `[room_prefix]` keeps a dialect's rooms apart.\n");
}

fn ids(page: &mut String) {
    let id = MemberId(std::array::from_fn(|i| 0x10 * u8::try_from(i).expect("below 16") + 7));
    let _ = write!(page, "\n## How a member of another dialect is called\n\nA member's id in the API, here `{id}`, is:\n\n");
    row(page, ["to clients of", "written as"]);
    row(page, ["---"; 2]);
    let forms = [
        ("tribe", IdForm::UpperHex),
        ("algorea", IdForm::Base64Url22),
        ("peerjs, simple-peerjs", IdForm::Hex),
        ("vamp", IdForm::Base64Url20),
    ];
    for (dialect, form) in forms {
        row(page, [dialect, &format!("`{}`", form.write(id))]);
    }
    row(page, ["sigver", "not at all: Portico is one member of the group and speaks for the others"]);
    page.push_str("\nA PeerJS client calls the room itself by its name; algorea's and Vamp's clients see it as one more id.\n");
}

fn meetings(page: &mut String) {
    page.push_str(
        "\n## Who connects directly in a `mesh` room\n\nBy how their data channels look. Clients of one dialect always may. Where it says *refused*, \
         the client that offers hears it in its own protocol's words, with that reason where it has room for one.\n\n",
    );
    row(page, ["who offers", "its data channels", "who answers", "outcome"]);
    row(page, ["---"; 4]);
    for meets in MEETINGS.iter().filter(|meets| meets.offerer != meets.answerer) {
        let outcome = match meets.outcome {
            Ok(_) => "connects".to_owned(),
            Err("channels-differ") => {
                "refused: one side reads only the channel that the other opens, which opens none (`channels-differ`)".to_owned()
            }
            Err("messages-differ") => "refused: both use one channel, but read different messages (`messages-differ`)".to_owned(),
            Err("media-only") => "refused: the answerer does nothing with media (`media-only`)".to_owned(),
            Err(other) => panic!("say what {other} means"),
        };
        row(page, [meets.offerer.as_str(), framing(meets.framing), meets.answerer.as_str(), &outcome]);
    }
    page.push_str("\nsigver, the page, WHIP and WHEP meet the others through Portico only.\n");
}

fn framing(framing: portico::room::Framing) -> &'static str {
    use portico::room::Framing;
    match framing {
        Framing::Free => "as the two agree",
        Framing::OwnChannels => "each side writes to its own",
        Framing::Plain => "one for both, texts and bytes as they are",
        Framing::Json | Framing::JsonText => "one for both, JSON",
        Framing::BinaryPack => "one for both, BinaryPack",
        Framing::None => "none: a call",
        Framing::Own => "its own protocol",
    }
}

fn yes(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

fn row<'a>(page: &mut String, cells: impl IntoIterator<Item = &'a str>) {
    for cell in cells {
        let _ = write!(page, "| {cell} ");
    }
    page.push_str("|\n");
}
