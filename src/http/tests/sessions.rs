//! WHIP and WHEP: every status code, and what the room is asked.

use axum::http::Method;

use super::*;
use crate::http::fake::Does;
use crate::room::{Command, DialectName, EndReason, Notice, Refusal, StreamChoice};
use crate::vocab::{PeerId, StreamName};

const SDP: (&str, &str) = ("content-type", "application/sdp");
const FRAG: (&str, &str) = ("content-type", "application/trickle-ice-sdpfrag");
const CANDIDATE: &str = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n";
const RESTART: &str = "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
    a=candidate:2 1 udp 1 127.0.0.1 10 typ host\r\n";

fn playing() -> String {
    OFFER.replace("sendonly", "recvonly")
}

async fn post(rig: &Rig, path: &str, body: &str) -> Reply {
    rig.send(ask(Method::POST, path, &[SDP], body)).await
}

async fn patch(rig: &Rig, path: &str, if_match: Option<&str>, body: &str) -> Reply {
    let mut headers = vec![FRAG];
    headers.extend(if_match.map(|tag| ("if-match", tag)));
    rig.send(ask(Method::PATCH, path, &headers, body)).await
}

#[tokio::test]
async fn a_publisher_gets_an_answer_and_a_resource() {
    let rig = Rig::new();
    let reply = post(&rig, "/whip/studio/cam%201", OFFER).await;
    assert_eq!(reply.status, StatusCode::CREATED);
    assert_eq!(reply.header("content-type"), "application/sdp");
    assert!(reply.body.contains("a=ice-ufrag:first"));
    assert!(reply.header("location").starts_with("/whip/studio/cam%201/"));
    assert!(reply.header("etag").starts_with('"'));
    assert_eq!(reply.header("accept-patch"), "application/trickle-ice-sdpfrag");
    assert_eq!(reply.header("link"), "<stun:stun.example.net:3478>; rel=\"ice-server\"");

    let heard = rig.hub.heard();
    let [Command::Join(joining), Command::Publish { stream, offer, .. }] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!((joining.room.as_str(), joining.dialect, joining.visible), ("studio", DialectName::Whip, true));
    assert_eq!((joining.user_id.as_str(), joining.facts.name.as_deref()), ("whip", Some("whip")));
    assert_eq!((stream.as_str(), offer.as_ref().unwrap().text.as_str()), ("cam 1", OFFER));
}

#[tokio::test]
async fn without_a_stream_whip_publishes_main_and_whep_plays_the_default() {
    let rig = Rig::new();
    let (location, _) = rig.publish().await;
    assert!(location.starts_with("/whip/studio/main/"));
    let reply = post(&rig, "/whep/studio", &playing()).await;
    assert!(reply.header("location").starts_with("/whep/studio/-/"), "{reply:?}");
    let named = post(&rig, "/whep/studio/door", &playing()).await;
    assert!(named.header("location").starts_with("/whep/studio/door/"));
    let heard = rig.hub.heard();
    let played: Vec<_> =
        heard.iter().filter_map(|c| if let Command::Play { of, .. } = c { Some(of.clone()) } else { None }).collect();
    assert_eq!(played, [StreamChoice::Default, StreamChoice::Named(StreamName::new("door").unwrap())]);
    assert!(heard.iter().any(|c| matches!(c, Command::Join(j) if j.dialect == DialectName::Whep && !j.visible)));
    let deleted = rig.send(ask(Method::DELETE, reply.header("location"), &[], "")).await;
    assert_eq!(deleted.status, StatusCode::OK);
}

