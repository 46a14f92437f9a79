//! The living sessions of one endpoint, by their sid.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::{mpsc, oneshot};

use super::packet::{Payload, Version};
use crate::signalling::transport::websocket::Socket;

/// Most sessions at a time. A session of a client that polls costs no connection, so the listener's limits do not count it.
const MAX_SESSIONS: usize = 16_384;
/// Requests that wait for one session. A client has a poll, a post and an upgrade under way.
pub(super) const INBOX: usize = 4;

/// What HTTP hands a session.
pub(super) enum Input {
    /// A poll; its payload is the answer.
    Poll(oneshot::Sender<Polled>),
    /// A post; answered when its packets were handled.
    Post(Box<Payload>, oneshot::Sender<()>),
    /// A websocket that wants to take over. It comes back when it is not wanted.
    Upgrade(Box<Socket>, oneshot::Sender<Box<Socket>>),
    /// A request broke a rule: the session ends.
    Fault(Fault),
}

/// A rule of HTTP that a client broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Two posts at once.
    SecondPost,
    /// A body above the limit.
    TooLarge,
}

/// How a poll ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Polled {
    Payload(String),
    /// Another one waits already; the session is over.
    Second,
}

/// HTTP's end of a session.
pub(super) struct Handle {
    pub version: Version,
    /// `None` when the session began on a websocket.
    pub inbox: Option<mpsc::Sender<Input>>,
    /// The websocket is in charge.
    pub websocket: AtomicBool,
    /// A post is under way.
    pub posting: AtomicBool,
    key: IpAddr,
}

impl Handle {
    pub(super) fn is_websocket(&self) -> bool {
        self.websocket.load(Ordering::Relaxed)
    }

    /// Whether this is the only post under way; it must be followed by `post_done`.
    pub(super) fn begin_post(&self) -> bool {
        !self.posting.swap(true, Ordering::AcqRel)
    }

    pub(super) fn post_done(&self) {
        self.posting.store(false, Ordering::Release);
    }
}

/// All sessions of an endpoint.
#[derive(Default)]
pub(super) struct Table {
    sessions: Mutex<Sessions>,
    /// Most sessions of one address but loopback.
    per_address: usize,
}

#[derive(Default)]
struct Sessions {
    by_sid: HashMap<String, Arc<Handle>>,
    by_address: HashMap<IpAddr, usize>,
}

/// A session's entry; dropping it takes it out.
pub(super) struct Registered {
    table: Arc<Table>,
    pub sid: String,
    pub handle: Arc<Handle>,
}

impl Table {
    pub(super) fn new(per_address: usize) -> Self {
        Self { sessions: Mutex::default(), per_address }
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, sid: &str) -> Option<Arc<Handle>> {
        self.lock().by_sid.get(sid).cloned()
    }

    /// Takes a session out: it is unknown from now on.
    pub(super) fn remove(&self, sid: &str) {
        let mut sessions = self.lock();
        if let Some(handle) = sessions.by_sid.remove(sid)
            && let Some(count) = sessions.by_address.get_mut(&handle.key)
        {
            *count -= 1;
            if *count == 0 {
                sessions.by_address.remove(&handle.key);
            }
        }
    }

    /// Puts a session in under a new sid; `None` when there are as many as may be.
    pub(super) fn register(
        self: &Arc<Self>,
        version: Version,
        remote: IpAddr,
        inbox: Option<mpsc::Sender<Input>>,
    ) -> Option<Registered> {
        let key = counted_by(remote);
        let sid = random_id();
        let websocket = AtomicBool::new(inbox.is_none());
        let handle = Arc::new(Handle { version, inbox, websocket, posting: AtomicBool::new(false), key });
        let mut sessions = self.lock();
        let of_address = sessions.by_address.get(&key).copied().unwrap_or_default();
        if sessions.by_sid.len() >= MAX_SESSIONS || (of_address >= self.per_address && !key.is_loopback()) {
            return None;
        }
        sessions.by_sid.insert(sid.clone(), Arc::clone(&handle));
        sessions.by_address.insert(key, of_address + 1);
        Some(Registered { table: Arc::clone(self), sid, handle })
    }
}

impl Registered {
    /// Makes the session unknown to later requests.
    pub(super) fn withdraw(&self) {
        self.table.remove(&self.sid);
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.withdraw();
    }
}

/// 20 characters of base64url: 120 random bits.
pub(super) fn random_id() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 15]>())
}

/// A host has all of an IPv6 /64.
fn counted_by(remote: IpAddr) -> IpAddr {
    match remote.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        other => other,
    }
}

/// A post's body as the packets of a session.
pub(super) fn posted(handle: &Handle, binary: bool, body: Bytes) -> Box<Payload> {
    Box::new(Payload::new(handle.version, binary, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_counted_by_address_and_taken_out() {
        let table = Arc::new(Table::new(2));
        let far: IpAddr = "192.0.2.1".parse().unwrap();
        let first = table.register(Version::V3, far, None).unwrap();
        let _second = table.register(Version::V3, far, None).unwrap();
        assert!(table.register(Version::V3, far, None).is_none(), "the address has two");
        assert!(table.register(Version::V3, "192.0.2.2".parse().unwrap(), None).is_some(), "another has none");
        assert_eq!(first.sid.len(), 20);
        assert!(table.get(&first.sid).is_some());
        first.withdraw();
        assert!(table.get(&first.sid).is_none());
        let third = table.register(Version::V3, far, None).unwrap();
        drop(first);
        assert!(table.get(&third.sid).is_some(), "taken out once only");
        assert!(table.register(Version::V3, far, None).is_none());
    }

    #[test]
    fn loopback_is_not_counted_and_a_network_of_64_bits_is_one() {
        let table = Arc::new(Table::new(1));
        let local: Vec<_> = (0..5).map(|_| table.register(Version::V4, "127.0.0.1".parse().unwrap(), None)).collect();
        assert!(local.iter().all(Option::is_some));
        let _v6 = table.register(Version::V4, "2001:db8::1".parse().unwrap(), None).unwrap();
        assert!(table.register(Version::V4, "2001:db8::2".parse().unwrap(), None).is_none());
    }
}
