//! The API, health and tribe's pages.

use std::time::Duration;

use axum::http::Method;
use futures_util::StreamExt;

use super::sessions::settle;
use super::*;
use crate::hub::{RoomMember, RoomView};
use crate::room::{DialectName, Facts, MemberView, Report, StreamView, Topology, TrackView};
use crate::vocab::{MediaKind, StreamName, TrackFormat, TrackId};

fn room(name: &str) -> RoomView {
    let track = TrackView { track: TrackId(3), kind: MediaKind::Video, format: TrackFormat::h264_baseline() };
    let stream = StreamView { name: StreamName::new("main").unwrap(), tracks: vec![track], kinds: vec![MediaKind::Video] };
    let view = MemberView {
        member: MemberId([0xab; 16]),
        user_id: "u1".into(),
        dialect: DialectName::Whip,
        facts: Facts { name: Some("Ann".into()), ..Facts::default() },
        streams: vec![stream],
    };
    let member = RoomMember { view, visible: true, lost: false, peers: vec![PeerId(1)] };
    RoomView { room: RoomId::new(name).unwrap(), topology: Topology::Sfu, max_members: 256, members: vec![member] }
}

fn rig() -> Rig {
    let rig = Rig::new();
    rig.hub.script.lock().unwrap().rooms = vec![room("studio"), room("yard")];
    rig
}

fn with(method: Method, path: &str, token: &str, body: &str) -> Request<Body> {
    ask(method, path, &[("authorization", &format!("Bearer {token}"))], body)
}

#[tokio::test]
async fn lists_show_what_the_caller_may_see() {
    let rig = rig();
    let all = rig.get("/api/v1/rooms").await.json();
    assert_eq!(all.as_array().unwrap().len(), 2);
    assert_eq!(all[0]["room"], "studio");
    let member = &all[0]["members"][0];
    assert_eq!((&member["id"], &member["name"], &member["dialect"]), (&"ab".repeat(16).into(), &"Ann".into(), &"whip".into()));
    assert_eq!(member["streams"][0]["tracks"][0]["codec"], "H264");

    for path in ["/api/v1/rooms", "/api/v1/streams", "/api/v1/peers"] {
        let some = rig.send(with(Method::GET, path, "s@yard", "")).await.json();
        assert_eq!(some.as_array().unwrap().len(), 1, "{path}");
        assert_eq!(some[0]["room"], "yard", "{path}");
        rig.send(with(Method::GET, path, "p@*", "")).await.refused(403, "forbidden");
        rig.send_from("192.0.2.1", ask(Method::GET, path, &[], "")).await.refused(401, "unauthorised");
    }
}

#[tokio::test]
async fn sinks_are_shown_to_those_in_control() {
    let rig = rig();
    let state = rig.get("/api/v1/sinks").await.json();
    assert_eq!((&state["store_bytes"], &state["lost"]), (&4096.into(), &0.into()));
    let sink = &state["sinks"][0];
    assert_eq!((&sink["name"], &sink["kind"], &sink["connected"]), (&"backend".into(), &"amqp".into(), &false.into()));
    assert_eq!((&sink["backlog"], &sink["oldest_age_s"], &sink["dropped"]), (&3.into(), &61.into(), &1.into()));
    rig.send(with(Method::GET, "/api/v1/sinks", "sp@*", "")).await.refused(403, "forbidden");
}

