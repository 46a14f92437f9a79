//! Client of a tribe server (`protocols` of live-webrtcsignaling, see `signalling::tribe`): a room there and the room here are one.

mod held;
mod machine;
mod member;
mod reading;
mod uplink;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use self::machine::{Machine, Plan};
use super::crew::Context;
use super::far::{self, Door};
use crate::ops::access::{Secret, TokenRequest, sign};
use crate::vocab::{Right, RoomPattern};

/// Largest message of a far side: its offers and its list of members.
const MAX_MESSAGE: usize = 256 << 10;
/// So long ago was the bearer made that a bridge shows without a token: clocks differ.
const SIGNED_BEFORE: Duration = Duration::from_secs(3600);

/// Runs one bridge until it is told to stop and has said goodbye.
pub(super) async fn run(context: Context) {
    let config = &context.config;
    let plan = Plan {
        name: config.name.to_string(),
        room: config.room.clone(),
        remote_room: config.remote_room.clone().unwrap_or_else(|| config.room.clone()),
        stream: config.stream.clone(),
        bearer: bearer(config.name.as_str(), SystemTime::now()),
    };
    let door = Door { address: Arc::new(|url, _| url), bearer: false, max_message: MAX_MESSAGE };
    let machine = Machine::new(Instant::now(), plan, rand::random());
    far::run(context, door, machine).await;
}

/// A server that checks no signatures wants a bearer all the same, as it takes the user's name from it. This one is signed with a
/// secret that nobody has.
fn bearer(name: &str, now: SystemTime) -> String {
    let secret = Secret::new(format!("{:032x}", rand::random::<u128>()));
    let request = TokenRequest {
        rooms: RoomPattern::any(),
        rights: [Right::Publish, Right::Subscribe].into_iter().collect(),
        expires: None,
        subject: String::new(),
        user_id: Some(name.into()),
    };
    sign(&request, &secret, now - SIGNED_BEFORE)
}
