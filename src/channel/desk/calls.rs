//! Requests over a data channel: from the member to the service and back.

use std::time::{Duration, Instant};

use super::super::framing::Content;
use super::super::rpc::{self, Asked, CallError, CallId, Fault, Reply, Request};
use super::super::value::Value;
use super::deliver::Unread;
use super::{Desk, Output, Stands};
use crate::vocab::{MemberId, PeerId};

/// The caller keeps a call's time; should it say nothing at all, the desk ends the call so much later.
const GRACE: Duration = Duration::from_secs(1);
/// How many requests may come at once, in seconds of the rate.
const BURST: u32 = 3;

/// A request that waits for its service.
#[derive(Debug)]
pub struct Waiting {
    pub peer: PeerId,
    pub member: MemberId,
    pub deadline: Instant,
    request: Request,
    as_text: bool,
}

impl Desk {
    /// A service has answered, or not. Of a call whose connection is gone nothing comes.
    pub fn handle_reply(&mut self, now: Instant, id: CallId, reply: Result<Reply, CallError>) {
        let Some(call) = self.calls.remove(&id) else { return };
        let Some(line) = self.lines.get_mut(&call.peer) else { return };
        let Some(seat) = &line.is.rpc else { return };
        let answer = match call.request.answer(reply, seat) {
            Ok(answer) => {
                self.figures.requests.answered += 1;
                answer
            }
            Err(fault) => {
                self.figures.requests.count(fault.code);
                Some(call.request.error(&fault, seat))
            }
        };
        let answer = answer.map(|answer| content_of(answer, call.as_text));
        let ready = if call.request.has_id() { answer.into_iter().collect() } else { line.ledger.close(id, answer) };
        self.answer(now, call.peer, ready);
    }

    /// Deals with what a connection that carries requests brought, `len` bytes; tells whether that was all to be done with it.
    pub(super) fn answer_request(&mut self, now: Instant, peer: PeerId, content: &Content, len: usize, may_send: bool) -> bool {
        let Some(line) = self.lines.get(&peer) else { return false };
        let Some(seat) = line.is.rpc.clone() else { return false };
        let (member, to_gateway) = (line.is.owner, line.is.stands == Stands::Gateway);
        let as_text = !matches!(content, Content::Value(_));
        let asked = match content.as_json() {
            Some(value) => rpc::read(&value, len, &seat),
            None if content.as_text().is_some_and(rpc::is_broken_request) => Asked::unreadable(len),
            None => Asked::Other,
        };
        let (request, checked) = match asked {
            Asked::Request(request, checked) => (request, checked),
            // who speaks to nobody but Portico and asks nothing is told so; an answer is never answered
            Asked::Other if to_gateway => (Request::unreadable(), Err(rpc::not_a_request(len))),
            Asked::Answer => return to_gateway,
            Asked::Other => return false,
        };
        let allowed = || if may_send { Ok(()) } else { Err(Fault::new(403, "this member may not send")) };
        let asked = checked.and_then(|()| allowed()).and_then(|()| self.ask(now, peer, member, &request, len, as_text));
        if let Err(fault) = asked {
            self.refuse(now, peer, &request, &fault, as_text);
        }
        true
    }

    /// Where requests are answered, what cannot be read is answered as well: it may have been one.
    pub(super) fn answer_unread(&mut self, now: Instant, peer: PeerId, why: Unread) {
        let fault = match why {
            Unread::Malformed => Fault::new(400, "not what this connection's serialization promises"),
            Unread::TooLarge => Fault::new(413, "too large, or too many large messages at once"),
        };
        self.refuse(now, peer, &Request::unreadable(), &fault, false);
    }

    fn refuse(&mut self, now: Instant, peer: PeerId, request: &Request, fault: &Fault, as_text: bool) {
        let Some(line) = self.lines.get_mut(&peer) else { return };
        let Some(seat) = &line.is.rpc else { return };
        self.figures.requests.count(fault.code);
        let answer = content_of(request.error(fault, seat), as_text);
        let at_once = request.has_id() || !line.ledger.has_room();
        let ready = if at_once { vec![answer] } else { line.ledger.answered(answer) };
        self.answer(now, peer, ready);
    }

    fn ask(
        &mut self,
        now: Instant,
        peer: PeerId,
        member: MemberId,
        request: &Request,
        len: usize,
        as_text: bool,
    ) -> Result<(), Fault> {
        let (at, service) = self.table.service(request, len)?;
        let id = CallId(self.next_call);
        let call = self.table.call(id, request, service)?;
        let waiting = self.calls.values().filter(|call| call.member == member).count();
        if waiting >= self.rpc.max_waiting {
            return Err(Fault::new(429, format!("{waiting} requests wait for an answer already")));
        }
        if self.calls.len() >= Self::MAX_CALLS {
            return Err(Fault::new(429, CallError::Busy.to_string()));
        }
        let (Some(known), Some(line)) = (self.members.get_mut(&member), self.lines.get_mut(&peer)) else { return Ok(()) };
        if !request.has_id() && !line.ledger.has_room() {
            return Err(Fault::new(429, "too many answers wait for an earlier one"));
        }
        let share = Duration::from_secs(1) / service.rate.max(1);
        // each request uses up its share of a second, and a few may be used in advance
        let used = known.rates.get(&at).copied().unwrap_or(now).max(now);
        if used.saturating_duration_since(now) > Duration::from_secs(BURST.into()) - share {
            return Err(Fault::new(429, format!("at most {} requests per second", service.rate)));
        }
        known.rates.insert(at, used + share);
        if !request.has_id() {
            line.ledger.open(id);
        }
        self.next_call += 1;
        self.figures.requests.asked += 1;
        let deadline = now + call.timeout + GRACE;
        self.calls.insert(id, Waiting { peer, member, deadline, request: request.clone(), as_text });
        self.wake_at(deadline);
        self.outputs.push_back(Output::Call(call));
        Ok(())
    }

    fn answer(&mut self, now: Instant, peer: PeerId, answers: Vec<Content>) {
        let Some(to) = self.lines.get(&peer).map(|line| line.is.owner) else { return };
        for answer in answers {
            self.send(now, to, peer, &answer);
        }
    }

    /// A connection is gone: its calls are not to use up what others may have.
    pub(super) fn cancel_calls(&mut self, peer: PeerId) {
        let outputs = &mut self.outputs;
        self.calls.retain(|id, call| {
            let stays = call.peer != peer;
            if !stays {
                outputs.push_back(Output::Cancel(*id));
            }
            stays
        });
    }

    pub(super) fn time_out_calls(&mut self, now: Instant) {
        let late: Vec<CallId> = self.calls.iter().filter(|(_, call)| call.deadline <= now).map(|(id, _)| *id).collect();
        for call in late {
            self.outputs.push_back(Output::Cancel(call));
            self.handle_reply(now, call, Err(CallError::Timeout));
        }
    }
}

/// Who asked in text is answered in JSON text, who sent a value gets one.
fn content_of(answer: Value, as_text: bool) -> Content {
    match answer.to_json() {
        Ok(json) if as_text => Content::Text(json.into()),
        _ => Content::Value(answer),
    }
}
