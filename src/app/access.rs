//! The access rules as HTTP asks for them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use crate::http::{AccessCheck, AccessDenied, SignError, TokenOrder, TokenSigner};
use crate::ops::access::{Access, TokenRequest};
use crate::vocab::Grant;

/// [`Access`] behind the traits of `http`.
pub(super) struct Door(pub Arc<Access>);

impl AccessCheck for Door {
    fn grant(&self, remote: IpAddr, token: Option<&str>, now: SystemTime) -> Result<Grant, AccessDenied> {
        self.0.grant(remote, token, now).map_err(|error| AccessDenied { reason: error.to_string() })
    }
}

impl TokenSigner for Door {
    fn sign(&self, order: &TokenOrder, now: SystemTime) -> Result<String, SignError> {
        let request = TokenRequest {
            rooms: order.rooms.clone(),
            rights: order.rights,
            expires: Some(order.expires),
            subject: order.subject.clone(),
            user_id: (!order.subject.is_empty()).then(|| order.subject.clone()),
        };
        self.0.sign(&request, now).ok_or_else(|| SignError { reason: "no token secret is configured".into() })
    }
}
