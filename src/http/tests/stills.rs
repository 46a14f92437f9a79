//! Pictures of streams.

use std::sync::Mutex;

use bytes::Bytes;

use super::*;
use crate::media::SourceError;
use crate::media::snapshot::{Picture, SnapshotError};
use crate::room::Refusal;

const PATH: &str = "/api/v1/rooms/studio/streams/door/snapshot.jpg";

/// Answers as it is told, and writes down what was wanted.
struct FakeStills {
    answer: Result<Arc<Picture>, NoStill>,
    wanted: Arc<Mutex<Vec<Still>>>,
}

#[async_trait]
impl Stills for FakeStills {
    async fn take(&self, wish: Still) -> Result<Arc<Picture>, NoStill> {
        self.wanted.lock().unwrap().push(wish);
        self.answer.clone()
    }
}

fn rig(answer: Result<Arc<Picture>, NoStill>) -> (Rig, Arc<Mutex<Vec<Still>>>) {
    let wanted = Arc::<Mutex<Vec<Still>>>::default();
    let stills = FakeStills { answer, wanted: Arc::clone(&wanted) };
    (Rig::with(|parts| parts.stills = Arc::new(stills)), wanted)
}

/// What the harness reads as text.
fn picture() -> Arc<Picture> {
    Arc::new(Picture::new(Bytes::from_static(b"a JPEG")))
}

async fn get_as(rig: &Rig, token: &str, headers: &[(&str, &str)]) -> Reply {
    let bearer = format!("Bearer {token}");
    let headers: Vec<(&str, &str)> = headers.iter().copied().chain([("authorization", bearer.as_str())]).collect();
    rig.send(ask(Method::GET, PATH, &headers, "")).await
}

#[tokio::test]
async fn a_picture_comes_with_its_tag_and_not_again_to_who_has_it() {
    let (rig, wanted) = rig(Ok(picture()));
    let reply = rig.get(PATH).await;
    assert_eq!((reply.status, reply.body.as_str()), (StatusCode::OK, "a JPEG"));
    assert_eq!((reply.header("content-type"), reply.header("cache-control")), ("image/jpeg", "private, max-age=1"));
    let tag = reply.header("etag").to_owned();
    assert_eq!(tag, picture().etag);
    for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".into()] {
        let reply = rig.send(ask(Method::GET, PATH, &[("if-none-match", &known)], "")).await;
        assert_eq!((reply.status, reply.body.as_str(), reply.header("etag")), (StatusCode::NOT_MODIFIED, "", &*tag), "{known}");
    }
    let other = rig.send(ask(Method::GET, PATH, &[("if-none-match", "\"other\"")], "")).await;
    assert_eq!(other.status, StatusCode::OK);
    let head = rig.send(ask(Method::HEAD, PATH, &[], "")).await;
    assert_eq!((head.status, head.body.as_str(), head.header("etag")), (StatusCode::OK, "", &*tag));
    let still = wanted.lock().unwrap()[0].clone();
    assert_eq!((still.room.as_str(), still.stream.as_str(), still.member, still.width), ("studio", "door", None, None));
}

#[tokio::test]
async fn what_is_wanted_is_read_and_checked() {
    let (rig, wanted) = rig(Ok(picture()));
    let member = "ab".repeat(16);
    rig.get(&format!("/api/v1/rooms/hall%20way/streams/a%2Fb/snapshot.jpg?width=640&member={member}")).await;
    let still = wanted.lock().unwrap().pop().unwrap();
    assert_eq!((still.room.as_str(), still.stream.as_str(), still.width), ("hall way", "a/b", Some(640)));
    assert_eq!(still.member, Some(MemberId([0xab; 16])));
    for width in ["15", "4097", "0", "-1", "70000", "wide", ""] {
        rig.get(&format!("{PATH}?width={width}")).await.refused(400, "malformed");
    }
    rig.get(&format!("{PATH}?member=xyz")).await.refused(404, "unknown_member");
    rig.get(&format!("/api/v1/rooms/studio/streams/{}/snapshot.jpg", "x".repeat(65))).await.refused(400, "bad_name");
    rig.send(ask(Method::POST, PATH, &[], "")).await.refused(405, "method_not_allowed");
    assert!(wanted.lock().unwrap().is_empty());
}

#[tokio::test]
async fn only_those_who_may_watch_the_room_see_it() {
    let (rig, wanted) = rig(Ok(picture()));
    assert_eq!(get_as(&rig, "s@studio", &[]).await.status, StatusCode::OK);
    assert_eq!(rig.get(&format!("{PATH}?token=s%40studio")).await.status, StatusCode::OK);
    wanted.lock().unwrap().clear();
    for token in ["s@yard", "p@studio", "c@studio"] {
        get_as(&rig, token, &[]).await.refused(403, "forbidden");
    }
    rig.send_from("192.0.2.1", ask(Method::GET, PATH, &[], "")).await.refused(401, "unauthorised");
    assert!(wanted.lock().unwrap().is_empty(), "nothing is opened for them");
}

#[tokio::test]
async fn what_cannot_be_had_is_said_in_the_one_form() {
    let gone = || NoStill::Refused(Refusal::UnknownRoom(RoomId::new("studio").unwrap()));
    let missing = || SnapshotError::MissingElement { element: "jpegenc".into(), package: "gstreamer1.0-plugins-good".into() };
    let cases: Vec<(NoStill, u16, &str, &str)> = vec![
        (gone(), 404, "unknown_room", ""),
        (NoStill::Refused(Refusal::UnknownStream), 404, "unknown_stream", ""),
        (NoStill::Hub(crate::hub::HubGone), 503, "stopping", "5"),
        (SnapshotError::NoPicture.into(), 404, "no_picture", ""),
        (SnapshotError::NoKeyFrame(std::time::Duration::from_secs(10)).into(), 503, "no_key_frame", "2"),
        (SnapshotError::Busy.into(), 503, "too_many_snapshots", "1"),
        (missing().into(), 503, "no_decoder", "60"),
        (SnapshotError::NoDecoder { codec: Codec::H264, package: Some("gstreamer1.0-libav") }.into(), 503, "no_decoder", "60"),
        (SnapshotError::Undecoded("bad".into()).into(), 503, "undecoded", "5"),
        (SnapshotError::Stopping.into(), 503, "stopping", "5"),
    ];
    for (why, status, code, retry) in cases {
        let (rig, _) = rig(Err(why));
        let reply = rig.get(PATH).await;
        assert_eq!(reply.refused(status, code).header("retry-after"), retry, "{code}");
        if code == "no_decoder" {
            assert!(reply.body.contains("install Debian package gstreamer1.0-"), "{}", reply.body);
        }
    }
    // an address is for those in control alone
    let secret = SourceError::Missing { what: "rtsp://camera.lan".into() };
    let (rig, _) = rig(Err(SnapshotError::Source(secret).into()));
    assert!(rig.get(PATH).await.refused(503, "source_failed").body.contains("camera.lan"));
    let seen = get_as(&rig, "s@studio", &[]).await;
    assert!(!seen.refused(503, "source_failed").body.contains("camera.lan"), "{}", seen.body);
}
