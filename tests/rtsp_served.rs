//! Streams served by RTSP, to GStreamer's `rtspsrc` and to clients that do what they should not.

#[path = "support/clients.rs"]
mod clients;
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clients::{get, members, until};
use serde_json::Value;
use support::{Gateway, PATIENCE, film, node, system_python};

/// A port of its own for each gateway.
const LISTEN: &str = "[rtsp]\nlisten = \"127.0.0.1:0\"\n";

/// A small picture with sound.
const ROOM: &str = "[[room]]\nname = \"main\"\nsources = [\"test\"]\n\
    [[source]]\nname = \"test\"\ntype = \"test\"\nwidth = 320\nheight = 240\nframerate = 30\ntone = 440\n";

/// A gateway and where it serves.
fn gateway(config: &str) -> (Gateway, SocketAddr) {
    started(Gateway::start(&format!("{LISTEN}{config}")))
}

fn started(mut gateway: Gateway) -> (Gateway, SocketAddr) {
    let line = gateway.wait_log("serving RTSP");
    let listen = line.split("listen=").nth(1).and_then(|rest| rest.split(' ').next()).expect("the log names the address");
    let listen = listen.parse().expect("an address");
    (gateway, listen)
}

fn play(url: &str, protocol: &str, frames: i32, kinds: &str) -> Value {
    system_python("rtsp_play.py", &[url, protocol, &frames.to_string(), kinds])
}

/// Waits for a source to have so many viewers.
async fn until_viewers(gateway: &Gateway, viewers: u64) -> Value {
    until("viewers", async || {
        let source = get(&gateway.base, "/api/v1/sources").await[0].clone();
        if source["viewers"] == viewers { Ok(source) } else { Err(format!("{source:#}")) }
    })
    .await
}

/// A figure of the metrics; 0 where there is none of that name.
async fn figure(gateway: &Gateway, name: &str) -> f64 {
    let answer = support::http().get(format!("{}/metrics", gateway.base)).send().await.expect("an answer");
    let text = answer.text().await.expect("a text");
    text.lines().find(|line| line.starts_with(name)).and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
}

/// A client that writes requests itself.
struct Client {
    stream: TcpStream,
    cseq: u32,
    base: String,
}

impl Client {
    fn connect(listen: SocketAddr) -> Self {
        let stream = TcpStream::connect(listen).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        Self { stream, cseq: 0, base: format!("rtsp://{listen}") }
    }

