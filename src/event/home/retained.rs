//! The retained messages that Home Assistant's MQTT discovery reads. PURE.
//!
//! One device; for each listed room whether somebody is there and how many, for each source whether it is open and whether
//! something is wrong with it, and where pictures are sent a camera. The address to play a source from is an attribute of it.
//! Sources: <https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery>, <https://www.home-assistant.io/integrations/camera.mqtt/>.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Picture;
use crate::vocab::RoomId;

/// Payloads by topic.
pub type Messages = BTreeMap<String, String>;

/// What availability topics say.
pub const ONLINE: &str = "online";
pub const OFFLINE: &str = "offline";

/// Longest part of a name that stays readable in a topic.
const MOST_KEY: usize = 40;

/// The board, as Home Assistant knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// `portico_` and what tells it from others; part of every topic and unique id.
    pub key: String,
    /// For people.
    pub name: String,
}

impl Board {
    /// Where it tells whether it is there.
    pub fn status_topic(&self) -> String {
        format!("portico/{}/status", self.key)
    }
}

/// How it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Habits {
    /// What discovery topics begin with.
    pub prefix: String,
    /// Who tells.
    pub board: Board,
    /// Whether pictures are sent.
    pub pictures: bool,
}

/// The key of a board: of its client id where one is configured, else of the machine's id.
pub fn board_key(client_id: Option<&str>, machine: &str) -> String {
    match client_id {
        Some(id) => format!("portico_{}", key(id)),
        // not the id itself, which is nobody else's business (machine-id(5))
        None => format!("portico_{}", digest(&format!("portico {}", machine.trim()))),
    }
}

/// Everything that the broker is to retain now.
pub fn retained(habits: &Habits, picture: &Picture) -> Messages {
    let mut told = Told { habits, page: picture.listing.page.as_deref(), messages: Messages::new() };
    for room in &picture.listing.rooms {
        let now = picture.rooms.get(room).copied().unwrap_or_default();
        let state = json!({
            "occupied": on(now.members > 0), "members": now.members, "viewers": now.viewers, "sources": now.sources,
        });
        let place = told.state("room", room.as_str(), &state);
        let name = room.as_str();
        told.entity("binary_sensor", &place, "occupancy", json!({"name": name, "device_class": "occupancy"}), "occupied");
        let many = json!({"name": format!("{name} members"), "state_class": "measurement", "icon": "mdi:account-group"});
        told.entity("sensor", &place, "members", many, "members");
    }
    for source in &picture.listing.sources {
        let seen = picture.sources.get(&source.name);
        let rooms: Vec<&str> = source.rooms.iter().map(RoomId::as_str).collect();
        let mut state = json!({
            "open": seen.map(|seen| on(seen.open)), "problem": seen.map(|seen| on(seen.error.is_some())),
            "viewers": seen.map(|seen| seen.viewers), "error": seen.and_then(|seen| seen.error.as_deref()), "rooms": rooms,
        });
        if let (Some(page), Some(room)) = (&picture.listing.page, rooms.first()) {
            state["page"] = format!("{page}#room={}", escaped(room)).into();
            state["whep"] = format!("{page}whep/{}/{}", escaped(room), escaped(&source.name)).into();
        }
        let place = told.state("source", &source.name, &state);
        let name = source.name.as_str();
        told.entity(
            "binary_sensor",
            &place,
            "open",
            json!({"name": name, "device_class": "running", "icon": "mdi:cctv"}),
            "open",
        );
        let problem = json!({"name": format!("{name} problem"), "device_class": "problem", "entity_category": "diagnostic"});
        told.entity("binary_sensor", &place, "problem", problem, "problem");
        if habits.pictures {
            told.camera(&place, name);
        }
    }
    told.messages.insert(habits.board.status_topic(), ONLINE.into());
    told.messages
}

/// Where pictures of which source go; they are retained as well, and sent at times of their own.
pub fn cameras(habits: &Habits, picture: &Picture) -> BTreeMap<String, String> {
    let sources = picture.listing.sources.iter().filter(|_| habits.pictures);
    let topic = |name: &str| picture_topic(&place_topic(&habits.board, "source", name));
    sources.map(|source| (topic(&source.name), source.name.clone())).collect()
}

