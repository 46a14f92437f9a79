//! Simulated netflux clients, written from the protocol page, around the real groups. What a session's dialect and the peer
//! connection do is a few lines here: an order to meet opens a channel at once.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::pieces::{MAX_TEXT, Taken, cut};
use super::wire::{Adjacency, Ids, Mesh, MeshKind, Ping, User, UserContent};
use super::*;
use crate::room::MAX_SAID;
use crate::signalling::sigver::Groups;
use crate::signalling::sigver::realm::{Said, Word};
use crate::signalling::sigver::wire::GroupData;
use crate::signalling::{Realm, RealmMessage, RealmWord};

/// Netflux ids of the simulated clients.
fn netflux(client: u64) -> u32 {
    3_000_000_000 + client as u32
}

/// One simulated client.
#[derive(Default)]
struct Client {
    /// Whether it agrees to open channels.
    deaf: bool,
    /// Whether its channel with Portico is open, and the id Portico told.
    portico: Option<u32>,
    /// Direct channels to other clients.
    neighbours: BTreeSet<u64>,
    connected: Vec<bool>,
    texts: Vec<(u32, String)>,
    pieces: Pieces,
    /// What else came on the channel.
    heard: Vec<Envelope>,
    /// Texts the room was to hear from it.
    said: Vec<String>,
    /// Requests and answers that came by the server.
    asked: usize,
    answered: Vec<String>,
    candidates_ended: bool,
}

struct World {
    now: Instant,
    groups: Groups,
    clients: BTreeMap<u64, Client>,
    /// No channel opens.
    blocked: bool,
}

impl World {
    fn new() -> Self {
        let mut number = 100;
        let random = move || {
            number += 1;
            number
        };
        Self { now: Instant::now(), groups: Groups::new(Box::new(random)), clients: BTreeMap::new(), blocked: false }
    }

    fn say(&mut self, client: u64, said: Said) {
        self.groups.handle(self.now, SessionId(client), RealmMessage::Sigver(said));
        self.settle();
    }

    /// A client becomes a member of `doc1`; its room holds others, or does not.
    fn join(&mut self, client: u64, company: bool) {
        let others: Vec<u32> = self.clients.keys().map(|it| netflux(*it)).collect();
        self.clients.entry(client).or_default();
        self.say(client, Said::Enter { key: "doc1".into(), favored: false });
        self.say(client, Said::Company(company));
        self.connect(client, others);
    }

    fn connect(&mut self, client: u64, members: Vec<u32>) {
        self.say(client, Said::Connect(GroupData { id: netflux(client), members }));
    }

    fn gone(&mut self, client: u64) {
        self.groups.handle_gone(self.now, SessionId(client));
        self.clients.remove(&client);
        self.settle();
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.groups.next_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.groups.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    /// Passes time in which the clients' heartbeats go on.
    fn live(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.pass(Duration::from_secs(1));
            let open: Vec<u64> = self.clients.iter().filter(|(_, it)| it.portico.is_some()).map(|(id, _)| *id).collect();
            for client in open {
                self.on_channel(
                    client,
                    netflux(client),
                    self.clients[&client].portico.unwrap(),
                    service::HEARTBEAT,
                    &Mesh::default(),
                );
            }
        }
    }

    fn settle(&mut self) {
        while let Some(output) = self.groups.poll_output() {
            #[allow(irrefutable_let_patterns)]
            let RealmWord::Sigver(word) = output.word else { panic!("another dialect's word") };
            self.hear(output.to.0, word);
        }
    }

