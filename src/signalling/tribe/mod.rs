//! skeleton
use std::time::Duration;

use super::{Carrier, Entry, Manners, Offers, PeerPer};
use crate::room::DialectName;

/// This dialect's row.
pub const ENTRY: Entry = Entry {
    name: DialectName::Tribe,
    manners: Manners { offers: Offers::ServerOffersDownlinks, trickle: true, renegotiate: true, peer_per: PeerPer::Stream },
    carrier: Carrier {
        path: "/api",
        max_message: 65_536,
        ping_every: Duration::from_secs(5),
        silence_limit: Duration::from_secs(15),
        write_limit: Duration::from_secs(10),
        join_limit: Duration::from_secs(30),
    },
};
