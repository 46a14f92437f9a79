use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::picture::Occupancy;
use super::retained::{Board, Habits, Messages, board_key, cameras, changes, retained};
use super::*;
use crate::room::{DialectName, EndReason, Facts};
use crate::vocab::MemberId;

fn room(name: &str) -> RoomId {
    RoomId::new(name).unwrap()
}

fn listing() -> Listing {
    let door = ListedSource { name: "door".into(), rooms: vec![room("hall way")] };
    Listing { rooms: vec![room("hall way"), room("yard")], sources: vec![door], page: Some("https://10.0.0.2:8780/".into()) }
}

fn habits() -> Habits {
    let board = Board { key: board_key(Some("hall"), ""), name: "Hall board".into() };
    Habits { prefix: "homeassistant".into(), board, pictures: false }
}

fn joined(name: &str, number: u8, dialect: DialectName, visible: bool) -> Report {
    Report::MemberJoined {
        room: room(name),
        member: MemberId([number; 16]),
        dialect,
        user_id: String::new(),
        size: 1,
        remote: None,
        visible,
        facts: Facts::default(),
    }
}

fn left(name: &str, number: u8) -> Report {
    let (room, member, reason) = (room(name), MemberId([number; 16]), EndReason::Left);
    Report::MemberLeft { room, member, dialect: DialectName::Tribe, user_id: String::new(), size: 0, reason }
}

fn body(messages: &Messages, topic: &str) -> Value {
    let text = messages.get(topic).unwrap_or_else(|| panic!("no {topic} in {:#?}", messages.keys()));
    serde_json::from_str(text).unwrap()
}

#[test]
fn cameras_and_watchers_do_not_make_a_room_occupied() {
    let home = Home::new(listing());
    let told = home.watch();
    let now = || told.borrow().rooms[&room("yard")];
    home.report(&joined("yard", 1, DialectName::Source, true));
    home.report(&joined("yard", 2, DialectName::Whep, false));
    assert_eq!(now(), Occupancy { members: 0, viewers: 1, sources: 1 });
    home.report(&joined("yard", 3, DialectName::Page, true));
    assert_eq!(now().members, 1);
    home.report(&left("yard", 3));
    home.report(&left("yard", 3));
    home.report(&left("yard", 2));
    assert_eq!(now(), Occupancy { members: 0, viewers: 0, sources: 1 });
    home.report(&Report::RoomClosed { room: room("yard") });
    assert_eq!(now(), Occupancy::default());
}

#[test]
fn rooms_that_are_not_listed_are_not_told_until_they_are() {
    let home = Home::new(listing());
    let mut told = home.watch();
    home.report(&joined("elsewhere", 1, DialectName::Page, true));
    assert!(!told.has_changed().unwrap());
    home.list(Listing { rooms: vec![room("elsewhere")], ..listing() });
    let rooms = told.borrow_and_update().rooms.clone();
    assert_eq!(rooms, BTreeMap::from([(room("elsewhere"), Occupancy { members: 1, ..Occupancy::default() })]));
}

#[test]
fn discovery_names_one_device_and_topics_that_exist() {
    let mut picture = Picture::new(listing());
    let seen = SourceSeen { name: "door".into(), open: true, viewers: 2, error: None };
    assert!(picture.see(std::slice::from_ref(&seen)));
    assert!(!picture.see(&[seen]), "nothing new");
    let messages = retained(&habits(), &picture);
    let configs: Vec<&String> = messages.keys().filter(|topic| topic.ends_with("/config")).collect();
    assert_eq!(configs.len(), 2 * 2 + 2, "{configs:#?}");
    let mut ids = BTreeSet::new();
    for topic in configs {
        let parts: Vec<&str> = topic.split('/').collect();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        assert!(parts.len() == 4 && parts[2].chars().all(plain), "{topic}");
        let config = body(&messages, topic);
        assert_eq!(config["unique_id"], parts[2]);
        assert!(ids.insert(config["unique_id"].to_string()), "{topic}");
        assert_eq!(config["device"]["identifiers"], json!(["portico_hall"]));
        assert_eq!(config["availability_topic"], "portico/portico_hall/status");
        let state = body(&messages, config["state_topic"].as_str().unwrap());
        let field = config["value_template"].as_str().unwrap().trim_matches(['{', '}', ' ']).trim_start_matches("value_json.");
        assert!(!state[field].is_null(), "{field} of {state}");
    }
    let yard = body(&messages, "homeassistant/binary_sensor/portico_hall_room_yard_occupancy/config");
    assert_eq!((&yard["device_class"], &yard["state_topic"]), (&"occupancy".into(), &"portico/portico_hall/room/yard".into()));
    let door = body(&messages, "portico/portico_hall/source/door");
    assert_eq!(door["whep"], "https://10.0.0.2:8780/whep/hall%20way/door");
    assert_eq!((&door["open"], &door["problem"], &door["viewers"]), (&"ON".into(), &"OFF".into(), &2.into()));
    assert_eq!(messages["portico/portico_hall/status"], "online");
}

