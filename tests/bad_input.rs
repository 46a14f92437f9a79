//! Bad input against the running gateway: each piece gets a clear error in its protocol's form and a log line, and hurts nobody
//! else. A healthy viewer plays through every test.

#[path = "support/clients.rs"]
mod clients;
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use clients::*;
use portico::peer::outgoing::{OutgoingConfig, OutgoingPlayer, OutgoingPublisher};
use rand::{Rng, SeedableRng};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, IF_MATCH};
use serde_json::{Value, json};
use support::{Gateway, PATIENCE};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// Listed rooms only; a small picture, so that the viewers cost little; room for one in `small`.
const CONFIG: &str = r#"
[http.limits]
handshake_time = "2s"
request_time = "10s"

[rooms]
ad_hoc = false
rejoin_grace = "1s"

[log]
filter = "info,portico::http=debug,portico::peer=debug"

[[room]]
name = "main"
sources = ["test"]

[[room]]
name = "yard"

[[room]]
name = "small"
max_members = 1

[[source]]
name = "test"
type = "test"
width = 320
height = 180
framerate = 15
"#;

async fn start() -> (Gateway, String, Viewer) {
    let gateway = Gateway::start(CONFIG);
    let base = gateway.base.clone();
    let viewer = Viewer::start(&base, "/whep/main").await;
    (gateway, base, viewer)
}

/// A text of a million letters.
fn megabyte() -> String {
    "x".repeat(1 << 20)
}

