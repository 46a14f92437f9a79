use bytes::BytesMut;

use super::*;
use crate::rtsp::server::wire::{Decoder, Incoming};

fn request(head: &str) -> Request {
    let text = format!("{}\r\nCSeq: 5\r\n\r\n", head.replace('\n', "\r\n"));
    match (Decoder { arrived: BytesMut::from(text.as_bytes()) }).next() {
        Ok(Some(Incoming::Request(request))) => request,
        other => panic!("{head}: {other:?}"),
    }
}

fn text(response: &Response) -> String {
    let mut out = BytesMut::new();
    response.write(&mut out);
    String::from_utf8(out.to_vec()).unwrap()
}

fn session() -> Session {
    Session::new("abc".into(), (8554, 8555))
}

/// Asks, and gives the status and the text of the answer.
fn ask(session: &mut Session, head: &str) -> (Status, String) {
    match session.handle(&request(head), || 0x1234_5678) {
        Step::Answer(response) | Step::Play(response) | Step::Pause(response) | Step::End(response) => {
            (response.status, text(&response))
        }
        Step::Open { .. } => panic!("{head}: opens"),
    }
}

/// A session with a stream of so many tracks.
fn described(tracks: usize) -> Session {
    let mut session = session();
    let step = session.handle(&request("DESCRIBE rtsp://h:8554/main/door?token=t RTSP/1.0"), || 0);
    let Step::Open { cseq: 5, target } = step else { panic!("{step:?}") };
    let answer = session.described(5, &target, tracks, "v=0\r\n".into());
    assert!(text(&answer).contains("Content-Base: rtsp://h:8554/main/door/\r\n"), "without the token");
    session
}

#[test]
fn a_session_from_its_description_to_its_end() {
    let mut session = described(2);
    let (status, answer) =
        ask(&mut session, "SETUP rtsp://h:8554/main/door/trackID=0 RTSP/1.0\nTransport: RTP/AVP;unicast;client_port=5000-5001");
    assert_eq!(status, Status::Ok);
    let transport = "Transport: RTP/AVP;unicast;client_port=5000-5001;server_port=8554-8555;ssrc=12345678\r\n";
    assert!(answer.contains(transport) && answer.contains("Session: abc;timeout=60\r\n"), "{answer}");
    let set_up = "SETUP rtsp://h:8554/main/door/trackID=1 RTSP/1.0\nTransport: RTP/AVP/TCP;interleaved=0-1\nSession: abc";
    assert_eq!(ask(&mut session, set_up).0, Status::Ok);
    let step = session.handle(&request("PLAY rtsp://h:8554/main/door/ RTSP/1.0\nSession: abc;timeout=60"), || 0);
    let Step::Play(response) = step else { panic!("{step:?}") };
    let info = "RTP-Info: url=rtsp://h:8554/main/door/trackID=0;seq=22136,url=rtsp://h:8554/main/door/trackID=1;seq=22136\r\n";
    assert!(text(&response).contains(info), "{}", text(&response));
    assert!(session.is_playing());
    assert_eq!(ask(&mut session, set_up).0, Status::NotInThisState);
    assert_eq!(ask(&mut session, "DESCRIBE rtsp://h/main RTSP/1.0").0, Status::NotInThisState);
    assert_eq!(ask(&mut session, "GET_PARAMETER rtsp://h/main RTSP/1.0\nSession: abc").0, Status::Ok);
    assert_eq!(ask(&mut session, "PAUSE rtsp://h/main RTSP/1.0\nSession: abc").0, Status::Ok);
    assert!(!session.is_playing());
    // a player that got nothing by UDP sets up anew
    assert_eq!(
        ask(&mut session, "SETUP rtsp://h/main/door/trackID=0 RTSP/1.0\nTransport: RTP/AVP/TCP;interleaved=2-3").0,
        Status::Ok
    );
    assert_eq!(ask(&mut session, "PLAY rtsp://h/main RTSP/1.0\nSession: abc").0, Status::Ok);
    assert_eq!(set_up_tracks(session.tracks()).map(|(index, pt, _)| (index, pt)).collect::<Vec<_>>(), [(0, 96), (1, 97)]);
    assert_eq!(ask(&mut session, "TEARDOWN rtsp://h/main RTSP/1.0\nSession: abc").0, Status::Ok);
    assert!(session.tracks().is_empty() && !session.is_playing());
}

#[test]
fn requests_out_of_order_are_refused() {
    let mut session = session();
    let set_up = |track| format!("SETUP rtsp://h/main/{track} RTSP/1.0\nTransport: RTP/AVP/TCP;interleaved=0-1");
    for head in [set_up("trackID=0").as_str(), "PLAY rtsp://h/main RTSP/1.0", "PAUSE rtsp://h/main RTSP/1.0"] {
        assert_eq!(ask(&mut session, head).0, Status::NotInThisState, "{head}");
    }
    let mut session = described(2);
    assert_eq!(ask(&mut session, "PLAY rtsp://h/main RTSP/1.0").0, Status::NotInThisState);
    for (head, status) in [
        (set_up("trackID=2").as_str(), Status::NotFound),
        (set_up("").as_str(), Status::AggregateNotAllowed),
        ("SETUP rtsp://h/main/trackID=0 RTSP/1.0\nTransport: RTP/AVP;multicast", Status::UnsupportedTransport),
        ("SETUP rtsp://h/main/trackID=0 RTSP/1.0", Status::UnsupportedTransport),
        ("PLAY rtsp://h/main RTSP/1.0\nSession: other", Status::SessionNotFound),
        ("RECORD rtsp://h/main RTSP/1.0", Status::NotImplemented),
        ("DESCRIBE rtsp://h/ RTSP/1.0", Status::NotFound),
        ("DESCRIBE rtsp://h/main RTSP/1.0\nRequire: funky-feature", Status::OptionNotSupported),
    ] {
        assert_eq!(ask(&mut session, head).0, status, "{head}");
    }
}

#[test]
fn two_tracks_never_share_a_channel() {
    let mut session = described(2);
    let set_up = |track, channels| format!("SETUP rtsp://h/main/trackID={track} RTSP/1.0\nTransport: RTP/AVP/TCP{channels}");
    assert_eq!(ask(&mut session, &set_up(0, ";interleaved=0-1")).0, Status::Ok);
    assert_eq!(ask(&mut session, &set_up(1, ";interleaved=1-2")).0, Status::UnsupportedTransport);
    assert_eq!(ask(&mut session, &set_up(1, ";interleaved=2-2")).0, Status::UnsupportedTransport);
    let (status, answer) = ask(&mut session, &set_up(1, ""));
    assert!(status == Status::Ok && answer.contains("interleaved=2-3"), "{answer}");
    assert_eq!(ask(&mut session, &set_up(0, ";interleaved=0-1")).0, Status::Ok, "anew");
}

#[test]
fn who_may_not_is_told_how_to_bring_a_token() {
    let answer = text(&session().refuse(9, Status::Unauthorized));
    assert!(answer.starts_with("RTSP/1.0 401 Unauthorized\r\nCSeq: 9\r\n"), "{answer}");
    assert!(answer.contains("WWW-Authenticate: Basic realm=\"Portico\"\r\n"), "{answer}");
}
