//! Texts in pieces: what netflux cuts is put together, what is long is cut.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::wire::{Chunk, User, UserContent};

/// Bytes of a piece; all but the last have as many.
const PIECE: usize = 15_000;
/// Longest text that crosses, in bytes. Longer ones, and bytes, stay among netflux clients.
pub const MAX_TEXT: usize = 128 * 1024;
/// Unfinished texts of one sender; the oldest makes room.
const MAX_UNFINISHED: usize = 4;
/// Senders with unfinished texts; others are only heard in whole messages.
const MAX_SENDERS: usize = 256;
/// Bytes of all unfinished texts of a group. A piece beyond that is left out, and its text with it.
const MAX_BYTES: usize = 4 << 20;

const TEXT: u32 = 0;

/// Unfinished texts: at most [`MAX_BYTES`].
#[derive(Debug, Default)]
pub struct Pieces {
    texts: HashMap<u32, VecDeque<Unfinished>>,
    bytes: usize,
}

/// What becomes of a message or a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A text is whole with it.
    Text(String),
    /// It is of a text of so many bytes, more than cross. Said once a text, with its first piece.
    TooLong(usize),
    /// It is no text, or others are to come.
    Nothing,
}

#[derive(Debug)]
struct Unfinished {
    id: u32,
    length: usize,
    parts: Vec<Option<Bytes>>,
}

impl Unfinished {
    fn bytes(&self) -> usize {
        self.parts.iter().flatten().map(Bytes::len).sum()
    }
}

impl Pieces {
    /// Takes a message or a piece.
    pub fn take(&mut self, sender: u32, message: User) -> Taken {
        let length = message.length as usize;
        let whole = match message.content {
            Some(content) if message.kind == TEXT && length > MAX_TEXT => {
                let first = !matches!(content, UserContent::Chunk(Chunk { nb: 1.., .. }));
                return if first { Taken::TooLong(length) } else { Taken::Nothing };
            }
            Some(UserContent::Full(bytes)) if message.kind == TEXT && bytes.len() <= MAX_TEXT => Some(bytes.into()),
            Some(UserContent::Chunk(chunk)) if message.kind == TEXT => self.take_piece(sender, length, chunk),
            _ => None,
        };
        whole.and_then(|bytes| String::from_utf8(bytes).ok()).map_or(Taken::Nothing, Taken::Text)
    }

    /// Forgets a sender.
    pub fn forget(&mut self, sender: u32) {
        let texts = self.texts.remove(&sender).into_iter().flatten();
        self.bytes -= texts.map(|text| text.bytes()).sum::<usize>();
    }

    fn take_piece(&mut self, sender: u32, length: usize, chunk: Chunk) -> Option<Vec<u8>> {
        let count = length.div_ceil(PIECE);
        let at = chunk.nb as usize;
        let fits = at < count && chunk.content.len() == PIECE.min(length - at * PIECE);
        let room = self.bytes + chunk.content.len() <= MAX_BYTES;
        if !fits || !room || (self.texts.len() >= MAX_SENDERS && !self.texts.contains_key(&sender)) {
            return None;
        }
        let texts = self.texts.entry(sender).or_default();
        let known = texts.iter().position(|text| text.id == chunk.id && text.length == length);
        let index = known.unwrap_or_else(|| {
            if texts.len() >= MAX_UNFINISHED {
                self.bytes -= texts.pop_front().map_or(0, |oldest| oldest.bytes());
            }
            texts.push_back(Unfinished { id: chunk.id, length, parts: vec![None; count] });
            texts.len() - 1
        });
        let text = texts.get_mut(index)?;
        self.bytes += chunk.content.len();
        self.bytes -= text.parts[at].replace(chunk.content).map_or(0, |before| before.len());
        if text.parts.iter().any(Option::is_none) {
            return None;
        }
        let whole = texts.remove(index)?;
        self.bytes -= whole.bytes();
        if texts.is_empty() {
            self.texts.remove(&sender);
        }
        Some(whole.parts.into_iter().flatten().flatten().collect())
    }
}

