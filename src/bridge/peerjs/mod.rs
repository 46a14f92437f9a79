//! Client of a PeerJS server (see `signalling::peerjs`): the room is a peer there, which can be called by an id.

mod calls;
mod machine;
mod remote;

use std::sync::Arc;
use std::time::Instant;

use reqwest::Url;

use self::machine::{Machine, Plan};
use super::crew::Context;
use super::far::{self, Door};

/// Largest message of a server.
const MAX_MESSAGE: usize = 256 << 10;
/// The key that servers have by default.
const DEFAULT_KEY: &str = "peerjs";
/// The PeerJS whose ways are followed; brokers that are peers themselves speak to it accordingly.
const VERSION: &str = "1.5.5";

/// Runs one bridge until it is told to stop and has said goodbye.
pub(super) async fn run(context: Context) {
    let config = &context.config;
    let id = config.id.clone().unwrap_or_else(|| config.name.to_string());
    let plan = Plan {
        name: config.name.to_string(),
        room: config.room.clone(),
        stream: config.stream.clone(),
        id: id.clone(),
        call: config.call.clone(),
    };
    let key = config.key.clone().unwrap_or_else(|| DEFAULT_KEY.into());
    // proves after a broken connection that the id is its own; the same as long as the bridge runs
    let secret = format!("{:032x}", rand::random::<u128>());
    let address = move |base: Url, token: Option<&str>| address(base, &key, &id, token.unwrap_or(&secret));
    let door = Door { address: Arc::new(address), bearer: false, max_message: MAX_MESSAGE };
    let machine = Machine::new(Instant::now(), plan, rand::random());
    far::run(context, door, machine).await;
}

/// Where the websocket of a server is whose `path` is in the address.
fn address(mut url: Url, key: &str, id: &str, token: &str) -> Url {
    let path = format!("{}/peerjs", url.path().trim_end_matches('/'));
    url.set_path(&path);
    url.query_pairs_mut().clear().extend_pairs([("key", key), ("id", id), ("token", token), ("version", VERSION)]);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_websocket_is_below_the_servers_path() {
        let at = |base: &str| address(base.parse().unwrap(), "k", "a b&c", "t").to_string();
        let query = "key=k&id=a+b%26c&token=t&version=1.5.5";
        assert_eq!(at("https://peers.example/"), format!("https://peers.example/peerjs?{query}"));
        assert_eq!(at("http://h:9000/my/path/?x=1"), format!("http://h:9000/my/path/peerjs?{query}"));
    }
}
