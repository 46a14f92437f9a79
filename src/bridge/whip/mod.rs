//! Client of WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): the thin half.
//!
//! A task owns a session of the hub and the calls to the endpoint; [`machine`] says what is to be done. Portico offers in both
//! directions, with all its candidates in the offer, so that nothing needs to be patched later.

pub(super) mod call;
mod machine;
pub(super) mod verdict;

use std::time::Instant;

use tokio::task::{AbortHandle, JoinSet};

use self::call::Endpoint;
use self::machine::{Answer, Machine, Output, Plan};
use self::verdict::Fault;
use super::crew::Context;
use super::status::Standing;
use crate::hub::HubSession;
use crate::room::Notice;
use crate::vocab::RequestId;

/// What a call came to.
enum Called {
    Knocked(Result<(), Fault>),
    Posted(Result<Answer, Fault>),
    Deleted,
}

/// Runs one bridge until it is told to stop and has said goodbye.
pub(super) async fn run(context: Context) {
    let Context { config, token, hub, board, stop, .. } = context;
    let endpoint = Endpoint::new(&config, token);
    let mut machine = Machine::new(Instant::now(), Plan::of(&config), rand::random());
    let mut session: Option<HubSession> = None;
    // at most one POST and a few DELETEs, each with a time limit
    let mut calls: JoinSet<Called> = JoinSet::new();
    let mut knock: Option<AbortHandle> = None;
    let mut stopping = false;
    loop {
        while let Some(output) = machine.poll_output() {
            match output {
                Output::Enter(joining) => {
                    // a session that is gone has its place ended by being dropped
                    session = hub.open_session().await.ok();
                    let req = RequestId::next();
                    machine.entering(req);
                    tell(&mut session, req, crate::room::Command::Join(joining)).await;
                }
                Output::Ask(req, command) => tell(&mut session, req, *command).await,
                Output::Knock => {
                    let endpoint = endpoint.clone();
                    knock = Some(calls.spawn(async move { Called::Knocked(endpoint.knock().await) }));
                }
                Output::Post(offer) => {
                    let endpoint = endpoint.clone();
                    calls.spawn(async move { Called::Posted(endpoint.post(offer).await) });
                }
                Output::Delete(resource) => {
                    let (endpoint, bridge) = (endpoint.clone(), config.name.clone());
                    calls.spawn(async move {
                        if let Err(fault) = endpoint.delete(&resource).await {
                            tracing::debug!(%bridge, code = fault.code, reason = fault.message, "far side was not told of the end");
                        }
                        Called::Deleted
                    });
                }
            }
        }
        board.show(Instant::now(), &config, machine.standing());
        if machine.is_over() && calls.is_empty() {
            break;
        }
        let alarm = machine.next_timeout();
        tokio::select! {
            notice = heard(&mut session) => match notice {
                Some(notice) => machine.handle_notice(Instant::now(), &notice),
                None => {
                    session = None;
                    machine.handle_gone(Instant::now());
                }
            },
            Some(done) = calls.join_next(), if !calls.is_empty() => match done {
                Ok(Called::Posted(outcome)) => machine.handle_posted(Instant::now(), outcome),
                Ok(Called::Knocked(outcome)) => machine.handle_knocked(Instant::now(), outcome),
                Ok(Called::Deleted) => {}
                Err(error) if error.is_cancelled() => {}
                Err(error) => tracing::error!(bridge = %config.name, %error, "a call of a bridge failed"),
            },
            () = sleep_until(alarm) => machine.handle_timeout(Instant::now()),
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                // it asks for nothing, so nothing is lost
                knock.iter().for_each(AbortHandle::abort);
                machine.stop();
            }
        }
    }
    let standing = machine.standing();
    board.show(
        Instant::now(),
        &config,
        Standing { attempts: standing.attempts, connections: standing.connections, ..Standing::off() },
    );
}

/// A hub that is gone is heard of as the end of the session.
async fn tell(session: &mut Option<HubSession>, req: RequestId, command: crate::room::Command) {
    if let Some(session) = session {
        let _ = session.send(req, command).await;
    }
}

/// The next notice; without a session never.
async fn heard(session: &mut Option<HubSession>) -> Option<Notice> {
    match session {
        Some(session) => session.notice().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
