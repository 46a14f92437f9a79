//! Events reach real brokers and a real web server, in order and without loss.

#[cfg(feature = "amqp")]
#[path = "events/amqp.rs"]
mod amqp;
#[path = "support/brokers.rs"]
mod brokers;
#[path = "support/clients.rs"]
mod clients;
#[cfg(feature = "mqtt")]
#[path = "events/home.rs"]
mod home;
#[cfg(feature = "mqtt")]
#[path = "events/mqtt.rs"]
mod mqtt;
mod support;
#[path = "events/webhook.rs"]
mod webhook;

use clients::{get, tribe_joined, until};
use serde_json::Value;

/// Joins and leaves of a room as `+user size` and `-user size`.
fn comings_of<'a>(events: impl Iterator<Item = (&'a str, &'a Value)>, room: &str) -> Vec<String> {
    let line = |(name, body): (&str, &Value)| {
        let sign = match name {
            "room.join" => '+',
            "room.leave" => '-',
            _ => return None,
        };
        Some(format!("{sign}{} {}", body["userId"].as_str()?, body["roomSize"]))
    };
    events.filter(|(_, body)| body["roomId"] == room).filter_map(line).collect()
}

/// What [`comings_of`] says of members that came and went one after the other.
fn visits(users: std::ops::Range<u32>) -> Vec<String> {
    users.flat_map(|user| [format!("+v{user} 1"), format!("-v{user} 0")]).collect()
}

/// How a sink stands.
async fn sink(base: &str, name: &str) -> Value {
    let state = get(base, "/api/v1/sinks").await;
    let found = state["sinks"].as_array().into_iter().flatten().find(|sink| sink["name"] == name);
    found.cloned().unwrap_or_else(|| panic!("no sink {name} in {state:#}"))
}

/// Waits until the sink takes events.
async fn connected(base: &str, name: &str) {
    until("the broker", async || match sink(base, name).await {
        seen if seen["connected"] == true => Ok(()),
        seen => Err(seen.to_string()),
    })
    .await;
}

/// Gives the gateway another configuration (SIGHUP) and waits until it goes by it.
async fn reload(gateway: &mut support::Gateway, config: &str) {
    let applied = |gateway: &mut support::Gateway| gateway.log().matches("configuration applied").count();
    let before = applied(gateway);
    std::fs::write(gateway.dir().join("portico.toml"), config).expect("it is written");
    let sent = std::process::Command::new("kill").args(["-HUP", &gateway.pid().to_string()]).status().expect("kill runs");
    assert!(sent.success());
    until("that it is applied", async || match applied(gateway) {
        now if now > before => Ok(()),
        _ => Err(gateway.log()),
    })
    .await;
}

/// A member comes and goes, each heard.
async fn visit(base: &str, room: &str, user: &str) {
    let (mut socket, _) = tribe_joined(base, room, user).await;
    socket.0.close(None).await.expect("closed");
    socket.closed().await;
}
