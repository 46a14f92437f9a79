//! Room to room with another Portico: one websocket, one connection for media, each track once.
//!
//! One side dials (`[[bridge]]` of kind `portico`), the other answers at [`PATH`]; both then run the same [`machine`]. Each side's members
//! are members of the other, with their streams, and hear each other's words. [`graph`] sees to it that rooms are not joined in a ring.

mod fuzz;
mod graph;
mod machine;
mod ours;
mod theirs;
mod wire;

pub use self::fuzz::fuzz;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use reqwest::Url;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::protocol::Role as End;

use self::graph::{Far, Graph, LinkId, Node};
use self::machine::{Judge, Machine, Plan, Role, of_refused};
use self::wire::{Hello, MAX_MESSAGE, Message, VERSION};
use super::crew::{Adopted, Bridges, Context};
use super::far::socket::{Heard, Socket, wired};
use super::far::{self, Door, plain};
use super::whip::call::Endpoint;
use crate::ops::access::Access;
use crate::vocab::{BridgeName, Grant, Right, RoomId};

/// Where a Portico answers bridges of others.
pub const PATH: &str = "/bridge";

/// Who dials says who it is within this time.
const HELLO_LIMIT: Duration = Duration::from_secs(15);

/// The links of a gateway.
#[derive(Debug)]
pub(super) struct Links {
    /// Which gateway it is. Another one with each start: what it had brought before has left with it.
    gateway: String,
    next: AtomicU64,
    graph: Mutex<Graph>,
}

