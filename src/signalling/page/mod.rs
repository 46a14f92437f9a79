//! skeleton
use std::time::Duration;

use super::{Carrier, Entry, Manners, Offers, PeerPer};
use crate::room::DialectName;

/// This dialect's row.
pub const ENTRY: Entry = Entry {
    name: DialectName::Page,
    manners: Manners { offers: Offers::Client, trickle: true, renegotiate: false, peer_per: PeerPer::Stream },
    carrier: Carrier {
        path: "/page",
        max_message: 65_536,
        ping_every: Duration::from_secs(5),
        silence_limit: Duration::from_secs(15),
        write_limit: Duration::from_secs(10),
        join_limit: Duration::from_secs(30),
    },
};
