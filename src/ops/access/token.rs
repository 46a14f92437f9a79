//! Tokens: JWT (RFC 7519) signed with HMAC (RFC 7518 §3.2) and nothing else.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Map, Value, json};

use super::Secret;
use crate::vocab::{Grant, Right, Rights, RoomPattern};

/// Clocks of those who sign and those who check may differ by this much.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// Longest token looked at, in bytes. Ours have about 250; other services add claims.
const MAX_TOKEN_BYTES: usize = 8192;

/// The algorithms accepted: one shared secret, never `none`, never a public key.
pub(super) const HMAC: [Algorithm; 3] = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];

/// Why a token was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Not a JWT at all, or a claim has the wrong type.
    #[error("the token is malformed")]
    Malformed,
    /// `alg` is none, asymmetric or unknown.
    #[error("the token is not signed with HS256, HS384 or HS512")]
    Algorithm,
    /// The signature is not that of our secret.
    #[error("the token's signature is wrong")]
    Signature,
    /// `exp` is past.
    #[error("the token has expired")]
    Expired,
    /// `nbf` or `iat` is in the future.
    #[error("the token is not valid yet")]
    NotYet,
    /// A claim that is needed here is missing.
    #[error("the token has no usable claim {0}")]
    Missing(&'static str),
}

impl AccessError {
    /// A stable word for clients and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed | Self::Missing(_) => "token_malformed",
            Self::Algorithm => "token_algorithm",
            Self::Signature => "token_signature",
            Self::Expired => "token_expired",
            Self::NotYet => "token_not_yet_valid",
        }
    }
}

/// What a new token shall say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// The rooms it holds in.
    pub rooms: RoomPattern,
    /// The rights it gives there.
    pub rights: Rights,
    /// When it ends; `None` never.
    pub expires: Option<SystemTime>,
    /// Whom it is for, for logs; becomes `sub`.
    pub subject: String,
    /// The user's id in the tribe dialect; becomes `userId`, without which the token is no tribe bearer.
    pub user_id: Option<String>,
}

impl TokenRequest {
    /// For a join link told at start: publish and subscribe in every room. `None` where it shall hold for no time, or for longer than
    /// the clock can tell.
    pub fn invitation(now: SystemTime, holds: Duration) -> Option<Self> {
        let expires = now.checked_add(holds).filter(|end| *end > now)?;
        let rights = [Right::Publish, Right::Subscribe].into_iter().collect();
        let subject = "join link".into();
        Some(Self { rooms: RoomPattern::any(), rights, expires: Some(expires), subject, user_id: None })
    }
}

/// Signs a token with HS256.
pub fn sign(request: &TokenRequest, secret: &Secret, now: SystemTime) -> String {
    let patterns: Vec<&str> = request.rooms.0.split('\n').collect();
    let mut claims = Map::new();
    // tribe reads an array, people read a single pattern: the claim is an array whenever it must be
    let rooms = if patterns.len() == 1 && request.user_id.is_none() { json!(patterns[0]) } else { json!(patterns) };
    claims.insert("rooms".into(), rooms);
    claims.insert("rights".into(), request.rights.iter().map(|right| json!(right)).collect());
    claims.insert("iat".into(), json!(seconds(now)));
    if let Some(expires) = request.expires {
        claims.insert("exp".into(), json!(seconds(expires)));
    }
    if !request.subject.is_empty() {
        claims.insert("sub".into(), json!(request.subject));
    }
    if let Some(user_id) = &request.user_id {
        claims.insert("userId".into(), json!(user_id));
    }
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).expect("a map of texts and numbers always encodes")
}

/// The claims of a token whose signature and times are good.
#[derive(Clone, Debug)]
pub(super) struct Claims(Map<String, Value>);

/// Checks algorithm, signature and times.
pub(super) fn verify(token: &str, secret: &Secret, now: SystemTime) -> Result<Claims, AccessError> {
    check_shape(token)?;
    let mut validation = Validation::new(Algorithm::HS256);
    validation.algorithms = HMAC.to_vec();
    // times are checked against the caller's clock, below
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    let key = DecodingKey::from_secret(secret.expose().as_bytes());
    let data = jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation).map_err(|error| match error.kind() {
        ErrorKind::InvalidSignature => AccessError::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => AccessError::Algorithm,
        _ => AccessError::Malformed,
    })?;
    check_times(Claims(data.claims), now)
}

