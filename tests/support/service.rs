//! A local HTTP service of the kind that requests over a data channel reach, with every way to fail; it writes down what it is asked.
#![allow(dead_code)] // each test file uses a part of it

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use futures_util::stream;
use serde_json::json;
use tokio::sync::oneshot;

/// One request as it arrived: method, path with query, body.
pub type Asked = (String, String, String);

/// A running service; ends when dropped.
pub struct Service {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    waiting: Arc<AtomicUsize>,
    _stop: oneshot::Sender<()>,
}

#[derive(Clone)]
struct Inside {
    asked: Arc<Mutex<Vec<Asked>>>,
    /// Requests that wait for ever.
    waiting: Arc<AtomicUsize>,
    /// Where `/v1/away` leads.
    elsewhere: String,
}

impl Service {
    /// On a free port of loopback. `elsewhere` is where its redirect leads.
    pub fn start(elsewhere: &str) -> Self {
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let waiting = Arc::<AtomicUsize>::default();
        let inside = Inside { asked: Arc::clone(&asked), waiting: Arc::clone(&waiting), elsewhere: elsewhere.into() };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                let routes = Router::new().fallback(answer).with_state(inside);
                tokio::select! {
                    ended = axum::serve(listener, routes) => panic!("the service ended: {ended:?}"),
                    _ = stopped => {}
                }
            });
        });
        Self { address, asked, waiting, _stop: stop }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests wait now for an answer that never comes.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic while it is held").clone()
    }
}

/// An address of loopback where nobody listens, as long as the socket is kept.
pub fn nowhere() -> (tokio::net::TcpSocket, String) {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let address = socket.local_addr().expect("an address");
    (socket, format!("http://{address}"))
}

/// The address of a service that takes every connection and closes it without a word.
pub fn hangs_up() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || listener.incoming().for_each(drop));
    format!("http://{address}")
}

/// Counts a request as long as its client waits.
struct Waits(Arc<AtomicUsize>);

impl Waits {
    fn new(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn answer(State(inside): State<Inside>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let body = String::from_utf8_lossy(&body).into_owned();
    inside.asked.lock().expect("no panic while it is held").push((method.to_string(), uri.to_string(), body.clone()));
    let arguments = || uri.query().unwrap_or_default().split('&').filter_map(|part| part.split_once('='));
    match uri.path() {
        "/v1/account/id" => {
            let id = arguments().find(|(name, _)| *name == "id").map(|(_, value)| value);
            axum::Json(json!({ "id": id })).into_response()
        }
        "/v1/inject" => (StatusCode::ACCEPTED, "").into_response(),
        "/v1/large" => "x".repeat(2000).into_response(),
        "/v1/endless" => Body::from_stream(stream::repeat_with(|| Ok::<_, std::io::Error>("x".repeat(1000)))).into_response(),
        "/v1/never" => {
            let _waits = Waits::new(inside.waiting);
            std::future::pending().await
        }
        "/v1/drip" => {
            let drops = stream::unfold((), |()| async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Some((Ok::<_, std::io::Error>("x"), ()))
            });
            Body::from_stream(drops).into_response()
        }
        "/v1/away" => Redirect::temporary(&inside.elsewhere).into_response(),
        "/v1/sorry" => (StatusCode::INTERNAL_SERVER_ERROR, "a page with secrets").into_response(),
        "/v1/bytes" => vec![0xff, 0xfe].into_response(),
        _ => {
            let named: Vec<&str> = headers.keys().map(header::HeaderName::as_str).collect();
            let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
            axum::Json(json!({ "method": method.as_str(), "uri": uri.to_string(), "headers": named, "host": host, "body": body }))
                .into_response()
        }
    }
}