impl Links {
    pub(super) fn new() -> Self {
        Self { gateway: format!("{:032x}", rand::random::<u128>()), next: AtomicU64::new(1), graph: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self, room: &RoomId) -> Node {
        format!("{}/{room}", self.gateway)
    }

    fn next(&self) -> LinkId {
        LinkId(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// Runs one bridge until it is told to stop and has said goodbye.
pub(super) async fn run(context: Context) {
    let config = &context.config;
    let plan = Plan {
        name: config.name.to_string(),
        room: config.room.clone(),
        role: Role::Dial {
            remote_room: config.remote_room.clone().unwrap_or_else(|| config.room.clone()),
            judge: judge(Arc::clone(&context.access), config.room.clone()),
        },
        links: Arc::clone(&context.links),
    };
    let door = Door { address: Arc::new(|url, _| address(url)), bearer: true, max_message: MAX_MESSAGE };
    far::run(context, door, Machine::new(Instant::now(), plan, rand::random())).await;
}

/// Of a gateway whose address says no path.
fn address(mut url: Url) -> Url {
    if matches!(url.path(), "" | "/") {
        url.set_path(PATH);
    }
    url
}

/// A gateway that knows tokens wants one of its own from who answers; it must hold in the room here.
fn judge(access: Arc<Access>, room: RoomId) -> Judge {
    Arc::new(move |token| {
        if !access.has_secret() {
            return Ok(());
        }
        let Some(token) = token else { return Err("it has no token of this gateway".into()) };
        let nowhere = IpAddr::from([0, 0, 0, 0]);
        let grant = access.grant(nowhere, Some(token), SystemTime::now()).map_err(|error| error.to_string())?;
        match may_join(&grant, &room) {
            true => Ok(()),
            false => Err("its token does not give the rights to publish and subscribe here".into()),
        }
    })
}

fn may_join(grant: &Grant, room: &RoomId) -> bool {
    grant.allows(room, Right::Publish) && grant.allows(room, Right::Subscribe)
}

impl Bridges {
    /// Answers a bridge of another gateway, on a connection that was upgraded to a websocket, for as long as it lasts.
    pub async fn answer<S>(&self, upgraded: S, remote: IpAddr, grant: Grant)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut socket, line) = wired(upgraded, End::Server, MAX_MESSAGE).await;
        let line = tokio::spawn(line.carry());
        // one that has not said yet who it is does not hold up the gateway's end
        let Some(greeted) = self.stopping().run_until_cancelled(self.greet(&mut socket, remote, &grant)).await else {
            drop(socket);
            let _ = line.await;
            return;
        };
        match greeted {
            Ok((hello, adopted)) => self.join(hello, adopted, socket, grant).await,
            Err((code, message)) => {
                tracing::info!(%remote, code, reason = message, "bridge of another gateway refused");
                let _ = socket.send(Message::Refuse { code: code.into(), message }.text());
                drop(socket);
            }
        }
        // it has a time limit of its own
        let _ = line.await;
    }

    async fn greet(
        &self,
        socket: &mut Socket,
        remote: IpAddr,
        grant: &Grant,
    ) -> Result<(Hello, Adopted), (&'static str, String)> {
        let heard = tokio::time::timeout(HELLO_LIMIT, socket.hear()).await;
        let text = match heard {
            Ok(Heard::Text(text)) => text,
            Ok(Heard::Closed(fault)) => return Err((fault.code, fault.message)),
            Err(_) => return Err(("timeout", "it did not say who it is".into())),
        };
        let Ok(Message::Hello(hello)) = serde_json::from_str(&text) else {
            return Err(("bad_request", "its first message is no hello".into()));
        };
        if hello.version != VERSION {
            let message = format!("it speaks version {} of bridges, this gateway {VERSION}", hello.version);
            return Err(("version", message));
        }
        let Ok(room) = RoomId::new(&hello.room) else {
            return Err(("bad_request", "the room it asks for is no name".into()));
        };
        if !may_join(grant, &room) {
            return Err(("forbidden", format!("the rights to publish and subscribe in room {room} are missing")));
        }
        // at its place in the room this is looked at again; here it spares the room a member that is gone in a moment
        let links = self.links();
        let own = links.node(&room);
        let reach = wire::nodes(&hello.reach).ok_or(("bad_request", "it does not say which rooms are behind it".to_owned()))?;
        let far = Far { node: hello.node.clone(), reach, twin: hello.next_to.contains(&own) };
        if let Err(why) = links.lock().judge(&room, &own, false, &far) {
            let fault = of_refused(&why);
            return Err((fault.code, fault.message));
        }
        let name = BridgeName::new(&plain(&hello.name, 60)).ok();
        let name = name.or_else(|| BridgeName::new("bridge").ok()).ok_or(("bad_request", "its name is none".to_owned()))?;
        let adopted =
            self.adopt(&name, room, format!("from {remote}")).ok_or(("busy", "there are too many bridges".to_owned()))?;
        Ok((hello, adopted))
    }

    async fn join(&self, hello: Hello, adopted: Adopted, socket: Socket, grant: Grant) {
        let context = &adopted.context;
        let token = match self.shown_to(&hello.name, &context.config.room) {
            Some(endpoint) => endpoint.token().await.unwrap_or_else(|fault| {
                tracing::warn!(bridge = hello.name, reason = fault.message, "no token to be shown to another gateway");
                None
            }),
            None => None,
        };
        let plan = Plan {
            name: context.config.name.to_string(),
            room: context.config.room.clone(),
            role: Role::Answer { hello, token, expires: grant.expires },
            links: Arc::clone(&context.links),
        };
        let machine = Machine::new(Instant::now(), plan, rand::random());
        let Adopted { context, gone } = adopted;
        far::serve(context, socket, machine).await;
        self.dismiss(&gone);
    }

    /// The entry with the token that is shown to a gateway whose bridge has this name: that of the same name and room.
    fn shown_to(&self, name: &str, room: &RoomId) -> Option<Endpoint> {
        let (config, token) = self.entry_of(name, room)?;
        Some(Endpoint::new(&config, token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_path_means_the_usual_one() {
        let of = |text: &str| address(text.parse().unwrap()).to_string();
        assert_eq!(of("https://b.example:8443"), "https://b.example:8443/bridge");
        assert_eq!(of("https://b.example/"), "https://b.example/bridge");
        assert_eq!(of("https://b.example/portico/bridge"), "https://b.example/portico/bridge");
    }

    #[test]
    fn who_answers_shows_a_token_where_tokens_are_known() {
        let room = RoomId::new("a").unwrap();
        assert_eq!(judge(Arc::new(Access::open()), room.clone())(None), Ok(()));
        let secret = crate::ops::access::Secret::new("0123456789abcdef0123456789abcdef");
        let config = crate::ops::access::AccessConfig { token_secret: Some(secret), ..Default::default() };
        let access = Arc::new(Access::new(&config, false).unwrap());
        let token = |room: &str, rights: &[Right]| {
            let request = crate::ops::access::TokenRequest {
                rooms: crate::vocab::RoomPattern(room.into()),
                rights: rights.iter().copied().collect(),
                expires: None,
                subject: "b".into(),
                user_id: None,
            };
            access.sign(&request, SystemTime::now()).unwrap()
        };
        let both = [Right::Publish, Right::Subscribe];
        let judge = judge(Arc::clone(&access), room);
        assert_eq!(judge(Some(&token("a", &both))), Ok(()));
        assert!(judge(None).is_err() && judge(Some("nonsense")).is_err());
        assert!(judge(Some(&token("b", &both))).is_err(), "another room's");
        assert!(judge(Some(&token("a", &both[..1]))).is_err(), "too weak");
    }
}
