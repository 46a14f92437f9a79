//! Bearers that dialects carry inside their own messages.

use std::sync::Arc;
use std::time::SystemTime;

use super::token::{self, Claims};
use super::{Access, AccessError};
use crate::vocab::{BearerCheck, BearerError, Grant, Identity, Right, Rights, RoomPattern};

/// What a user may do whose bearer names no `rights`: what the tribe dialect is made for.
const TRIBE_RIGHTS: Rights = Rights::NONE.with(Right::Publish).with(Right::Subscribe);

impl From<AccessError> for BearerError {
    fn from(error: AccessError) -> Self {
        Self { reason: error.to_string() }
    }
}

/// The tribe dialect's bearer (protocols/tribe.md §7): an HMAC JWT with `userId`. Without a secret the signature is not
/// checked, and the holder gets no more than the anonymous have.
impl BearerCheck for Access {
    fn check(&self, now: SystemTime, bearer: &str) -> Result<Identity, BearerError> {
        let (claims, most) = match &self.secret {
            Some(secret) => (token::verify(bearer, secret, now)?, None),
            None => (token::read_unsigned(bearer, now)?, Some(self.local_anonymous())),
        };
        let user_id = claims.text("userId").filter(|id| !id.is_empty()).ok_or(AccessError::Missing("userId"))?;
        Ok(Identity { grant: tribe_grant(&claims, &user_id, most)?, user_id })
    }
}

fn tribe_grant(claims: &Claims, user_id: &str, most: Option<Grant>) -> Result<Grant, AccessError> {
    let rooms = claims.rooms()?;
    let rights = claims.rights()?.unwrap_or(TRIBE_RIGHTS);
    let (rooms, rights) = match most {
        None => (rooms.unwrap_or_else(RoomPattern::any), rights),
        Some(most) => {
            let rights = rights.iter().filter(|right| most.rights.has(*right)).collect();
            // what an unsigned claim says of rooms can narrow only a grant that holds everywhere
            let rooms = if most.rooms == RoomPattern::any() { rooms.unwrap_or(most.rooms) } else { most.rooms };
            (rooms, rights)
        }
    };
    Ok(Grant { subject: user_id.into(), rooms, rights, expires: claims.expires() })
}

/// Checks Portico's own tokens where a dialect carries them inside its messages (the page's `join`).
#[derive(Clone, Debug)]
pub struct PageTokens(pub Arc<Access>);

impl BearerCheck for PageTokens {
    fn check(&self, now: SystemTime, bearer: &str) -> Result<Identity, BearerError> {
        let grant = match &self.0.secret {
            Some(secret) => token::verify(bearer, secret, now)?.into_grant()?,
            None => self.0.local_anonymous(),
        };
        Ok(Identity { user_id: grant.subject.clone(), grant })
    }
}