/// Checks all but the signature, where there is no secret to check it with.
pub(super) fn read_unsigned(token: &str, now: SystemTime) -> Result<Claims, AccessError> {
    check_shape(token)?;
    let claims = jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| AccessError::Malformed)?;
    check_times(Claims(claims), now)
}

/// Looks at the header before any key does.
fn check_shape(token: &str) -> Result<(), AccessError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(AccessError::Malformed);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|error| match error.kind() {
        // `none` and unheard-of names fail in the header's `alg`
        ErrorKind::Json(_) if header_has_alg(token) => AccessError::Algorithm,
        ErrorKind::InvalidAlgorithmName | ErrorKind::MissingAlgorithm => AccessError::Algorithm,
        _ => AccessError::Malformed,
    })?;
    if HMAC.contains(&header.alg) { Ok(()) } else { Err(AccessError::Algorithm) }
}

fn header_has_alg(token: &str) -> bool {
    use base64::Engine;
    let head = token.split('.').next().unwrap_or_default();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(head).unwrap_or_default();
    serde_json::from_slice::<Map<String, Value>>(&bytes).is_ok_and(|header| header.contains_key("alg"))
}

fn check_times(claims: Claims, now: SystemTime) -> Result<Claims, AccessError> {
    let now = seconds(now) as f64;
    let leeway = LEEWAY.as_secs() as f64;
    if claims.number("exp")?.is_some_and(|exp| now > exp + leeway) {
        return Err(AccessError::Expired);
    }
    for start in ["nbf", "iat"] {
        if claims.number(start)?.is_some_and(|start| start > now + leeway) {
            return Err(AccessError::NotYet);
        }
    }
    Ok(claims)
}

impl Claims {
    /// The grant of one of our own tokens: `rooms` and `rights` are needed.
    pub(super) fn into_grant(self) -> Result<Grant, AccessError> {
        let rooms = self.rooms()?.ok_or(AccessError::Missing("rooms"))?;
        let rights = self.rights()?.ok_or(AccessError::Missing("rights"))?;
        Ok(Grant { subject: self.text("sub").unwrap_or_default(), rooms, rights, expires: self.expires() })
    }

    /// A claim that is a text.
    pub(super) fn text(&self, claim: &str) -> Option<String> {
        self.0.get(claim).and_then(Value::as_str).map(str::to_owned)
    }

    /// `rooms`: one pattern, or an array of them.
    pub(super) fn rooms(&self) -> Result<Option<RoomPattern>, AccessError> {
        match self.0.get("rooms") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(pattern)) => Ok(Some(RoomPattern::any_of([pattern.as_str()]))),
            Some(Value::Array(patterns)) => {
                let patterns: Option<Vec<&str>> = patterns.iter().map(Value::as_str).collect();
                patterns.map(RoomPattern::any_of).map(Some).ok_or(AccessError::Malformed)
            }
            Some(_) => Err(AccessError::Malformed),
        }
    }

    /// `rights`: an array of names. Names that this version does not know give nothing.
    pub(super) fn rights(&self) -> Result<Option<Rights>, AccessError> {
        match self.0.get("rights") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(names)) => {
                let known = names.iter().filter_map(|name| serde_json::from_value::<Right>(name.clone()).ok());
                Ok(Some(known.collect()))
            }
            Some(_) => Err(AccessError::Malformed),
        }
    }

    /// `exp` as a time. One beyond what the clock can hold is never.
    pub(super) fn expires(&self) -> Option<SystemTime> {
        let exp = self.number("exp").ok()??;
        Duration::try_from_secs_f64(exp.max(0.0)).ok().and_then(|since| UNIX_EPOCH.checked_add(since))
    }

    fn number(&self, claim: &str) -> Result<Option<f64>, AccessError> {
        match self.0.get(claim) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_f64().filter(|n| n.is_finite()).map(Some).ok_or(AccessError::Malformed),
        }
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
