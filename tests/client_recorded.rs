//! Recorded requests of OBS and FFmpeg (`tests/transcripts/whip`), replayed to a running gateway over HTTP.

mod support;

use std::time::{Duration, SystemTime};

use portico::ops::access::{Secret, TokenRequest, sign};
use portico::vocab::{Right, RoomPattern};
use support::{Gateway, http, transcript};

const SECRET: &str = "a secret of the recorded clients";

/// A real token in place of a recorded one, `p@ROOM`: it may publish in that room.
fn token(recorded: &str) -> String {
    let (letters, room) = recorded.split_once('@').expect("letters and a room");
    assert_eq!(letters, "p");
    let request = TokenRequest {
        rooms: RoomPattern::any_of([room]),
        rights: [Right::Publish].into_iter().collect(),
        expires: Some(SystemTime::now() + Duration::from_secs(3600)),
        subject: "recorded".into(),
        user_id: None,
    };
    sign(&request, &Secret::new(SECRET), SystemTime::now())
}

#[tokio::test]
async fn recorded_clients_are_served_by_the_gateway() {
    // the recorded host is the one that the clients were told
    let config = format!(
        "[http]\nallowed_origins = [\"http://portico.example:8780\"]\n\
         [media]\nice_servers = [\"stun:stun.example.net:3478\"]\n\
         [access]\ntoken_secret = \"{SECRET}\"\n"
    );
    let client = http();
    for (file, steps) in transcript::all() {
        let gateway = Gateway::start(&config);
        let mut location = String::new();
        for step in steps {
            let at = format!("{} {} of {}", step.method, step.path, file.display());
            let url = format!("{}{}", gateway.base, step.path.replace("{location}", &location));
            let mut request = client.request(step.method.parse().expect("a method"), url);
            for (name, value) in &step.headers {
                request = match (name.as_str(), value.strip_prefix("Bearer ")) {
                    ("authorization", Some(recorded)) => request.bearer_auth(token(recorded)),
                    _ => request.header(name, value),
                };
            }
            let reply = request.body(step.body).send().await.unwrap_or_else(|e| panic!("{at}: {e}"));
            let (status, headers) = (reply.status().as_u16(), reply.headers().clone());
            let body = reply.text().await.expect("a text");
            assert_eq!(status, step.status, "{at}: {body}");
            for (name, value) in step.expected {
                let real = headers.get(&name).map_or("", |value| value.to_str().expect("a text"));
                assert!(real.starts_with(&value), "{at}: {name} is {real:?}");
            }
            if status == 201 {
                location = headers["location"].to_str().expect("a path").to_owned();
                assert!(body.starts_with("v=0"), "{at}: {body}");
                assert!(body.contains("a=candidate:"), "they send none, so they need ours: {at}: {body}");
                assert!(body.contains("a=recvonly") && !body.contains("\nm=video 0 "), "{at}: {body}");
            }
        }
    }
}