#[tokio::test]
async fn the_token_names_the_member() {
    let rig = Rig::new();
    let headers = [SDP, ("authorization", "bearer p@studio")];
    let reply = rig.send_from("192.0.2.1", ask(Method::POST, "/whip/studio", &headers, OFFER)).await;
    assert_eq!(reply.status, StatusCode::CREATED);
    let Command::Join(joining) = &rig.hub.heard()[0] else { panic!() };
    assert_eq!((joining.user_id.as_str(), joining.remote), ("p", Some("192.0.2.1".parse().unwrap())));
    let query = rig.send_from("192.0.2.1", ask(Method::POST, "/whip/studio?token=p%40studio", &[SDP], OFFER)).await;
    assert_eq!(query.status, StatusCode::CREATED);
    // opened without a header: the unguessable path is enough
    let deleted = rig.send_from("192.0.2.1", ask(Method::DELETE, query.header("location"), &[], "")).await;
    assert_eq!(deleted.status, StatusCode::OK);
    // opened with one: it is needed again, and another's does not do
    let location = reply.header("location");
    let with = |token: &str| ask(Method::DELETE, location, &[("authorization", token)], "");
    rig.send_from("192.0.2.1", ask(Method::DELETE, location, &[], "")).await.refused(401, "unauthorised");
    rig.send_from("192.0.2.1", with("Bearer s@studio")).await.refused(403, "forbidden");
    assert_eq!(rig.send_from("192.0.2.1", with("Bearer c@studio")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn bad_requests_are_refused_before_the_room_hears_of_them() {
    let rig = Rig::new();
    let wrong = rig.send(ask(Method::POST, "/whip/studio", &[("content-type", "application/json")], "{}")).await;
    wrong.refused(415, "wrong_content_type");
    assert_eq!((wrong.header("accept-post"), wrong.header("accept")), ("application/sdp", "application/sdp"));
    rig.send(ask(Method::POST, "/whip/studio", &[], OFFER)).await.refused(415, "wrong_content_type");
    post(&rig, "/whip/studio", "").await.refused(400, "no_offer");
    post(&rig, "/whep/studio", "").await.refused(400, "no_offer");
    post(&rig, "/whip/studio", "garbage").await.refused(400, "bad_description");
    post(&rig, "/whip/studio", "v=0\r\n").await.refused(400, "bad_description");
    post(&rig, "/whip/studio", &playing()).await.refused(422, "unacceptable_offer");
    post(&rig, "/whep/studio", OFFER).await.refused(422, "unacceptable_offer");
    let two = format!("{OFFER}m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:1\r\na=sendonly\r\n");
    post(&rig, "/whip/studio", &two).await.refused(422, "unacceptable_offer");
    post(&rig, "/whip/studio", &"x".repeat(70_000)).await.refused(413, "too_large");
    let streamed = Body::from_stream(futures_util::stream::iter((0..2).map(|_| Ok::<_, std::io::Error>("x".repeat(40_000)))));
    let request = Request::post("/whip/studio").header("content-type", "application/sdp").body(streamed).unwrap();
    rig.send(request).await.refused(413, "too_large");
    let bytes =
        Request::post("/whip/studio").header("content-type", "application/sdp").body(Body::from(vec![0xff, 0xfe])).unwrap();
    rig.send(bytes).await.refused(400, "not_text");
    post(&rig, &format!("/whip/{}", "r".repeat(257)), OFFER).await.refused(400, "bad_name");
    post(&rig, "/whip/studio/a%00b", OFFER).await.refused(400, "bad_name");
    post(&rig, "/whip/%ff", OFFER).await.refused(400, "bad_name");
    assert!(rig.hub.heard().is_empty());
}

#[tokio::test]
async fn a_content_type_may_have_parameters_and_any_case() {
    let rig = Rig::new();
    let reply = rig.send(ask(Method::POST, "/whip/studio", &[("content-type", "Application/SDP; charset=utf-8")], OFFER)).await;
    assert_eq!(reply.status, StatusCode::CREATED);
}

#[tokio::test]
async fn rights_are_asked_for() {
    let rig = Rig::new();
    let send = |path: &'static str, token: Option<&'static str>| {
        let mut headers = vec![SDP];
        headers.extend(token.map(|token| ("authorization", token)));
        let body = if path.starts_with("/whip") { OFFER.to_owned() } else { playing() };
        rig.send_from("192.0.2.1", ask(Method::POST, path, &headers, &body))
    };
    let none = send("/whip/studio", None).await;
    none.refused(401, "unauthorised");
    assert_eq!(none.header("www-authenticate"), "Bearer realm=\"portico\"");
    let bad = send("/whip/studio", Some("Bearer nonsense")).await;
    bad.refused(401, "unauthorised");
    assert!(bad.header("www-authenticate").contains("invalid_token"));
    let weak = send("/whip/studio", Some("Bearer s@*")).await;
    weak.refused(403, "forbidden");
    assert!(weak.header("www-authenticate").contains("insufficient_scope"));
    send("/whep/studio", Some("Bearer p@*")).await.refused(403, "forbidden");
    send("/whep/studio", Some("Bearer s@yard")).await.refused(403, "forbidden");
    assert_eq!(send("/whep/studio", Some("Bearer s@studio")).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn each_refusal_of_the_room_has_its_status() {
    let room = || RoomId::new("studio").unwrap();
    let joins = [
        (Refusal::UnknownRoom(room()), 404, "unknown_room", ""),
        (Refusal::RoomFull { room: room(), limit: 256 }, 503, "room_full", "10"),
        (Refusal::TooManyRooms { limit: 64 }, 503, "too_many_rooms", "10"),
        (Refusal::Topology { room: room(), topology: "mesh" }, 409, "wrong_topology", ""),
        (Refusal::Forbidden { room: room(), right: Right::Publish }, 403, "forbidden", ""),
        (Refusal::Stopping, 503, "stopping", "5"),
    ];
    let media = [
        (Refusal::UnknownStream, 409, "unknown_stream", "2"),
        (Refusal::StreamTaken(StreamName::new("main").unwrap()), 409, "stream_taken", ""),
        (Refusal::TooMany { what: "peers", limit: 64 }, 503, "too_many", "10"),
        (Refusal::BadDescription, 400, "bad_description", ""),
        (Refusal::NoCommonCodec, 422, "no_common_codec", ""),
        (Refusal::SourceFailed, 503, "source_failed", "5"),
        (Refusal::Overloaded, 503, "overloaded", "10"),
        (Refusal::Internal, 500, "internal", ""),
    ];
    let rig = Rig::new();
    let mut leaves = 0;
    for (at_join, (why, status, code, retry)) in joins.into_iter().map(|x| (true, x)).chain(media.into_iter().map(|x| (false, x)))
    {
        {
            let mut script = rig.hub.script.lock().unwrap();
            (script.join, script.media) = match at_join {
                true => (Does::Refuses(why), Does::Accepts),
                false => (Does::Accepts, Does::Refuses(why)),
            };
        }
        for path in ["/whip/studio/main", "/whep/studio/main"] {
            let body = if path.starts_with("/whip") { OFFER.to_owned() } else { playing() };
            let reply = post(&rig, path, &body).await;
            reply.refused(status, code);
            assert_eq!(reply.header("retry-after"), retry, "{code}");
            leaves += 1;
        }
    }
    settle().await;
    assert_eq!(rig.hub.leaves(), leaves, "no place is kept for a session that was refused");
}

#[tokio::test]
async fn a_peer_that_ends_before_its_answer_has_a_status_too() {
    let rig = Rig::new();
    for (reason, status, code) in [
        (EndReason::BadDescription, 400, "bad_description"),
        (EndReason::NoCommonCodec, 422, "no_common_codec"),
        (EndReason::SourceFailed, 503, "source_failed"),
        (EndReason::Overloaded, 503, "overloaded"),
        (EndReason::StreamEnded, 409, "unknown_stream"),
        (EndReason::Internal, 503, "session_ended"),
    ] {
        rig.hub.script.lock().unwrap().media = Does::Drops(reason);
        post(&rig, "/whip/studio", OFFER).await.refused(status, code);
    }
    rig.hub.script.lock().unwrap().media = Does::Ends(EndReason::Expired);
    post(&rig, "/whip/studio", OFFER).await.refused(401, "unauthorised");
    rig.hub.script.lock().unwrap().gone = true;
    post(&rig, "/whip/studio", OFFER).await.refused(503, "stopping");
}

#[tokio::test(start_paused = true)]
async fn a_room_that_says_nothing_is_not_waited_for_for_ever() {
    let rig = Rig::new();
    rig.hub.script.lock().unwrap().media = Does::Keeps;
    let reply = post(&rig, "/whip/studio", OFFER).await;
    reply.refused(503, "timeout");
    assert_eq!(reply.header("retry-after"), "5");
    settle().await;
    assert_eq!(rig.hub.leaves(), 1);
}

#[tokio::test]
async fn a_client_that_goes_away_while_it_waits_leaves_nothing_behind() {
    let rig = Rig::new();
    rig.hub.script.lock().unwrap().media = Does::Keeps;
    let waiting = post(&rig, "/whip/studio", OFFER);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(20), waiting).await.is_err());
    let Some(Command::Publish { peer, .. }) = rig.hub.heard().into_iter().nth(1) else { panic!() };
    let sdp = crate::vocab::Sdp::answer("v=0\r\n");
    rig.hub.tell(Notice::Description { peer, sdp }).await;
    settle().await;
    assert_eq!(rig.hub.leaves(), 1);
}

#[tokio::test]
async fn candidates_trickle_with_the_present_tag() {
    let rig = Rig::new();
    let (path, tag) = rig.publish().await;
    let reply = patch(&rig, &path, Some(&tag), &format!("{CANDIDATE}a=end-of-candidates\r\n")).await;
    assert_eq!(reply.status, StatusCode::NO_CONTENT);
    assert!(reply.body.is_empty() && reply.header("etag").is_empty(), "RFC 9725 section 4.3.2");
    let heard = rig.hub.heard();
    let Command::Candidate { candidate, .. } = &heard[2] else { panic!("{heard:?}") };
    assert_eq!(candidate.candidate, "candidate:1 1 udp 1 127.0.0.1 9 typ host");
    assert!(matches!(&heard[3], Command::Candidate { candidate, .. } if candidate.candidate.is_empty()));

    patch(&rig, &path, None, CANDIDATE).await.refused(428, "precondition_required");
    patch(&rig, &path, Some("\"0000000000000000\""), CANDIDATE).await.refused(412, "stale_etag");
    patch(&rig, &path, Some(&tag), "not a fragment").await.refused(400, "bad_fragment");
    patch(&rig, &path, Some(&tag), "").await.refused(400, "bad_fragment");
    patch(&rig, &path, Some(&tag), &CANDIDATE.replace("mid:0", "mid:5")).await.refused(400, "bad_description");
    patch(&rig, &path, Some(&tag), &"a=x\r\n".repeat(5000)).await.refused(413, "too_large");
    let wrong = rig.send(ask(Method::PATCH, &path, &[SDP, ("if-match", &tag)], OFFER)).await;
    wrong.refused(415, "wrong_content_type");
    assert_eq!(wrong.header("accept-patch"), "application/trickle-ice-sdpfrag");
}

#[tokio::test]
async fn ice_restarts_with_a_new_tag() {
    let rig = Rig::new();
    let (path, first) = rig.publish().await;
    let reply = patch(&rig, &path, Some("*"), RESTART).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.header("content-type"), "application/trickle-ice-sdpfrag");
    assert!(reply.body.contains("a=ice-ufrag:second\r\n") && !reply.body.contains("v=0"), "{}", reply.body);
    let second = reply.header("etag").to_owned();
    assert!(!second.is_empty() && second != first);
    let heard = rig.hub.heard();
    let Some(Command::Describe { sdp, .. }) = heard.last() else { panic!("{heard:?}") };
    assert!(sdp.text.contains("a=ice-ufrag:ysXw\r\n") && sdp.text.contains("a=rtpmap:111 opus/48000/2"));
    assert!(sdp.text.contains("a=candidate:2 1 udp 1 127.0.0.1 10 typ host"));

    patch(&rig, &path, Some(&first), CANDIDATE).await.refused(412, "stale_etag");
    assert_eq!(patch(&rig, &path, Some(&second), CANDIDATE).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_refused_restart_leaves_the_session_as_it_was() {
    let rig = Rig::new();
    let (path, tag) = rig.publish().await;
    rig.hub.script.lock().unwrap().describe = Does::Refuses(Refusal::BadDescription);
    patch(&rig, &path, Some("*"), RESTART).await.refused(400, "bad_description");
    assert_eq!(patch(&rig, &path, Some(&tag), CANDIDATE).await.status, StatusCode::NO_CONTENT);
    rig.hub.script.lock().unwrap().describe = Does::Drops(EndReason::Lost);
    patch(&rig, &path, Some("*"), RESTART).await.refused(404, "unknown_session");
    settle().await;
    patch(&rig, &path, Some(&tag), CANDIDATE).await.refused(404, "unknown_session");
}

#[tokio::test]
async fn delete_leaves_the_room_and_ends_the_resource() {
    let rig = Rig::new();
    let (path, _) = rig.publish().await;
    assert_eq!(rig.send(ask(Method::GET, &path, &[], "")).await.status, StatusCode::NO_CONTENT);
    // another path with the same id is not the session
    let elsewhere = path.replace("/whip/studio", "/whip/yard");
    rig.send(ask(Method::DELETE, &elsewhere, &[], "")).await.refused(404, "unknown_session");
    rig.send(ask(Method::DELETE, &path.replace("whip", "whep"), &[], "")).await.refused(404, "unknown_session");
    let deleted = rig.send(ask(Method::DELETE, &path, &[("if-match", "\"stale\"")], "")).await;
    assert_eq!(deleted.status, StatusCode::OK, "entity tags are ignored");
    settle().await;
    assert_eq!(rig.hub.leaves(), 1);
    rig.send(ask(Method::DELETE, &path, &[], "")).await.refused(404, "unknown_session");
    rig.send(ask(Method::GET, &path, &[], "")).await.refused(404, "unknown_session");
    rig.send(ask(Method::DELETE, "/whip/studio/main/not-an-id", &[], "")).await.refused(404, "unknown_session");
}

#[tokio::test]
async fn a_session_ends_with_its_peer_its_place_or_the_gateway() {
    let rig = Rig::new();
    let (path, tag) = rig.publish().await;
    rig.hub.tell(Notice::PeerDown { peer: PeerId(u64::MAX), reason: EndReason::Lost }).await;
    settle().await;
    assert_eq!(rig.get(&path).await.status, StatusCode::NO_CONTENT, "another peer's end is none of ours");
    let Some(Command::Publish { peer, .. }) = rig.hub.heard().into_iter().nth(1) else { panic!() };
    rig.hub.tell(Notice::PeerDown { peer, reason: EndReason::Lost }).await;
    settle().await;
    patch(&rig, &path, Some(&tag), CANDIDATE).await.refused(404, "unknown_session");
    assert_eq!(rig.hub.leaves(), 1);

    let (path, _) = rig.publish().await;
    rig.hub.tell(Notice::Ended { reason: EndReason::Evicted }).await;
    settle().await;
    rig.get(&path).await.refused(404, "unknown_session");

    let (path, _) = rig.publish().await;
    rig.shutdown.cancel();
    rig.tasks.close();
    rig.tasks.wait().await;
    rig.get(&path).await.refused(404, "unknown_session");
    settle().await;
    assert_eq!(rig.hub.leaves(), 3);
}

#[tokio::test]
async fn sessions_are_limited_in_number() {
    let rig = Rig::with(|parts| parts.limits.max_http_sessions = 1);
    let (path, _) = rig.publish().await;
    let reply = post(&rig, "/whip/studio", OFFER).await;
    reply.refused(503, "too_many_sessions");
    assert_eq!(reply.header("retry-after"), "10");
    rig.send(ask(Method::DELETE, &path, &[], "")).await;
    rig.publish().await;
}

#[tokio::test]
async fn other_methods_are_answered_as_the_rfc_has_it() {
    let rig = Rig::new();
    let (session, _) = rig.publish().await;
    let send = |method: Method, path: &str| rig.send(ask(method, path, &[], ""));
    assert_eq!(send(Method::GET, "/whip/studio").await.status, StatusCode::NO_CONTENT, "RFC 9725 section 4.1");
    let head = send(Method::HEAD, "/whep/studio").await;
    assert_eq!((head.status, head.header("content-type")), (StatusCode::OK, "application/sdp"));
    let options = send(Method::OPTIONS, "/whip/studio").await;
    assert_eq!((options.status, options.header("accept-post")), (StatusCode::OK, "application/sdp"));
    assert!(options.header("link").contains("ice-server"));
    let options = send(Method::OPTIONS, &session).await;
    assert_eq!((options.status, options.header("accept-patch")), (StatusCode::OK, "application/trickle-ice-sdpfrag"));
    for (method, path) in [
        (Method::PUT, "/whip/studio"),
        (Method::DELETE, "/whip/studio/main"),
        (Method::PATCH, "/whep/studio"),
        (Method::PUT, session.as_str()),
        (Method::POST, session.as_str()),
    ] {
        let reply = send(method.clone(), path).await;
        reply.refused(405, "method_not_allowed");
        assert!(reply.header("allow").contains("OPTIONS"), "{method} {path}: {:?}", reply.headers);
    }
}

/// Lets the spawned tasks run until they wait.
pub(super) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}
