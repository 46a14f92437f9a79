//! What systemd is told: that Portico is ready or reads its configuration again, how it is (`STATUS=`), and that it is well
//! (`WATCHDOG=1`). Without systemd nothing of this runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use sd_notify::NotifyState;
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use crate::http::Readiness;
use crate::hub::Hub;
use crate::media::{Media, MediaCommand, SourceFigures};
use crate::ops::status::{SourceStatus, Status};
use crate::ops::watchdog::{Flow, Part, Trouble, Watchdog};
use crate::peer::Shards;
use crate::room::{Counts, DialectName};

/// Tells systemd something; where there is none, nobody.
pub(super) fn tell(state: NotifyState<'_>) {
    tell_together(&[state]);
}

/// A reload begins; [`NotifyState::Ready`] must follow, whatever becomes of it. The time tells systemd that this is the answer to
/// the reload it asked for, not to one before (sd_notify(3)).
pub(super) fn tell_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell_together(&[NotifyState::Reloading, now]),
        Err(error) => debug!(%error, "no monotonic clock"),
    }
}

/// In one message.
fn tell_together(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "systemd does not listen");
    }
}

/// The owners that must answer, and what is shown besides.
#[derive(Clone)]
pub(super) struct Owners {
    pub hub: Hub,
    pub shards: Arc<Shards>,
    pub media: Arc<Media>,
    pub readiness: Readiness,
}

enum Answer {
    Hub(Counts),
    Media,
    Sources(Vec<SourceFigures>),
    /// It ended without an answer, which is no answer.
    Gone,
}

impl Owners {
    fn ask(&self, part: Part) -> BoxFuture<'static, Answer> {
        match part {
            Part::Hub => {
                let hub = self.hub.clone();
                Box::pin(async move { hub.counts().await.map_or(Answer::Gone, Answer::Hub) })
            }
            Part::Media => {
                let answer = self.shards.ping();
                Box::pin(async move { if answer.await { Answer::Media } else { Answer::Gone } })
            }
            Part::Sources => {
                let (reply, answer) = oneshot::channel();
                self.media.send(MediaCommand::Figures { reply });
                Box::pin(async move { answer.await.map_or(Answer::Gone, Answer::Sources) })
            }
        }
    }
}

/// Looks after the gateway until it stops, where systemd is there to be told. `open_limit` as in `sources.open_limit`.
pub(super) async fn look_after(owners: Owners, open_limit: Duration, stop: CancellationToken) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let limit = sd_notify::watchdog_enabled();
    let mut watchdog = Watchdog::new(limit, open_limit);
    // at most one question to each owner
    let mut answers = FuturesUnordered::new();
    let mut tick = tokio::time::interval(watchdog.period());
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut status = Status::default();
    let mut shown = String::new();
    let mut known: Vec<Trouble> = Vec::new();
    loop {
        // every branch is cancel-safe: a token, an interval and a stream
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {
                let now = Instant::now();
                let troubles = watchdog.troubles(now);
                if troubles.is_empty() && limit.is_some() {
                    tell(NotifyState::Watchdog);
                }
                say(&known, &troubles);
                status.troubles = troubles.iter().map(ToString::to_string).collect();
                known = troubles;
                answers.extend(watchdog.ask(now).into_iter().map(|part| owners.ask(part)));
            }
            Some(answer) = answers.next(), if !answers.is_empty() => match answer {
                Answer::Hub(counts) => {
                    watchdog.answered(Part::Hub);
                    status.rooms = counts.rooms;
                    let members = counts.members.iter().filter(|(dialect, _)| !matches!(dialect, DialectName::Source | DialectName::Mix | DialectName::Bridge));
                    status.members = members.map(|(_, count)| count).sum();
                }
                Answer::Media => watchdog.answered(Part::Media),
                Answer::Sources(figures) => {
                    watchdog.answered(Part::Sources);
                    watchdog.flows(Instant::now(), figures.iter().map(flow));
                    status.sources = figures.into_iter().map(source_status).collect();
                }
                Answer::Gone => {}
            },
        }
        status.waiting = owners.readiness.waiting().into_iter().map(|item| item.what).collect();
        let line = status.line();
        if line != shown && (answers.is_empty() || !status.troubles.is_empty()) {
            tell(NotifyState::Status(&line));
            shown = line;
        }
    }
}

fn flow(figures: &SourceFigures) -> Flow<'_> {
    Flow { source: &figures.source, expected: figures.state == "running" && figures.viewers > 0, frames: figures.frames }
}

fn source_status(figures: SourceFigures) -> SourceStatus {
    let SourceFigures { source, state, viewers, error, .. } = figures;
    SourceStatus { name: source, state, viewers, error }
}

/// Each trouble once when it begins, and the end of all.
fn say(before: &[Trouble], now: &[Trouble]) {
    for trouble in now.iter().filter(|trouble| !before.iter().any(|known| known.is_as(trouble))) {
        error!(trouble = %trouble, "the watchdog is not fed");
    }
    if now.is_empty() && !before.is_empty() {
        info!("the watchdog is fed again");
    }
}
