//! Requests over a data channel. peerjs.md §6 and §9 line 20.

use super::super::value::{Value, binarypack};
use super::*;

const ACCOUNT: &str = r#"{"url":"account/id","method":"GET","body":{"id":"abc123"},"sender":"c1"}"#;
const ANSWER: &str = r#"{"type":"account","method":"GET","body":{"id":"abc123"},"sender":"n1"}"#;

fn world(stands: Stands, framing: Framing) -> (World, PeerId) {
    world_with("rate = 1000", stands, framing)
}

fn world_with(more: &str, stands: Stands, framing: Framing) -> (World, PeerId) {
    let service = format!("path = \"account/**\"\ntarget = \"http://127.0.0.1:9001\"\n{more}\n");
    let rpc: RpcConfig =
        toml::from_str(&format!("[[service]]\n{service}\n[[service]]\n{}", service.replace("account", "inject"))).unwrap();
    let mut world = World::with(ClipsConfig::default(), rpc);
    world.join(A, seat());
    let seat = RpcSeat { own_id: "n1".into(), far_id: "c1".into() };
    let peer = world.open_as(Connection { rpc: Some(seat), ..connection(A, stands, framing) });
    (world, peer)
}

impl World {
    fn reply(&mut self, call: usize, reply: Result<&str, CallError>) {
        let reply = reply.map(|body| Reply { status: 200, body: Bytes::copy_from_slice(body.as_bytes()) });
        self.desk.handle_reply(self.now, self.calls[call].id, reply);
        self.settle();
    }

    fn code(&mut self, peer: PeerId) -> u64 {
        let heard = self.heard(peer);
        assert_eq!(heard.len(), 1, "{heard:?}");
        let value = Value::from_json(heard[0].bytes()).unwrap();
        assert_eq!(value.get("type").and_then(Value::as_text), Some("error"));
        value.get("body").and_then(|body| body.get("code")).and_then(Value::as_uint).unwrap()
    }
}

