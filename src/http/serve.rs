//! The server loop: plain or TLS, with limits per address, handshake times and a short goodbye.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::Limits;
use super::edge::limit_key;
use super::read_ahead::ReadAhead;

/// Requests under way when the gateway stops may finish in this time.
const GOODBYE: Duration = Duration::from_millis(1500);
/// A failing `accept` (no file descriptors left) is tried again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Read buffer of one connection: the largest request head taken. 16 KiB holds a long token and a browser's headers.
const HEAD_BYTES: usize = 16 << 10;

/// How many connections are taken. One for all listeners, so that they are counted together. Cheap to clone.
#[derive(Clone)]
pub struct Admission {
    handshake_time: Duration,
    counts: Arc<Counts>,
}

impl Admission {
    /// With nobody admitted yet.
    pub fn new(limits: &Limits) -> Self {
        Self { handshake_time: limits.handshake_time, counts: Arc::new(Counts::new(limits)) }
    }
}

/// Serves until `shutdown`, then lets requests under way finish for 1.5 s and cuts the rest. HTTP/1.1 with upgrades.
/// Fails when the listener cannot be used.
pub async fn serve(
    listener: std::net::TcpListener,
    router: Router,
    tls: Option<Arc<rustls::ServerConfig>>,
    shutdown: CancellationToken,
    admission: Admission,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let server = Arc::new(Server {
        router,
        tls: tls.map(TlsAcceptor::from),
        handshake_time: admission.handshake_time,
        counts: admission.counts,
        shutdown: shutdown.clone(),
    });
    let cut = CancellationToken::new();
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, remote)) => {
                let Some(ticket) = server.counts.admit(remote.ip()) else {
                    tracing::debug!(remote_addr = %remote.ip(), "connection refused: too many");
                    continue;
                };
                let (server, cut) = (server.clone(), cut.clone());
                connections.spawn(async move {
                    tokio::select! {
                        () = server.connection(stream, remote, ticket) => {}
                        () = cut.cancelled() => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(GOODBYE, connections.wait()).await.is_err() {
        cut.cancel();
        connections.wait().await;
    }
    Ok(())
}

struct Server {
    router: Router,
    tls: Option<TlsAcceptor>,
    handshake_time: Duration,
    counts: Arc<Counts>,
    shutdown: CancellationToken,
}

impl Server {
    async fn connection(&self, stream: TcpStream, remote: SocketAddr, ticket: Ticket) {
        // answers are small and awaited
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let stream = Counted { stream: ReadAhead::new(stream), _ticket: ticket };
        match &self.tls {
            None => self.http(stream, remote).await,
            Some(_) if self.speaks_plain_http(stream.stream.get_ref()).await => self.send_to_https(stream).await,
            Some(acceptor) => match tokio::time::timeout(self.handshake_time, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => self.http(stream, remote).await,
                Ok(Err(error)) => tracing::debug!(remote_addr = %remote.ip(), %error, "tls handshake failed"),
                Err(_) => tracing::debug!(remote_addr = %remote.ip(), "tls handshake took too long"),
            },
        }
    }

    /// Whether the first byte is that of a plain request: people type an address without `https://`. A TLS record begins with 22.
    async fn speaks_plain_http(&self, stream: &TcpStream) -> bool {
        let mut first = [0];
        let peeked = tokio::time::timeout(self.handshake_time, stream.peek(&mut first)).await;
        matches!(peeked, Ok(Ok(1)) if first[0].is_ascii_uppercase())
    }

    /// Answers one plain request: a browser is sent to `https`, anything else is told. What it asks for is not looked at.
    async fn send_to_https(&self, stream: Counted) {
        let service = hyper::service::service_fn(async |request: Request<Incoming>| {
            Ok::<_, std::convert::Infallible>(to_https(&request.map(|_| ())))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.handshake_time)
            .max_buf_size(HEAD_BYTES)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        // a client that went away needs no answer
        let _ = tokio::time::timeout(self.handshake_time, connection).await;
    }

    async fn http(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, remote: SocketAddr) {
        let router = self.router.clone();
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(remote));
            router.clone().oneshot(request.map(axum::body::Body::new))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.handshake_time)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(remote_addr = %remote.ip(), %error, "connection ended");
        }
    }
}

/// The answer to a plain request on a TLS port: 307 for GET and HEAD, which a browser does not remember, else 400.
fn to_https(request: &Request<()>) -> Response<String> {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let mut response = Response::new("this port speaks https\n".to_owned());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    if let Some(host) = host.filter(|_| request.method().is_safe()) {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        if let Ok(target) = HeaderValue::from_str(&format!("https://{host}{path}")) {
            *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            response.headers_mut().insert(header::LOCATION, target);
        }
    }
    response
}

/// Living connections, per address and altogether.
struct Counts {
    most: usize,
    most_per_address: usize,
    living: Mutex<Living>,
}

#[derive(Default)]
struct Living {
    all: usize,
    per_address: HashMap<IpAddr, usize>, // bounded by `most`
}

impl Counts {
    fn new(limits: &Limits) -> Self {
        Self { most: limits.max_connections, most_per_address: limits.max_connections_per_address, living: Mutex::default() }
    }

    /// Takes a place; `None` when there is none. Loopback is not limited, and not counted.
    fn admit(self: &Arc<Self>, remote: IpAddr) -> Option<Ticket> {
        if remote.to_canonical().is_loopback() {
            return Some(Ticket(None));
        }
        let key = limit_key(remote);
        let mut living = self.living.lock().unwrap_or_else(PoisonError::into_inner);
        let here = living.per_address.get(&key).copied().unwrap_or(0);
        if living.all >= self.most || here >= self.most_per_address {
            return None;
        }
        living.all += 1;
        living.per_address.insert(key, here + 1);
        Some(Ticket(Some((self.clone(), key))))
    }
}

/// A connection's place; dropping it frees the place.
struct Ticket(Option<(Arc<Counts>, IpAddr)>);

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some((counts, key)) = self.0.take() else { return };
        let mut living = counts.living.lock().unwrap_or_else(PoisonError::into_inner);
        living.all = living.all.saturating_sub(1);
        match living.per_address.get_mut(&key) {
            Some(here) if *here > 1 => *here -= 1,
            _ => {
                living.per_address.remove(&key);
            }
        }
    }
}

/// A stream that keeps its place for as long as it lives: an upgraded websocket counts too.
struct Counted {
    stream: ReadAhead<TcpStream>,
    _ticket: Ticket,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_counted_apart_and_loopback_not_at_all() {
        let limits = Limits { max_connections: 3, max_connections_per_address: 2, ..Limits::default() };
        let counts = Arc::new(Counts::new(&limits));
        let admit = |address: &str| counts.admit(address.parse().unwrap());
        let (first, second) = (admit("192.0.2.1").unwrap(), admit("::ffff:192.0.2.1").unwrap());
        assert!(admit("192.0.2.1").is_none(), "the address has two");
        let third = admit("2001:db8::1").unwrap();
        assert!(admit("192.0.2.2").is_none(), "there are three altogether");
        assert!(admit("127.0.0.1").is_some() && admit("::1").is_some());
        drop(first);
        let fourth = admit("2001:db8::ffff").unwrap();
        drop(second);
        assert!(admit("2001:db8::2").is_none(), "the same /64");
        drop((third, fourth));
        assert!(counts.living.lock().unwrap().per_address.is_empty());
    }
}
