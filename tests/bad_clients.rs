//! Clients of each dialect that do what they must not, against a running gateway: the offender hears its protocol's error or is closed,
//! two other members of its dialect and room go on talking, and the gateway's memory stays bounded. Which test is which is listed in
//! `docs/design/bad-input.md`.

#[path = "support/clients.rs"]
mod clients;
#[path = "support/speaker.rs"]
mod speaker;
mod support;

use serde_json::{Value, json};
use speaker::{Address, Pair, Place, Speaker, TONGUES, Tongue, config};
use support::Gateway;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

/// How much more memory the gateway may ever have taken after all that was done to it. What is held for one connection has its own,
/// much smaller bound; this is what thousands of messages of all dialects leave.
const MOST_KIB: u64 = 24 << 10;

/// A gateway with both places of all dialects, and a pair of good members of each.
struct Stage {
    gateway: Gateway,
    at: Address,
    pairs: Vec<Pair>,
    /// Most memory taken so far, in KiB.
    peak: u64,
}

impl Stage {
    async fn open() -> Self {
        Self::open_with("").await
    }

    async fn open_with(more: &str) -> Self {
        let mut gateway = Gateway::start(&config(more));
        let line = gateway.wait_log("listening for one dialect");
        let star = line.split("listen=").nth(1).and_then(|rest| rest.split(' ').next()).expect("the log names the address");
        let at = Address { base: gateway.base.clone(), star: star.parse().expect("an address") };
        let mut pairs = Vec::new();
        for tongue in TONGUES {
            pairs.push(Pair::enter(tongue, &at).await);
        }
        let peak = peak(&gateway);
        Self { gateway, at, pairs, peak }
    }

    fn pair(&mut self, tongue: Tongue) -> &mut Pair {
        self.pairs.iter_mut().find(|pair| pair.tongue == tongue).expect("one of each")
    }

    /// Something bad is sent. `expected` is what comes of it: the gateway's answers, then `goes on`, `closed CODE` or `cut`.
    async fn sends(&mut self, offender: &mut Speaker, message: Message, expected: &str, what: &str) {
        let tongue = offender.tongue;
        offender.send(message).await;
        let mut wanted: Vec<&str> = expected.split(", ").collect();
        let end = wanted.pop().expect("an end");
        for wanted in wanted {
            let told = offender.hear(|heard| answer(tongue, heard)).await;
            assert_eq!(told, wanted, "{tongue:?}: {what}");
        }
        let pair = self.pairs.iter_mut().find(|pair| pair.tongue == tongue).expect("one of each");
        let probe = offender.call_to(&pair.first.id, "probe1");
        offender.send(probe).await;
        let mut told = Vec::new();
        let got = tokio::select! {
            code = offender.end(|heard| told.extend(answer(tongue, heard))) => code.map_or("cut".into(), |code| format!("closed {code}")),
            () = pair.first.hear(|heard| Speaker::is_call(tongue, heard, "probe1").then_some(())) => "goes on".to_owned(),
        };
        assert_eq!((got.as_str(), &told[..]), (end, &[][..]), "{tongue:?}: {what}");
    }

    /// All good members go on, and the memory is bounded.
    async fn ends_well(mut self) {
        for pair in &mut self.pairs {
            pair.talk().await;
        }
        let now = peak(&self.gateway);
        eprintln!("peak memory grew by {} KiB to {now} KiB", now - self.peak);
        assert!(now < self.peak + MOST_KIB, "{} KiB more than the {} KiB before", now - self.peak, self.peak);
    }
}