#[tokio::test]
async fn recordings_are_for_those_in_control_of_the_room() {
    let rig = rig();
    let of_room = "/api/v1/rooms/studio/recordings";
    let file = "/api/v1/recordings/studio/main/2026-11-22T15-03-05Z.webm";
    for (method, path) in [
        (Method::GET, "/api/v1/recordings"),
        (Method::GET, of_room),
        (Method::POST, of_room),
        (Method::DELETE, "/api/v1/rooms/studio/recordings/1"),
        (Method::GET, file),
        (Method::DELETE, file),
        (Method::GET, "/api/v1/recordings/..%2f/x/y"),
    ] {
        rig.send(with(method.clone(), path, "sp@*", r#"{"stream":"main"}"#)).await.refused(403, "forbidden");
        if path != "/api/v1/recordings" && !path.contains("..") {
            rig.send(with(method, path, "c@yard", r#"{"stream":"main"}"#)).await.refused(403, "forbidden");
        }
    }
    let start = async |body: &str| rig.send(with(Method::POST, of_room, "c@studio", body)).await;
    let started = start(r#"{"stream":"main"}"#).await;
    assert_eq!(started.status, StatusCode::CREATED, "{}", started.body);
    let started = started.json();
    assert_eq!(
        (&started["stream"], &started["state"], &started["configured"]),
        (&"main".into(), &"waiting".into(), &false.into())
    );
    start(r#"{"stream":"main"}"#).await.refused(409, "already_recorded");
    start("{}").await.refused(409, "not_mixed");
    start(r#"{"stream":""}"#).await.refused(400, "bad_name");
    start(r#"{"stream":"main","member":"x"}"#).await.refused(400, "malformed");
    start(r#"{"strem":"main"}"#).await.refused(400, "malformed");
    let long = format!("/api/v1/rooms/{}/recordings", "%D1%8B".repeat(101));
    rig.send(ask(Method::POST, &long, &[], r#"{"stream":"main"}"#)).await.refused(400, "bad_name");
    // others see neither it nor its file
    assert_eq!(rig.send(with(Method::GET, "/api/v1/recordings", "c@yard", "")).await.json()["running"], serde_json::json!([]));
    rig.send(with(Method::GET, file, "c@studio", "")).await.refused(404, "unknown_file");
    let stop = |room: &str, id: &str| ask(Method::DELETE, &format!("/api/v1/rooms/{room}/recordings/{id}"), &[], "");
    for (room, id) in [("yard", "1"), ("studio", "2"), ("studio", "x")] {
        rig.send(stop(room, id)).await.refused(404, "unknown_recording");
    }
    assert_eq!(rig.send(stop("studio", "1")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(rig.get(of_room).await.json()["running"], serde_json::json!([]));
}

#[tokio::test]
async fn one_room_and_its_members() {
    let rig = rig();
    assert_eq!(rig.get("/api/v1/rooms/studio").await.json()["topology"], "sfu");
    assert_eq!(rig.get("/api/v1/rooms/studio/members").await.json()[0]["user_id"], "u1");
    rig.get("/api/v1/rooms/attic").await.refused(404, "unknown_room");
    rig.send(with(Method::GET, "/api/v1/rooms/studio", "s@yard", "")).await.refused(403, "forbidden");
    rig.send(with(Method::GET, "/api/v1/rooms/attic", "s@yard", "")).await.refused(403, "forbidden");
    rig.hub.script.lock().unwrap().gone = true;
    rig.get("/api/v1/rooms").await.refused(503, "stopping");
}

#[tokio::test]
async fn ending_a_place_needs_control() {
    let rig = rig();
    let path = format!("/api/v1/rooms/studio/members/{}", "ab".repeat(16));
    rig.send(with(Method::DELETE, &path, "sp@*", "")).await.refused(403, "forbidden");
    rig.send(with(Method::DELETE, &path, "c@yard", "")).await.refused(403, "forbidden");
    assert!(rig.hub.evicted().is_empty());
    assert_eq!(rig.send(with(Method::DELETE, &path, "c@studio", "")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(rig.hub.evicted().len(), 1);
    for unknown in [format!("/api/v1/rooms/attic/members/{}", "ab".repeat(16)), "/api/v1/rooms/studio/members/xyz".into()] {
        rig.send(ask(Method::DELETE, &unknown, &[], "")).await.refused(404, "unknown_member");
    }
}

#[tokio::test]
async fn errors_and_addresses_are_for_control_only() {
    let rig = rig();
    assert!(rig.get("/api/v1/sources").await.json()[0]["error"].as_str().unwrap().contains("secret"));
    let viewer = rig.send(with(Method::GET, "/api/v1/sources", "s@*", "")).await;
    assert!(viewer.json()[0].get("error").is_none() && !viewer.body.contains("secret"));
    assert_eq!(rig.get("/api/v1/peers").await.json()[0]["remote"], "192.0.2.9:5000");
    assert!(rig.send(with(Method::GET, "/api/v1/peers", "s@*", "")).await.json()[0].get("remote").is_none());
    let plan = rig.get("/api/v1/plan").await.json();
    assert_eq!((&plan[0]["chosen"]["path"], &plan[1]["want"]), (&"pass".into(), &"AV1".into()));
    assert!(plan[1]["refused"].as_str().unwrap().contains("no encoder"));
}

#[tokio::test]
async fn tokens_are_signed_for_those_in_control() {
    let rig = rig();
    let wish = r#"{"subject":"cam","rooms":"studio","rights":["publish"],"expires_in":60}"#;
    let signed = rig.send(ask(Method::POST, "/api/v1/tokens", &[], wish)).await;
    assert_eq!(signed.status, StatusCode::CREATED);
    assert_eq!(signed.json()["token"], "signed for cam in studio");
    assert!(signed.json()["expires"].as_str().unwrap().ends_with('Z'));
    rig.send(with(Method::POST, "/api/v1/tokens", "sp@*", wish)).await.refused(403, "forbidden");
    rig.send(with(Method::POST, "/api/v1/tokens", "c@*", wish)).await.refused(403, "forbidden");
    for odd in ["", "[]", r#"{"rooms":"*"}"#, r#"{"rooms":"*","rights":["fly"]}"#, r#"{"rooms":"*","rights":["publish"],"x":1}"#]
    {
        rig.send(ask(Method::POST, "/api/v1/tokens", &[], odd)).await.refused(400, "malformed");
    }
    rig.send(ask(Method::POST, "/api/v1/tokens", &[], &" ".repeat(5000))).await.refused(413, "too_large");
    let unsigned = Rig::with(|parts| parts.signer = None);
    unsigned.send(ask(Method::POST, "/api/v1/tokens", &[], wish)).await.refused(409, "no_secret");
}

#[tokio::test]
async fn health_readiness_metrics_and_tribe_pages() {
    let rig = rig();
    assert_eq!(rig.send_from("192.0.2.1", ask(Method::GET, "/healthz", &[], "")).await.body, "ok\n");
    let waiting = rig.get("/readyz").await;
    assert_eq!(waiting.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(waiting.json()["waiting"].as_array().unwrap().len(), 2);
    rig.readiness.ready("udp");
    rig.readiness.missing("sources", "door does not open");
    assert_eq!(rig.get("/readyz").await.json()["waiting"], serde_json::json!([{"what": "sources", "why": "door does not open"}]));
    rig.readiness.ready("sources");
    assert_eq!(rig.get("/readyz").await.status, StatusCode::OK);
    rig.shutdown.cancel();
    assert_eq!(rig.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);

    let metrics = rig.get("/metrics").await;
    assert!(metrics.header("content-type").starts_with("application/openmetrics-text") && metrics.body.contains("portico_up 1"));
    let stats = rig.get("/memstats").await.body;
    assert!(
        stats.contains("rooms: 2\n") && stats.contains("resident_bytes: ") && stats.contains("media_sessions: 2\n"),
        "{stats}"
    );
    let state = rig.get("/state").await.json();
    assert_eq!(state["s"], true);
    assert_eq!(state["d"]["rooms"][0]["connections"][0]["socketId"], "AB".repeat(16));
    for path in ["/metrics", "/memstats", "/state"] {
        rig.send(with(Method::GET, path, "sp@*", "")).await.refused(403, "forbidden");
        rig.send_from("192.0.2.1", ask(Method::GET, path, &[], "")).await.refused(401, "unauthorised");
    }
    assert_eq!(rig.get("/api/v1/version").await.json()["name"], "portico");
    #[cfg(feature = "openapi")]
    assert_eq!(rig.get("/api/openapi.json").await.json()["info"]["title"], "Portico");
}

/// The events of a stream as they come, until it has been quiet for a moment or ends.
async fn read_events(rig: &Rig, path: &str, headers: &[(&str, &str)], happen: impl AsyncFnOnce()) -> String {
    let mut request = ask(Method::GET, path, headers, "");
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))));
    let response = rig.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body().into_data_stream();
    happen().await;
    let mut text = String::new();
    while let Ok(Some(chunk)) = tokio::time::timeout(Duration::from_millis(50), body.next()).await {
        text += std::str::from_utf8(&chunk.unwrap()).unwrap();
    }
    text
}

fn ids(text: &str) -> Vec<u64> {
    text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect()
}

#[tokio::test(start_paused = true)]
async fn events_are_filtered_numbered_and_continued() {
    let rig = rig();
    settle().await;
    let opened = |name: &str| Report::RoomOpened { room: RoomId::new(name).unwrap() };
    let both = async || {
        rig.hub.reports.send(opened("studio")).unwrap();
        rig.hub.reports.send(opened("yard")).unwrap();
    };
    let all = read_events(&rig, "/api/v1/events", &[], both).await;
    assert_eq!(all.matches("event: room-opened").count(), 2, "{all}");
    assert!(all.contains(r#"data: {"event":"room-opened","room":"studio"}"#), "{all}");
    let numbers = ids(&all);
    assert_eq!(numbers[1], numbers[0] + 1);

    let yard = read_events(&rig, "/api/v1/events?room=yard", &[], both).await;
    assert_eq!(yard.matches("event:").count(), 1);
    let by_token = read_events(&rig, "/api/v1/events?token=s%40studio", &[], both).await;
    assert!(by_token.contains("studio") && !by_token.contains("yard"));
    let again = read_events(&rig, "/api/v1/events", &[("last-event-id", &numbers[0].to_string())], async || {}).await;
    assert_eq!(ids(&again), (numbers[1]..numbers[0] + 6).collect::<Vec<_>>());
    let long_ago = read_events(&rig, "/api/v1/events", &[("last-event-id", "5")], async || {}).await;
    assert!(long_ago.starts_with("event: missed\ndata: {\"event\":\"missed\",\"count\":"), "{long_ago}");
    let stopped = read_events(&rig, "/api/v1/events", &[], async || rig.shutdown.cancel()).await;
    assert_eq!(stopped, "");
}

#[tokio::test]
async fn events_need_a_right_and_a_place() {
    let rig = Rig::with(|parts| parts.limits.max_event_streams = 0);
    rig.get("/api/v1/events").await.refused(503, "too_many_streams");
    rig.get("/api/v1/events?room=").await.refused(400, "bad_name");
    rig.send(with(Method::GET, "/api/v1/events", "p@*", "")).await.refused(403, "forbidden");
    rig.send(with(Method::GET, "/api/v1/events?room=a", "s@b", "")).await.refused(403, "forbidden");
}

#[tokio::test]
async fn who_is_in_control_chooses_the_layout_of_a_mixed_room() {
    let rig = rig();
    rig.hub.script.lock().unwrap().rooms.push(RoomView { topology: Topology::Mcu, ..room("hall") });
    let put = |path: &str, token: &str, body: &str| with(Method::PUT, path, token, body);
    assert_eq!(rig.get("/api/v1/rooms/hall/mix").await.json()["layout"], "grid");
    let changed = rig.send(put("/api/v1/rooms/hall/mix", "c@hall", r#"{"layout":"pip"}"#)).await.json();
    assert_eq!(changed, serde_json::json!({"layout": "pip"}));
    for body in ["", "{}", r#"{"layout":"circle"}"#, r#"{"layout":"grid","size":1}"#] {
        rig.send(put("/api/v1/rooms/hall/mix", "c@hall", body)).await.refused(400, "malformed");
    }
    rig.send(put("/api/v1/rooms/hall/mix", "s@hall", r#"{"layout":"pip"}"#)).await.refused(403, "forbidden");
    rig.get("/api/v1/rooms/studio/mix").await.refused(409, "not_mixed");
    rig.get("/api/v1/rooms/attic/mix").await.refused(404, "unknown_room");
}
