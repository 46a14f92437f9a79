//! RabbitMQ: with tribe clients, through kills of the broker and of the gateway.

use std::collections::{BTreeMap, HashSet};
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use crate::brokers::Rabbit;
use crate::clients::{get, http, tribe_joined, until};
use crate::support::{Gateway, PATIENCE, node};
use crate::{comings_of, connected, sink, visit, visits};

/// An event as it came out of a queue.
#[derive(Clone, Debug)]
struct Got {
    id: String,
    name: String,
    body: Value,
}

async fn connect(rabbit: &Rabbit) -> (Connection, Channel) {
    let address = format!("amqp://127.0.0.1:{}/%2f", rabbit.port);
    // it listens a moment before it lets anybody in
    until("RabbitMQ", async || {
        let connection = Connection::connect(&address, ConnectionProperties::default()).await.map_err(|e| e.to_string())?;
        let channel = connection.create_channel().await.map_err(|e| e.to_string())?;
        Ok(Some((connection, channel)))
    })
    .await
    .expect("some")
}

/// A queue that outlives the broker, with everything of the exchange.
async fn bind(channel: &Channel, queue: &str, exchange: &str) {
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(queue.into(), durable, FieldTable::default()).await.expect("a queue");
    let all = QueueBindOptions::default();
    channel.queue_bind(queue.into(), exchange.into(), "#".into(), all, FieldTable::default()).await.expect("bound");
}

/// Reads a queue until it has what is waited for.
async fn read(channel: &Channel, queue: &str, enough: impl Fn(&[Got]) -> bool) -> Vec<Got> {
    let options = BasicConsumeOptions::default();
    let mut deliveries =
        channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await.expect("a consumer");
    let mut got: Vec<Got> = Vec::new();
    let end = tokio::time::Instant::now() + PATIENCE;
    while !enough(&got) {
        let next = tokio::time::timeout_at(end, deliveries.next()).await;
        let Ok(Some(Ok(delivery))) = next else { panic!("not all came: {next:?} after {got:#?}") };
        delivery.ack(BasicAckOptions::default()).await.expect("acknowledged");
        let properties = &delivery.properties;
        assert_eq!(properties.content_type().as_ref().map(|text| text.as_str()), Some("application/json"));
        assert_eq!(*properties.delivery_mode(), Some(2));
        assert!(properties.timestamp().is_some());
        let name = delivery.routing_key.as_str().to_owned();
        assert_eq!(properties.kind().as_ref().map(|text| text.as_str()), Some(name.as_str()));
        let id = properties.message_id().as_ref().expect("an id").as_str().to_owned();
        got.push(Got { id, name, body: serde_json::from_slice(&delivery.data).expect("JSON") });
    }
    got
}

/// First arrivals, and how many came again. What comes again is the same.
fn distinct(got: &[Got]) -> (Vec<Got>, usize) {
    let mut seen: BTreeMap<&str, &Got> = BTreeMap::new();
    let mut first = Vec::new();
    for event in got {
        match seen.get(event.id.as_str()) {
            Some(before) => assert_eq!((&before.name, &before.body), (&event.name, &event.body), "two events of one id"),
            None => {
                seen.insert(&event.id, event);
                first.push(event.clone());
            }
        }
    }
    (first.clone(), got.len() - first.len())
}

fn comings(events: &[Got], room: &str) -> Vec<String> {
    comings_of(events.iter().map(|event| (event.name.as_str(), &event.body)), room)
}

