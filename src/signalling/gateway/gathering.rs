//! Descriptions for addressees that cannot trickle: held until their candidates are in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::links::LinkKey;
use crate::vocab::{Candidate, MemberId, Sdp};

/// A description is held no longer than this (DESIGN section 4).
const LONGEST: Duration = Duration::from_secs(5);
/// Nor longer than this after its latest candidate: PeerJS does not say when it has no more. Host candidates come within
/// milliseconds of each other, those of a STUN server within its round trip.
const QUIET: Duration = Duration::from_secs(1);
/// Most descriptions held at a time; a further one lets the oldest go as it is.
const MAX_HELD: usize = 32;
/// Most candidates put into one description, and kept for one that is not there yet.
const MAX_CANDIDATES: usize = 64;
/// Longest candidate taken, in bytes.
const MAX_CANDIDATE: usize = 1024;
/// Most candidates kept whose description is not there yet.
const MAX_EARLY: usize = 256;

/// Descriptions on their way to one session whose client cannot trickle. Keyed by who sent them.
///
/// After every call that takes `&mut self`, drain [`poll`](Self::poll) to `None`, then ask [`next_timeout`](Self::next_timeout)
/// again. Time is an argument.
#[derive(Debug, Default)]
pub struct Gathering {
    held: Vec<Held>,
    ready: VecDeque<(LinkKey, Sdp)>,
    early: VecDeque<(LinkKey, Candidate)>,
}

#[derive(Debug)]
struct Held {
    key: LinkKey,
    sdp: Sdp,
    candidates: Vec<Candidate>,
    /// When it goes at the latest.
    latest: Instant,
    /// When it goes unless another candidate comes; known with the first.
    quiet: Option<Instant>,
}

impl Held {
    fn due(&self) -> Instant {
        self.quiet.map_or(self.latest, |quiet| quiet.min(self.latest))
    }
}

impl Gathering {
    /// Takes a description. One that says that it is complete (`a=end-of-candidates`) goes on at once, and so does one whose
    /// sender cannot trickle either: its dialect says so by `complete`.
    pub fn hold(&mut self, now: Instant, key: LinkKey, sdp: Sdp, complete: bool) {
        self.held.retain(|held| held.key != key);
        let ends = |line: &str| line.trim_end() == "a=end-of-candidates";
        let complete = complete || sdp.text.lines().any(ends);
        if self.held.len() >= MAX_HELD {
            let oldest = self.held.remove(0);
            self.release(oldest);
        }
        let mut held = Held { key, sdp, candidates: Vec::new(), latest: now + LONGEST, quiet: None };
        let mut ended = complete;
        let mine = |(key, _): &(LinkKey, Candidate)| *key == held.key;
        let (early, others) = std::mem::take(&mut self.early).into_iter().partition::<VecDeque<_>, _>(mine);
        self.early = others;
        for (_, candidate) in early {
            ended |= add(&mut held, now, candidate);
        }
        if ended {
            self.release(held);
        } else {
            self.held.push(held);
        }
    }

    /// Takes a candidate; an empty one ends them. One that comes too late is dropped: the addressee could not take it.
    pub fn candidate(&mut self, now: Instant, key: &LinkKey, candidate: Candidate) {
        let Some(at) = self.held.iter().position(|held| held.key == *key) else {
            let count = self.early.iter().filter(|(of, _)| of == key).count();
            if usable(&candidate) && count < MAX_CANDIDATES {
                if self.early.len() >= MAX_EARLY {
                    self.early.pop_front();
                }
                self.early.push_back((key.clone(), candidate));
            }
            return;
        };
        if add(&mut self.held[at], now, candidate) {
            let held = self.held.remove(at);
            self.release(held);
        }
    }

    /// The sender of these is gone.
    pub fn forget(&mut self, who: MemberId) {
        self.held.retain(|held| held.key.who != who);
        self.early.retain(|(of, _)| of.who != who);
    }

    /// Lets go of what has waited long enough.
    pub fn handle_timeout(&mut self, now: Instant) {
        let (due, held) = std::mem::take(&mut self.held).into_iter().partition::<Vec<_>, _>(|held| held.due() <= now);
        self.held = held;
        due.into_iter().for_each(|held| self.release(held));
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.held.iter().map(Held::due).min()
    }

    /// The next complete description, and whose it is.
    #[must_use]
    pub fn poll(&mut self) -> Option<(LinkKey, Sdp)> {
        self.ready.pop_front()
    }

    fn release(&mut self, held: Held) {
        let text = complete(&held.sdp.text, &held.candidates);
        self.ready.push_back((held.key, Sdp { kind: held.sdp.kind, text }));
    }
}

/// Adds a candidate; true when it ends them.
fn add(held: &mut Held, now: Instant, candidate: Candidate) -> bool {
    if candidate.candidate.is_empty() {
        return true;
    }
    if usable(&candidate) && held.candidates.len() < MAX_CANDIDATES {
        held.candidates.push(candidate);
        held.quiet = Some(now + QUIET);
    }
    false
}

/// Whether it can be a line of a description: nothing that would begin another line.
fn usable(candidate: &Candidate) -> bool {
    let text = &candidate.candidate;
    text.is_empty() || (text.len() <= MAX_CANDIDATE && text.starts_with("candidate:") && !text.chars().any(char::is_control))
}

/// The description with these candidates in the sections they name (the first where they name none), without the promise to
/// trickle, and with the end of candidates said.
fn complete(text: &str, candidates: &[Candidate]) -> String {
    let mut sections: Vec<Vec<&str>> = vec![Vec::new()];
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        if line.starts_with("m=") {
            sections.push(Vec::new());
        }
        match (line, sections.last_mut()) {
            ("a=ice-options:trickle" | "a=end-of-candidates", _) | (_, None) => {}
            (line, Some(section)) => section.push(line),
        }
    }
    let named = |candidate: &Candidate, index: usize, lines: &[&str]| match (&candidate.sdp_mid, candidate.sdp_mline_index) {
        (Some(mid), _) if !mid.is_empty() => lines.iter().any(|line| line.strip_prefix("a=mid:") == Some(mid)),
        (_, Some(at)) => usize::from(at) == index,
        _ => index == 0,
    };
    let mut whole = String::with_capacity(text.len() + 128 * candidates.len());
    let mut push = |line: &str| {
        whole.push_str(line);
        whole.push_str("\r\n");
    };
    for (number, lines) in sections.iter().enumerate() {
        lines.iter().for_each(|line| push(line));
        let Some(index) = number.checked_sub(1) else { continue };
        let known = |candidate: &str| lines.iter().any(|line| line.strip_prefix("a=") == Some(candidate));
        for candidate in candidates.iter().filter(|candidate| named(candidate, index, lines) && !known(&candidate.candidate)) {
            push(&format!("a={}", candidate.candidate));
        }
        let rejected = lines.first().and_then(|line| line.split(' ').nth(1)) == Some("0");
        if !rejected {
            push("a=end-of-candidates");
        }
    }
    whole
}