/// Sends what the gateway refuses to read to its end; returns the close code. Writing may fail once it has closed.
async fn flooded(socket: Socket, text: String) -> Option<CloseCode> {
    use futures_util::{SinkExt, StreamExt};
    let (mut write, read) = socket.0.split();
    let writer = tokio::spawn(async move {
        let _ = write.send(Message::Text(text.into())).await;
        write
    });
    let mut read = read;
    let code = loop {
        match tokio::time::timeout(PATIENCE, read.next()).await.expect("an end") {
            Some(Ok(Message::Close(frame))) => break frame.map(|frame| frame.code),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => break None,
        }
    };
    writer.abort();
    code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tribe_client_hears_what_is_wrong() {
    let (mut gateway, base, viewer) = start().await;
    let (mut good, _) = tribe_joined(&base, "yard", "good").await;
    let mut bad = Socket::open(&base, "/api").await;
    let general = |heard: &Value| heard["a"] == "generalR";
    for text in ["not json", "[]", "\"join\"", "{}", r#"{"a":1}"#, r#"{"a":"join","d":"#, ""] {
        bad.say_text(text).await;
        assert_eq!(bad.hear(general).await, json!({"a":"generalR","s":false,"e":1282}), "{text}");
    }
    bad.send(Message::Binary(vec![0xff, 0, 0xfe].into())).await;
    assert_eq!(bad.hear(general).await["e"], 1282);

    let me = bearer("bad");
    for (request, code) in [
        (json!({"a":"dance"}), 1297),
        (json!({"a":"sendMessage","d":{"to":"x","message":1}}), 1297),
        (json!({"a":"join"}), 1282),
        (json!({"a":"join","d":[]}), 1282),
        (json!({"a":"join","d":{}}), 1286),
        (json!({"a":"join","d":{"bearer":"nonsense","roomId":"yard"}}), 1286),
        (json!({"a":"join","d":{"bearer":[],"roomId":"yard"}}), 1286),
        (json!({"a":"join","d":{"bearer":me}}), 1283),
        (json!({"a":"join","d":{"bearer":me,"roomId":""}}), 1283),
        (json!({"a":"join","d":{"bearer":me,"roomId":{}}}), 1282),
        (json!({"a":"join","d":{"bearer":me,"roomId":"yard","orientation":"up"}}), 1282),
        (json!({"a":"join","d":{"bearer":me,"roomId":"nowhere"}}), 1314),
        (json!({"a":"reconnect","d":{"socketId":"nobody"}}), 1317),
        (json!({"a":"reconnect","d":{"socketId":"00000000000000000000000000000000"}}), 1317),
    ] {
        assert_eq!(bad.tribe(request.clone()).await["e"], code, "{request}");
    }
    gateway.wait_log("request refused");

    let (mut first, _) = tribe_joined(&base, "small", "first").await;
    let full = bad.tribe(json!({"a":"join","d":{"bearer":me,"roomId":"small"}})).await;
    assert_eq!(full["e"], 1316, "{full}");
    assert_eq!(bad.tribe(json!({"a":"join","d":{"bearer":me,"roomId":"yard"}})).await["s"], true);
    good.hear(|heard| heard["a"] == "eventJoin" || heard["a"] == "eventOrientationChange").await;

    let offer = |sdp: &str| json!({"a":"exchangeSdp","d":{"to":"publisher","sdp":{"type":"offer","sdp":sdp}}});
    let strange = of_unknown_codecs(&publish_offer().await);
    let candidate = "candidate:1 1 udp 2130706431 127.0.0.1 9 typ host";
    for (request, code) in [
        (json!({"a":"join","d":{"bearer":me,"roomId":"yard"}}), 1315),
        (json!({"a":"dance","d":{}}), 1296),
        (json!({"a":"exchangeSdp","d":{"sdp":{"type":"offer","sdp":"v=0"}}}), 1282),
        (json!({"a":"exchangeSdp","d":{"to":"publisher","sdp":"v=0"}}), 1282),
        (json!({"a":"exchangeSdp","d":{"to":"nobody","sdp":{"type":"answer","sdp":"v=0"}}}), 1298),
        (offer("garbage"), 1320),
        (offer(""), 1320),
        (offer("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n"), 1320),
        (offer(&strange), 1329),
        (json!({"a":"exchangeCandidate","d":{"to":"publisher","candidate":7}}), 1282),
        (json!({"a":"sendMessage","d":{"to":"nobody","message":1}}), 1298),
        (json!({"a":"sendMessage","d":{"message":1}}), 1282),
        (json!({"a":"orientationChange","d":{"orientation":"up"}}), 1282),
    ] {
        assert_eq!(bad.tribe(request.clone()).await["e"], code, "{request}");
    }
    // tribe's answer to a candidate is always a success; one before the offer, or for nobody, is dropped
    for to in ["publisher", "nobody"] {
        let early = json!({"a":"exchangeCandidate","d":{"to":to,"candidate":{"candidate":candidate,"sdpMid":"0"}}});
        assert_eq!(bad.tribe(early).await, json!({"a":"exchangeCandidateR","s":true}));
    }

    let large = json!({"a": "sendMessage", "d": {"to": "x", "message": megabyte()}}).to_string();
    assert_eq!(flooded(bad, large).await, Some(CloseCode::Size));
    gateway.wait_log("the message is too large");
    // the others are told that it went, and go on
    good.hear(|heard| heard["a"] == "eventLeave").await;
    assert_eq!(good.tribe(json!({"a":"dance"})).await["e"], 1296);
    assert_eq!(first.tribe(json!({"a":"dance"})).await["e"], 1296);
    viewer.plays_on().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_visitor_hears_what_is_wrong() {
    let (mut gateway, base, viewer) = start().await;
    let mut good = page_joined(&base, "yard").await;
    let mut bad = Socket::open(&base, "/page").await;
    let refused = |heard: &Value| heard["type"] == "refused";
    for text in ["not json", "[]", "7", "{}", r#"{"type":7}"#, r#"{"type":"dance"}"#, r#"{"type":"join""#] {
        bad.say_text(text).await;
        assert_eq!(bad.hear(refused).await["code"], "malformed", "{text}");
    }
    bad.send(Message::Binary(b"{}".to_vec().into())).await;
    assert_eq!(bad.hear(refused).await["code"], "malformed");
    gateway.wait_log("request refused");

    let zeros = "0".repeat(32);
    let strange = of_unknown_codecs(&publish_offer().await);
    for (request, code) in [
        (json!({"type":"join"}), "malformed"),
        (json!({"type":"join","room":5}), "malformed"),
        (json!({"type":"join","room":""}), "malformed"),
        (json!({"type":"join","room":"yard","name":"n".repeat(65)}), "malformed"),
        (json!({"type":"join","room":"nowhere"}), "unknown_room"),
        (json!({"type":"publish","peer":"p","stream":"main","sdp":strange}), "not_joined"),
        (json!({"type":"mute","audio":true}), "not_joined"),
    ] {
        let answer = bad.page(request.clone(), &["refused", "welcome"]).await;
        assert_eq!((&answer["code"], &answer["re"]), (&json!(code), &request["type"]), "{request}: {answer}");
    }
    let _first = page_joined(&base, "small").await;
    assert_eq!(bad.page(json!({"type":"join","room":"small"}), &["refused", "welcome"]).await["code"], "room_full");
    assert_eq!(bad.page(json!({"type":"join","room":"yard"}), &["refused", "welcome"]).await["type"], "welcome");
    let candidate = json!({"candidate":"candidate:1 1 udp 2130706431 127.0.0.1 9 typ host","sdpMid":"0"});
    // a candidate of no connection is dropped without a word: trickling overtakes a refusal
    bad.say(json!({"type":"candidate","peer":"p","candidate":candidate})).await;
    for (request, code) in [
        (json!({"type":"join","room":"yard"}), "already_joined"),
        (json!({"type":"publish","peer":"p","stream":"main"}), "malformed"),
        (json!({"type":"publish","peer":7,"stream":"main","sdp":""}), "malformed"),
        (json!({"type":"publish","peer":"p".repeat(33),"stream":"main","sdp":""}), "malformed"),
        (json!({"type":"publish","peer":"p","stream":"main","sdp":"garbage"}), "bad_description"),
        (json!({"type":"publish","peer":"p","stream":"main","sdp":""}), "bad_description"),
        (json!({"type":"publish","peer":"p","stream":"main","sdp":strange}), "no_common_codec"),
        (json!({"type":"play","peer":"p","member":"zz","stream":"main","sdp":strange}), "malformed"),
        (json!({"type":"play","peer":"p","member":zeros,"stream":"main","sdp":strange}), "unknown_stream"),
        (json!({"type":"restart","peer":"p","sdp":strange}), "unknown_peer"),
        (json!({"type":"candidate","peer":"p"}), "malformed"),
        (json!({"type":"candidate","peer":"p","candidate":"text"}), "malformed"),
    ] {
        let answer = bad.page(request.clone(), &["refused", "answer"]).await;
        assert_eq!((&answer["code"], &answer["re"]), (&json!(code), &request["type"]), "{request}: {answer}");
    }

    let large = json!({"type":"publish","peer":"p","stream":"main","sdp":megabyte()}).to_string();
    assert_eq!(flooded(bad, large).await, Some(CloseCode::Size));
    gateway.wait_log("the message is too large");
    good.hear(|heard| heard["type"] == "left").await;
    // who sends nothing but rubbish is shown the door
    let mut rubbish = Socket::open(&base, "/page").await;
    for _ in 0..20 {
        rubbish.say_text("rubbish").await;
    }
    assert_eq!(rubbish.closed().await, Some(CloseCode::Policy));
    gateway.wait_log("too many malformed messages");
    assert_eq!(good.page(json!({"type":"dance"}), &["refused"]).await["code"], "malformed");
    viewer.plays_on().await;
}

/// What an answer must be.
struct Refused(u16, &'static str);

async fn assert_refused(
    request: reqwest::RequestBuilder,
    Refused(status, code): Refused,
    what: &str,
) -> reqwest::header::HeaderMap {
    let response = request.send().await.unwrap_or_else(|error| panic!("{what}: no answer: {error:?}"));
    let (got, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.text().await.expect("a body");
    let problem: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{what}: {got} {error}: {body}"));
    assert_eq!((got, problem["code"].as_str()), (status, Some(code)), "{what}: {body}");
    assert_eq!(problem["request_id"].as_str(), headers["x-request-id"].to_str().ok(), "{what}");
    assert!(!problem["message"].as_str().unwrap_or_default().is_empty(), "{what}");
    headers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whip_and_whep_say_what_is_wrong() {
    let (mut gateway, base, viewer) = start().await;
    let client = http();
    let (play, publish) = (play_offer().await.text, publish_offer().await.text);
    let strange = of_unknown_codecs(&publish_offer().await);
    let strange_play = of_unknown_codecs(&play_offer().await);
    let no_ice: String = publish.lines().filter(|line| !line.starts_with("a=ice-")).map(|line| format!("{line}\r\n")).collect();
    let sdp = "application/sdp";
    for (path, kind, body, refused) in [
        ("/whip/yard/cam", "text/plain", publish.clone(), Refused(415, "wrong_content_type")),
        ("/whep/main", "application/json", play.clone(), Refused(415, "wrong_content_type")),
        ("/whip/yard/cam", sdp, String::new(), Refused(400, "no_offer")),
        ("/whip/yard/cam", sdp, "garbage".into(), Refused(400, "bad_description")),
        ("/whep/main", sdp, "v=0\r\n".into(), Refused(400, "bad_description")),
        ("/whip/yard/cam", sdp, no_ice, Refused(400, "bad_description")),
        ("/whip/yard/cam", sdp, megabyte(), Refused(413, "too_large")),
        ("/whip/yard/cam", sdp, strange, Refused(422, "no_common_codec")),
        ("/whep/main", sdp, strange_play, Refused(422, "no_common_codec")),
        ("/whip/yard/cam", sdp, play.clone(), Refused(422, "unacceptable_offer")),
        ("/whep/main", sdp, publish.clone(), Refused(422, "unacceptable_offer")),
        ("/whip/nowhere/cam", sdp, publish.clone(), Refused(404, "unknown_room")),
        ("/whep/nowhere", sdp, play.clone(), Refused(404, "unknown_room")),
        ("/whep/main/nothing", sdp, play.clone(), Refused(409, "unknown_stream")),
        ("/whip/%00/cam", sdp, publish.clone(), Refused(400, "bad_name")),
    ] {
        let what = format!("{path} {kind} {}", body.chars().take(20).collect::<String>());
        let code = refused.1;
        let request = client.post(format!("{base}{path}")).header(CONTENT_TYPE, kind).body(body);
        let headers = assert_refused(request, refused, &what).await;
        assert_eq!(
            headers.contains_key("connection"),
            code == "too_large",
            "{what}: a body that is not read ends the connection"
        );
        gateway.wait_log(&format!("code=\"{code}\""));
    }
    let not_text = client.post(format!("{base}/whip/yard/cam")).header(CONTENT_TYPE, sdp).body(vec![0xffu8, 0xfe, 0]);
    assert_refused(not_text, Refused(400, "not_text"), "bytes").await;
    let headers = assert_refused(
        client.post(format!("{base}/whip/yard/cam")).body(publish.clone()),
        Refused(415, "wrong_content_type"),
        "none",
    );
    assert_eq!(headers.await["accept-post"], sdp);
    let headers = assert_refused(client.put(format!("{base}/whip/yard/cam")), Refused(405, "method_not_allowed"), "PUT").await;
    assert!(headers.contains_key("allow"));

    let _first = page_joined(&base, "small").await;
    let full = client.post(format!("{base}/whip/small/cam")).header(CONTENT_TYPE, sdp).body(publish.clone());
    assert!(assert_refused(full, Refused(503, "room_full"), "full").await.contains_key("retry-after"));

    // a session and its end
    let (_, session) = post_offer(&base, "/whip/yard/cam", &publish_offer().await).await;
    let fragment = "application/trickle-ice-sdpfrag";
    let patch = |url: &str, kind: &'static str, tag: Option<&'static str>, body: &'static str| {
        let request = client.request(Method::PATCH, url).header(CONTENT_TYPE, kind).body(body);
        tag.map(|tag| request.try_clone().unwrap().header(IF_MATCH, tag)).unwrap_or(request)
    };
    let ufrag = publish.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).unwrap();
    let candidates: &'static str = format!(
        "a=ice-ufrag:{ufrag}\r\na=ice-pwd:aaaaaaaaaaaaaaaaaaaaaaaa\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n\
         a=candidate:1 1 udp 2130706431 127.0.0.1 9 typ host\r\n"
    )
    .leak();
    for (kind, tag, body, refused) in [
        (sdp, None, candidates, Refused(415, "wrong_content_type")),
        (fragment, Some("*"), "garbage", Refused(400, "bad_fragment")),
        (fragment, Some("*"), "", Refused(400, "bad_fragment")),
        (fragment, None, candidates, Refused(428, "precondition_required")),
        (fragment, Some("\"old\""), candidates, Refused(412, "stale_etag")),
    ] {
        assert_refused(patch(&session, kind, tag, body), refused, &format!("PATCH {kind} {tag:?} {body}")).await;
    }
    let taken = client.post(format!("{base}/whip/yard/cam")).header(CONTENT_TYPE, sdp).body(publish_offer().await.text);
    let status = taken.send().await.expect("an answer").status();
    assert!(status == 201 || status == 409, "the same stream name by another member: {status}");
    let swapped = session.replace("/whip/", "/whep/");
    assert_refused(client.delete(swapped), Refused(404, "unknown_session"), "the other kind").await;
    assert_eq!(client.delete(&session).send().await.unwrap().status(), 200);
    for request in [patch(&session, fragment, Some("*"), candidates), client.delete(&session), client.get(&session)] {
        assert_refused(request, Refused(404, "unknown_session"), "a dead session").await;
    }
    let nonsense = patch(&format!("{base}/whip/yard/cam/nonsense"), fragment, Some("*"), candidates);
    assert_refused(nonsense, Refused(404, "unknown_session"), "no session's id").await;
    viewer.plays_on().await;
}

/// A client that sends its whole body before it reads hears why it was of no use, not a broken pipe.
#[test]
fn a_body_that_nobody_reads_is_sent_to_its_end_and_answered() {
    let gateway = Gateway::start(CONFIG);
    let host = gateway.base.trim_start_matches("http://").to_owned();
    let send = |path: &str, kind: &str, length: usize| {
        let mut socket = TcpStream::connect(&host).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n");
        let sent = socket.write_all(head.as_bytes()).and_then(|()| {
            for _ in 0..length / 4096 {
                socket.write_all(&[b'x'; 4096])?;
                std::thread::yield_now();
            }
            Ok(())
        });
        let mut answer = [0; 12];
        let heard = socket.read_exact(&mut answer).map(|()| String::from_utf8_lossy(&answer).into_owned());
        (sent.map_err(|error| error.kind()), heard.map_err(|error| error.kind()))
    };
    for (path, kind, status) in [
        ("/whip/yard/cam", "application/sdp", "413"),
        ("/whip/yard/cam", "text/plain", "415"),
        ("/whip/nowhere/cam", "application/sdp", "413"),
        ("/nothing/is/here", "text/plain", "405"),
        ("/metrics", "text/plain", "405"),
    ] {
        for _ in 0..5 {
            let heard = send(path, kind, 1 << 20);
            assert_eq!(heard, (Ok(()), Ok(format!("HTTP/1.1 {status}"))), "{path} {kind}");
        }
    }
    // it is not read for ever: a body of a gigabyte is cut off
    let (sent, _) = send("/whip/yard/cam", "application/sdp", 1 << 30);
    assert!(sent.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_says_what_is_wrong() {
    let (mut gateway, base, viewer) = start().await;
    let client = http();
    let token = |body: String| client.post(format!("{base}/api/v1/tokens")).header(CONTENT_TYPE, "application/json").body(body);
    let good = json!({"rooms":"*","rights":["subscribe"],"expires_in":60});
    for (body, refused) in [
        ("not json".to_owned(), Refused(400, "malformed")),
        ("".to_owned(), Refused(400, "malformed")),
        ("[]".to_owned(), Refused(400, "malformed")),
        ("{}".to_owned(), Refused(400, "malformed")),
        (json!({"rooms":7,"rights":["subscribe"],"expires_in":60}).to_string(), Refused(400, "malformed")),
        (json!({"rooms":"*","rights":["fly"],"expires_in":60}).to_string(), Refused(400, "malformed")),
        (json!({"rooms":"*","rights":["subscribe"],"expires_in":-1}).to_string(), Refused(400, "malformed")),
        ("[".repeat(4000), Refused(400, "malformed")),
        (megabyte(), Refused(413, "too_large")),
        (good.to_string(), Refused(409, "no_secret")),
    ] {
        let what: String = body.chars().take(60).collect();
        assert_refused(token(body), refused, &what).await;
    }
    gateway.wait_log("code=\"malformed\"");
    let zeros = "0".repeat(32);
    for (method, path, refused) in [
        (Method::GET, "/api/v1/rooms/nowhere".to_owned(), Refused(404, "unknown_room")),
        (Method::GET, "/api/v1/rooms/%ff".to_owned(), Refused(400, "bad_name")),
        (Method::GET, "/api/v1/rooms/nowhere/members".to_owned(), Refused(404, "unknown_room")),
        (Method::DELETE, "/api/v1/rooms/main/members/nobody".to_owned(), Refused(404, "unknown_member")),
        (Method::DELETE, format!("/api/v1/rooms/main/members/{zeros}"), Refused(404, "unknown_member")),
        (Method::POST, "/api/v1/rooms".to_owned(), Refused(405, "method_not_allowed")),
        (Method::GET, "/api/v1/nothing".to_owned(), Refused(404, "not_found")),
        (Method::GET, "/../../etc/passwd".to_owned(), Refused(404, "not_found")),
        (Method::GET, "/%2e%2e/%2e%2e/etc/passwd".to_owned(), Refused(404, "not_found")),
        (Method::GET, "/page".to_owned(), Refused(400, "refused")),
        (Method::GET, "/api".to_owned(), Refused(400, "refused")),
    ] {
        let what = format!("{method} {path}");
        assert_refused(client.request(method, format!("{base}{path}")), refused, &what).await;
    }
    let stranger = client.get(format!("{base}/api/v1/rooms")).header("Host", "evil.example");
    assert_refused(stranger, Refused(421, "unknown_host"), "DNS rebinding").await;
    let foreign = token(good.to_string()).header("Origin", "https://evil.example");
    assert_refused(foreign, Refused(403, "origin_refused"), "a foreign page").await;
    viewer.plays_on().await;
}

/// Sends bytes and reads what comes until the gateway closes.
fn raw(base: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address(base)).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // it may close while it is being written to
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(len) => answer.extend_from_slice(&piece[..len]),
            Err(error) => {
                assert!(error.kind() == std::io::ErrorKind::ConnectionReset, "the gateway does not close: {error}");
                break;
            }
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_http_is_cut_off() {
    let (mut gateway, base, viewer) = start().await;
    let tls_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    for garbage in
        [&b"garbage\r\n\r\n"[..], b"\x00\x01\x02\x03\r\n\r\n", tls_hello, b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\n\r\nBLA"]
    {
        let answer = raw(&base, garbage);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    gateway.wait_log("connection ended");
    // half a head, and half a body
    let half = raw(&base, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ");
    assert!(half.is_empty() || half.starts_with("HTTP/1.1 4"), "{half}");
    let offer =
        b"POST /whip/yard/cam HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/sdp\r\nContent-Length: 1000\r\n\r\nv=0";
    let half = raw(&base, offer);
    assert!(half.starts_with("HTTP/1.1 408") && half.contains("\"timeout\""), "{half}");
    for head in [
        format!("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Large: {}\r\n\r\n", "x".repeat(64 << 10)),
        format!("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n{}\r\n", "X-Many: x\r\n".repeat(5000)),
        format!("GET /{} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "x".repeat(64 << 10)),
    ] {
        let answer = raw(&base, head.as_bytes());
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let smuggled = b"POST /api/v1/tokens HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\nContent-Length: 40\r\n\r\n{}{}";
    assert!(raw(&base, smuggled).starts_with("HTTP/1.1 400"));
    viewer.plays_on().await;
    assert_eq!(get(&base, "/readyz").await["ready"], true);
}

/// Connections of this machine are not counted, so the system's own limit is what a crowd meets here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crowd_is_turned_away_and_then_forgotten() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let (mut gateway, base, viewer) = start().await;
    let open = std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).expect("its open files").count() as u64;
    let few = Rlimit { current: Some(open + 20), maximum: Some(open + 20) };
    prlimit(Pid::from_raw(gateway.pid() as i32), Resource::Nofile, few).expect("the limit is set");
    let crowd: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(address(&base)).expect("connected")).collect();
    gateway.wait_log("cannot accept a connection");
    viewer.plays_on().await;
    drop(crowd);
    // those that wait make room when they are gone
    until("an answer after the crowd", async || match http().get(format!("{base}/healthz")).send().await {
        Ok(response) if response.status() == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    viewer.plays_on().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datagrams_of_strangers_are_dropped() {
    let (mut gateway, base, viewer) = start().await;
    let line = gateway.wait_log("listening");
    let ice: std::net::SocketAddr = line.split("ice=[").nth(1).and_then(|rest| rest.split(']').next()).unwrap().parse().unwrap();
    let mut random = rand::rngs::StdRng::seed_from_u64(2);
    for round in 0..40u32 {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..50 {
            let mut datagram = vec![0u8; random.random_range(0..1500)];
            random.fill(&mut datagram[..]);
            // as STUN, DTLS, RTP and RTCP begin, and as nothing does
            if let (Some(first), Some(begin)) = (datagram.first_mut(), [0u8, 1, 20, 22, 128, 144, 255].get(round as usize % 8)) {
                *first = *begin;
            }
            if round % 8 == 0 && datagram.len() >= 20 {
                let length = (datagram.len() - 20) as u16 & !3;
                datagram[..2].copy_from_slice(&[0, 1]);
                datagram[2..4].copy_from_slice(&length.to_be_bytes());
                datagram[4..8].copy_from_slice(&0x2112_A442u32.to_be_bytes());
            }
            let _ = socket.send_to(&datagram, ice);
        }
    }
    viewer.plays_on().await;
    let late = Viewer::start(&base, "/whep/main").await;
    late.plays_on().await;
    viewer.plays_on().await;
    gateway.wait_log("datagrams dropped: of unknown peers");
}

/// Clients that stop halfway, all at once since each takes its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_stop_halfway_are_let_go() {
    let (mut gateway, base, viewer) = start().await;
    tokio::join!(
        says_nothing(&base, "/api"),
        says_nothing(&base, "/page"),
        never_connects(&base),
        never_completes_dtls(&base),
        vanishes_from_a_websocket(&base),
        resets_its_websocket(&base),
        vanishes_while_publishing(&base),
    );
    for line in ["no room was joined in time", "no connection within the time allowed", "nothing was heard", "session lost"] {
        gateway.wait_log(line);
    }
    assert!(members(&base, "yard", "page").await.is_empty());
    viewer.plays_on().await;
}

/// Pings are answered, but no room is ever joined.
async fn says_nothing(base: &str, path: &str) {
    let mut socket = Socket::open(base, path).await;
    assert_eq!(socket.closed().await, Some(CloseCode::Policy), "{path}");
}

async fn ends(session: &str) {
    let client = http();
    until("the session's end", async || match client.get(session).send().await {
        Ok(response) if response.status() == 404 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

/// The offer is answered, and no packet ever comes.
async fn never_connects(base: &str) {
    let (_, session) = post_offer(base, "/whep/main", &play_offer().await).await;
    assert_eq!(http().get(&session).send().await.unwrap().status(), 204);
    ends(&session).await;
}

/// ICE comes up; DTLS is swallowed on the way.
async fn never_completes_dtls(base: &str) {
    let (player, offer) = OutgoingPlayer::offer(&OutgoingConfig::default()).await.unwrap();
    let (answer, session) = post_offer(base, "/whep/main", &without_candidates(&offer)).await;
    let (relay, answer) = Relay::before(&answer, Pass::Stun).await;
    player.accept(&answer).await.unwrap();
    until("connectivity checks", async || match relay.carried.load(std::sync::atomic::Ordering::Relaxed) {
        carried if carried >= 4 => Ok(()),
        carried => Err(format!("{carried} carried")),
    })
    .await;
    ends(&session).await;
    assert!(player.connected(Duration::from_millis(1)).await.is_err());
    player.close().await.unwrap();
}

/// The connection stays open and is never read again.
async fn vanishes_from_a_websocket(base: &str) {
    let (socket, answer) = tribe_joined(base, "yard", "vanisher").await;
    let id = answer["socketId"].as_str().unwrap().to_ascii_lowercase();
    assert!(members(base, "yard", "tribe").await.contains(&id));
    until("the silent member's end", async || match members(base, "yard", "tribe").await {
        left if !left.contains(&id) => Ok(()),
        left => Err(format!("{left:?}")),
    })
    .await;
    drop(socket);
}

/// The connection is cut without a goodbye.
async fn resets_its_websocket(base: &str) {
    let (socket, answer) = tribe_joined(base, "yard", "resetter").await;
    let id = answer["socketId"].as_str().unwrap().to_ascii_lowercase();
    drop(socket);
    until("the cut member's end", async || match members(base, "yard", "tribe").await {
        left if !left.contains(&id) => Ok(()),
        left => Err(format!("{left:?}")),
    })
    .await;
}

/// Its packets stop, and nothing says why.
async fn vanishes_while_publishing(base: &str) {
    let (mut publisher, offer) = OutgoingPublisher::offer(&OutgoingConfig::default(), "cam").await.unwrap();
    let (answer, session) = post_offer(base, "/whip/yard/cam", &without_candidates(&offer)).await;
    let (relay, answer) = Relay::before(&answer, Pass::All).await;
    publisher.accept(&answer).await.unwrap();
    publisher.connected(PATIENCE).await.expect("connected through the relay");
    assert_eq!(members(base, "yard", "whip").await.len(), 1);
    relay.let_through(Pass::Nothing);
    until("the vanished publisher's end", async || match members(base, "yard", "whip").await {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    })
    .await;
    ends(&session).await;
    publisher.close().await.unwrap();
}