/// The most memory a gateway has taken, in KiB.
fn peak(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The part of an answer that says what is wrong; nothing of other messages.
fn answer(tongue: Tongue, heard: &Value) -> Option<String> {
    let word = |value: &Value| value.as_str().map(str::to_owned);
    match tongue {
        Tongue::Tribe => heard["e"].as_u64().map(|code| code.to_string()),
        Tongue::Page | Tongue::Algorea => word(&heard["code"]),
        Tongue::Peerjs => word(&heard["type"]).filter(|kind| matches!(kind.as_str(), "ERROR" | "EXPIRE" | "LEAVE")),
        Tongue::Star => word(&heard[1]["err"]),
        Tongue::Vamp | Tongue::Sigver => None,
    }
}

fn binary(bytes: &'static [u8]) -> Message {
    Message::Binary(bytes.into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_to_members_of_other_rooms_reach_nobody() {
    let mut stage = Stage::open().await;
    for tongue in TONGUES {
        let mut stranger = Speaker::enter(tongue, &stage.at, Place::There, "1").await;
        let at = stage.at.clone();
        let pair = stage.pair(tongue);
        for addressee in [pair.first.id.clone(), pair.second.id.clone()] {
            let call = stranger.call_to(&addressee, "across1");
            stranger.send(call).await;
        }
        // bindings of the other group, of which the first ones may have any number
        for number in 0..if tongue == Tongue::Sigver { 200 } else { 0 } {
            let call = stranger.call_to(&number.to_string(), "across1");
            stranger.send(call).await;
        }
        let expected = match tongue {
            Tongue::Tribe => Some("1298"),
            Tongue::Algorea => Some("peer-not-connected"),
            Tongue::Peerjs => Some("EXPIRE"),
            Tongue::Star => Some("peer is not available"),
            Tongue::Page | Tongue::Vamp | Tongue::Sigver => None,
        };
        if let Some(expected) = expected {
            let told = stranger.hear(|heard| answer(tongue, heard)).await;
            assert_eq!(told, expected, "{tongue:?}");
        }
        // whom it may reach is reached, and after that nothing of before can come
        let mut friend = Speaker::caller(tongue, &at, Place::There, "2").await;
        let call = friend.call_to(&stranger.id, "near1");
        friend.send(call).await;
        stranger.hear(|heard| Speaker::is_call(tongue, heard, "near1").then_some(())).await;
        pair.talk_and(|heard| {
            let of_stranger = tongue != Tongue::Page || heard["member"]["id"] == *stranger.id;
            assert!(!(of_stranger && Speaker::is_call(tongue, heard, "across1")), "{tongue:?}: {heard}");
        })
        .await;
    }
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_senders_are_put_right_or_dropped() {
    let mut stage = Stage::open().await;
    for tongue in TONGUES {
        let mut offender = Speaker::caller(tongue, &stage.at, Place::Here, "3").await;
        let pair = stage.pair(tongue);
        let (first, second, own) = (pair.first.id.clone(), pair.second.id.clone(), offender.id.clone());
        let sdp = json!({"type": "offer", "sdp": "forged1"});
        let forged = match tongue {
            Tongue::Tribe => {
                let from = json!({"socketId": second, "userId": "2"});
                json!({"a": "sendMessage", "from": from, "d": {"to": first, "from": from, "socketId": second, "message": "forged1"}})
            }
            Tongue::Page => json!({"type": "mute", "audio": true, "member": second, "id": second}),
            Tongue::Algorea => json!({"action": "forward-offer", "toPeerId": first, "fromPeerId": second, "offer": sdp}),
            Tongue::Peerjs => {
                let payload = json!({"type": "data", "connectionId": "forged1", "sdp": {}});
                json!({"type": "OFFER", "src": second, "dst": first, "payload": payload})
            }
            Tongue::Vamp => json!(["sending signal", {"userToSignal": first, "callerID": second, "id": second, "signal": sdp}]),
            Tongue::Star => {
                json!(["ss-handshake", {"srcMultiaddr": second, "dstMultiaddr": first, "intentId": "i", "signal": sdp}])
            }
            Tongue::Sigver => Value::Null,
        };
        match tongue {
            // every number that the good binding may have, as sender and as recipient
            Tongue::Sigver => {
                for number in 0..100 {
                    offender.send(speaker::content(number, number, "forged1")).await;
                }
            }
            _ => offender.send(tongue.frame(&forged.to_string())).await,
        }
        let mut heard_forged = Vec::new();
        let probe = offender.call_to(&first, "probe1");
        offender.send(probe).await;
        pair.first
            .hear(|heard| {
                if Speaker::is_call(tongue, heard, "forged1") {
                    heard_forged.push(heard.clone());
                }
                let of_offender = tongue != Tongue::Page || heard["member"]["id"] == *own;
                (of_offender && Speaker::is_call(tongue, heard, "probe1")).then_some(())
            })
            .await;
        let sender = |heard: &Value| match tongue {
            Tongue::Tribe => heard["d"]["from"]["socketId"].clone(),
            Tongue::Page => heard["member"]["id"].clone(),
            Tongue::Algorea => heard["fromPeerId"].clone(),
            Tongue::Peerjs => heard["src"].clone(),
            Tongue::Vamp => heard[1]["callerID"].clone(),
            Tongue::Sigver | Tongue::Star => heard.clone(),
        };
        match tongue {
            Tongue::Star => assert!(heard_forged.is_empty(), "{heard_forged:?}"),
            Tongue::Sigver => {
                assert_eq!(heard_forged.len(), 100);
                let numbers: Vec<&Value> = heard_forged.iter().map(|heard| &heard["sender"]).collect();
                assert!(numbers.iter().all(|number| *number == numbers[0]), "as one and the same joiner");
            }
            _ => assert!(heard_forged.iter().all(|heard| sender(heard) == json!(own)), "{tongue:?}: {heard_forged:?}"),
        }
    }
    stage.ends_well().await;
}

/// Where a bad message is put: alone, or where a good one has a value that the gateway only passes on.
fn deep(tongue: Tongue, first: &str) -> [String; 2] {
    let depth = tongue.largest().min(200_000) / 2 - 500;
    let nest = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let signal = json!({"type": "offer", "sdp": "x", "deep": "NEST"});
    let within = match tongue {
        Tongue::Tribe => json!({"a": "sendMessage", "d": {"to": first, "message": "NEST"}}),
        Tongue::Page => json!({"type": "candidate", "peer": "p", "candidate": "NEST"}),
        Tongue::Algorea => json!({"action": "forward-offer", "toPeerId": first, "offer": "NEST"}),
        Tongue::Peerjs => json!({"type": "OFFER", "dst": first, "payload": "NEST"}),
        Tongue::Vamp => json!(["sending signal", {"userToSignal": first, "signal": signal}]),
        Tongue::Star => json!(["ss-handshake", {"srcMultiaddr": "/3", "dstMultiaddr": first, "signal": signal}]),
        Tongue::Sigver => unreachable!("it has no JSON"),
    };
    [nest.clone(), within.to_string().replace("\"NEST\"", &nest)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deep_nesting_is_read_without_harm() {
    let mut stage = Stage::open().await;
    for tongue in TONGUES.into_iter().filter(|tongue| tongue.is_json()) {
        let first = stage.pair(tongue).first.id.clone();
        let [alone, within] = deep(tongue, &first);
        // what is only passed on is not looked into
        let (for_alone, for_within) = match tongue {
            Tongue::Tribe => ("1282, goes on", "goes on"),
            Tongue::Page => ("malformed, goes on", "malformed, goes on"),
            Tongue::Algorea => ("bad-json, goes on", "goes on"),
            Tongue::Peerjs | Tongue::Vamp | Tongue::Star | Tongue::Sigver => ("goes on", "goes on"),
        };
        for (text, expected) in [(alone, for_alone), (within, for_within)] {
            let mut offender = Speaker::caller(tongue, &stage.at, Place::Here, "3").await;
            stage.sends(&mut offender, tongue.frame(&text), expected, &text[..60]).await;
        }
    }
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_closed_with_1009() {
    let mut stage = Stage::open().await;
    for tongue in TONGUES {
        let too_large = "x".repeat(tongue.largest() + 1);
        for message in [Message::Text(too_large.as_str().into()), Message::Binary(too_large.clone().into())] {
            let mut offender = Speaker::caller(tongue, &stage.at, Place::Here, "3").await;
            let kind = if message.is_text() { "text" } else { "bytes" };
            stage.sends(&mut offender, message, "closed 1009", kind).await;
        }
    }
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_utf_8_is_refused() {
    let mut stage = Stage::open().await;
    for tongue in TONGUES {
        let json = match tongue {
            Tongue::Vamp | Tongue::Star => &b"42[\"\xff\xfe\"]"[..],
            _ => b"{\"a\":\"\xff\xfe\"}",
        };
        // as bytes it is the dialect that refuses it; PeerJS counts what is no JSON, Socket.IO passes bytes over
        let as_bytes = match tongue {
            Tongue::Tribe => "1282, goes on",
            Tongue::Page => "malformed, goes on",
            Tongue::Algorea => "bad-json, goes on",
            Tongue::Peerjs | Tongue::Vamp | Tongue::Star => "goes on",
            Tongue::Sigver => "closed 4743",
        };
        for (message, expected) in [
            (speaker::text_of(json), "closed 1007"),
            (speaker::text_of(b"\xc3"), "closed 1007"),
            (binary(b"\xff\xfe\xfd"), as_bytes),
            (binary(json), as_bytes),
        ] {
            let mut offender = Speaker::caller(tongue, &stage.at, Place::Here, "3").await;
            stage.sends(&mut offender, message, expected, "no UTF-8").await;
        }
    }
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn protobuf_that_is_cut_or_unknown_closes_its_sender() {
    let mut stage = Stage::open().await;
    for (frame, expected) in [
        // a heartbeat with fields of all wire types that the schema does not have, before and after
        (&b"\x78\x05\x08\x01\x7d\x01\x02\x03\x04\x7a\x02\xff\xff\x79\x01\x02\x03\x04\x05\x06\x07\x08"[..], "goes on"),
        // content with unknown fields inside, and a sender's number of ten bytes
        (b"\x12\x0f\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x78\x05\x22\x00", "goes on"),
        // nothing that is known
        (b"\x78\x05", "closed 4743"),
        // varints that end too early, or never
        (b"\x08\xff", "closed 4743"),
        (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "closed 4743"),
        (b"\x1a\x02\x08\x80", "closed 4743"),
        // lengths beyond the frame
        (b"\x12\x05\x08", "closed 4743"),
        (b"\x1a\xff\xff\xff\xff\x0f\x08\x01", "closed 4743"),
        (b"\x12\x04\x22\xff\xff\x03", "closed 4743"),
        // groups, of which none ends; a wire type that there is not; field 0
        (b"\x0b\x0b\x0b\x0b", "closed 4743"),
        (b"\x0f\x01", "closed 4743"),
        (b"\x00\x01", "closed 4743"),
    ] {
        let mut offender = Speaker::caller(Tongue::Sigver, &stage.at, Place::Here, "3").await;
        stage.sends(&mut offender, binary(frame), expected, &format!("{frame:?}")).await;
    }
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_of_engine_io_out_of_order_harm_nobody_else() {
    let mut stage = Stage::open().await;
    let (ignored, wrong, goodbye) = ("goes on", "closed 1002", "closed 1000");
    for tongue in [Tongue::Vamp, Tongue::Star] {
        for (packet, expected) in [
            // a second opening; pongs nobody asked for; the end of an upgrade that never was; a noop
            ("0{}", ignored),
            ("3", ignored),
            ("3probe", ignored),
            ("5", ignored),
            ("6", ignored),
            // pings are the server's in this version
            ("2", wrong),
            ("2probe", wrong),
            // the namespace again, one that there is not, acknowledgements of nothing, bytes that never come
            ("40", ignored),
            ("40/admin,", ignored),
            ("43[]", ignored),
            ("420[\"x\"]", ignored),
            ("44", ignored),
            ("451-[\"x\",{\"_placeholder\":true,\"num\":0}]", ignored),
            ("46", ignored),
            ("42[]", ignored),
            // no packets
            ("42", wrong),
            ("42{}", wrong),
            ("4", wrong),
            ("", wrong),
            ("x", wrong),
            ("b4AAAA", wrong),
            ("1", goodbye),
            ("41", goodbye),
        ] {
            let mut offender = Speaker::caller(tongue, &stage.at, Place::Here, "3").await;
            stage.sends(&mut offender, Message::Text(packet.into()), expected, packet).await;
        }
    }
    stage.ends_well().await;
}

/// One candidate for a member, or of a connection that there is not.
fn candidate(tongue: Tongue, own: &str, to: &str, number: usize) -> Message {
    let text = format!("candidate:{number} 1 udp 2130706431 192.0.2.1 {} typ host", 1 + number % 65_000);
    let candidate = json!({"candidate": text, "sdpMid": "0", "sdpMLineIndex": 0});
    let signal = json!({"type": "candidate", "candidate": candidate});
    let message = match tongue {
        Tongue::Tribe => json!({"a": "exchangeCandidate", "d": {"to": to, "candidate": candidate}}),
        Tongue::Page => json!({"type": "candidate", "peer": "p", "candidate": candidate}),
        Tongue::Algorea => json!({"action": "forward-icecandidate", "toPeerId": to, "candidate": candidate}),
        Tongue::Peerjs => json!({"type": "CANDIDATE", "dst": to, "payload": {"candidate": candidate, "connectionId": "c"}}),
        Tongue::Vamp => json!(["sending signal", {"userToSignal": to, "callerID": own, "signal": signal}]),
        Tongue::Star => json!(["ss-handshake", {"srcMultiaddr": own, "dstMultiaddr": to, "intentId": "i", "signal": signal}]),
        Tongue::Sigver => return speaker::content(0, 0, &signal.to_string()),
    };
    tongue.frame(&message.to_string())
}

/// To a member that is there, to nobody, and, where that is something else, to oneself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_candidates_close_their_sender_and_leave_little() {
    let mut stage = Stage::open().await;
    for tongue in TONGUES {
        let first = stage.pair(tongue).first.id.clone();
        for to in [first.as_str(), "nobody", "3"] {
            let mut offender = Speaker::caller(tongue, &stage.at, Place::Here, "3").await;
            // as many as the rate allows at once are taken; what to nobody is answered is another test's
            for number in 0..700 {
                let message = candidate(tongue, &offender.id, to, number);
                offender.send(message).await;
            }
            stage.pair(tongue).talk().await;
            let own = offender.id.clone();
            let end = offender.flood((0..5_000).map(|number| candidate(tongue, &own, to, number))).await;
            assert!(matches!(end, Some(1008) | None), "{tongue:?} to {to}: {end:?}");
        }
    }
    stage.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_in_a_loop_leave_nothing() {
    let mut stage = Stage::open().await;
    for tongue in TONGUES {
        // on one connection: the same room, another one, and back
        if let (Some(here), Some(there)) = (tongue.join(Place::Here, "3"), tongue.join(Place::There, "4")) {
            let mut offender = Speaker::caller(tongue, &stage.at, Place::Here, "3").await;
            for round in 0..400 {
                offender.send(if round % 3 == 0 { there.clone() } else { here.clone() }).await;
            }
            stage.pair(tongue).talk().await;
            let end = offender.flood((0..5_000).map(|_| here.clone())).await;
            assert!(matches!(end, Some(1008) | None), "{tongue:?}: {end:?}");
        }
        // on connections of their own, of which every second one ends without a goodbye; a full room is a fair answer
        for round in 0..150 {
            let who = format!("{}", 10 + round);
            let mut offender = Speaker::connect(tongue, &stage.at, Place::Here, &who).await;
            if let Some(join) = tongue.join(Place::Here, &who) {
                offender.send(join).await;
            }
            if round % 2 == 0 {
                let _ = offender.socket.close(None).await;
            }
        }
        stage.pair(tongue).talk().await;
        // only the good ones stay
        clients::until(&format!("the end of the others of {tongue:?}"), async || {
            match tongue.members(&stage.at, Place::Here).await {
                2 => Ok(()),
                there => Err(format!("{there} members")),
            }
        })
        .await;
    }
    stage.ends_well().await;
}

/// Each stops in the middle of something and is never heard again; its place goes in its protocol's time. A good member of each dialect
/// reads, answers pings and talks meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_sockets_are_let_go_in_time() {
    let mut stage = Stage::open_with("[algorea]\nping_every = \"2s\"\nidle_limit = \"10s\"\n").await;
    let mut silent = Vec::new();
    for tongue in TONGUES {
        // one that never reads again, one in the middle of a frame's head, one in the middle of a frame
        for (index, written) in [&b""[..], b"\x82", b"\x82\xfe\x04\x00\x00\x00\x00\x00half"].into_iter().enumerate() {
            let mut one = Speaker::caller(tongue, &stage.at, Place::Here, &format!("{}", 3 + index)).await;
            one.write(written).await;
            silent.push(one);
        }
    }
    let mut upgrades = Vec::new();
    for tongue in TONGUES {
        assert_eq!(tongue.members(&stage.at, Place::Here).await, 5, "{tongue:?}");
        // and one in the middle of the upgrade
        let mut stream = tokio::net::TcpStream::connect(clients::address(&stage.at.base)).await.expect("connected");
        let head = format!("GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: webso", tongue.path(), clients::address(&stage.at.base));
        stream.write_all(head.as_bytes()).await.expect("written");
        upgrades.push(stream);
    }
    let mut left = TONGUES.to_vec();
    let start = std::time::Instant::now();
    while !left.is_empty() {
        assert!(start.elapsed() < support::PATIENCE, "{left:?} still have half-open members");
        for pair in &mut stage.pairs {
            pair.talk().await;
        }
        let mut still = Vec::new();
        for tongue in left {
            if tongue.members(&stage.at, Place::Here).await > 2 {
                still.push(tongue);
            }
        }
        left = still;
        tokio::time::sleep(clients::LOOK).await;
    }
    for mut stream in upgrades {
        let mut answer = Vec::new();
        let read = tokio::time::timeout(support::PATIENCE, stream.read_to_end(&mut answer)).await.expect("it is closed");
        assert!(read.is_err() || answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    }
    drop(silent);
    stage.ends_well().await;
}
