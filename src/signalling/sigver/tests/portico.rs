//! Portico as a member of the group, where its room holds others.

use super::super::*;
use super::world::*;
use crate::room::{Effect, EndReason};
use crate::signalling::sigver::member::wire::{Envelope, envelope, read, service};
use crate::vocab::SessionId;

impl World {
    /// A member of another dialect.
    fn page(&mut self, room: &str) -> SessionId {
        let session = self.stranger(DialectName::Page, room, "anna");
        self.settle();
        session
    }

    fn channel(&mut self, client: usize, peer: PeerId, bytes: Bytes) {
        let news = ChannelNews::Message(DataMessage::Binary(bytes));
        let now = self.now;
        self.clients[client].dialect.handle_channel(now, peer, news);
        self.settle();
    }

    /// What was written on the channel since the last look.
    fn transmitted(&mut self) -> Vec<Bytes> {
        let orders = std::mem::take(&mut self.orders).into_iter();
        orders
            .filter_map(|it| if let Effect::Transmit { message, .. } = it { Some(message.bytes().clone()) } else { None })
            .collect()
    }

    /// The client's side of a service message that came by the server: the binding's number, service and content.
    fn service(&mut self, client: usize) -> Vec<(u32, u32, Bytes)> {
        let contents = self.heard(client).into_iter().filter_map(|it| match it {
            Heard::Frame(Kind::Content(content)) => Some(content),
            _ => None,
        });
        contents
            .map(|content| {
                let message: Envelope = read(&content.data.unwrap()).unwrap();
                (content.sender_id.unwrap(), message.service_id, message.content)
            })
            .collect()
    }
}

#[test]
fn text_crosses_between_a_group_and_others_in_its_room() {
    use member::wire::{Builder, BuilderKind, DataChannel, DataChannelKind, Init, InitKind, Ping, User, UserContent};
    let mut world = World::new();
    let client = world.member("doc1", 3_000_000_001, &[]);
    world.pass(Duration::from_secs(4));
    assert_eq!(world.service(client), [], "among themselves netflux clients need nobody");
    let page = world.page("doc1");
    let [(number, service::BUILDER, request)] = &world.service(client)[..] else { panic!("Portico does not ask") };
    assert_eq!(read::<Builder>(request).unwrap().kind, Some(BuilderKind::Request(Bytes::new())));

    let say = |world: &mut World, service, message: &Builder| {
        world.send(client, content(*number, &envelope(0, *number, service, message)));
    };
    say(&mut world, service::BUILDER, &Builder { kind: Some(BuilderKind::Response(true)) });
    let offer = DataChannel { kind: Some(DataChannelKind::Offer("the client's offer".into())) };
    world.send(client, content(*number, &envelope(0, *number, service::DATA_CHANNEL, &offer)));
    let Some(Effect::OpenPeer(open)) = world.orders.pop_back() else { panic!("no connection is opened") };
    assert_eq!(open.offer, Some(Sdp::offer("the client's offer")));
    world.heard(client);
    let answer = Sdp::answer("Portico's answer");
    let now = world.now;
    world.rooms.handle_peer(now, crate::room::PeerUpdate::Described { peer: open.peer, sdp: answer });
    world.settle();
    let answers = world.service(client);
    assert_eq!(answers.len(), 2, "the answer, and the end of candidates");
    let answer = read::<DataChannel>(&answers[0].2).unwrap().kind;
    assert_eq!(answer, Some(DataChannelKind::Answer("Portico's answer".into())));

    let ping = Ping { sender_id: 3_000_000_001, members: vec![3_000_000_001], ..Ping::default() };
    world.channel(client, open.peer, member::wire::init(InitKind::Ping(ping)));
    let pong: Init = read(&world.transmitted()[0]).unwrap();
    let Some(InitKind::Pong(portico)) = pong.kind else { panic!("no pong") };

    world.ask(page, Command::Say { to: None, text: "hello group".into() });
    world.settle();
    let message: Envelope = read(&world.transmitted()[0]).unwrap();
    assert_eq!((message.sender_id, message.service_id), (portico, service::USER));
    let Some(UserContent::Full(text)) = read::<User>(&message.content).unwrap().content else { panic!("no text") };
    assert_eq!(text, "hello group");

    world.told.clear();
    for message in member::pieces::cut("hello room", 1) {
        world.channel(client, open.peer, envelope(3_000_000_001, 0, service::USER, &message));
    }
    let [(to, Notice::Said { from, text })] = world.told.make_contiguous() else { panic!("{:?}", world.told) };
    assert_eq!((*to, from.user_id.as_str(), text.as_str()), (page, "3000000001", "hello room"));

    // the other leaves: so does Portico
    world.orders.clear();
    world.ask(page, Command::Leave);
    world.settle();
    assert!(world.orders.iter().any(|it| matches!(it, Effect::ClosePeer { peer, .. } if *peer == open.peer)));
}

#[test]
fn a_connection_that_goes_down_is_tried_again() {
    use member::wire::{Builder, BuilderKind, DataChannel, DataChannelKind};
    let mut world = World::new();
    world.page("doc1");
    let client = world.open("doc1");
    world.send(client, connect(3_000_000_001, &[]));
    let number = world.service(client)[0].0;
    let yes = Builder { kind: Some(BuilderKind::Response(true)) };
    world.send(client, content(number, &envelope(0, number, service::BUILDER, &yes)));
    let offer = DataChannel { kind: Some(DataChannelKind::Offer("offer".into())) };
    world.send(client, content(number, &envelope(0, number, service::DATA_CHANNEL, &offer)));
    let Some(Effect::OpenPeer(open)) = world.orders.pop_back() else { panic!("no connection is opened") };
    let now = world.now;
    world.rooms.handle_peer(now, crate::room::PeerUpdate::Down { peer: open.peer, reason: EndReason::NeverConnected });
    world.settle();
    world.heard(client);
    world.pass(Duration::from_secs(3));
    let again = world.service(client);
    assert!(again[0].0 != number && again[0].1 == service::BUILDER, "{again:?}");
}
