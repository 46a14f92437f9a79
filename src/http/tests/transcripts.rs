//! Recorded requests of real WHIP clients, replayed (`tests/transcripts/whip`). `tests/client_recorded.rs` replays them to a
//! running gateway.

#[path = "../../../tests/support/transcript.rs"]
mod transcript;

use super::*;

#[tokio::test]
async fn recorded_clients_are_served() {
    for (file, steps) in transcript::all() {
        let rig = Rig::new();
        let mut location = String::new();
        for step in steps {
            let path = step.path.replace("{location}", &location);
            let mut request = Request::builder().method(step.method.as_str()).uri(&path);
            for (name, value) in &step.headers {
                request = request.header(name, value);
            }
            let request = request.body(Body::from(step.body)).unwrap();
            let reply = rig.send_from("192.0.2.1", request).await;
            let at = format!("{} {} of {}", step.method, step.path, file.display());
            assert_eq!(reply.status.as_u16(), step.status, "{at}: {}", reply.body);
            for (name, value) in step.expected {
                assert!(reply.header(&name).starts_with(&value), "{at}: {name} is {:?}", reply.header(&name));
            }
            if step.status == 201 {
                location = reply.header("location").to_owned();
                // OBS and FFmpeg both take an answer only if it begins so
                assert!(reply.body.starts_with("v=0"), "{at}");
            }
        }
    }
}
