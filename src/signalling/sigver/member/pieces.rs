//! Texts in pieces: what netflux cuts is put together, what is long is cut.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::wire::{Chunk, User, UserContent};

/// Bytes of a piece; all but the last have as many.
const PIECE: usize = 15_000;
/// Longest text that crosses, in bytes: that of a room's text. Longer ones, and bytes, stay among netflux clients.
pub const MAX_TEXT: usize = 16 * 1024;
/// Unfinished texts of one sender; the oldest makes room.
const MAX_UNFINISHED: usize = 4;
/// Senders with unfinished texts; others are only heard in whole messages.
const MAX_SENDERS: usize = 256;

const TEXT: u32 = 0;

/// Unfinished texts. At most [`MAX_SENDERS`] × [`MAX_UNFINISHED`] × [`MAX_TEXT`]: 16 MiB, where every sender leaves four unfinished.
#[derive(Debug, Default)]
pub struct Pieces(HashMap<u32, VecDeque<Unfinished>>);

#[derive(Debug)]
struct Unfinished {
    id: u32,
    length: usize,
    parts: Vec<Option<Bytes>>,
}

impl Pieces {
    /// Takes a message or a piece; gives the text that is whole with it.
    pub fn take(&mut self, sender: u32, message: User) -> Option<String> {
        if message.kind != TEXT || message.length as usize > MAX_TEXT {
            return None;
        }
        match message.content? {
            UserContent::Full(bytes) => String::from_utf8(bytes.into()).ok(),
            UserContent::Chunk(chunk) => self.take_piece(sender, message.length as usize, chunk),
        }
    }

    /// Forgets a sender.
    pub fn forget(&mut self, sender: u32) {
        self.0.remove(&sender);
    }

    fn take_piece(&mut self, sender: u32, length: usize, chunk: Chunk) -> Option<String> {
        let count = length.div_ceil(PIECE);
        let at = chunk.nb as usize;
        let fits = at < count && chunk.content.len() == PIECE.min(length - at * PIECE);
        if !fits || (self.0.len() >= MAX_SENDERS && !self.0.contains_key(&sender)) {
            return None;
        }
        let texts = self.0.entry(sender).or_default();
        let known = texts.iter().position(|text| text.id == chunk.id && text.length == length);
        let index = known.unwrap_or_else(|| {
            if texts.len() >= MAX_UNFINISHED {
                texts.pop_front();
            }
            texts.push_back(Unfinished { id: chunk.id, length, parts: vec![None; count] });
            texts.len() - 1
        });
        let text = texts.get_mut(index)?;
        text.parts[at] = Some(chunk.content);
        if text.parts.iter().any(Option::is_none) {
            return None;
        }
        let whole = texts.remove(index)?;
        if texts.is_empty() {
            self.0.remove(&sender);
        }
        let bytes: Vec<u8> = whole.parts.into_iter().flatten().flatten().collect();
        String::from_utf8(bytes).ok()
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

    #[test]
    fn texts_of_any_allowed_length_come_out_as_they_went_in() {
        for length in [0, 1, PIECE, PIECE + 1, MAX_TEXT] {
            let text = "x".repeat(length);
            let mut pieces = Pieces::default();
            let mut messages = cut(&text, 7);
            messages.reverse();
            let last = messages.len() - 1;
            for (at, message) in messages.into_iter().enumerate() {
                assert_eq!(pieces.take(1, message), (at == last).then(|| text.clone()));
            }
            assert!(pieces.0.is_empty());
        }
    }

    #[test]
    fn senders_and_ids_are_told_apart() {
        let [a, b] = ["a", "b"].map(|letter| cut(&letter.repeat(PIECE + 5), 7));
        let mut pieces = Pieces::default();
        assert_eq!(pieces.take(1, a[0].clone()), None);
        assert_eq!(pieces.take(2, b[1].clone()), None);
        assert_eq!(pieces.take(1, a[1].clone()), Some("a".repeat(PIECE + 5)));
        assert_eq!(pieces.take(2, b[0].clone()), Some("b".repeat(PIECE + 5)));
    }

    #[test]
    fn what_is_too_long_no_text_or_does_not_fit_is_passed_over() {
        let mut pieces = Pieces::default();
        let full = |kind, bytes: &'static [u8]| User {
            length: bytes.len() as u32,
            kind,
            content: Some(UserContent::Full(bytes.into())),
        };
        assert_eq!(pieces.take(1, full(1, b"bytes")), None);
        assert_eq!(pieces.take(1, full(0, &[0xff])), None);
        assert_eq!(pieces.take(1, User { length: u32::MAX, kind: 0, content: None }), None);
        let piece = |length, nb, content: usize| User {
            length,
            kind: 0,
            content: Some(UserContent::Chunk(Chunk { id: 1, nb, content: vec![0; content].into() })),
        };
        for odd in
            [piece(u32::MAX, 0, PIECE), piece(16_000, 2, 1), piece(16_000, u32::MAX, 1), piece(16_000, 0, 5), piece(0, 0, 0)]
        {
            assert_eq!(pieces.take(1, odd), None);
        }
        assert!(pieces.0.is_empty());
    }

    #[test]
    fn unfinished_texts_are_bounded() {
        let mut pieces = Pieces::default();
        for sender in 0..2 * MAX_SENDERS as u32 {
            for id in 0..10 {
                assert_eq!(pieces.take(sender, cut(&"x".repeat(16_000), id).remove(0)), None);
            }
        }
        assert_eq!(pieces.0.len(), MAX_SENDERS);
        assert!(pieces.0.values().all(|texts| texts.len() == MAX_UNFINISHED));
        pieces.forget(0);
        assert_eq!(pieces.0.len(), MAX_SENDERS - 1);
    }
}
