//! Whose a connection becomes, and when.

use serde_json::{Value, json};

use super::*;
use crate::room::{Command, EndReason};
use crate::signalling::{RealmMessage, star, vamp};
use crate::vocab::{BearerError, Identity};

/// Knows one token.
struct OneToken;

impl BearerCheck for OneToken {
    fn check(&self, _: SystemTime, bearer: &str) -> Result<Identity, BearerError> {
        match bearer {
            "good" => Ok(Identity { user_id: String::new(), grant: Grant::all("known") }),
            _ => Err(BearerError { reason: "unknown".into() }),
        }
    }
}

fn front() -> Front {
    let deps = Deps {
        access: Arc::new(OneToken),
        grant: Grant::nothing(),
        remote: None,
        socket_id: "s".repeat(20),
        vamp: vamp::VampConfig::default(),
        stores_clips: false,
        vamp_prefix: RoomPrefix::none().clone(),
        star: star::StarConfig::default(),
        star_room: RoomId::new("webrtc-star").unwrap(),
        star_prefix: RoomPrefix::none().clone(),
        wall: SystemTime::now(),
    };
    Front::new(Instant::now(), deps)
}

fn say(front: &mut Front, message: Value) -> Vec<Output> {
    front.handle_frame(Instant::now(), Frame::Text(&message.to_string())).unwrap();
    std::iter::from_fn(|| front.poll_output()).collect()
}

/// The dialect of a join that the room is asked for.
fn joins(outputs: &[Output]) -> Option<(DialectName, String)> {
    match outputs {
        [Output::Command(_, Command::Join(joining))] => Some((joining.dialect, joining.grant.subject.clone())),
        _ => None,
    }
}

#[test]
fn the_first_event_that_a_dialect_knows_decides() {
    for (event, dialect) in [("join vamp", DialectName::Vamp), ("join room", DialectName::Vamp), ("ss-join", DialectName::Star)] {
        let mut front = front();
        for unknown in [json!(["hello", 1]), json!(["ss-leave", "a"]), json!(["sending signal", {}]), json!(17), json!([])] {
            assert!(say(&mut front, unknown).is_empty());
        }
        assert_eq!(joins(&say(&mut front, json!([event, "/a"]))), Some((dialect, String::new())));
    }
}

#[test]
fn a_connection_of_one_dialect_ignores_the_events_of_the_other() {
    let mut star = front();
    let outputs = say(&mut star, json!(["ss-handshake", {"n":1}]));
    assert!(matches!(&outputs[..], [Output::Realm(RealmMessage::Star(star::StarMessage::Handshake(Some(_))))]));
    assert!(say(&mut star, json!(["join vamp", "v"])).is_empty());

    let mut vamp = front();
    assert!(joins(&say(&mut vamp, json!(["join vamp", "v"]))).is_some());
    assert!(say(&mut vamp, json!(["ss-join", "/a"])).is_empty());
    let word = RealmWord::Star(star::StarWord(Arc::new("[]".into())));
    vamp.handle_realm(Instant::now(), word);
    assert!(vamp.poll_output().is_none(), "nor is it told of the other's peers");
}

#[test]
fn a_token_of_the_connect_packet_counts_and_a_bad_one_ends_the_connection() {
    let mut good = front();
    assert!(say(&mut good, json!({"token":"good"})).is_empty());
    assert_eq!(joins(&say(&mut good, json!(["ss-join", "/a"]))), Some((DialectName::Star, "known".into())));
    for other in [json!({}), json!({"token":""}), json!({"token":7}), json!({"user":"x"})] {
        let mut none = front();
        assert!(say(&mut none, other).is_empty(), "not meant for Portico");
    }
    let mut bad = front();
    assert!(matches!(say(&mut bad, json!({"token":"bad"}))[..], [Output::Close { code: 1008, .. }]));
}

#[test]
fn a_connection_that_is_nobodys_ends_properly_too() {
    let mut front = front();
    front.handle_notice(Instant::now(), &Notice::Ended { reason: EndReason::Stopping });
    assert!(matches!(front.poll_output(), Some(Output::Close { code: 1001, .. })));
    assert!(front.poll_output().is_none() && front.next_timeout().is_none());
}
