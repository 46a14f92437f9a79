//! The error codes of the API (the numbers that stand as hex constants in the original) and what leads to them.

use crate::room::{EndReason, Refusal};

/// An error code, sent in decimal as `e`. Only the codes that Portico sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum ErrorCode {
    /// SYSTEM: a fault on this side.
    System = 0x500,
    /// JSON: the frame or its `d` cannot be decoded.
    Json = 0x502,
    /// JSON_FIELD_MISSING: no usable `roomId`.
    FieldMissing = 0x503,
    /// AUTH_FAILED: the bearer is refused, or does not reach so far.
    AuthFailed = 0x506,
    /// UNKNOWN_ACTION.
    UnknownAction = 0x510,
    /// USER_NOT_AUTHENTICATED: not joined yet.
    NotAuthenticated = 0x511,
    /// SOCKET_ID_DOES_NOT_EXIST: no such addressee.
    NoAddressee = 0x512,
    /// ROOM_IS_NOT_JOINABLE: there is no such room and none may be made.
    NotJoinable = 0x522,
    /// ROOM_ALREADY_JOINED.
    AlreadyJoined = 0x523,
    /// ROOM_IS_FULL.
    RoomFull = 0x524,
    /// SOCKETID_DOES_NOT_EXIST: nothing to reconnect to.
    NoPlace = 0x525,
    /// SDP_DECODE: not a usable session description.
    SdpDecode = 0x528,
    /// NETWORK: the media session could not be made.
    Network = 0x530,
    /// SDP_ENCODE: no codec in common.
    SdpEncode = 0x531,
    /// SDP_ALREADY_NEGOCIATED.
    AlreadyNegotiated = 0x532,
}

impl ErrorCode {
    /// The number on the wire.
    pub(crate) fn number(self) -> u16 {
        self as u16
    }
}

impl From<&Refusal> for ErrorCode {
    fn from(why: &Refusal) -> Self {
        match why {
            Refusal::NotJoined => Self::NotAuthenticated,
            Refusal::AlreadyJoined(_) => Self::AlreadyJoined,
            Refusal::RoomFull { .. } => Self::RoomFull,
            Refusal::TooManyRooms { .. } | Refusal::UnknownRoom(_) => Self::NotJoinable,
            Refusal::Forbidden { .. } => Self::AuthFailed,
            Refusal::UnknownMember | Refusal::UnknownStream | Refusal::UnknownPeer => Self::NoAddressee,
            Refusal::UnknownPlace => Self::NoPlace,
            Refusal::StreamTaken(_) => Self::AlreadyNegotiated,
            Refusal::BadDescription => Self::SdpDecode,
            Refusal::NoCommonCodec => Self::SdpEncode,
            Refusal::Topology { .. } | Refusal::TooMany { .. } | Refusal::SourceFailed | Refusal::Overloaded => Self::Network,
            Refusal::TooLong { .. } => Self::Json,
            Refusal::Internal | Refusal::Stopping => Self::System,
        }
    }
}

/// What an uplink that ended before it was answered means for its offer.
impl From<EndReason> for ErrorCode {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::BadDescription => Self::SdpDecode,
            EndReason::NoCommonCodec => Self::SdpEncode,
            _ => Self::Network,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_table() {
        for (code, number) in [
            (ErrorCode::System, 1280),
            (ErrorCode::Json, 1282),
            (ErrorCode::FieldMissing, 1283),
            (ErrorCode::AuthFailed, 1286),
            (ErrorCode::UnknownAction, 1296),
            (ErrorCode::NotAuthenticated, 1297),
            (ErrorCode::NoAddressee, 1298),
            (ErrorCode::NotJoinable, 1314),
            (ErrorCode::AlreadyJoined, 1315),
            (ErrorCode::RoomFull, 1316),
            (ErrorCode::NoPlace, 1317),
            (ErrorCode::SdpDecode, 1320),
            (ErrorCode::Network, 1328),
            (ErrorCode::SdpEncode, 1329),
            (ErrorCode::AlreadyNegotiated, 1330),
        ] {
            assert_eq!(code.number(), number);
        }
    }
}