#[test]
fn a_source_is_a_camera_where_pictures_are_sent() {
    let picture = Picture::new(listing());
    assert!(cameras(&habits(), &picture).is_empty());
    let habits = Habits { pictures: true, ..habits() };
    let topic = "portico/portico_hall/source/door/picture";
    assert_eq!(cameras(&habits, &picture), BTreeMap::from([(topic.to_owned(), "door".to_owned())]));
    let messages = retained(&habits, &picture);
    let about = body(&messages, "homeassistant/camera/portico_hall_source_door_camera/config");
    assert_eq!((&about["topic"], &about["unique_id"]), (&topic.into(), &"portico_hall_source_door_camera".into()));
    assert_eq!((&about["name"], &about["device"]["name"]), (&"door".into(), &"Hall board".into()));
    // both must say so: the gateway is there, and the camera can be opened
    assert_eq!(about["availability_mode"], "all");
    assert_eq!(about["availability"][0], json!({"topic": "portico/portico_hall/status"}));
    assert_eq!(about["availability"][1]["topic"], "portico/portico_hall/source/door");
    assert!(about.get("availability_topic").is_none() && about.get("state_topic").is_none(), "{about}");
    assert!(!messages.contains_key(topic), "the picture is sent at a time of its own");
}

#[test]
fn names_that_look_alike_in_a_topic_are_told_apart() {
    let long = "x".repeat(100);
    let names = ["a b", "a/b", "a+b", "a_b", "ä", "ö", long.as_str()];
    let rooms = names.iter().map(|name| room(name)).collect();
    let messages = retained(&habits(), &Picture::new(Listing { rooms, ..Listing::default() }));
    assert_eq!(messages.len(), names.len() * 3 + 1, "{:#?}", messages.keys());
    assert!(messages.keys().all(|topic| !topic.contains(['+', '#', ' ']) && topic.len() < 120));
}

#[test]
fn only_what_changes_is_sent_and_what_is_gone_is_taken_back() {
    let wanted = Messages::from([("a".into(), "1".into()), ("b".into(), "2".into()), ("c".into(), "3".into())]);
    let told = BTreeMap::from([("b".into(), Some("2".into())), ("c".into(), None), ("gone".into(), None)]);
    let owned = |all: &[(&str, &str)]| -> Vec<(String, String)> {
        all.iter().map(|(topic, payload)| ((*topic).to_owned(), (*payload).to_owned())).collect()
    };
    assert_eq!(changes(&told, &wanted, &BTreeSet::new()), owned(&[("gone", ""), ("a", "1"), ("c", "3")]));
    let pictures = BTreeSet::from(["gone".to_owned(), "another".to_owned()]);
    assert_eq!(changes(&told, &wanted, &pictures), owned(&[("a", "1"), ("c", "3")]), "what is there is a picture");
}

#[test]
fn topics_are_remembered_over_a_restart_and_forgotten_when_they_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let topics: BTreeSet<String> = ["a".to_owned()].into();
    Memory::new(folder.path().into()).remember("home", topics.clone());
    let again = Memory::new(folder.path().into());
    assert_eq!((again.topics("home"), again.topics("other")), (topics, BTreeSet::new()));
    again.remember("home", BTreeSet::new());
    assert!(Memory::new(folder.path().into()).topics("home").is_empty());
    // a file that is not ours does no harm
    std::fs::write(folder.path().join("retained.json"), "[1").unwrap();
    assert!(Memory::new(folder.path().into()).topics("home").is_empty());
}

#[test]
fn the_key_of_a_board_does_not_tell_the_machine_id() {
    let key = board_key(None, "0123456789abcdef0123456789abcdef\n");
    assert_eq!(key, board_key(None, "0123456789abcdef0123456789abcdef"));
    assert!(key.starts_with("portico_") && key.len() == 16 && !key.contains("01234567"), "{key}");
}
