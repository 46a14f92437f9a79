//! Which clients may connect to each other directly, by how their data channels look.

use crate::room::{DialectName, Framing};

/// One row of [`MEETINGS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meets {
    /// Who offers.
    pub offerer: DialectName,
    /// The framing of its offer.
    pub framing: Framing,
    /// Who is to answer.
    pub answerer: DialectName,
    /// The framing that the answerer is told, or why they cannot meet: a stable code.
    pub outcome: Result<Framing, &'static str>,
}

/// The answerer reads only the channel that the other side opens, and the offerer opens none or reads only its own.
const CHANNELS: &str = "channels-differ";
/// Both would use one channel, but read different messages.
const MESSAGES: &str = "messages-differ";
/// The answerer does nothing with media, and the offer has nothing else.
const MEDIA: &str = "media-only";
/// One of the two has no clients that connect to each other by session descriptions.
const INDIRECT: &str = "not-direct";

use DialectName::{Algorea, Peerjs, Tribe, Vamp};
use Framing::{BinaryPack, Free, Json, OwnChannels, Plain};

const fn row(offerer: DialectName, framing: Framing, answerer: DialectName, outcome: Result<Framing, &'static str>) -> Meets {
    Meets { offerer, framing, answerer, outcome }
}

/// Who may meet whom in a `mesh` room. What is not here cannot. Clients of one dialect always meet: they know best.
///
/// Tribe's relay carries whatever its clients agree on, so that a tribe client may meet any other; it is on its client to open
/// (or read) the channels that the other reads (or opens). Calls without messages meet whoever takes media.
#[rustfmt::skip]
pub const MEETINGS: &[Meets] = &[
    row(Algorea, OwnChannels,   Algorea, Ok(OwnChannels)),
    row(Algorea, OwnChannels,   Vamp,    Err(CHANNELS)),
    row(Algorea, OwnChannels,   Peerjs,  Err(CHANNELS)),
    row(Algorea, OwnChannels,   Tribe,   Ok(OwnChannels)),
    row(Vamp,    Plain,         Vamp,    Ok(Plain)),
    row(Vamp,    Plain,         Algorea, Err(CHANNELS)),
    row(Vamp,    Plain,         Peerjs,  Ok(Plain)),
    row(Vamp,    Plain,         Tribe,   Ok(Plain)),
    row(Peerjs,  Plain,         Peerjs,  Ok(Plain)),
    row(Peerjs,  Plain,         Vamp,    Ok(Plain)),
    row(Peerjs,  Plain,         Algorea, Err(CHANNELS)),
    row(Peerjs,  Plain,         Tribe,   Ok(Plain)),
    row(Peerjs,  Json,          Peerjs,  Ok(Json)),
    row(Peerjs,  Json,          Vamp,    Err(MESSAGES)),
    row(Peerjs,  Json,          Algorea, Err(CHANNELS)),
    row(Peerjs,  Json,          Tribe,   Ok(Json)),
    row(Peerjs,  BinaryPack,    Peerjs,  Ok(BinaryPack)),
    row(Peerjs,  BinaryPack,    Vamp,    Err(MESSAGES)),
    row(Peerjs,  BinaryPack,    Algorea, Err(CHANNELS)),
    row(Peerjs,  BinaryPack,    Tribe,   Ok(BinaryPack)),
    row(Peerjs,  Framing::None, Peerjs,  Ok(Framing::None)),
    row(Peerjs,  Framing::None, Vamp,    Ok(Framing::None)),
    row(Peerjs,  Framing::None, Algorea, Err(MEDIA)),
    row(Peerjs,  Framing::None, Tribe,   Ok(Framing::None)),
    row(Tribe,   Free,          Tribe,   Ok(Free)),
    row(Tribe,   Free,          Algorea, Ok(OwnChannels)),
    row(Tribe,   Free,          Vamp,    Ok(Plain)),
    row(Tribe,   Free,          Peerjs,  Ok(Plain)),
];

/// Whether an offer may go to a client of another dialect: the framing that the answerer is to be told, or the code of the
/// refusal. Two clients of one dialect always meet.
pub fn meet_directly(offerer: (DialectName, Framing), answerer: DialectName) -> Result<Framing, &'static str> {
    let (dialect, framing) = offerer;
    if dialect == answerer {
        return Ok(framing);
    }
    let row = MEETINGS.iter().find(|row| (row.offerer, row.framing, row.answerer) == (dialect, framing, answerer));
    row.map_or(Err(INDIRECT), |row| row.outcome)
}