/// What is to be sent so that the broker retains `wanted`, of which it has `told` (with `None` where it is not known what of a
/// topic), and leaves what is at topics of `others`. An empty payload takes a message back.
pub fn changes(told: &BTreeMap<String, Option<String>>, wanted: &Messages, others: &BTreeSet<String>) -> Vec<(String, String)> {
    let is_gone = |topic: &&String| !wanted.contains_key(*topic) && !others.contains(*topic);
    let gone = told.keys().filter(is_gone).map(|topic| (topic.clone(), String::new()));
    let new = wanted.iter().filter(|(topic, payload)| told.get(*topic).and_then(Option::as_ref) != Some(*payload));
    gone.chain(new.map(|(topic, payload)| (topic.clone(), payload.clone()))).collect()
}

/// Where a room or source tells how it stands, and its part of unique ids.
struct Place {
    topic: String,
    key: String,
}

struct Told<'a> {
    habits: &'a Habits,
    page: Option<&'a str>,
    messages: Messages,
}

impl Told<'_> {
    fn state(&mut self, kind: &str, name: &str, state: &Value) -> Place {
        let board = &self.habits.board;
        let place = Place { topic: place_topic(board, kind, name), key: format!("{}_{kind}_{}", board.key, key(name)) };
        self.messages.insert(place.topic.clone(), state.to_string());
        place
    }

    /// `about` is completed by what all entities with a state have.
    fn entity(&mut self, component: &str, place: &Place, what: &str, mut about: Value, field: &str) {
        about["state_topic"] = place.topic.clone().into();
        about["value_template"] = format!("{{{{ value_json.{field} }}}}").into();
        about["availability_topic"] = self.habits.board.status_topic().into();
        self.tell(component, place, what, about);
    }

    /// The broker keeps the last picture, which shows nothing that is true while the source cannot be opened.
    fn camera(&mut self, place: &Place, name: &str) {
        let works = "{{ 'offline' if value_json.problem == 'ON' else 'online' }}";
        let about = json!({
            "name": name, "topic": picture_topic(&place.topic), "availability_mode": "all",
            "availability": [
                {"topic": self.habits.board.status_topic()},
                {"topic": place.topic, "value_template": works},
            ],
        });
        self.tell("camera", place, "camera", about);
    }

    /// `about` is completed by what all entities have.
    fn tell(&mut self, component: &str, place: &Place, what: &str, mut about: Value) {
        let id = format!("{}_{what}", place.key);
        let board = &self.habits.board;
        let version = env!("CARGO_PKG_VERSION");
        let mut device = json!({
            "identifiers": [board.key], "name": board.name, "manufacturer": "Portico", "model": "room appliance", "sw_version": version,
        });
        if let Some(page) = self.page {
            device["configuration_url"] = page.into();
        }
        about["unique_id"] = id.clone().into();
        about["json_attributes_topic"] = place.topic.clone().into();
        about["qos"] = 1.into();
        about["device"] = device;
        about["origin"] = json!({"name": "Portico", "sw_version": version});
        self.messages.insert(format!("{}/{component}/{id}/config", self.habits.prefix), about.to_string());
    }
}

fn place_topic(board: &Board, kind: &str, name: &str) -> String {
    format!("portico/{}/{kind}/{}", board.key, key(name))
}

fn picture_topic(place: &str) -> String {
    format!("{place}/picture")
}

fn on(is: bool) -> &'static str {
    if is { "ON" } else { "OFF" }
}

/// A name in the characters that discovery topics may have, `[a-zA-Z0-9_-]`; where that changes it, no two names are the same.
fn key(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.len() <= MOST_KEY && name.chars().all(plain) {
        return name.into();
    }
    let readable: String = name.chars().take(MOST_KEY).map(|c| if plain(c) { c } else { '_' }).collect();
    format!("{readable}_{}", digest(name))
}

/// 8 hex digits.
fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// A name as one segment of a path, or in a query.
fn escaped(name: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    name.bytes().map(byte).collect()
}
