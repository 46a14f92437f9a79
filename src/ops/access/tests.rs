use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::*;
use crate::vocab::{BearerCheck, Right, RoomId};

const SECRET: &str = "a secret of many characters";
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 7));

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn with_secret(listen_is_loopback: bool) -> Access {
    let config = AccessConfig { token_secret: Some(Secret::new(SECRET)), ..Default::default() };
    Access::new(&config, listen_is_loopback).unwrap()
}

fn signed(algorithm: Algorithm, claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

fn request() -> TokenRequest {
    TokenRequest {
        rooms: RoomPattern("house-*".into()),
        rights: Rights::NONE.with(Right::Publish),
        expires: Some(now() + Duration::from_secs(3600)),
        subject: "door".into(),
        user_id: None,
    }
}

#[test]
fn a_signed_token_grants_what_it_says() {
    let access = with_secret(false);
    let token = access.sign(&request(), now()).unwrap();
    let grant = access.grant(THERE, Some(&token), now()).unwrap();
    assert_eq!(grant.subject, "door");
    assert_eq!(grant.expires, request().expires);
    let hall = RoomId::new("house-hall").unwrap();
    assert!(grant.allows(&hall, Right::Publish) && !grant.allows(&hall, Right::Subscribe));
    assert!(!grant.allows(&RoomId::new("yard").unwrap(), Right::Publish));
}

#[test]
fn times_are_checked_with_thirty_seconds_of_leeway() {
    let access = with_secret(true);
    let token = access.sign(&request(), now()).unwrap();
    let at = |time| access.grant(HERE, Some(&token), time).map(|_| ());
    assert_eq!(at(now() + Duration::from_secs(3630)), Ok(()));
    assert_eq!(at(now() + Duration::from_secs(3631)), Err(AccessError::Expired));
    assert_eq!(at(now() - Duration::from_secs(31)), Err(AccessError::NotYet));
}

#[test]
fn unsigned_and_asymmetric_tokens_are_refused() {
    let access = with_secret(true);
    let claims = json!({"rooms": "*", "rights": ["control"], "userId": "u"});
    for (alg, signature) in [("none", ""), ("None", "x"), ("RS256", "x"), ("ES256", "x"), ("HS1", "x")] {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let token = format!("{}.{}.{signature}", encode(&json!({"alg": alg, "typ": "JWT"})), encode(&claims));
        assert_eq!(access.grant(HERE, Some(&token), now()), Err(AccessError::Algorithm), "{alg}");
        assert!(BearerCheck::check(&access, now(), &token).is_err(), "{alg}");
        assert!(BearerCheck::check(&Access::open(), now(), &token).is_err(), "{alg}");
    }
    let good = signed(Algorithm::HS256, &claims);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let other = format!("{signed}.{}{}", if signature.starts_with('A') { 'B' } else { 'A' }, &signature[1..]);
    assert_eq!(access.grant(HERE, Some(&other), now()), Err(AccessError::Signature));
    for text in ["x", "a.b.c", "..", &"x".repeat(100_000)] {
        assert_eq!(access.grant(HERE, Some(text), now()), Err(AccessError::Malformed));
    }
}

#[test]
fn loopback_is_open_only_without_secret_and_named_rights() {
    let open = Access::new(&AccessConfig::default(), true).unwrap();
    assert_eq!(open.grant(HERE, None, now()).unwrap(), Grant::all(""));
    assert_eq!(open.grant(HERE, Some("anything"), now()).unwrap(), Grant::all(""));
    // a proxy on this machine passes on someone from elsewhere
    assert_eq!(open.grant(THERE, None, now()).unwrap(), Grant::nothing());
    assert_eq!(with_secret(true).grant(HERE, None, now()).unwrap(), Grant::nothing());
}

#[test]
fn the_anonymous_have_the_named_rights_in_the_named_rooms() {
    let config = AccessConfig {
        anonymous: vec![Right::Subscribe],
        anonymous_rooms: vec![RoomPattern("hall".into()), RoomPattern("yard-*".into())],
        ..Default::default()
    };
    let grant = Access::new(&config, false).unwrap().grant(THERE, None, now()).unwrap();
    let room = |name| RoomId::new(name).unwrap();
    assert!(grant.allows(&room("hall"), Right::Subscribe) && grant.allows(&room("yard-1"), Right::Subscribe));
    assert!(!grant.allows(&room("attic"), Right::Subscribe) && !grant.allows(&room("hall"), Right::Publish));
}

#[test]
fn a_tribe_bearer_may_use_any_hmac_and_needs_a_user() {
    let access = with_secret(false);
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let who = access.check(now(), &signed(algorithm, &json!({"userId": "u1", "clientId": 5}))).unwrap();
        assert_eq!(who.user_id, "u1");
        assert_eq!(who.grant.rights, Rights::NONE.with(Right::Publish).with(Right::Subscribe));
    }
    for claims in [json!({}), json!({"userId": ""}), json!({"userId": 5}), json!({"userId": "u", "exp": 1}), json!([])] {
        assert!(access.check(now(), &signed(Algorithm::HS256, &claims)).is_err(), "{claims}");
    }
    let narrow = access.check(now(), &signed(Algorithm::HS256, &json!({"userId": "u", "rooms": ["a", "b"]}))).unwrap();
    assert!(narrow.grant.allows(&RoomId::new("b").unwrap(), Right::Publish));
    assert!(!narrow.grant.allows(&RoomId::new("c").unwrap(), Right::Publish));
}

