//! Over a real loopback socket with a real client.

use std::time::Duration;

use axum::Router;
use axum::routing::any;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message as Wire;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::*;

const LIMIT: usize = 1024;

/// A server that hands each thing it hears to a channel and then closes with 1009 or completes the client's close.
async fn server() -> (String, mpsc::Receiver<String>, JoinHandle<()>) {
    let (heard, hears) = mpsc::channel(64);
    let route = any(async move |ws: WebSocketUpgrade| {
        ws.read_buffer_size(READ_BUFFER).max_message_size(LIMIT).max_frame_size(LIMIT).on_upgrade(async move |socket| {
            let mut socket = Socket::new(socket);
            loop {
                let inbound = socket.recv().await;
                let word = match &inbound {
                    Inbound::Text(text) => format!("text {text}"),
                    Inbound::Binary(bytes) => format!("binary {}", bytes.len()),
                    other => format!("{other:?}"),
                };
                let _ = heard.send(word).await;
                match inbound {
                    Inbound::Closed => return socket.close(1000, "").await,
                    Inbound::TooLarge => return socket.close(1009, "the message is too large").await,
                    Inbound::NotUtf8 => return socket.close(1007, "the text is no UTF-8").await,
                    Inbound::Violation(reason) => return socket.close(1002, reason).await,
                    Inbound::Lost(_) => return,
                    _ => {}
                }
            }
        })
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let task = tokio::spawn(async move { axum::serve(listener, Router::new().route("/api", route)).await.unwrap() });
    (address, hears, task)
}

async fn client(address: &str) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
    connect_async(format!("ws://{address}/api")).await.unwrap().0
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), what).await.expect("in time")
}

#[tokio::test]
async fn a_ping_is_answered_with_its_payload() {
    let (address, mut hears, server) = server().await;
    let mut client = client(&address).await;
    client.send(Wire::Ping("{}".into())).await.unwrap();
    assert_eq!(within(client.next()).await.unwrap().unwrap(), Wire::Pong("{}".into()));
    assert_eq!(within(hears.recv()).await.unwrap(), "Alive");
    client.send(Wire::Text("é".into())).await.unwrap();
    assert_eq!(within(hears.recv()).await.unwrap(), "text é");
    client.close(None).await.unwrap();
    assert_eq!(within(hears.recv()).await.unwrap(), "Closed");
    while within(client.next()).await.is_some_and(|read| read.is_ok()) {}
    server.abort();
}

#[tokio::test]
async fn a_large_message_is_closed_with_1009() {
    for size in [LIMIT + 1, 1024 * 1024] {
        let (address, mut hears, server) = server().await;
        let (mut write, mut read) = client(&address).await.split();
        // a client that writes and reads at the same time, as browsers do
        let writer = tokio::spawn(async move { write.send(Wire::Binary(vec![0; size].into())).await });
        assert_eq!(within(hears.recv()).await.unwrap(), "TooLarge");
        let Some(Ok(Wire::Close(Some(close)))) = within(read.next()).await else { panic!("no close frame") };
        assert_eq!((close.code, close.reason.as_str()), (CloseCode::Size, "the message is too large"));
        writer.abort();
        server.abort();
    }
}

/// RFC 6455 §5.1, §5.2 and §8.1: such connections are closed with a code, not just cut.
#[tokio::test]
async fn what_breaks_the_websockets_rules_can_be_answered_by_a_close_frame() {
    let large_ping = [&b"\x89\xfe\x00\x80\0\0\0\0"[..], &[0; 128]].concat();
    for (frame, word) in [
        (&b"\x81\x82\0\0\0\0\xc3\x28"[..], "NotUtf8"),
        (b"\x82\x01x", "Violation"),         // not masked
        (b"\xf2\x81\0\0\0\0x", "Violation"), // reserved bits
        (b"\x80\x81\0\0\0\0x", "Violation"), // a continuation of nothing
        (b"\x8b\x80\0\0\0\0", "Violation"),  // a control frame that there is not
        (&large_ping, "Violation"),
    ] {
        let (address, mut hears, server) = server().await;
        let mut client = client(&address).await;
        let MaybeTlsStream::Plain(stream) = client.get_mut() else { unreachable!("no TLS here") };
        tokio::io::AsyncWriteExt::write_all(stream, frame).await.unwrap();
        let heard = within(hears.recv()).await.unwrap();
        assert!(heard.starts_with(word), "{frame:?}: {heard}");
        let Some(Ok(Wire::Close(Some(close)))) = within(client.next()).await else { panic!("no close frame: {frame:?}") };
        assert_eq!(u16::from(close.code), if word == "NotUtf8" { 1007 } else { 1002 }, "{frame:?}");
        server.abort();
    }
}

#[tokio::test]
async fn a_connection_cut_off_is_a_loss() {
    let (address, mut hears, server) = server().await;
    drop(client(&address).await);
    assert!(within(hears.recv()).await.unwrap().starts_with("Lost"));
    server.abort();
}

#[tokio::test]
async fn a_plain_request_is_a_bad_request() {
    let (address, _hears, server) = server().await;
    let mut plain = TcpStream::connect(&address).await.unwrap();
    let request = format!("GET /api HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut plain, request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    within(tokio::io::AsyncReadExt::read_to_end(&mut plain, &mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "{}", String::from_utf8_lossy(&answer));
    server.abort();
}
