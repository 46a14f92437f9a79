//! Lists, rooms, comings and goings: lines 1 to 3, 11 to 13 and 15 of the checklist.

use std::time::Duration;

use serde_json::json;

use super::world::*;
use crate::room::{EndReason, RoomsConfig};
use crate::signalling::algorea::{AlgoreaConfig, ENTRY, Variant, entry};
use crate::signalling::{Dialect, Output};

#[test]
fn the_first_frame_is_the_list_in_order_of_arrival() {
    let mut world = World::new();
    let first = world.upgrade(How::default());
    world.pump();
    assert_eq!(world.hear_text(first), r#"{"type":"connected-peers","peerIds":[]}"#);
    let (second, ids) = world.connect_as(How::default());
    assert_eq!(ids, [world.id(first)]);
    let (_, ids) = world.connect_as(How { variant: Some(Variant::Branch), ..How::default() });
    assert_eq!(ids, [world.id(first), world.id(second)]);
    assert!(world.silent(), "arrivals are not announced");
}

#[test]
fn the_branchs_list_has_its_name() {
    let mut world = World::new();
    let client = world.upgrade(How { variant: Some(Variant::Branch), ..How::default() });
    world.pump();
    assert_eq!(world.hear_text(client), r#"{"type":"peers","peerIds":[]}"#);
}

#[test]
fn ids_are_22_characters_of_base64url_and_never_come_again() {
    let mut world = World::new();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..50 {
        let client = world.connect();
        let id = world.id(client);
        assert!(id.len() == 22 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{id}");
        assert!(seen.insert(id));
        world.end(client, true);
    }
}

#[test]
fn the_list_has_neither_the_own_id_nor_that_of_a_closed_socket() {
    let mut world = World::new();
    let (a, b) = (world.connect(), world.connect());
    world.end(a, true);
    let lost = world.connect();
    world.end(lost, false);
    let (c, ids) = world.connect_as(How::default());
    assert_eq!(ids, [world.id(b)]);
    assert!(!ids.contains(&world.id(c)));
}

#[test]
fn of_two_that_come_at_the_same_instant_exactly_one_sees_the_other() {
    let mut world = World::new();
    // both joins are on their way before either is carried out
    let both = [world.upgrade(How::default()), world.upgrade(How::default())];
    world.pump();
    let lists: Vec<_> = both.iter().map(|client| world.hear(*client)["peerIds"].as_array().unwrap().len()).collect();
    assert_eq!(lists.iter().sum::<usize>(), 1, "{lists:?}");
}

#[test]
fn rooms_are_apart() {
    let mut world = World::new();
    let (a, _) = world.connect_as(How { room: Some("one"), ..How::default() });
    let (b, ids) = world.connect_as(How { room: Some("two"), ..How::default() });
    assert!(ids.is_empty());
    let id = world.id(a);
    world.say(b, offer(&id));
    assert_eq!(world.hear(b)["code"], "peer-not-connected");
    assert!(world.silent());
    let (_, ids) = world.connect_as(How { room: Some("one"), ..How::default() });
    assert_eq!(ids, [id]);
}

#[test]
fn a_goodbye_frees_the_id_and_nobody_is_told() {
    let mut world = World::new();
    let (a, b) = (world.connect(), world.connect());
    let id = world.id(a);
    world.end(a, true);
    assert!(world.silent());
    world.say(b, offer(&id));
    assert_eq!(world.hear(b)["code"], "peer-not-connected");
}

#[test]
fn a_leave_is_told_to_clients_of_the_document_where_config_says_so() {
    let mut world = World::new();
    let config = AlgoreaConfig { announce_leave: true, ..AlgoreaConfig::default() };
    let (document, _) = world.connect_as(How { config: config.clone(), ..How::default() });
    let (branch, _) = world.connect_as(How { config, variant: Some(Variant::Branch), ..How::default() });
    let gone = world.connect();
    let id = world.id(gone);
    world.end(gone, false);
    assert_eq!(world.hear(document), json!({"type":"peer-disconnected","peerId":id}));
    assert!(world.clients[branch].inbox.is_empty());
}

#[test]
fn heartbeat_yields_nothing() {
    let mut world = World::new();
    for variant in [Variant::Document, Variant::Branch] {
        let (client, _) = world.connect_as(How { variant: Some(variant), ..How::default() });
        world.say(client, json!({"action":"heartbeat"}));
        assert!(world.silent() && world.clients[client].closed.is_none());
    }
}

#[test]
fn the_carrier_has_the_configured_times_and_closes_silence_with_1001() {
    let config = AlgoreaConfig { ping_every: Duration::ZERO, idle_limit: Duration::from_secs(7), ..AlgoreaConfig::default() };
    let carrier = entry(&config).carrier;
    assert!(carrier.ping_every > Duration::from_secs(86_400) && carrier.silence_limit == Duration::from_secs(7));
    assert_eq!(entry(&AlgoreaConfig::default()).carrier, ENTRY.carrier);
    assert_eq!((ENTRY.carrier.silence_limit.as_secs(), ENTRY.carrier.ping_every.as_secs()), (600, 30));
    assert_eq!(ENTRY.carrier.max_message, 131_072);
    let mut world = World::new();
    let client = world.connect();
    assert_eq!(world.clients[client].dialect.silence_code(), 1001);
}

#[test]
fn a_join_that_is_refused_closes_with_a_fitting_code() {
    let mut world = World::with(RoomsConfig { max_members: 1, max_rooms: 1, ..RoomsConfig::default() });
    world.connect();
    for (room, code) in [(None, 1013), (Some("another"), 1013)] {
        let client = world.upgrade(How { room, ..How::default() });
        world.pump();
        assert_eq!(world.clients[client].closed.map(|closed| closed.0), Some(code));
    }
    let mut world = World::with(RoomsConfig { ad_hoc: false, ..RoomsConfig::default() });
    let client = world.upgrade(How::default());
    world.pump();
    assert_eq!(world.clients[client].closed.map(|closed| closed.0), Some(1008));
}

#[test]
fn an_ended_place_ends_the_session_once() {
    let mut world = World::new();
    let client = world.connect();
    let member = crate::signalling::algorea::wire::read_id(&world.id(client)).unwrap();
    let now = world.now;
    assert!(world.rooms.evict(now, &"algorea".parse().unwrap(), member));
    world.pump();
    assert_eq!(world.clients[client].closed, Some((1008, "ended by an operator")));
    let algorea = &mut world.clients[client].dialect;
    algorea.handle_notice(now, &crate::room::Notice::Ended { reason: EndReason::Stopping });
    assert!(!matches!(algorea.poll_output(), Some(Output::Close { .. })));
}
