//! What TURN servers said, for the log and for figures: each thing once, however many connections hear it.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::{NoRelay, Verdict};

/// Servers remembered; more are there only where names change their addresses all the time.
const MOST: usize = 64;

/// Of all relays of a process.
#[derive(Debug, Default)]
pub(in crate::peer) struct Word {
    last: HashMap<SocketAddr, Option<NoRelay>>,
    held: u64,
    refused: [u64; NoRelay::WORDS.len()],
}

/// Relays of the gateway's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayFigures {
    /// Relayed addresses that it has now.
    pub held: u64,
    /// How often a server gave none since the start, by [`NoRelay::WORDS`].
    pub refused: [u64; NoRelay::WORDS.len()],
}

impl Word {
    /// Logs what is news.
    pub(in crate::peer) fn note(&mut self, Verdict { server, outcome }: Verdict) {
        if self.last.len() >= MOST {
            self.last.clear();
        }
        let before = self.last.insert(server, outcome.err());
        match outcome {
            Ok(relayed) if before != Some(None) => tracing::info!(%server, %relayed, "TURN server gives the gateway a relay"),
            Ok(relayed) => tracing::debug!(%server, %relayed, "relay"),
            Err(refusal) => {
                self.refused[refusal.place()] += 1;
                if before == Some(Some(refusal)) {
                    tracing::debug!(%server, %refusal, "no relay");
                } else {
                    tracing::warn!(%server, reason = %refusal, "TURN server gives the gateway no relay; all else goes on");
                }
            }
        }
    }

    /// There is one more, or one less.
    pub(in crate::peer) fn count(&mut self, before: bool, after: bool) {
        self.held = (self.held + u64::from(after)).saturating_sub(u64::from(before));
    }

    pub(in crate::peer) fn figures(&self) -> RelayFigures {
        RelayFigures { held: self.held, refused: self.refused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_and_refusals_are_counted() {
        let mut word = Word::default();
        let server: SocketAddr = "198.51.100.1:3478".parse().unwrap();
        word.note(Verdict { server, outcome: Err(NoRelay::Quota) });
        word.note(Verdict { server, outcome: Err(NoRelay::Quota) });
        word.note(Verdict { server, outcome: Ok(server) });
        word.count(false, true);
        word.count(true, true);
        word.count(false, true);
        word.count(true, false);
        assert_eq!(word.figures(), RelayFigures { held: 1, refused: [0, 0, 2, 0, 0, 0] });
        for port in 0..1000 {
            word.note(Verdict { server: SocketAddr::new(server.ip(), port), outcome: Err(NoRelay::Silence) });
        }
        assert!(word.last.len() <= MOST);
    }
}