    /// Asks, and gives the head of the answer. Binary data before it is passed over.
    fn ask(&mut self, method: &str, path: &str, headers: &str) -> String {
        self.cseq += 1;
        let request = format!("{method} {}{path} RTSP/1.0\r\nCSeq: {}\r\n{headers}\r\n", self.base, self.cseq);
        self.stream.write_all(request.as_bytes()).expect("it is sent");
        loop {
            let first = self.byte();
            if first == b'$' {
                let mut head = [0; 3];
                self.stream.read_exact(&mut head).expect("a length");
                let mut data = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
                self.stream.read_exact(&mut data).expect("data");
                continue;
            }
            let mut text = String::from(char::from(first));
            while !text.ends_with("\r\n\r\n") {
                text.push(char::from(self.byte()));
            }
            let length =
                text.lines().find_map(|line| line.strip_prefix("Content-Length: ")).map_or(0, |text| text.parse().unwrap());
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).expect("a body");
            return text + &String::from_utf8(body).expect("a text");
        }
    }

    fn byte(&mut self) -> u8 {
        let mut byte = [0];
        self.stream.read_exact(&mut byte).expect("the connection goes on");
        byte[0]
    }

    /// Plays the picture by the connection.
    fn play(&mut self, path: &str) {
        let described = self.ask("DESCRIBE", path, "");
        assert!(described.contains("200 OK"), "{described}");
        let set_up = self.ask("SETUP", &format!("{path}/trackID=0"), "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n");
        assert!(set_up.contains("200 OK"), "{set_up}");
        assert!(self.ask("PLAY", path, "").contains("200 OK"));
    }

    /// Whether the other end closes, passing over what comes before.
    fn is_closed(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_opened_for_players_and_closed_after_them() {
    let (gateway, listen) = gateway(&format!("{ROOM}[sources]\nlinger = \"0s\"\n"));
    assert_eq!(until_viewers(&gateway, 0).await["state"], "idle");
    for (path, protocol) in [("main", "tcp"), ("main/test", "udp")] {
        let seen = tokio::task::spawn_blocking(move || play(&format!("rtsp://{listen}/{path}"), protocol, 60, "video,audio"));
        let source = until_viewers(&gateway, 1).await;
        assert_eq!(source["source"], "test", "{source:#}");
        assert_eq!(members(&gateway.base, "main", "rtsp").await.len(), 1);
        let seen = seen.await.expect("it plays");
        assert_eq!((&seen["codecs"]["video"], &seen["codecs"]["audio"]), (&"H264".into(), &"OPUS".into()), "{seen:#}");
        assert_eq!(seen["sizes"], serde_json::json!(["320x240"]), "{seen:#}");
        until_viewers(&gateway, 0).await;
    }
    until("idle", async || {
        let source = get(&gateway.base, "/api/v1/sources").await[0].clone();
        if source["state"] == "idle" { Ok(()) } else { Err(format!("{source:#}")) }
    })
    .await;
    assert_eq!(figure(&gateway, "portico_sessions_opened_total{dialect=\"rtsp\"}").await, 2.0);
    assert_eq!(figure(&gateway, "portico_sessions{dialect=\"rtsp\"}").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_by_rtsp_leaves_by_rtsp_without_an_encoder() {
    let (first, listen) = gateway(ROOM);
    let source = |codec: &str| {
        format!(
            "[[room]]\nname = \"yard\"\nsources = [\"cam\"]\n\
             [[source]]\nname = \"cam\"\ntype = \"rtsp\"\nurl = \"rtsp://{listen}/main/{codec}\"\n"
        )
    };
    let (second, again) = gateway(&source("test"));
    let url = format!("rtsp://{again}/yard/cam");
    let playing = tokio::task::spawn_blocking({
        let url = url.clone();
        move || play(&url, "tcp", 90, "video,audio")
    });
    let encoders = async || {
        let source = until_viewers(&second, 1).await;
        (source["state"].clone(), source["encoders"].clone(), source)
    };
    until("running", async || {
        let (state, encoders, source) = encoders().await;
        if state == "running" && encoders == 0 && source["paths"][0]["path"] != Value::Null {
            Ok(())
        } else {
            Err(format!("{source:#}"))
        }
    })
    .await;
    let seen = playing.await.expect("it plays");
    assert_eq!((&seen["codecs"]["video"], &seen["codecs"]["audio"]), (&"H264".into(), &"OPUS".into()), "{seen:#}");
    // a second viewer gets the group that is under way: no key frame can be asked for
    let (one, two) = tokio::join!(
        tokio::task::spawn_blocking({
            let url = url.clone();
            move || play(&url, "tcp", 60, "video")
        }),
        tokio::task::spawn_blocking(move || play(&url, "udp", 60, "video")),
    );
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(get(&first.base, "/api/v1/sources").await[0]["encoders"], 1, "one, for the gateway that pulls");
}

/// A server whose picture has one key frame, at its beginning: who comes later and is not given the group sees nothing.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_later_begins_with_the_key_frame_that_was() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
    let launch = "( videotestsrc is-live=true ! video/x-raw,format=I420,width=160,height=120,framerate=25/1 ! \
        x264enc tune=zerolatency speed-preset=ultrafast key-int-max=100000 ! video/x-h264,profile=baseline ! rtph264pay name=pay0 pt=96 )";
    let script = support::tests_dir().join("../src/media/tests/rtsp_server.py");
    let mut server = Command::new("/usr/bin/python3");
    let mut server =
        server.arg(script).args([&port.to_string(), "-", launch]).stdout(Stdio::piped()).spawn().expect("python3 runs");
    let mut out = server.stdout.take().expect("it is piped");
    let mut ready = [0; 6];
    out.read_exact(&mut ready).expect("the server says that it is ready");
    let (gateway, listen) = gateway(&format!(
        "[[room]]\nname = \"main\"\nsources = [\"cam\"]\n\
         [[source]]\nname = \"cam\"\ntype = \"rtsp\"\nurl = \"rtsp://127.0.0.1:{port}/live\"\n"
    ));
    let mut first = Client::connect(listen);
    first.play("/main");
    let played = tokio::task::spawn_blocking(move || {
        let url = format!("rtsp://{listen}/main/cam");
        (play(&url, "tcp", 60, "video"), play(&url, "udp", 60, "video"))
    });
    let (tcp, udp) = played.await.expect("both play");
    for seen in [tcp, udp] {
        assert!(seen["frames"]["video"].as_u64() >= Some(60), "{seen:#}");
    }
    assert_eq!(until_viewers(&gateway, 1).await["encoders"], 0);
    let _ = server.kill();
    let _ = server.wait();
}

#[test]
fn h265_is_passed_on_as_it_is() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("film.mkv");
    film::run(&format!(
        "videotestsrc num-buffers=150 pattern=ball ! video/x-raw,format=I420,width=320,height=240,framerate=25/1 ! \
         x265enc key-int-max=25 speed-preset=ultrafast tune=zerolatency option-string=bframes=0 ! h265parse ! matroskamux ! filesink location={}",
        path.display()
    ));
    let (gateway, listen) = gateway(&format!(
        "[[room]]\nname = \"main\"\nsources = [\"film\"]\n[[source]]\nname = \"film\"\ntype = \"file\"\npath = {path:?}\n"
    ));
    let mut client = Client::connect(listen);
    let described = client.ask("DESCRIBE", "/main", "");
    assert!(described.contains("H265/90000") && described.contains("sprop-vps="), "{described}");
    let seen = play(&format!("rtsp://{listen}/main/film"), "tcp", 60, "video");
    assert_eq!(seen["codecs"]["video"], "H265", "{seen:#}");
    let shown = support::read(&format!("{}/api/v1/sources", gateway.base));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown[0]["encoders"], 0, "{shown:#}");
}

