//! The forms in which dialects write a member's id, and the id of Portico itself in a room.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::vocab::{MemberId, RoomId};

/// How a dialect writes the 16 bytes of a [`MemberId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdForm {
    /// 22 characters base64url without padding (algorea).
    Base64Url22,
    /// The first 20 characters of that: 15 of the 16 bytes, as long as a Socket.IO id (Vamp).
    Base64Url20,
    /// 32 lower-case hex digits (PeerJS).
    Hex,
    /// 32 upper-case hex digits (tribe).
    UpperHex,
}

impl IdForm {
    /// The id in this form.
    pub fn write(self, id: MemberId) -> String {
        match self {
            Self::Base64Url22 => URL_SAFE_NO_PAD.encode(id.0),
            Self::Base64Url20 => {
                let mut text = URL_SAFE_NO_PAD.encode(id.0);
                text.truncate(20);
                text
            }
            Self::Hex => id.to_string(),
            Self::UpperHex => id.to_string().to_uppercase(),
        }
    }

    /// Whether the text is the id in this form.
    pub fn is(self, text: &str, id: MemberId) -> bool {
        // the length first: most texts are compared with every member of a room
        text.len() == self.chars() && text == self.write(id)
    }

    /// Characters of an id in this form.
    pub fn chars(self) -> usize {
        match self {
            Self::Base64Url22 => 22,
            Self::Base64Url20 => 20,
            Self::Hex | Self::UpperHex => 32,
        }
    }
}

/// The id under which Portico itself is a member of a room. The same for all clients for as long as the process lives, another
/// after a restart, and not to be told from a client's.
pub fn room_member(room: &RoomId) -> MemberId {
    static KEY: LazyLock<[u8; 32]> = LazyLock::new(rand::random);
    let digest = Sha256::new().chain_update(*KEY).chain_update(room.as_str()).finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    MemberId(id)
}