#[test]
fn without_a_secret_a_tribe_bearer_gives_no_more_than_the_anonymous_have() {
    let config = AccessConfig { anonymous: vec![Right::Subscribe], ..Default::default() };
    let access = Access::new(&config, false).unwrap();
    let stranger =
        jsonwebtoken::encode(&Header::default(), &json!({"userId": "u", "rights": ["control"]}), &EncodingKey::from_secret(b"?"));
    let who = access.check(now(), &stranger.unwrap()).unwrap();
    assert_eq!(who.grant.rights, Rights::NONE);
    assert!(access.check(now(), "not a token").is_err());
    assert!(access.start_warning().is_some());
    let open = Access::new(&AccessConfig::default(), true).unwrap();
    assert!(
        open.is_open() && open.start_warning().is_none(),
        "nothing to warn of where everything is open to this machine alone"
    );
}

#[test]
fn page_tokens_are_the_same_tokens() {
    let access = Arc::new(with_secret(false));
    let token = access.sign(&request(), now()).unwrap();
    let who = PageTokens(Arc::clone(&access)).check(now(), &token).unwrap();
    assert_eq!((who.user_id.as_str(), who.grant.rights), ("door", request().rights));
    assert!(PageTokens(access).check(now(), "").is_err());
}

#[test]
fn an_exposed_listener_needs_a_guard() {
    let nothing = AccessConfig::default();
    assert!(check_exposure(&nothing, "127.0.0.1:1".parse().unwrap()).is_ok());
    assert!(check_exposure(&nothing, "[::1]:1".parse().unwrap()).is_ok());
    let refused = check_exposure(&nothing, "0.0.0.0:8780".parse().unwrap()).unwrap_err();
    assert!(refused.to_string().contains("access.token_secret_file"), "{refused}");
    let named = AccessConfig { anonymous: vec![Right::Subscribe], ..Default::default() };
    assert!(check_exposure(&named, "0.0.0.0:8780".parse().unwrap()).is_ok());
    let secret = AccessConfig { token_secret_file: Some("/nowhere".into()), ..Default::default() };
    assert!(check_exposure(&secret, "192.168.1.7:8780".parse().unwrap()).is_ok());
}

#[test]
fn a_secret_shows_itself_nowhere() {
    let config = AccessConfig { token_secret: Some(Secret::new(SECRET)), ..Default::default() };
    assert!(!format!("{config:?}{}", serde_json::to_string(&config).unwrap()).contains("many"));
}

#[test]
fn a_secret_file_is_trimmed_and_must_be_long_enough() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, format!(" {SECRET}\n")).unwrap();
    assert_eq!(read_secret(&file).unwrap().expose(), SECRET);
    std::fs::write(&file, "short\n").unwrap();
    assert!(matches!(read_secret(&file), Err(SecretError::Short { chars: 5, .. })));
    assert!(matches!(read_secret(&dir.path().join("none")), Err(SecretError::Unreadable { .. })));
}

proptest::proptest! {
    #[test]
    fn no_text_is_a_token_by_accident(text in "[A-Za-z0-9_.-]{0,60}|.{0,40}", payload in "[{]?\"?[a-z]{0,5}\"?:?[0-9\\[\\]\"]{0,5}[}]?") {
        let access = with_secret(true);
        let head = URL_SAFE_NO_PAD.encode("{\"alg\":\"HS256\"}");
        let shaped = format!("{head}.{}.{text}", URL_SAFE_NO_PAD.encode(&payload));
        for token in [text.as_str(), shaped.as_str()] {
            proptest::prop_assert!(access.check(now(), token).is_err());
            if let Ok(grant) = access.grant(HERE, Some(token), now()) {
                proptest::prop_assert_eq!(grant, Grant::nothing());
            }
            let _ = Access::open().check(now(), token);
        }
    }
}
