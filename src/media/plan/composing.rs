//! PURE. What puts the pictures of a mixed room together: the first of the board's compositors that is there and works.

use super::{Presences, excuse};
use crate::media::board::{Board, Candidate, CompositorCandidate};
use crate::media::element::Presence;

/// What puts pictures together, and why not something else.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Composer {
    /// GStreamer's name of it.
    pub element: String,
    /// True when the work is done outside the CPU.
    pub hardware: bool,
    /// Why this one, for people.
    pub reason: String,
}

/// The compositor to use. `Err` says why there is none, by element.
pub fn compositor_for<'b>(
    board: &'b Board,
    presence: Presences<'_>,
) -> Result<(&'b CompositorCandidate, Composer), Vec<(String, Presence)>> {
    let mut passed_over: Vec<(String, Presence)> = Vec::new();
    for it in &board.compositors {
        match absent(it, presence) {
            None => {
                let place = if it.hardware { "in hardware" } else { "in software" };
                let mut reason = format!("put together {place} by {}", it.element);
                for (element, why) in &passed_over {
                    reason.push_str("; ");
                    reason.push_str(&excuse(element, why));
                }
                return Ok((it, Composer { element: it.element.clone(), hardware: it.hardware, reason }));
            }
            Some(lack) => passed_over.push(lack),
        }
    }
    Err(passed_over)
}

/// The element that keeps a candidate from being used: itself, or one of those around it.
fn absent(it: &CompositorCandidate, presence: Presences<'_>) -> Option<(String, Presence)> {
    let itself = std::iter::once((it.element.as_str(), Candidate::Compositor(it)));
    let around = it.around().map(|element| (element, Candidate::Element(element)));
    let mut asked = itself.chain(around).map(|(element, candidate)| (element.to_owned(), presence(candidate)));
    asked.find(|(_, presence)| !presence.is_ready())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> Board {
        let software = Board::generic().compositors[0].clone();
        let of = |element: &str, upload: &str| CompositorCandidate {
            element: element.into(),
            hardware: true,
            upload: upload.into(),
            ..software.clone()
        };
        let compositors = vec![of("one", "lift"), of("two", ""), software.clone()];
        Board { compositors, ..Board::generic() }
    }

    fn chosen(lacking: &[&str]) -> Option<Composer> {
        let presence = |asked: Candidate<'_>| match lacking.contains(&asked.element()) {
            true => Presence::NotReady { why: "it is broken".into() },
            false => Presence::Ready,
        };
        compositor_for(&board(), &presence).ok().map(|(_, composer)| composer)
    }

    #[test]
    fn the_first_that_works_is_taken_and_the_others_have_a_reason() {
        let composer = |lacking: &[&str]| chosen(lacking).map(|it| (it.element, it.hardware));
        assert_eq!(composer(&[]), Some(("one".into(), true)));
        assert_eq!(composer(&["lift"]), Some(("two".into(), true)));
        assert_eq!(composer(&["one", "two"]), Some(("compositor".into(), false)));
        assert_eq!(composer(&["one", "two", "compositor"]), None);
        let reason = chosen(&["lift", "two"]).unwrap().reason;
        let why =
            "put together in software by compositor; lift does not work here: it is broken; two does not work here: it is broken";
        assert_eq!(reason, why);
    }
}
