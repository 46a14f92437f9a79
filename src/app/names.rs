//! Looks up the names that browsers write in place of their addresses.

use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::ops::mdns::Resolver;
use crate::peer::{NamedCandidate, PeerCommand, Shards};

/// Names looked up at a time; more wait in the channel, and what finds no room there is left out.
const AT_ONCE: usize = 16;
/// Addresses of one name that are tried.
const ADDRESSES: usize = 4;

/// Turns named candidates into ordinary ones until it is stopped.
pub(super) async fn look_up(mut asked: mpsc::Receiver<NamedCandidate>, shards: Arc<Shards>, stop: CancellationToken) {
    let resolver = match Resolver::start() {
        Ok(resolver) => resolver,
        Err(error) => return debug!(%error, "names of browsers are not looked up"),
    };
    let mut running = FuturesUnordered::new();
    loop {
        // cancel-safe: a token, a channel and a stream
        tokio::select! {
            () = stop.cancelled() => return,
            named = asked.recv(), if running.len() < AT_ONCE => {
                let Some(named) = named else { return };
                let resolver = &resolver;
                running.push(async move { (resolver.addresses(named.name()).await, named) });
            }
            Some((addresses, named)) = running.next() => {
                debug!(peer = %named.peer, name = named.name(), ?addresses, "name of a browser looked up");
                for candidate in addresses.iter().take(ADDRESSES).filter_map(|address| named.with_address(*address)) {
                    shards.send(PeerCommand::AddCandidate { peer: named.peer, candidate });
                }
            }
        }
    }
}
