//! What tests of bridges share: their states by the API, and viewers that wait for a stream.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::{Gateway, PATIENCE};
use super::whep::{Answer, Viewer, get, request};

/// Asks until it is so.
pub fn until(what: &str, mut ask: impl FnMut() -> Value, good: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let value = ask();
        if good(&value) {
            return value;
        }
        assert!(Instant::now() < end, "{what} never was: {value:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Plays a stream as soon as it is there.
pub fn join_when_there(base: &str, path: &str) -> Viewer {
    let end = Instant::now() + PATIENCE;
    loop {
        match Viewer::try_join(base, path) {
            Ok(viewer) => return viewer,
            Err(answer) if matches!(answer.status, 404 | 409) && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(answer) => panic!("{path} answered {}: {}", answer.status, answer.body),
        }
    }
}

/// A bridge as the API shows it; null where there is none.
pub fn bridge(gateway: &Gateway, name: &str) -> Value {
    let answer = get(&gateway.base, &format!("/api/v1/bridges/{name}"));
    if answer.status == 200 { answer.json() } else { Value::Null }
}

/// Waits until a bridge is in a state.
pub fn wait_state(gateway: &Gateway, name: &str, state: &str) -> Value {
    until(&format!("{name} {state}"), || bridge(gateway, name), |it| it["state"] == state)
}

/// Adds a bridge by the API.
pub fn add(gateway: &Gateway, body: &Value) -> Answer {
    request("POST", &gateway.base, "/api/v1/bridges", "application/json", &body.to_string())
}

/// Removes one; the status of the answer.
pub fn remove(gateway: &Gateway, name: &str) -> u16 {
    request("DELETE", &gateway.base, &format!("/api/v1/bridges/{name}"), "application/json", "").status
}