    fn hear(&mut self, id: u64, word: Word) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        match word {
            Word::Connected(member) => client.connected.push(member),
            Word::Content(content) => {
                let Some(data) = content.data else { return };
                let message: Envelope = read(&data).unwrap();
                if message.service_id == service::DATA_CHANNEL {
                    match read::<DataChannel>(&message.content).unwrap().kind {
                        Some(DataChannelKind::Answer(answer)) => client.answered.push(answer),
                        None => client.candidates_ended = true,
                        other => panic!("{other:?}"),
                    }
                    return;
                }
                assert_eq!(message.service_id, service::BUILDER);
                match read::<Builder>(&message.content).unwrap().kind.unwrap() {
                    BuilderKind::Request(request) => {
                        assert!(request.is_empty());
                        client.asked += 1;
                        if !client.deaf {
                            self.content(
                                id,
                                content.sender,
                                service::BUILDER,
                                &Builder { kind: Some(BuilderKind::Response(true)) },
                            );
                        }
                    }
                    BuilderKind::Negotiation(it) => {
                        let info = it.initiator.unwrap();
                        assert!(info.dc_supported && !info.dc_tried && info.wss.is_empty() && it.passive.is_none());
                        for kind in [
                            DataChannelKind::Offer(format!("offer of {id}")),
                            DataChannelKind::Candidate(wire::IceCandidate {
                                candidate: "candidate:1".into(),
                                ..Default::default()
                            }),
                        ] {
                            self.content(id, content.sender, service::DATA_CHANNEL, &DataChannel { kind: Some(kind) });
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
            Word::Order(errand) => self.order(id, errand.order),
            Word::Said(text) => client.said.push(text.into()),
            Word::Close(verdict) => panic!("{id} is closed: {verdict:?}"),
        }
    }

    /// What dialect and peer connection do.
    fn order(&mut self, id: u64, order: Order) {
        match order {
            Order::Meet(offer) => {
                assert_eq!(offer, format!("offer of {id}"));
                if self.blocked {
                    return;
                }
                self.say(id, Said::News(News::Answer(format!("answer to {id}"))));
                let members = self.clients.keys().map(|it| netflux(*it)).collect();
                let ping = Ping { topology: 0, wc_id: 1, sender_id: netflux(id), members, key: "doc1".into() };
                self.say(id, Said::News(News::Message(wire::init(InitKind::Ping(ping)))));
            }
            Order::Candidate(candidate) => assert_eq!(candidate.candidate, "candidate:1"),
            Order::HangUp => self.clients.get_mut(&id).unwrap().portico = None,
            Order::Send(bytes) => self.on_message(id, &bytes),
        }
    }

    /// A client reads what Portico sent it.
    fn on_message(&mut self, id: u64, bytes: &[u8]) {
        let client = self.clients.get_mut(&id).unwrap();
        let Some(_) = client.portico else {
            let Some(InitKind::Pong(pong)) = read::<Init>(bytes).unwrap().kind else { panic!("no pong") };
            client.portico = Some(pong);
            return;
        };
        let message: Envelope = read(bytes).unwrap();
        if message.recipient_id != 0 && message.recipient_id != netflux(id) {
            // a client routes to its own neighbours
            let next = client.neighbours.iter().copied().find(|it| netflux(*it) == message.recipient_id);
            if let Some(next) = next {
                self.deliver(next, message);
            }
            return;
        }
        self.deliver(id, message);
    }

    fn deliver(&mut self, id: u64, message: Envelope) {
        let client = self.clients.get_mut(&id).unwrap();
        match message.service_id {
            service::USER => {
                if let Taken::Text(text) = client.pieces.take(message.sender_id, read(&message.content).unwrap()) {
                    client.texts.push((message.sender_id, text));
                }
            }
            _ => client.heard.push(message),
        }
    }

    fn content(&mut self, client: u64, recipient: u32, service: u32, message: &impl prost::Message) {
        let data = envelope(0, recipient, service, message);
        self.say(client, Said::Content { recipient, last: false, data });
    }

    /// A client writes on its channel.
    fn on_channel(&mut self, client: u64, sender: u32, recipient: u32, service: u32, message: &impl prost::Message) {
        self.say(client, Said::News(News::Message(envelope(sender, recipient, service, message))));
    }

    fn text(&mut self, client: u64, text: &str) {
        for message in cut(text, 9) {
            self.on_channel(client, netflux(client), 0, service::USER, &message);
        }
    }

    fn portico(&self, client: u64) -> u32 {
        self.clients[&client].portico.expect("a channel")
    }

    fn heard(&mut self, client: u64) -> Vec<Envelope> {
        std::mem::take(&mut self.clients.get_mut(&client).unwrap().heard)
    }
}

fn text_of(from: u32, text: &str) -> Vec<(u32, String)> {
    vec![(from, text.to_owned())]
}

#[test]
fn portico_joins_a_lone_client_and_text_crosses() {
    let mut world = World::new();
    world.join(1, true);
    assert_eq!(world.clients[&1].connected, [true], "the first of a key is a member, whatever the room holds");
    let portico = world.portico(1);
    assert!(portico >= MIN_ID);
    assert_eq!(world.clients[&1].answered, ["answer to 1"]);
    assert!(world.clients[&1].candidates_ended);

    world.say(1, Said::Text("from the room".into()));
    assert_eq!(world.clients[&1].texts, text_of(portico, "from the room"));
    world.text(1, "from the group");
    assert_eq!(world.clients[&1].said, ["from the group"]);
    let long = "ü".repeat(MAX_SAID / 2);
    world.say(1, Said::Text(long.clone()));
    assert_eq!(world.clients[&1].texts[1].1, long);
    world.text(1, &long);
    assert_eq!(world.clients[&1].said[1], long);
}

#[test]
fn without_company_nobody_is_asked() {
    let mut world = World::new();
    world.join(1, false);
    world.join(2, false);
    world.pass(Duration::from_secs(60));
    assert!(world.clients.values().all(|client| client.asked == 0));
    assert_eq!(world.groups.next_timeout(), None, "a group without company costs no timer");
    // somebody else comes into the room: all are told, the first word counts
    world.say(1, Said::Company(true));
    world.say(2, Said::Company(true));
    assert!(world.clients.values().all(|client| client.asked == 1 && client.portico.is_some()));
    world.say(1, Said::Company(false));
    assert!(world.clients[&1].portico.is_some(), "somebody still wants it");
    world.say(2, Said::Company(false));
    assert!(world.clients.values().all(|client| client.portico.is_none()), "Portico leaves with the last");
    assert_eq!(world.groups.next_timeout(), None);
}

#[test]
fn joiners_are_bound_to_real_members_only() {
    let mut world = World::new();
    world.join(1, true);
    world.clients.insert(9, Client::default());
    world.say(9, Said::Enter { key: "doc1".into(), favored: false });
    world.connect(9, vec![]);
    assert_eq!(world.clients[&9].connected, [false]);
    let portico = world.portico(1);
    world.connect(9, vec![netflux(1), portico]);
    assert_eq!(world.clients[&9].connected, [false, true]);
    assert_eq!(world.portico(9), portico, "one Netflux id for the group");
    // alone with Portico the client is the only member, and the next one gets in
    world.gone(1);
    world.connect(9, vec![portico]);
    assert_eq!(world.clients[&9].connected, [false, true, true]);
    world.join(2, true);
    assert_eq!(world.clients[&2].connected, [true]);
}

#[test]
fn every_member_gets_the_rooms_text_once() {
    let mut world = World::new();
    for client in 1..=5 {
        world.join(client, true);
    }
    let portico = world.portico(1);
    for client in 1..=5 {
        // the room tells each session
        world.say(client, Said::Text("hello".into()));
    }
    for client in 1..=5 {
        assert_eq!(world.clients[&client].texts, text_of(portico, "hello"));
    }
    world.text(3, "hi");
    assert!(world.clients.iter().all(|(id, client)| client.said.len() == usize::from(*id == 3)), "said as the one who said it");
}

#[test]
fn a_request_inside_the_mesh_is_declined_and_the_asker_is_reached_by_others() {
    let mut world = World::new();
    world.join(1, true);
    let portico = world.portico(1);
    // 2 is in the mesh by 1, and not yet a member at the server
    world.clients.insert(2, Client::default());
    world.clients.get_mut(&1).unwrap().neighbours.insert(2);
    let request = Adjacency { id: netflux(2), adjacent_ids: vec![netflux(1)] };
    let request = Builder { kind: Some(BuilderKind::Request(prost::Message::encode_to_vec(&request).into())) };
    world.on_channel(1, netflux(2), portico, service::BUILDER, &request);
    let heard = world.heard(2);
    assert_eq!((heard[0].sender_id, heard[0].recipient_id), (portico, netflux(2)));
    assert_eq!(read::<Builder>(&heard[0].content).unwrap().kind, Some(BuilderKind::Response(false)));
    // it is a member now; its channel does not open yet, and text finds it all the same, in both directions
    world.clients.get_mut(&2).unwrap().deaf = true;
    world.say(2, Said::Enter { key: "doc1".into(), favored: false });
    world.connect(2, vec![netflux(1), portico]);
    world.say(2, Said::Text("by 1".into()));
    assert_eq!(world.clients[&2].texts, text_of(portico, "by 1"));
    for message in cut("from afar", 3) {
        world.on_channel(1, netflux(2), portico, service::USER, &message);
    }
    assert_eq!(world.clients[&2].said, ["from afar"]);
    // when its channel is there, it speaks on that one
    world.clients.get_mut(&2).unwrap().deaf = false;
    world.live(Duration::from_secs(6));
    assert_eq!(world.portico(2), portico);
    for message in cut("forged", 3) {
        world.on_channel(1, netflux(2), portico, service::USER, &message);
    }
    assert_eq!(world.clients[&2].said, ["from afar"]);
}

#[test]
fn messages_between_clients_are_routed_by_portico() {
    let mut world = World::new();
    for client in 1..=3 {
        world.join(client, true);
    }
    for message in cut("by way of Portico", 3) {
        world.on_channel(1, netflux(1), netflux(2), service::USER, &message);
    }
    assert_eq!(world.clients[&2].texts, text_of(netflux(1), "by way of Portico"));
    assert!(world.clients[&3].texts.is_empty() && world.clients.values().all(|client| client.said.is_empty()));
    // over one more hop, and over no more than the mesh allows
    let adjacent = |world: &mut World, id: u32, by: u64, ids: Vec<u32>| {
        let portico = world.portico(by);
        world.on_channel(by, id, portico, service::MESH, &Mesh { kind: Some(MeshKind::Adjacent(Ids { ids })) });
    };
    world.clients.insert(4, Client::default());
    world.clients.get_mut(&3).unwrap().neighbours.insert(4);
    adjacent(&mut world, netflux(4), 3, vec![netflux(3)]);
    for message in cut("to 4", 3) {
        world.on_channel(1, netflux(1), netflux(4), service::USER, &message);
    }
    assert_eq!(world.clients[&4].texts, text_of(netflux(1), "to 4"));
    // not back to where it came from
    for message in cut("round", 3) {
        world.on_channel(3, netflux(3), netflux(4), service::USER, &message);
    }
    assert_eq!(world.clients[&4].texts.len(), 1);
    // to nobody
    for message in cut("?", 3) {
        world.on_channel(3, netflux(3), 77, service::USER, &message);
    }
}

#[test]
fn routes_have_three_hops_at_most() {
    let mut portico = Gateway::new(Instant::now(), 1);
    let session = SessionId(1);
    portico.links.insert(session, Link { stage: Stage::Open { id: 10, missed: 0 }, connected: true, failures: 0 });
    for (id, by) in [(11, 10), (12, 11), (13, 12), (14, 13)] {
        let adjacent = Mesh { kind: Some(MeshKind::Adjacent(Ids { ids: vec![by] })) };
        portico.received(session, 10, &envelope(id, portico.id, service::MESH, &adjacent));
    }
    let mut reached = |id: u32| {
        portico.actions.clear();
        portico.send(id, service::MESH, &Mesh::default());
        portico.poll_action().is_some()
    };
    assert!(reached(10) && reached(11) && reached(12) && reached(13));
    assert!(!reached(14));
}

#[test]
fn neighbours_hear_a_heartbeat_each_3_seconds_and_the_silent_are_given_up() {
    let mut world = World::new();
    world.join(1, true);
    world.live(Duration::from_secs(30));
    let beats = |heard: &[Envelope]| heard.iter().filter(|it| it.service_id == service::HEARTBEAT).count();
    let heard = world.heard(1);
    assert_eq!(beats(&heard), 10);
    assert!(heard.iter().all(|it| it.recipient_id == netflux(1)));
    assert_eq!(heard.iter().filter(|it| it.service_id == service::MESH).count(), 1, "the list each 20 s");
    world.pass(Duration::from_millis(8_900));
    assert!(world.clients[&1].portico.is_some());
    assert!(beats(&world.heard(1)) >= 2);
    world.pass(Duration::from_secs(2));
    assert!(world.clients[&1].portico.is_none(), "closed at the third miss");
    assert_eq!(world.clients[&1].asked, 1);
    world.pass(Duration::from_secs(3));
    assert_eq!(world.clients[&1].asked, 2, "and asked again");
    assert!(world.clients[&1].portico.is_some());
}

#[test]
fn the_antecedent_is_told_all_members() {
    let mut portico = Gateway::new(Instant::now(), 0);
    portico.id = 50;
    for (session, id) in [(1, 10), (2, 40), (3, 60)] {
        portico.links.insert(SessionId(session), Link { stage: Stage::Open { id, missed: 0 }, connected: true, failures: 0 });
    }
    let told = |portico: &mut Gateway| {
        portico.tell_antecedent();
        let Some(Action::Order(session, Order::Send(bytes))) = portico.poll_action() else { panic!("nobody is told") };
        let message: Envelope = read(&bytes).unwrap();
        let Some(MeshKind::Members(ids)) = read::<Mesh>(&message.content).unwrap().kind else { panic!("no list") };
        (session.0, ids.ids)
    };
    assert_eq!(told(&mut portico), (2, vec![10, 40, 60, 50]), "the largest below its own");
    portico.id = 5;
    assert_eq!(told(&mut portico), (3, vec![10, 40, 60, 5]), "else the largest");
}

#[test]
fn a_client_that_does_not_answer_is_asked_again_ever_more_rarely() {
    let mut world = World::new();
    world.clients.insert(1, Client { deaf: true, ..Client::default() });
    world.say(1, Said::Enter { key: "doc1".into(), favored: false });
    world.say(1, Said::Company(true));
    world.connect(1, vec![]);
    world.pass(Duration::from_secs(800));
    assert_eq!(world.clients[&1].asked, 6, "at 0, 5, 22, 84, 386 and 688 s");
}

#[test]
fn a_channel_that_does_not_open_in_time_is_given_up() {
    let mut world = World::new();
    world.blocked = true;
    world.join(1, true);
    world.pass(CHANNEL_LIMIT - Duration::from_millis(1));
    assert_eq!(world.clients[&1].asked, 1);
    world.blocked = false;
    world.pass(Duration::from_secs(4));
    assert_eq!(world.clients[&1].asked, 2);
    assert!(world.clients[&1].portico.is_some());
    // and one that goes down is made again
    world.clients.get_mut(&1).unwrap().portico = None;
    world.say(1, Said::News(News::Down));
    world.pass(Duration::from_secs(4));
    assert!(world.clients[&1].portico.is_some());
}

#[test]
fn a_client_that_comes_back_before_its_dead_connection_was_noticed_has_one_channel() {
    let now = Instant::now();
    let mut portico = Gateway::new(now, 7);
    let mut open = |session| {
        portico.member(now, session);
        portico.content(now, session, &envelope(0, 0, service::BUILDER, &Builder { kind: Some(BuilderKind::Response(true)) }));
        let offer = DataChannel { kind: Some(DataChannelKind::Offer("offer".into())) };
        portico.content(now, session, &envelope(0, 0, service::DATA_CHANNEL, &offer));
        let ping = Ping { sender_id: netflux(1), ..Ping::default() };
        portico.news(now, session, News::Message(wire::init(InitKind::Ping(ping))));
        let orders = std::iter::from_fn(|| portico.poll_action());
        orders.filter_map(|it| if let Action::Order(to, order) = it { Some((to.0, order)) } else { None }).collect::<Vec<_>>()
    };
    assert_eq!(open(SessionId(1)).len(), 2, "meet, pong");
    let orders = open(SessionId(2));
    assert!(orders.contains(&(1, Order::HangUp)), "{orders:?}");
    assert_eq!(portico.session_of(netflux(1)), Some(SessionId(2)));
}

#[test]
fn long_texts_cross_in_parts_and_who_says_more_than_crosses_is_told() {
    let mut world = World::new();
    world.join(1, true);
    world.join(2, true);
    let long = "ü".repeat(MAX_TEXT / 2 - 2) + "end";
    world.text(1, &long);
    let said = std::mem::take(&mut world.clients.get_mut(&1).unwrap().said);
    assert_eq!((said.len(), said.concat()), (8, long));
    assert!(said.iter().all(|part| part.len() <= MAX_SAID));
    world.text(1, &"x".repeat(MAX_TEXT + 1));
    assert!(world.clients[&1].said.is_empty());
    let told = "Portico: your text of 131073 bytes did not leave the group: at most 131072 cross to the others in the room.";
    assert_eq!(world.clients[&1].texts, text_of(world.portico(1), told), "once, however many pieces it had");
    assert!(world.clients[&2].texts.is_empty() && world.clients[&2].said.is_empty());
}

#[test]
fn bytes_stay_among_netflux_clients() {
    let mut world = World::new();
    world.join(1, true);
    let bytes = User { length: 5, kind: 1, content: Some(UserContent::Full(Bytes::from_static(b"bytes"))) };
    world.on_channel(1, netflux(1), 0, service::USER, &bytes);
    assert!(world.clients[&1].said.is_empty() && world.clients[&1].texts.is_empty());
}

proptest! {
    // any bytes by the server or by the channel: no panic, and bounded memory
    #[test]
    fn any_bytes_are_taken(
        inputs in prop::collection::vec((any::<bool>(), 0..3_u64, prop_oneof![
            prop::collection::vec(any::<u8>(), 0..80),
            (0..6_u32, 0..6_u32, 0..5_usize, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(from, to, service, content)| {
                let services = [service::HEARTBEAT, service::BUILDER, service::DATA_CHANNEL, service::USER, service::MESH];
                let id = |n: u32| if n == 0 { 0 } else { netflux(n.into()) };
                prost::Message::encode_to_vec(&Envelope { sender_id: id(from), recipient_id: id(to), service_id: services[service], content: content.into() })
            }),
        ]), 0..60),
    ) {
        let now = Instant::now();
        let mut portico = Gateway::new(now, 7);
        for client in 0..3 {
            portico.member(now, SessionId(client));
        }
        // one of them has a channel
        portico.content(now, SessionId(0), &envelope(0, 0, service::BUILDER, &Builder { kind: Some(BuilderKind::Response(true)) }));
        portico.content(now, SessionId(0), &envelope(0, 0, service::DATA_CHANNEL, &DataChannel { kind: Some(DataChannelKind::Offer("o".into())) }));
        portico.news(now, SessionId(0), News::Message(wire::init(InitKind::Ping(Ping { sender_id: netflux(1), ..Ping::default() }))));
        for (by_channel, client, bytes) in inputs {
            match by_channel {
                true => portico.news(now, SessionId(client), News::Message(bytes.into())),
                false => portico.content(now, SessionId(client), &bytes),
            }
            let mut actions = 0;
            while portico.poll_action().is_some() {
                actions += 1;
            }
            prop_assert!(actions <= 300, "{} actions", actions);
        }
        portico.timeout(now + Duration::from_secs(60));
        prop_assert!(portico.links.len() == 3 && portico.distant.len() <= 256);
    }
}
