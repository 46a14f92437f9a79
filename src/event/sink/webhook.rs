//! A web server that gets each event as a POST, one after the other, in the form of Standard Webhooks (standardwebhooks.com):
//! `webhook-id`, `webhook-timestamp`, and `webhook-signature`, an HMAC-SHA256 over both and the body.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use hmac::{Hmac, Mac};
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::{End, Link, Sink, SinkError, Verdict};
use crate::event::config::WebhookConfig;
use crate::event::credential;
use crate::event::record::WallMs;
use crate::event::store::Stored;
use crate::ops::web;

/// A server in trouble is asked again after this time at the longest.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// What secrets in the standard's form begin with.
const SECRET_PREFIX: &str = "whsec_";

/// The key of a secret: its base64 behind `whsec_`, else its own bytes. `None` for `whsec_` and something else.
pub(in crate::event) fn key(secret: &str) -> Option<Zeroizing<Vec<u8>>> {
    let bytes = match secret.strip_prefix(SECRET_PREFIX) {
        Some(encoded) => STANDARD.decode(encoded).ok()?,
        None => secret.as_bytes().to_vec(),
    };
    Some(Zeroizing::new(bytes))
}

/// The value of `webhook-signature`.
fn signature(key: &[u8], id: &str, timestamp: u64, body: &str) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in [id, ".", &timestamp.to_string(), ".", body] {
        mac.update(part.as_bytes());
    }
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// What is posted.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    /// RFC 3339; missing while the clock is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    data: &'a RawValue,
}

fn body(event: &Stored) -> Result<String, SinkError> {
    let ms = i64::try_from(event.made.0).ok().filter(|_| event.made.is_plausible());
    let timestamp = ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).map(|at| at.to_string());
    let data = serde_json::from_slice(&event.payload).map_err(SinkError::by("a stored event is no JSON"))?;
    serde_json::to_string(&Body { kind: event.name.as_str(), timestamp, data }).map_err(SinkError::by("no body"))
}

/// A server.
pub(super) struct Webhook {
    config: WebhookConfig,
}

impl Webhook {
    pub(super) fn new(config: WebhookConfig) -> Self {
        Self { config }
    }
}

#[async_trait]
impl Sink for Webhook {
    async fn connect(&self) -> Result<Box<dyn Link>, SinkError> {
        let secret = credential::read(&self.config.secret_file).map_err(SinkError::by("no secret"))?;
        let key = key(secret.expose()).ok_or_else(|| SinkError::new("the secret is no base64 behind whsec_"))?;
        let authorities = match &self.config.ca {
            Some(ca) => {
                let pem = tokio::fs::read(ca).await.map_err(SinkError::by("cannot read `ca`"))?;
                Some(Certificate::from_pem_bundle(&pem).map_err(SinkError::by("no certificate in `ca`"))?)
            }
            None => None,
        };
        let client = web::client(|it| {
            let it = it.timeout(self.config.timeout).redirect(Policy::none());
            match &authorities {
                Some(authorities) => it.tls_certs_only(authorities.iter().cloned()),
                None => it,
            }
        });
        let client = client.map_err(SinkError::by("no HTTP client"))?;
        Ok(Box::new(WebhookLink { client, url: self.config.url.clone(), key }))
    }

    fn window(&self) -> usize {
        1
    }

    fn longest_wait(&self) -> Duration {
        LONGEST_WAIT
    }

    fn connecting_proves(&self) -> bool {
        false
    }
}

struct WebhookLink {
    client: Client,
    url: String,
    key: Zeroizing<Vec<u8>>,
}

#[async_trait]
impl Link for WebhookLink {
    async fn send(&mut self, event: &Stored) -> Result<BoxFuture<'static, Result<Verdict, SinkError>>, SinkError> {
        let body = match body(event) {
            Ok(body) => body,
            // cannot happen to what was written here; it shall not stand in the way of the rest
            Err(error) => return Ok(Box::pin(async move { Ok(Verdict::Refused(error.text())) })),
        };
        let timestamp = WallMs::now().0 / 1000;
        let request = self
            .client
            .post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &event.id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature(&self.key, &event.id, timestamp, &body))
            .body(body);
        Ok(Box::pin(async move { verdict(request.send().await.map_err(|error| no_answer(&error))?.status()) }))
    }

    async fn lost(&mut self) -> SinkError {
        // there is no connection to lose between two requests
        std::future::pending().await
    }

    async fn close(self: Box<Self>, _end: End) {}
}

/// Without the address, which may hold what only the configuration should.
fn no_answer(error: &reqwest::Error) -> SinkError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    SinkError::new(match error.is_timeout() {
        true => "no answer in time".to_owned(),
        false => format!("no answer: {cause}"),
    })
}

/// A server that cannot read an event never will; anything else may be put right, and is tried again.
fn verdict(status: StatusCode) -> Result<Verdict, SinkError> {
    match status {
        status if status.is_success() => Ok(Verdict::Confirmed),
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::UNPROCESSABLE_ENTITY => Ok(Verdict::Refused(format!("the server answers {status}"))),
        status => Err(SinkError::new(format!("the server answers {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventName;

    #[test]
    fn signatures_are_those_of_the_standard() {
        // the example of the specification's repository, also in its libraries' tests
        let key = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, "{\"test\": 2432232314}");
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secrets_are_base64_behind_their_prefix_and_else_themselves() {
        assert_eq!(*key("whsec_AAEC").unwrap(), [0, 1, 2]);
        assert_eq!(*key("plain words").unwrap(), b"plain words");
        assert!(key("whsec_ü").is_none());
    }

    #[test]
    fn the_body_has_type_time_and_the_event_as_it_is() {
        let made = WallMs(1_790_000_000_123);
        let event = Stored {
            lane: 0,
            seq: 1,
            id: "a-1".into(),
            name: EventName::RoomLeave,
            made,
            payload: b"{\"roomId\":\"r\",\"n\":1.50}".to_vec(),
        };
        let text = body(&event).unwrap();
        assert_eq!(text, r#"{"type":"room.leave","timestamp":"2026-09-21T14:13:20.123Z","data":{"roomId":"r","n":1.50}}"#);
        let unset = Stored { made: WallMs(5), ..event };
        assert_eq!(body(&unset).unwrap(), r#"{"type":"room.leave","data":{"roomId":"r","n":1.50}}"#);
    }

    #[test]
    fn only_what_can_never_succeed_is_refused() {
        assert_eq!(verdict(StatusCode::NO_CONTENT).unwrap(), Verdict::Confirmed);
        for refused in [400, 413, 415, 422] {
            assert!(matches!(verdict(StatusCode::from_u16(refused).unwrap()), Ok(Verdict::Refused(_))), "{refused}");
        }
        for again in [301, 401, 403, 404, 408, 410, 429, 500, 503] {
            assert!(verdict(StatusCode::from_u16(again).unwrap()).is_err(), "{again}");
        }
    }
}
