//! A web server that is away, refuses, and takes again.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::brokers::free_port;
use crate::clients::until;
use crate::support::Gateway;
use crate::{comings_of, sink, visit, visits};

const KEY: &[u8] = b"twenty-four bytes of key";

/// What the server does, and what it got.
#[derive(Default)]
struct Book {
    /// Answers that are given before anything is taken.
    first: Vec<StatusCode>,
    /// Users whose events it cannot read.
    unreadable: Vec<String>,
    /// Requests, taken or not: id, name, event.
    asked: Vec<(String, String, Value)>,
    taken: Vec<(String, Value)>,
}

type Shared = Arc<Mutex<Book>>;

async fn hook(State(book): State<Shared>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers[name].to_str().expect("text").to_owned();
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(KEY).expect("a key");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(&body);
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    assert_eq!(header("webhook-signature"), format!("v1,{signature}"));
    assert_eq!(header("content-type"), "application/json");
    let event: Value = serde_json::from_slice(&body).expect("JSON");
    let name = event["type"].as_str().expect("a type").to_owned();
    let data = event["data"].clone();
    assert!(event["timestamp"].is_string(), "{event}");
    let mut book = book.lock().expect("unpoisoned");
    book.asked.push((id, name.clone(), data.clone()));
    if !book.first.is_empty() {
        return book.first.remove(0);
    }
    if book.unreadable.iter().any(|user| data["userId"] == **user) {
        return StatusCode::UNPROCESSABLE_ENTITY;
    }
    book.taken.push((name, data));
    StatusCode::NO_CONTENT
}

/// Serves until the token is cancelled.
fn serve(port: u16, book: Shared) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port");
    listener.set_nonblocking(true).expect("set");
    let stop = CancellationToken::new();
    let end = stop.clone().cancelled_owned();
    let routes = Router::new().route("/hook", post(hook)).with_state(book);
    let task = tokio::spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        axum::serve(listener, routes).with_graceful_shutdown(end).await.expect("served");
    });
    (stop, task)
}

fn comings(book: &Shared) -> Vec<String> {
    comings_of(book.lock().unwrap().taken.iter().map(|(name, body)| (name.as_str(), body)), "hall")
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_posted_signed_one_by_one_and_again_until_they_are_taken() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(dir.path().join("secret"), format!("whsec_{}\n", STANDARD.encode(KEY))).expect("it is written");
    let port = free_port();
    let folder = dir.path().display();
    let gateway = Gateway::start(&format!(
        "[events]\nstore_dir = \"{folder}/store\"\n[[events.sink]]\nname = \"site\"\ntype = \"webhook\"\n\
         url = \"http://127.0.0.1:{port}/hook\"\nsecret_file = \"{folder}/secret\"\n"
    ));
    // nobody is there yet
    for user in 0..3 {
        visit(&gateway.base, "hall", &format!("v{user}")).await;
    }
    until("that the server is missed", async || match sink(&gateway.base, "site").await {
        seen if seen["connected"] == false && seen["backlog"].as_u64() >= Some(6) => Ok(()),
        seen => Err(seen.to_string()),
    })
    .await;
    let book = Shared::default();
    book.lock().unwrap().first = vec![StatusCode::SERVICE_UNAVAILABLE, StatusCode::NOT_FOUND, StatusCode::MOVED_PERMANENTLY];
    book.lock().unwrap().unreadable = vec!["v1".into()];
    let (stop, task) = serve(port, book.clone());
    let wait = async |expected: Vec<String>| {
        until("the events", async || match comings(&book) {
            seen if seen == expected => Ok(()),
            seen => Err(format!("{seen:?}, not {expected:?}")),
        })
        .await;
    };
    // what it cannot read is left out, what it does not take now is tried again
    wait([visits(0..1), visits(2..3)].concat()).await;
    stop.cancel();
    task.await.expect("stopped");
    visit(&gateway.base, "hall", "v3").await;
    let (_stop, _task) = serve(port, book.clone());
    wait([visits(0..1), visits(2..4)].concat()).await;

    let seen = sink(&gateway.base, "site").await;
    assert_eq!((&seen["refused"], &seen["dropped"]), (&2.into(), &0.into()), "{seen}");
    let book = book.lock().unwrap();
    let mut ids: BTreeMap<&str, &Value> = BTreeMap::new();
    for (id, name, data) in &book.asked {
        let before = ids.insert(id, data).unwrap_or(data);
        assert_eq!(before, data, "{name}: an id is one event's");
    }
    assert!(book.asked.len() >= ids.len() + 3, "three were asked for again");
    assert_eq!(book.taken.len() + 2, ids.len(), "each was taken once, but two");
}
