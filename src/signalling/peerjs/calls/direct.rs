//! Connections with clients of other dialects, in a mesh: Portico passes the descriptions on.

use std::collections::VecDeque;
use std::sync::Arc;

use super::super::payload::{self, Payload};
use super::super::wire::Kind;
use super::{Calls, Direct, MAX_ASKED, MAX_DIRECT, fresh};
use crate::room::{Body, Command, DialectName, Framing, MemberView, Signal, Step};
use crate::signalling::Output;
use crate::signalling::gateway::{IdForm, meet_directly};
use crate::vocab::{MemberId, RequestId};

impl Calls {
    /// The client's step towards one of them.
    pub(super) fn pass(&mut self, outputs: &mut VecDeque<Output>, kind: Kind, who: MemberId, dst: &str, part: &Payload<'_>) {
        let dialect = self.roster.view(who).map(|view| view.dialect);
        let (step, signalled, framing) = match kind {
            Kind::Offer => {
                let framing = part.framing.unwrap_or(Framing::None);
                let met = dialect.map(|dialect| meet_directly((DialectName::Peerjs, framing), dialect));
                // what makes PeerJS say `peer-unavailable`, and simple-peerjs refuse its `connect`
                let Some(Ok(framing)) = met else {
                    if self.refused.len() >= MAX_DIRECT {
                        self.refused.pop_front();
                    }
                    self.refused.push_back((who, part.connection.as_str().into()));
                    return self.send(outputs, Kind::Expire, dst, None);
                };
                let signalled: Arc<str> = part.connection.as_str().into();
                self.remember(Direct {
                    with: who,
                    ours: part.connection.as_str().into(),
                    signalled: Arc::clone(&signalled),
                    style: part.style,
                    framing,
                });
                (Step::Offer, signalled, framing)
            }
            _ => {
                let step = if kind == Kind::Answer { Step::Answer } else { Step::Candidate };
                let known = self.direct.iter().find(|direct| direct.with == who && *direct.ours == *part.connection);
                match known {
                    Some(direct) => (step, Arc::clone(&direct.signalled), direct.framing),
                    // a candidate may come before its offer, but those of a refused one go with it
                    None if step == Step::Candidate && !self.is_refused(who, &part.connection) => {
                        (step, part.connection.as_str().into(), Framing::None)
                    }
                    None => return,
                }
            }
        };
        let signal = Signal { step, value: part.value.to_owned(), connection: signalled, framing, original: None };
        let req = RequestId::next();
        if step == Step::Offer && self.asked.len() < MAX_ASKED {
            self.asked.insert(req, dst.into());
        }
        outputs.push_back(Output::Command(req, Command::Tell { to: who, body: Body::Signal(Box::new(signal)) }));
    }

    /// A step of one of them towards the client.
    pub(super) fn signalled(&mut self, outputs: &mut VecDeque<Output>, from: &MemberView, signal: &Signal) {
        let name = IdForm::Hex.write(from.member);
        let with_it = |direct: &Direct| direct.with == from.member && direct.signalled == signal.connection;
        let kind = match signal.step {
            Step::Offer => {
                let Some(sdp) = signal.as_description() else { return };
                let media = !sdp.text.lines().any(|line| line.starts_with("m=application"));
                // a PeerJS client negotiates a connection once: another offer is another connection to it
                self.direct.retain(|direct| !with_it(direct));
                self.remember(Direct {
                    with: from.member,
                    ours: fresh(if media { "mc_" } else { "dc_" }).into(),
                    signalled: Arc::clone(&signal.connection),
                    style: self.style(media),
                    framing: signal.framing,
                });
                Kind::Offer
            }
            Step::Answer => Kind::Answer,
            Step::Candidate => match signal.as_candidate() {
                Some(candidate) if !candidate.candidate.is_empty() => Kind::Candidate,
                _ => return, // PeerJS does not say when there are no more
            },
            Step::Other => return,
        };
        let Some(direct) = self.direct.iter().rev().find(|direct| with_it(direct)) else { return };
        let payload = payload::write(kind, direct.style, &direct.ours, &signal.value, direct.framing);
        self.send(outputs, kind, &name, Some(&payload));
    }

    fn is_refused(&self, who: MemberId, connection: &str) -> bool {
        self.refused.iter().any(|(with, refused)| *with == who && **refused == *connection)
    }

    fn remember(&mut self, new: Direct) {
        self.direct.retain(|direct| !(direct.with == new.with && direct.ours == new.ours));
        if self.direct.len() >= MAX_DIRECT {
            self.direct.pop_front();
        }
        self.direct.push_back(new);
    }
}
