//! One member of each dialect in one room, in rooms of each topology and in both orders of joining: for each ordered pair, what is
//! promised (picture, sound, text, refusal, nothing) is what happens. `docs/ref/dialects.md` is written from what was seen here.
//!
//! `UPDATE=1 cargo test --test matrix` writes the page.

#[path = "matrix/page.rs"]
mod page;
#[path = "matrix/promise.rs"]
mod promise;
mod support;

use promise::{Grid, Kinds, MEMBERS, Promise, SENDERS};
use serde_json::{Value, json};
use support::{Gateway, node};

/// The source's picture is white and small; the script knows its tone. PeerJS and webrtc-star clients name no room: theirs is configured.
fn config(topology: &str) -> String {
    format!(
        r#"
[http]
allowed_origins = ["*"]

[[room]]
name = "matrix"
topology = "{topology}"
sources = ["source"]

[[source]]
name = "source"
type = "test"
pattern = "white"
tone = 440
width = 160
height = 120
framerate = 10

[[peerjs.mount]]
key = "matrix"

[star]
room = "matrix"
"#
    )
}

/// What the script is to wait for: all that is promised whoever came first.
fn wanted(promise: &Promise) -> Value {
    let one = |to: &str| {
        let from = |kind: char| -> Vec<&str> {
            SENDERS.iter().copied().filter(|from| promise.cell(from, to).always.has(kind)).collect()
        };
        // what it sends and is refused: the client itself hears that
        let refused = |at: &&str| SENDERS.contains(&to) && promise.cell(to, at).always.has('r');
        let refusals: Vec<&str> = MEMBERS.iter().copied().filter(refused).collect();
        json!({ "pictures": from('v'), "sounds": from('a'), "texts": from('t'), "refusals": refusals })
    };
    MEMBERS.iter().map(|to| ((*to).to_owned(), one(to))).collect::<serde_json::Map<_, _>>().into()
}

/// What the script saw.
fn grid(seen: &Value) -> Grid {
    let mut grid = Grid::default();
    for to in MEMBERS {
        let lists = [("pictures", 'v'), ("sounds", 'a'), ("texts", 't')];
        for (list, kind) in lists {
            for from in seen["seen"][to][list].as_array().into_iter().flatten().filter_map(Value::as_str) {
                grid.add(from, to, kind);
            }
        }
        // a refusal is the sender's
        for at in seen["seen"][to]["refusals"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            grid.add(to, at, 'r');
        }
    }
    grid
}

/// One room with everybody in it: what the script saw, as a grid, and what is not as promised.
fn attempt(topology: &str, order: &str, promise: &Promise) -> (Value, Grid, Vec<String>) {
    let mut gateway = Gateway::start(&config(topology));
    let seen = node("matrix.mjs", &[&gateway.base, "matrix", order, &wanted(promise).to_string()]);
    let grid = grid(&seen);
    let faults = promise.faults(&grid);
    if !faults.is_empty() {
        eprintln!("{topology}, {order}: {seen:#}\n--- the gateway's log\n{}\n---", gateway.log());
    }
    (seen, grid, faults)
}

#[test]
fn between_each_two_dialects_what_is_promised_is_what_happens() {
    let mut wrong = Vec::new();
    let mut pages = Vec::new();
    for topology in ["sfu", "mesh"] {
        let promise = Promise::of(topology);
        let mut both = Grid::default();
        for order in ["forward", "reverse"] {
            // ten real clients at once on a machine that may be busy: what fails must fail twice, and is told each time
            let (mut seen, mut grid, mut faults) = attempt(topology, order, &promise);
            if !faults.is_empty() {
                eprintln!("{topology}, {order}: once more, because of {faults:?}");
                (seen, grid, faults) = attempt(topology, order, &promise);
            }
            if !faults.is_empty() {
                wrong.push(format!("{topology}, {order}:\n{}\nseen:\n{grid}\n", faults.join("\n")));
            }
            // who hears directly is not told by the room as well
            let twice = |to: &&str| seen["seen"][*to]["twice"].as_array().is_some_and(|twice| !twice.is_empty());
            let twice: Vec<&str> = MEMBERS.into_iter().filter(|to| topology == "mesh" && twice(to)).collect();
            assert!(twice.is_empty(), "{order}: {twice:?} heard a text twice: {:#}", seen["seen"]);
            // its member is alone with its kind
            assert_eq!(seen["about"]["webrtc-star"]["discovered"], json!([]), "{seen:#}");
            both.join(&grid);
        }
        wrong.extend(promise.never(&both).into_iter().map(|fault| format!("{topology}: {fault}")));
        pages.push((topology, both));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    page::check(&page::write(&pages));
}

/// A promise that is not kept yet, or that depends on who came first, is explained.
#[test]
fn what_is_less_than_everything_has_its_reason() {
    for topology in ["sfu", "mesh"] {
        let promise = Promise::of(topology);
        for from in SENDERS {
            for to in MEMBERS.iter().filter(|to| *to != &from) {
                let cell = promise.cell(from, to);
                if !cell.later.is_empty() || !cell.sometimes.is_empty() {
                    let noted = promise::notes(topology, from, to).next();
                    assert!(noted.is_some(), "{topology}: {from} to {to} has no note");
                }
                let all = [&cell.always, &cell.sometimes, &cell.later];
                let mut kinds: Vec<char> = all.into_iter().flat_map(Kinds::iter).collect();
                kinds.sort_unstable();
                let mut once = kinds.clone();
                once.dedup();
                assert_eq!(kinds.len(), once.len(), "{topology}: {from} to {to} says something twice");
            }
        }
    }
}