#[test]
fn a_request_is_answered_in_text_whatever_frame_it_came_in() {
    let (mut world, peer) = world(Stands::Gateway, Framing::Plain);
    world.send(peer, text(ACCOUNT));
    world.send(peer, binary(ACCOUNT));
    assert_eq!(world.calls[0].url, "http://127.0.0.1:9001/account/id?id=abc123");
    world.reply(0, Ok(r#"{"id":"abc123"}"#));
    world.reply(1, Ok(r#"{"id":"abc123"}"#));
    assert_eq!(world.heard(peer), [text(ANSWER), text(ANSWER)]);
}

#[test]
fn values_are_answered_with_values() {
    let (mut world, json) = world(Stands::Gateway, Framing::Json);
    world.send(json, binary(ACCOUNT));
    world.reply(0, Ok(r#"{"id":"abc123"}"#));
    assert_eq!(world.heard(json), [binary(ANSWER)]);
    let (mut world, packed) = self::world(Stands::Gateway, Framing::BinaryPack);
    world.send(packed, DataMessage::Binary(binarypack::encode(&Value::from_json(ACCOUNT.as_bytes()).unwrap())));
    world.send(packed, DataMessage::Binary(binarypack::encode(&Value::text(ACCOUNT))));
    world.reply(0, Ok(r#"{"id":"abc123"}"#));
    world.reply(1, Ok(r#"{"id":"abc123"}"#));
    let heard: Vec<Value> = world.heard(packed).iter().map(|frame| binarypack::decode(frame.bytes()).unwrap()).collect();
    assert_eq!(heard, [Value::from_json(ANSWER.as_bytes()).unwrap(), Value::text(ANSWER)]);
}

#[test]
fn answers_keep_the_requests_order_unless_they_have_a_number() {
    let (mut world, peer) = world(Stands::Gateway, Framing::Plain);
    let ask = |url: &str, id: &str| format!(r#"{{"url":"{url}","method":"GET"{id}}}"#);
    world.send(peer, text(&ask("account/1", "")));
    world.send(peer, text(&ask("account/2", "")));
    world.send(peer, text(&ask("account/3", r#","id":3"#)));
    world.send(peer, text(&ask("nowhere", "")));
    world.reply(1, Ok("2"));
    world.reply(2, Ok("3"));
    let said = |n: u32| format!(r#"{{"type":"account","method":"GET","body":{n},"sender":"n1"}}"#);
    assert_eq!(world.heard_texts(peer), [said(3).replace("\"n1\"", "\"n1\",\"id\":3")]);
    world.reply(0, Ok("1"));
    let heard = world.heard_texts(peer);
    assert_eq!(heard[..2], [said(1), said(2)]);
    assert!(heard[2].contains(r#""code":404"#) && heard.len() == 3);
}

#[test]
fn inject_is_silent_as_documented_and_only_then() {
    let (mut world, peer) = world(Stands::Gateway, Framing::Plain);
    let inject = r#"{"url":"inject","method":"POST","body":{"amount":1},"sender":"c1"}"#;
    world.send(peer, text(inject));
    world.send(peer, text(inject));
    world.send(peer, text(r#"{"url":"inject","method":"POST","body":{"amount":1},"id":1}"#));
    world.reply(0, Ok(""));
    assert!(world.heard(peer).is_empty());
    world.reply(1, Err(CallError::Unreachable));
    assert_eq!(world.code(peer), 500);
    world.reply(2, Ok(""));
    assert_eq!(world.heard_texts(peer), [r#"{"type":"inject","method":"POST","body":{"success":true},"sender":"n1","id":1}"#]);
}

#[test]
fn no_request_goes_unanswered() {
    let (mut world, peer) = world(Stands::Gateway, Framing::Plain);
    for (request, code) in [
        (r#"{"url":"nowhere","method":"GET"}"#.to_owned(), 404),
        (r#"{"url":"account","method":"PUT"}"#.to_owned(), 405),
        (r#"{"url":"account/../x","method":"GET"}"#.to_owned(), 400),
        (ACCOUNT.replace("c1", "someone"), 400),
        (r#"{"url":7}"#.to_owned(), 400),
        ("hello".to_owned(), 400),
        ("{\"hello\":1}".to_owned(), 400),
        (format!(r#"{{"url":"account","method":"POST","body":"{}"}}"#, "x".repeat(65_536)), 413),
    ] {
        world.send(peer, text(&request));
        assert_eq!(world.code(peer), code, "{request:.60}");
    }
    assert!(world.calls.is_empty());
    world.send(peer, text(r#"{"type":"account","body":1}"#));
    assert!(world.heard(peer).is_empty(), "an answer is never answered");
    let refused = world.desk.figures().requests;
    assert_eq!((refused.refused, refused.asked, refused.failed), (8, 0, 0));
}

#[test]
fn what_cannot_be_read_is_answered_where_requests_are() {
    for (framing, stands) in [(Framing::Json, Stands::Gateway), (Framing::Json, Stands::Room)] {
        let (mut world, peer) = world(stands, framing);
        world.send(peer, binary("{\"url\":"));
        assert_eq!(world.code(peer), 400);
    }
    let (mut world, packed) = world(Stands::Room, Framing::BinaryPack);
    let mut codes = |frame: Vec<u8>| {
        world.send(packed, binary(frame));
        let heard: Vec<Value> = world.heard(packed).iter().map(|frame| binarypack::decode(frame.bytes()).unwrap()).collect();
        let code = |value: &Value| value.get("body").and_then(|body| body.get("code")).and_then(Value::as_uint);
        heard.iter().map(code).collect::<Option<Vec<_>>>().unwrap()
    };
    assert_eq!(codes(vec![0xc4]), [400], "no BinaryPack");
    let part = |message, index: u64, data: &[u8]| binarypack::encode_chunk(message, index, data, 2000).to_vec();
    assert!(codes(part(1, 0, b"a")).is_empty());
    // a large message costs one answer, however many of its parts still come
    let large = vec![0; 16_300];
    let said: Vec<u64> = (1..1100).flat_map(|index| codes(part(1, index, &large))).collect();
    assert_eq!(said, [413]);
    // where a text may be meant for the others, only what was to be a request is answered
    let (mut world, peer) = self::world(Stands::Room, Framing::Plain);
    world.join(B, Seat { hears_text: true, ..seat() });
    for broken in [text("{\"url\":"), binary("{\"url\":"), text(" {\"url\": \"a\" ")] {
        world.send(peer, broken);
        assert_eq!(world.code(peer), 400);
    }
    for said in ["{", "{\"uri\":", "url", "\"url\" is a word"] {
        world.send(peer, text(said));
        assert_eq!(world.told(), [(B, A, said.to_owned())]);
    }
}

#[test]
fn a_large_request_in_parts_is_as_large_as_all_of_them() {
    let (mut world, peer) = world(Stands::Gateway, Framing::BinaryPack);
    let request = |len: usize| {
        let body = Value::text("x".repeat(len));
        Value::map([("url", Value::text("account/id")), ("method", Value::text("POST")), ("body", body)])
    };
    let mut send = |message: u64, value: &Value| {
        let whole = binarypack::encode(value);
        let total = whole.len().div_ceil(16_300) as u64;
        for (index, data) in whole.chunks(16_300).enumerate() {
            world.send(peer, DataMessage::Binary(binarypack::encode_chunk(message, index as u64, data, total)));
        }
        (world.calls.len(), world.heard(peer).len())
    };
    assert_eq!(send(1, &request(60_000)), (1, 0));
    assert_eq!(send(2, &request(66_000)), (1, 0), "refused; the answer waits for the first one's");
    world.reply(0, Ok("1"));
    let heard: Vec<Value> = world.heard(peer).iter().map(|frame| binarypack::decode(frame.bytes()).unwrap()).collect();
    assert_eq!(heard[1].get("body").and_then(|body| body.get("code")), Some(&Value::UInt(413)));
    // nulls are one byte packed, and five as JSON
    let nulls = Value::List(vec![Value::Null; 20_000]);
    let packed = Value::map([("url", Value::text("account/id")), ("method", Value::text("POST")), ("body", nulls)]);
    world.send(peer, DataMessage::Binary(binarypack::encode(&packed)));
    let heard = world.heard(peer);
    let answer = binarypack::decode(heard[0].bytes()).unwrap();
    assert_eq!(answer.get("body").and_then(|body| body.get("code")), Some(&Value::UInt(413)));
}

#[test]
fn who_may_not_send_is_told_when_it_asks() {
    let (mut world, peer) = world(Stands::Room, Framing::Plain);
    world.join(A, Seat { may_send: false, ..seat() });
    world.join(B, Seat { hears_text: true, ..seat() });
    world.send(peer, text(ACCOUNT));
    assert_eq!(world.code(peer), 403);
    world.send(peer, text("hello"));
    assert!(world.told().is_empty() && world.calls.is_empty());
    assert_eq!(world.desk.figures().forbidden, 1);
}

#[test]
fn a_service_that_never_answers_ends_in_504() {
    let (mut world, peer) = world(Stands::Gateway, Framing::Plain);
    world.send(peer, text(ACCOUNT));
    world.pass(Duration::from_millis(5900));
    assert!(world.heard(peer).is_empty());
    world.pass(Duration::from_millis(200));
    assert_eq!(world.code(peer), 504);
    world.reply(0, Ok("late"));
    assert!(world.heard(peer).is_empty());
}

#[test]
fn requests_are_bounded_in_number_and_rate() {
    let (mut world, peer) = world_with("rate = 5", Stands::Gateway, Framing::Plain);
    let numbered = |n: usize| text(&ACCOUNT.replacen('{', &format!(r#"{{"id":{n},"#), 1));
    (0..8).for_each(|n| world.send(peer, numbered(n)));
    assert_eq!(world.calls.len(), 8);
    world.send(peer, numbered(8));
    assert_eq!(world.code(peer), 429, "eight wait already");
    (0..8).for_each(|n| world.reply(n, Ok("1")));
    world.heard(peer);
    let mut asked = 8;
    while asked < 40 {
        world.send(peer, numbered(asked));
        if world.calls.len() == asked {
            break;
        }
        world.reply(asked, Ok("1"));
        asked += 1;
    }
    assert_eq!(asked, 15, "three seconds of the rate at once");
    world.heard(peer);
    world.pass(Duration::from_millis(200));
    world.send(peer, numbered(99));
    assert_eq!(world.calls.len(), 16);
    // errors that wait for an earlier answer are bounded, too
    let (mut world, peer) = self::world(Stands::Gateway, Framing::Plain);
    world.send(peer, text(ACCOUNT));
    (0..1000).for_each(|_| world.send(peer, text(r#"{"url":"nowhere","method":"GET"}"#)));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.heard(peer).len(), 1000 - 255);
}

#[test]
fn a_closed_connection_takes_its_requests_with_it() {
    let (mut world, peer) = world(Stands::Gateway, Framing::Plain);
    world.send(peer, text(ACCOUNT));
    world.send(peer, text(ACCOUNT));
    world.reply(1, Ok("1"));
    world.close(peer);
    assert_eq!(world.cancelled, [world.calls[0].id], "the service is not waited for");
    world.reply(0, Ok("1"));
    world.pass(Duration::from_secs(10));
    assert!(world.calls.len() == 2 && world.desk.next_timeout().is_none());
    // the same when the member leaves
    let (mut world, peer) = self::world(Stands::Room, Framing::Plain);
    world.send(peer, text(ACCOUNT));
    world.leave(A);
    assert_eq!(world.cancelled, [world.calls[0].id]);
}

#[test]
fn what_is_no_request_is_handed_on_where_portico_stands_for_the_room() {
    let (mut world, peer) = world(Stands::Room, Framing::Plain);
    world.join(B, Seat { hears_text: true, ..seat() });
    for message in ["hello", r#"{"hello":1}"#, r#"{"type":"account"}"#] {
        world.send(peer, text(message));
        assert_eq!(world.told(), [(B, A, message.to_owned())]);
    }
    world.send(peer, text(ACCOUNT));
    assert!(world.told().is_empty());
    assert_eq!(world.calls.len(), 1);
}

#[test]
fn connections_without_a_seat_at_the_broker_carry_no_requests() {
    let mut world = World::new();
    world.join(A, seat());
    world.join(B, Seat { hears_text: true, ..seat() });
    let a = world.open(A, Stands::Room, Framing::Plain);
    world.send(a, text(ACCOUNT));
    assert_eq!(world.told().len(), 1);
    assert!(world.heard(a).is_empty());
}