#[test]
fn a_browsers_stream_is_played_as_it_is_published_and_ends_with_it() {
    for codec in ["VP8", "H264"] {
        let (gateway, listen) = gateway("");
        let url = format!("rtsp://{listen}/yard");
        let playing = std::thread::spawn({
            let base = gateway.base.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(until("the stream is up", async || {
                    let rooms = get(&base, "/api/v1/rooms").await;
                    let up = rooms
                        .as_array()
                        .is_some_and(|rooms| rooms.iter().any(|room| room["room"] == "yard" || room["name"] == "yard"));
                    if up { Ok(()) } else { Err(format!("{rooms:#}")) }
                }));
                // a room opens a moment before its stream
                loop {
                    let seen = play(&url, "tcp", -1, "video,audio");
                    if seen["frames"]["video"] != 0 {
                        return seen;
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        });
        let sent = node("whip_publish.mjs", &[&gateway.base, "yard", codec]);
        let seen = playing.join().expect("it plays");
        assert_eq!(seen["codecs"]["video"], codec, "{seen:#} {sent:#}");
        assert!(seen["frames"]["video"].as_u64() > Some(30), "{seen:#}");
        assert!(!seen["end"].is_null(), "it ended with the publisher: {seen:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_is_refused_and_what_is_not_there_is_not_found() {
    let secret = "[access]\ntoken_secret = \"a secret for the test of rtsp\"\n";
    let (gateway, listen) = gateway(&format!("{secret}{ROOM}[rooms]\nad_hoc = false\n"));
    let token = |rights: &str, room: &str| {
        let config = gateway.dir().join("portico.toml");
        let mut command = Command::new(env!("CARGO_BIN_EXE_portico"));
        command.args(["token", "--config", config.to_str().unwrap(), "--room", room, "--rights", rights]);
        String::from_utf8(command.output().expect("it runs").stdout).unwrap().trim().to_owned()
    };
    let (good, weak) = (token("subscribe", "main"), token("publish", "main"));
    let refused = |path: &str, headers: &str| {
        let answer = Client::connect(listen).ask("DESCRIBE", path, headers);
        answer.lines().next().unwrap_or_default().trim_start_matches("RTSP/1.0 ").to_owned()
    };
    let basic = |token: &str| {
        use base64::Engine as _;
        format!("Authorization: Basic {}\r\n", base64::engine::general_purpose::STANDARD.encode(format!("me:{token}")))
    };
    assert_eq!(refused("/main", ""), "401 Unauthorized");
    assert_eq!(refused("/main?token=wrong", ""), "401 Unauthorized");
    assert_eq!(refused("/main", &basic("wrong")), "401 Unauthorized");
    assert_eq!(refused("/main", &basic(&weak)), "403 Forbidden");
    assert_eq!(refused(&format!("/elsewhere?token={good}"), ""), "403 Forbidden");
    assert_eq!(refused("/main", &basic(&good)), "200 OK");
    assert_eq!(refused(&format!("/main?token={good}"), ""), "200 OK");
    assert_eq!(refused(&format!("/main/absent?token={good}"), ""), "404 Not Found");
    let all = token("subscribe", "*");
    assert_eq!(refused(&format!("/absent?token={all}"), ""), "404 Not Found");
    assert_eq!(refused(&format!("/a/b/c?token={all}"), ""), "404 Not Found");
    // a real player by each way
    let (by_password, by_address) = (good.clone(), good.clone());
    let seen = tokio::task::spawn_blocking(move || {
        let url = format!("rtsp://{listen}/main");
        [
            system_python("rtsp_play.py", &[&url, "tcp", "30", "video", "me", &by_password]),
            play(&format!("{url}?token={by_address}"), "tcp", 30, "video"),
            play(&url, "tcp", 30, "video"),
        ]
    });
    let seen = seen.await.expect("they end");
    assert!(seen[0]["frames"]["video"] == 30 && seen[1]["frames"]["video"] == 30, "{seen:#?}");
    assert!(seen[2]["refused"].as_str().is_some_and(|why| why.contains("401") || why.contains("nauthorized")), "{seen:#?}");
    let log = { gateway }.log();
    assert!(!log.contains(&good), "a token is in the log:\n{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_let_go_and_disturbs_nobody() {
    let room = ROOM.replace("width = 320\nheight = 240", "width = 1280\nheight = 720\nbitrate = 4000000");
    let (mut gateway, listen) = gateway(&room);
    let mut stalled = Client::connect(listen);
    stalled.play("/main");
    until_viewers(&gateway, 1).await;
    let seen = tokio::task::spawn_blocking(move || play(&format!("rtsp://{listen}/main"), "tcp", 150, "video"));
    assert_eq!(seen.await.expect("it plays")["frames"]["video"].as_u64().map(|frames| frames >= 150), Some(true));
    gateway.wait_log("session ended");
    until_viewers(&gateway, 0).await;
    assert!(stalled.is_closed());
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_bytes_and_floods_end_the_connection_that_brings_them() {
    let (gateway, listen) = gateway(&format!("{}{ROOM}", "").replace("tone = 440", "tone = 0"));
    let mut good = Client::connect(listen);
    good.play("/main");
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"DESCRIBE rtsp://h/main RTSP/1.0\r\n\r\n",
        &[b'A'; 20_000],
        &[0; 1000],
    ] {
        let mut client = Client::connect(listen);
        let _ = client.stream.write_all(bytes);
        assert!(client.is_closed(), "{}", bytes[..bytes.len().min(20)].escape_ascii());
    }
    // more than there are places, and none says anything
    let flood: Vec<TcpStream> = (0..300).filter_map(|_| TcpStream::connect(listen).ok()).collect();
    let closed = |stream: &TcpStream| {
        stream.set_nonblocking(true).expect("it is set");
        matches!((&*stream).read(&mut [0; 1]), Ok(0))
            || (&*stream).read(&mut [0; 1]).is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset)
    };
    until("the flood is bounded", async || {
        let left = flood.iter().filter(|stream| !closed(stream)).count();
        if left <= 48 { Ok(()) } else { Err(format!("{left} are open")) }
    })
    .await;
    assert!(good.ask("GET_PARAMETER", "/main", "").contains("200 OK"), "who was there stays");
    assert_eq!(until_viewers(&gateway, 1).await["state"], "running");
    // strangers lose their places
    until("there is place again", async || {
        let mut client = Client::connect(listen);
        client.stream.write_all(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n").map_err(|error| error.to_string())?;
        let mut answer = [0; 15];
        client.stream.read_exact(&mut answer).map_err(|error| error.to_string())?;
        if &answer == b"RTSP/1.0 200 OK" { Ok(()) } else { Err(answer.escape_ascii().to_string()) }
    })
    .await;
    drop(flood);
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_are_bounded_and_end_with_the_gateway() {
    let (gateway, listen) = started(Gateway::start(&format!("{LISTEN}max_sessions = 2\n{ROOM}")));
    let mut clients = [Client::connect(listen), Client::connect(listen)];
    clients.iter_mut().for_each(|client| client.play("/main"));
    // what they are sent is counted as for other viewers
    until("packets are counted", async || {
        let sent = figure(&gateway, "portico_rtp_packets_total{direction=\"sent\"}").await;
        let peers = get(&gateway.base, "/api/v1/peers").await;
        let shown = peers.as_array().map_or(0, |peers| peers.iter().filter(|peer| peer["connected"] == true).count());
        if sent > 50.0 && shown == 2 { Ok(()) } else { Err(format!("{sent} {peers:#}")) }
    })
    .await;
    assert!(Client::connect(listen).ask("DESCRIBE", "/main", "").contains("453 "), "no place");
    // a place is free once a viewer says that it leaves
    assert!(clients[0].ask("TEARDOWN", "/main", "").contains("200 OK"));
    clients[0].play("/main/test");
    let (status, took) = tokio::task::spawn_blocking(move || gateway.terminate()).await.expect("it ends");
    assert!(status.success() && took < Duration::from_secs(10), "{status} {took:?}");
    assert!(clients.iter_mut().all(Client::is_closed));
}

#[test]
fn a_mixed_room_gives_its_mix() {
    let (gateway, listen) = gateway(
        "[[room]]\nname = \"hall\"\ntopology = \"mcu\"\nsources = [\"test\"]\n\
         [[source]]\nname = \"test\"\ntype = \"test\"\nwidth = 320\nheight = 240\nframerate = 30\ntone = 440\n",
    );
    let seen = play(&format!("rtsp://{listen}/hall"), "tcp", 30, "video,audio");
    assert_eq!(seen["codecs"]["video"], "H264", "{seen:#}");
    assert_ne!(seen["sizes"], serde_json::json!(["320x240"]), "the mix, not the source: {seen:#}");
    drop(gateway);
}

/// gst-launch, as the guide has it.
#[test]
fn the_command_of_the_guide_plays() {
    let (_gateway, listen) = gateway(ROOM);
    let mut command = Command::new("gst-launch-1.0");
    let picture = "r. ! application/x-rtp,media=video ! rtph264depay ! fakesink num-buffers=30";
    let sound = "r. ! application/x-rtp,media=audio ! rtpopusdepay ! fakesink num-buffers=30";
    let location = format!("location=rtsp://{listen}/main/test");
    command.args(["-q", "rtspsrc", "name=r", &location]).args(picture.split(' ')).args(sound.split(' '));
    let mut child = command.stdout(Stdio::null()).spawn().expect("it starts");
    let start = Instant::now();
    let status = loop {
        match child.try_wait().expect("a child") {
            Some(status) => break status,
            None if start.elapsed() > PATIENCE => {
                let _ = child.kill();
                panic!("it never ends");
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    assert!(status.success(), "{status}");
}
