//! The server loop over real sockets on loopback.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

struct Served {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

fn serve_with(rig: &Rig, tls: Option<Arc<rustls::ServerConfig>>, limits: Limits) -> Served {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = rig.shutdown.clone();
    let task = tokio::spawn(serve(listener, rig.router.clone(), tls, shutdown.clone(), Admission::new(&limits)));
    Served { address, shutdown, task }
}

async fn exchange(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text).await; // a peer that cuts the connection ends the text too
    text
}

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn plain_connections_are_served() {
    let rig = Rig::new();
    let served = serve_with(&rig, None, Limits::default());
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let text = exchange(&mut stream, HEALTH).await;
    assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with("ok\n"), "{text}");
    served.shutdown.cancel();
    served.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn tls_connections_are_served() {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let rig = Rig::new();
    let limits = Limits { handshake_time: Duration::from_millis(200), ..Limits::default() };
    let served = serve_with(&rig, Some(Arc::new(config)), limits);

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(served.address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, tcp).await.unwrap();
    assert!(exchange(&mut stream, HEALTH).await.starts_with("HTTP/1.1 200 OK"));

    // a client that says nothing, and one that speaks plain HTTP
    let mut silent = TcpStream::connect(served.address).await.unwrap();
    let mut plain = TcpStream::connect(served.address).await.unwrap();
    let told = exchange(&mut plain, HEALTH).await.to_ascii_lowercase();
    assert!(told.starts_with("http/1.1 307") && told.contains("location: https://localhost/healthz"), "{told}");
    let mut plain = TcpStream::connect(served.address).await.unwrap();
    let told = exchange(&mut plain, "POST /whip/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").await;
    assert!(told.starts_with("HTTP/1.1 400") && told.contains("https"), "{told}");
    assert_eq!(silent.read(&mut [0; 8]).await.unwrap_or(0), 0, "cut after the handshake time");
    served.shutdown.cancel();
    served.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_sends_no_request_is_cut() {
    let rig = Rig::new();
    let limits = Limits { handshake_time: Duration::from_millis(200), ..Limits::default() };
    let served = serve_with(&rig, None, limits);
    let mut silent = TcpStream::connect(served.address).await.unwrap();
    let mut slow = TcpStream::connect(served.address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nX-Slow:").await.unwrap();
    let begun = Instant::now();
    for stream in [&mut silent, &mut slow] {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "it was not cut");
    }
    assert!(begun.elapsed() >= Duration::from_millis(100));
    served.shutdown.cancel();
    served.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn stopping_ends_everything_within_two_seconds() {
    let rig = Rig::new();
    rig.hub.script.lock().unwrap().media = crate::http::fake::Does::Keeps;
    let served = serve_with(&rig, None, Limits::default());
    // an idle connection, one whose request is never answered, and one that reads events
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    idle.read_exact(&mut [0; 15]).await.unwrap();
    let mut stuck = TcpStream::connect(served.address).await.unwrap();
    stuck.write_all(b"POST /whip/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n").await.unwrap();
    let mut reader = TcpStream::connect(served.address).await.unwrap();
    reader.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    reader.read_exact(&mut [0; 15]).await.unwrap();

    let begun = Instant::now();
    served.shutdown.cancel();
    served.task.await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(TcpStream::connect(served.address).await.is_err(), "the port is free");
}

#[tokio::test]
async fn a_connection_can_become_a_websocket() {
    use axum::extract::ws::{Message, WebSocketUpgrade};
    use futures_util::{SinkExt, StreamExt};
    let echo = axum::routing::get(async |caller: Caller, upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(async move |mut socket| {
            while let Some(Ok(Message::Text(text))) = socket.recv().await {
                let _ = socket.send(Message::Text(format!("{}: {text}", caller.remote).into())).await;
            }
        })
    });
    let rig = Rig::with_extra(|_| {}, Router::new().route("/page", echo));
    let served = serve_with(&rig, None, Limits::default());
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{}/page", served.address)).await.unwrap();
    socket.send(tokio_tungstenite::tungstenite::Message::text("hello")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap().as_str(), "127.0.0.1: hello");
    served.shutdown.cancel();
    served.task.await.unwrap().unwrap();
}