fn config(rabbit: &Rabbit, store: &std::path::Path) -> String {
    let (dir, store) = (rabbit.dir().display(), store.display());
    format!(
        "[events]\nstore_dir = \"{store}\"\nlive_interval = \"1s\"\n\
         [[events.sink]]\nname = \"backend\"\ntype = \"amqp\"\nurl = \"amqp://127.0.0.1:{}\"\n\
         user = \"portico\"\npassword_file = \"{dir}/password\"\n\
         [[events.sink]]\nname = \"second\"\ntype = \"amqp\"\nurl = \"amqps://localhost:{}\"\nexchange = \"odd\"\n\
         ca = \"{dir}/ca.pem\"\ncert = \"{dir}/client.pem\"\nkey = \"{dir}/client.key\"\n",
        rabbit.port, rabbit.tls_port
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_order_is_kept_through_kills_of_broker_and_gateway() {
    let mut rabbit = Rabbit::start();
    // the second exchange is there already, and of another type: it is used as it is
    let (connection, channel) = connect(&rabbit).await;
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    channel.exchange_declare("odd".into(), ExchangeKind::Fanout, durable, FieldTable::default()).await.expect("declared");
    bind(&channel, "odd-watch", "odd").await;

    let store = tempfile::tempdir().expect("a temporary folder");
    let config = config(&rabbit, store.path());
    let gateway = Gateway::start(&config);
    connected(&gateway.base, "backend").await;
    connected(&gateway.base, "second").await;
    bind(&channel, "watch", "live_events").await;
    // the kill must not take the queues
    rabbit.write_down();

    let (stays, answer) = tribe_joined(&gateway.base, "yard", "stays").await;
    for number in 0..10 {
        visit(&gateway.base, "yard", &format!("early{number}")).await;
    }
    // the broker dies while members come and go
    let base = gateway.base.clone();
    let coming = tokio::spawn(async move {
        for number in 0..40 {
            visit(&base, "yard", &format!("during{number}")).await;
        }
    });
    tokio::task::yield_now().await;
    rabbit.kill();
    drop(connection);
    coming.await.expect("joins and leaves go on");
    until("that the loss is seen", async || match sink(&gateway.base, "backend").await {
        seen if seen["connected"] == false && seen["error"].is_string() => Ok(()),
        seen => Err(seen.to_string()),
    })
    .await;

    // without a broker whole calls work, as if there was one (tribe's checklist, line 23)
    let base = gateway.base.clone();
    let seen = tokio::task::spawn_blocking(move || node("tribe.mjs", &[&base, "call"])).await.expect("the script runs");
    assert_eq!(seen["left"]["d"]["roomSize"], 1, "{seen:#}");
    assert_eq!(seen["told"]["d"]["message"]["isVideoEnabled"], false, "{seen:#}");
    for side in ["seenByA", "seenByB"] {
        assert!(seen[side]["framesDecoded"].as_u64() >= Some(30), "{seen:#}");
    }
    let began = Instant::now();
    for number in 0..500 {
        visit(&gateway.base, "late", &format!("late{number}")).await;
    }
    eprintln!("1000 events without a broker: {:?}", began.elapsed());
    let waiting = sink(&gateway.base, "backend").await;
    assert!(waiting["backlog"].as_u64() >= Some(1000) && waiting["dropped"] == 0, "{waiting}");
    let state = get(&gateway.base, "/api/v1/sinks").await;
    assert_eq!((&state["lost"], state["store_error"].is_null()), (&json!(0), true), "{state:#}");
    let metrics = http().get(format!("{}/metrics", gateway.base)).send().await.expect("an answer").text().await.expect("text");
    assert!(metrics.contains("portico_event_sinks_away{sink=\"amqp\"} 2"), "{metrics}");

    // SIGKILL; then the same configuration, the same store, and the broker comes back
    drop(stays);
    drop(gateway);
    let gateway = Gateway::start(&config);
    rabbit.start_again();
    visit(&gateway.base, "last", "last").await;
    let (_connection, channel) = connect(&rabbit).await;
    // rooms do not wait for each other
    let left = |got: &[Got], user: &str| got.iter().any(|event| event.name == "room.leave" && event.body["userId"] == user);
    let whole = |got: &[Got]| ["late499", "last", "during39"].iter().all(|user| left(got, user));
    let began = Instant::now();
    let got = read(&channel, "watch", whole).await;
    eprintln!("1000 events of one room: {:?}", began.elapsed());
    let odd = read(&channel, "odd-watch", whole).await;

    assert_eq!(sink(&gateway.base, "backend").await["unrouted"], 0, "the queue is bound");

    let mut yard = vec!["+stays 1".to_owned()];
    for user in (0..10).map(|n| format!("early{n}")).chain((0..40).map(|n| format!("during{n}"))) {
        yard.extend([format!("+{user} 2"), format!("-{user} 1")]);
    }
    let late: Vec<String> = (0..500).flat_map(|n| [format!("+late{n} 1"), format!("-late{n} 0")]).collect();
    for got in [&got, &odd] {
        let (events, again) = distinct(got);
        eprintln!("{} events, {again} of them twice", events.len());
        assert_eq!(comings(&events, "yard"), yard);
        assert_eq!(comings(&events, "late"), late);
        assert_eq!(comings(&events, "last"), ["+last 1", "-last 0"]);
        // a clean leave is told with who remain (line 19)
        let call = comings(&events, "call");
        assert_eq!(call[..3], ["+u1 1", "+u2 2", "-u2 1"], "{call:?}");
        // rooms are told with all sessions, at the interval (line 20)
        let (a, b) = (&seen["joinA"]["d"]["socketId"], &seen["joinB"]["d"]["socketId"]);
        let both = json!([{"socketId": a, "userId": "u1"}, {"socketId": b, "userId": "u2"}]);
        let live: Vec<&Value> =
            events.iter().filter(|event| event.name == "room.live" && event.body["roomId"] == "call").map(|e| &e.body).collect();
        assert!(live.iter().any(|body| body["roomSize"] == 2 && body["sessions"] == both), "{live:#?}");
        let main = events.iter().filter(|event| event.name == "room.live" && event.body["roomId"] == "main").count();
        assert!(main >= 3, "the listed room is told again and again: {main}");
    }
    let join = &got.iter().find(|event| event.body["userId"] == "stays").expect("the first join").body;
    assert_eq!(join["socketId"], answer["socketId"]);
    assert_eq!((&join["ip"], &join["roomId"], &join["roomSize"]), (&"127.0.0.1".into(), &"yard".into(), &1.into()));
    // the second queue was there earlier; rooms are told of for as long as it is read
    let comes_or_goes = |event: &&Got| matches!(event.name.as_str(), "room.join" | "room.leave");
    let ids = |got: &[Got]| got.iter().filter(comes_or_goes).map(|event| event.id.clone()).collect::<HashSet<String>>();
    assert!(ids(&got).is_subset(&ids(&odd)), "each sink gets the same events");
    until("an empty store", async || match sink(&gateway.base, "backend").await {
        seen if seen["backlog"].as_u64() <= Some(4) => Ok(()),
        seen => Err(seen.to_string()),
    })
    .await;
    the_consumer_of_the_guide_works(&gateway.base, &rabbit).await;
    let (status, took) = gateway.terminate();
    assert!(status.success() && took < Duration::from_secs(5), "{status} after {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_events_come_again_before_later_ones_of_their_room_and_a_refusing_broker_is_a_state() {
    let rabbit = Rabbit::start();
    let (_connection, channel) = connect(&rabbit).await;
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    channel.exchange_declare("live_events".into(), ExchangeKind::Topic, durable, FieldTable::default()).await.expect("declared");
    // a queue that refuses what is more than three
    let mut small = FieldTable::default();
    small.insert("x-max-length".into(), 3.into());
    small.insert("x-overflow".into(), lapin::types::AMQPValue::LongString("reject-publish".into()));
    channel.queue_declare("small".into(), QueueDeclareOptions::default(), small).await.expect("a queue");
    let all = QueueBindOptions::default();
    channel.queue_bind("small".into(), "live_events".into(), "#".into(), all, FieldTable::default()).await.expect("bound");

    let store = tempfile::tempdir().expect("a temporary folder");
    let dir = rabbit.dir();
    std::fs::write(dir.join("wrong-password"), "wrong-word\n").expect("it is written");
    let sink_of = |name: &str, more: &str, password: &str| {
        let (port, dir) = (rabbit.port, dir.display());
        format!(
            "[[events.sink]]\nname = \"{name}\"\ntype = \"amqp\"\nurl = \"amqp://127.0.0.1:{port}\"\nuser = \"portico\"\n\
             password_file = \"{dir}/{password}\"\n{more}"
        )
    };
    let gateway = Gateway::start(&format!(
        "[events]\nstore_dir = \"{}\"\nlive_interval = \"1h\"\n{}{}{}",
        store.path().display(),
        sink_of("backend", "", "password"),
        sink_of("unknown", "", "wrong-password"),
        sink_of("forbidden", "exchange = \"secret\"\n", "password"),
    ));
    connected(&gateway.base, "backend").await;
    // two rooms, whose events come in turn
    for number in 0..20 {
        for room in ["hall", "yard"] {
            visit(&gateway.base, room, &format!("v{number}")).await;
        }
    }
    let refused = until("the refusal", async || match sink(&gateway.base, "backend").await {
        seen if seen["connected"] == false && seen["error"].is_string() => Ok(seen),
        seen => Err(seen.to_string()),
    })
    .await;
    assert!(refused["error"].as_str().unwrap().contains("could not take an event"), "{refused}");

    // those that will never let us in: states, for people and for Prometheus
    for (name, why) in [("unknown", "ACCESS_REFUSED"), ("forbidden", "ACCESS_REFUSED")] {
        let seen = until(name, async || match sink(&gateway.base, name).await {
            seen if seen["connected"] == false && seen["error"].is_string() => Ok(seen),
            seen => Err(seen.to_string()),
        })
        .await;
        let error = seen["error"].as_str().unwrap();
        assert!(error.to_uppercase().replace('-', "_").contains(why) && !error.contains("wrong-word"), "{seen}");
        assert!(seen["backlog"].as_u64() >= Some(80) && seen["dropped"] == 0, "{seen}");
    }
    let metrics = http().get(format!("{}/metrics", gateway.base)).send().await.expect("an answer").text().await.expect("text");
    let away = metrics.lines().find_map(|line| line.strip_prefix("portico_event_sinks_away{sink=\"amqp\"} "));
    assert!(away.and_then(|away| away.parse().ok()) >= Some(2), "{metrics}");

    // somebody makes room
    let expected = visits(0..20);
    let whole = |got: &[Got]| ["hall", "yard"].iter().all(|room| comings(&distinct(got).0, room).len() >= expected.len());
    let got = read(&channel, "small", whole).await;
    let (events, again) = distinct(&got);
    eprintln!("{} events, {again} of them twice", events.len());
    for room in ["hall", "yard"] {
        assert_eq!(comings(&events, room), expected);
    }
    until("that all is well", async || match sink(&gateway.base, "backend").await {
        seen if seen["connected"] == true && seen["backlog"] == 0 => Ok(()),
        seen => Err(seen.to_string()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_says_nothing_is_hung_up_on() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let store = tempfile::tempdir().expect("a temporary folder");
    let gateway = Gateway::start(&format!(
        "[events]\nstore_dir = \"{}\"\n[[events.sink]]\nname = \"backend\"\ntype = \"amqp\"\nurl = \"amqp://{}\"\n",
        store.path().display(),
        silent.local_addr().expect("an address")
    ));
    let (mut first, _) = silent.accept().await.expect("a connection");
    let mut heard = Vec::new();
    let end = tokio::time::timeout(PATIENCE, first.read_to_end(&mut heard)).await.expect("it ends");
    assert!(end.is_ok() && heard.starts_with(b"AMQP"), "{end:?} after {heard:?}");
    let _second = tokio::time::timeout(PATIENCE, silent.accept()).await.expect("it is tried again").expect("a connection");
    let seen = sink(&gateway.base, "backend").await;
    assert_eq!((&seen["connected"], &seen["error"]), (&false.into(), &"no answer in time".into()), "{seen}");
    // its thread is gone as well
    let threads = || std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).expect("threads").flatten();
    let name = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
    let waiting = threads().map(name).filter(|name| name.starts_with("lapin")).count();
    assert!(waiting <= 1, "{waiting} threads wait");
}

/// The Python block of docs/guide/events.md, as it stands there.
async fn the_consumer_of_the_guide_works(base: &str, rabbit: &Rabbit) {
    let page = include_str!("../../docs/guide/events.md");
    let code = page.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a consumer");
    let file = rabbit.dir().join("consumer.py");
    std::fs::write(&file, code).expect("it is written");
    let address = format!("amqp://guest:guest@127.0.0.1:{}/%2f", rabbit.port);
    let mut consumer = Command::new("/usr/bin/python3");
    consumer.arg(&file).arg(address).stdout(Stdio::piped()).kill_on_drop(true);
    let mut consumer = consumer.spawn().expect("python3 starts");
    let mut lines = BufReader::new(consumer.stdout.take().expect("stdout is piped")).lines();
    let mut line = async || match tokio::time::timeout(PATIENCE, lines.next_line()).await {
        Ok(Ok(Some(line))) => line,
        other => panic!("the consumer says no more (run make test): {other:?}"),
    };
    assert_eq!(line().await, "waiting");
    visit(base, "kitchen", "u1").await;
    while line().await != "room.join kitchen 1 u1" {}
    while line().await != "room.leave kitchen 0 u1" {}
    consumer.kill().await.expect("it ends");
}