/// A text as messages of service 743. `id` tells its pieces from those of others.
pub fn cut(text: &str, id: u32) -> Vec<User> {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    let message = |content| User { length: bytes.len() as u32, kind: TEXT, content: Some(content) };
    if bytes.len() <= PIECE {
        return vec![message(UserContent::Full(bytes.clone()))];
    }
    let starts = (0..bytes.len()).step_by(PIECE).enumerate();
    starts
        .map(|(nb, start)| {
            let content = bytes.slice(start..bytes.len().min(start + PIECE));
            message(UserContent::Chunk(Chunk { id, nb: nb as u32, content }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing is left, and the count of bytes is right.
    fn is_empty(pieces: &Pieces) -> bool {
        assert_eq!(pieces.bytes, pieces.texts.values().flatten().map(Unfinished::bytes).sum::<usize>());
        pieces.texts.is_empty()
    }

    #[test]
    fn texts_of_any_allowed_length_come_out_as_they_went_in() {
        for length in [0, 1, PIECE, PIECE + 1, 16 * 1024, MAX_TEXT] {
            let text = "x".repeat(length);
            let mut pieces = Pieces::default();
            let mut messages = cut(&text, 7);
            messages.reverse();
            let last = messages.len() - 1;
            for (at, message) in messages.into_iter().enumerate() {
                let whole = Taken::Text(text.clone());
                // a piece that comes twice is the same piece
                assert_eq!(pieces.take(1, message.clone()), if at == last { whole } else { Taken::Nothing });
                assert!(at == last || pieces.take(1, message) == Taken::Nothing);
            }
            assert!(is_empty(&pieces));
        }
    }

    #[test]
    fn senders_and_ids_are_told_apart() {
        let [a, b] = ["a", "b"].map(|letter| cut(&letter.repeat(PIECE + 5), 7));
        let mut pieces = Pieces::default();
        assert_eq!(pieces.take(1, a[0].clone()), Taken::Nothing);
        assert_eq!(pieces.take(2, b[1].clone()), Taken::Nothing);
        assert_eq!(pieces.take(1, a[1].clone()), Taken::Text("a".repeat(PIECE + 5)));
        assert_eq!(pieces.take(2, b[0].clone()), Taken::Text("b".repeat(PIECE + 5)));
    }

    #[test]
    fn what_is_too_long_is_said_once_with_its_first_piece() {
        let mut pieces = Pieces::default();
        let said = cut(&"x".repeat(MAX_TEXT + 1), 3).into_iter().map(|piece| pieces.take(1, piece)).collect::<Vec<_>>();
        assert_eq!(said[0], Taken::TooLong(MAX_TEXT + 1));
        assert!(said[1..].iter().all(|taken| *taken == Taken::Nothing) && said.len() > 8);
        let lying = User { length: u32::MAX, kind: TEXT, content: Some(UserContent::Full(Bytes::from_static(b"short"))) };
        assert_eq!(pieces.take(1, lying), Taken::TooLong(u32::MAX as usize));
        assert!(is_empty(&pieces));
    }

    #[test]
    fn what_is_no_text_or_does_not_fit_is_passed_over() {
        let mut pieces = Pieces::default();
        let full = |kind, bytes: &'static [u8]| User {
            length: bytes.len() as u32,
            kind,
            content: Some(UserContent::Full(bytes.into())),
        };
        assert_eq!(pieces.take(1, full(1, b"bytes")), Taken::Nothing);
        assert_eq!(pieces.take(1, full(0, &[0xff])), Taken::Nothing);
        assert_eq!(pieces.take(1, User { length: u32::MAX, kind: 0, content: None }), Taken::Nothing);
        let long = User { length: 5, kind: TEXT, content: Some(UserContent::Full(vec![b'x'; MAX_TEXT + 1].into())) };
        assert_eq!(pieces.take(1, long), Taken::Nothing, "it has more than it says");
        let piece = |length, nb, content: usize| User {
            length,
            kind: 0,
            content: Some(UserContent::Chunk(Chunk { id: 1, nb, content: vec![0; content].into() })),
        };
        for odd in
            [piece(u32::MAX, 1, PIECE), piece(16_000, 2, 1), piece(16_000, u32::MAX, 1), piece(16_000, 0, 5), piece(0, 0, 0)]
        {
            assert_eq!(pieces.take(1, odd), Taken::Nothing);
        }
        assert!(is_empty(&pieces));
    }

    #[test]
    fn unfinished_texts_are_bounded() {
        let mut pieces = Pieces::default();
        for sender in 0..2 * MAX_SENDERS as u32 {
            for id in 0..10 {
                assert_eq!(pieces.take(sender, cut(&"x".repeat(PIECE + 1), id).remove(1)), Taken::Nothing);
            }
        }
        assert_eq!(pieces.texts.len(), MAX_SENDERS);
        assert!(pieces.texts.values().all(|texts| texts.len() == MAX_UNFINISHED));
        pieces.forget(0);
        assert_eq!(pieces.texts.len(), MAX_SENDERS - 1);
        for sender in 1..MAX_SENDERS as u32 {
            for piece in cut(&"x".repeat(MAX_TEXT), 99).into_iter().skip(1) {
                assert_eq!(pieces.take(sender, piece), Taken::Nothing);
                assert!(pieces.bytes <= MAX_BYTES);
            }
        }
        assert!(pieces.bytes > MAX_BYTES - PIECE);
        (0..MAX_SENDERS as u32).for_each(|sender| pieces.forget(sender));
        assert!(is_empty(&pieces) && pieces.bytes == 0);
    }
}
