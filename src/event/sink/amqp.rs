//! RabbitMQ and other brokers of AMQP 0-9-1, by `lapin`. The routing key is the event's name, the message id the event's.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::tcp::{AsyncTcpStream, OwnedIdentity, OwnedTLSConfig};
use lapin::types::FieldTable;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ErrorKind, Event, ExchangeKind};
use tokio::net::lookup_host;
use tokio::time::timeout;
use tracing::{info, warn};

use super::{End, Link, Sink, SinkError, Verdict};
use crate::event::config::{AmqpConfig, ExchangeType};
use crate::event::credential;
use crate::event::publisher::CONNECT_LIMIT;
use crate::event::store::Stored;

/// A dead connection is noticed after twice this time, in seconds, unless the address says otherwise (`?heartbeat=`).
const HEARTBEAT: u16 = 10;
/// Persistent: the broker keeps it on disk.
const PERSISTENT: u8 = 2;

/// A broker.
pub(super) struct Amqp {
    config: AmqpConfig,
}

impl Amqp {
    pub(super) fn new(config: AmqpConfig) -> Self {
        Self { config }
    }

    /// With user and password, which are read at each try: they may have been changed.
    fn address(&self) -> Result<AMQPUri, SinkError> {
        let login = &self.config.login;
        let mut address: AMQPUri = self.config.url.parse().map_err(|why: String| SinkError::new(why))?;
        if let Some(user) = &login.user {
            address.authority.userinfo.username = user.clone();
        }
        if let Some(file) = &login.password_file {
            let password = credential::read(file).map_err(SinkError::by("no password"))?;
            address.authority.userinfo.password = password.expose().to_owned();
        }
        address.query.heartbeat.get_or_insert(HEARTBEAT);
        Ok(address)
    }

    async fn tls(&self) -> Result<OwnedTLSConfig, SinkError> {
        let login = &self.config.login;
        let mut tls = OwnedTLSConfig::default();
        if let Some(ca) = &login.ca {
            tls.cert_chain = Some(tokio::fs::read_to_string(ca).await.map_err(SinkError::by("cannot read `ca`"))?);
        }
        if let (Some(cert), Some(key)) = (&login.cert, &login.key) {
            let pem = tokio::fs::read(cert).await.map_err(SinkError::by("cannot read `cert`"))?;
            let key = tokio::fs::read(key).await.map_err(SinkError::by("cannot read `key`"))?;
            tls.identity = Some(OwnedIdentity::PKCS8 { pem, key });
        }
        Ok(tls)
    }

    /// The exchange as it is; declared when there is none.
    async fn exchange(&self, connection: &Connection) -> Result<Channel, SinkError> {
        let channel = connection.create_channel().await.map_err(SinkError::by("no channel"))?;
        let name = self.config.exchange.as_str();
        let kind = match self.config.exchange_type {
            ExchangeType::Topic => ExchangeKind::Topic,
            ExchangeType::Direct => ExchangeKind::Direct,
            ExchangeType::Fanout => ExchangeKind::Fanout,
            ExchangeType::Headers => ExchangeKind::Headers,
        };
        let look = ExchangeDeclareOptions { passive: true, ..Default::default() };
        let missing = match channel.exchange_declare(name.into(), kind.clone(), look, FieldTable::default()).await {
            Ok(()) => return Ok(channel),
            Err(error) => error,
        };
        if !is_not_found(&missing) {
            return Err(SinkError::by("the exchange cannot be used")(missing));
        }
        // the question has closed the channel
        let channel = connection.create_channel().await.map_err(SinkError::by("no channel"))?;
        let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
        channel
            .exchange_declare(name.into(), kind, durable, FieldTable::default())
            .await
            .map_err(SinkError::by("the exchange cannot be declared"))?;
        info!(exchange = name, "events: exchange declared");
        Ok(channel)
    }
}

fn is_not_found(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(why) if *why.kind() == AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND))
}

#[async_trait]
impl Sink for Amqp {
    async fn connect(&self) -> Result<Box<dyn Link>, SinkError> {
        let properties = ConnectionProperties::default().with_connection_name("portico".into());
        let runtime = lapin::runtime::default_runtime().map_err(SinkError::by("no runtime"))?;
        let tls = self.tls().await?;
        let line = Line::default();
        let (held, reactor) = (line.clone(), runtime.clone());
        let reach = async move |address: AMQPUri, _| {
            let to = &address.authority;
            let connecting = async {
                let found: Vec<SocketAddr> = lookup_host((to.host.as_str(), to.port)).await?.collect();
                let stream = AsyncTcpStream::connect(&reactor, found).await?;
                if let AsyncTcpStream::Plain(socket) = &stream {
                    held.hold(socket.get_ref().as_fd().try_clone_to_owned()?);
                }
                match address.scheme {
                    AMQPScheme::AMQP => Ok(stream),
                    AMQPScheme::AMQPS => stream.into_tls(&to.host, tls.as_ref()).await,
                }
            };
            // the library's own thread waits here, and nobody else could end that
            let late = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
            Ok(timeout(CONNECT_LIMIT, connecting).await.map_err(late).flatten()?)
        };
        let hangup = Hangup(line);
        let connection =
            Connection::connector(self.address()?, runtime, reach, properties).await.map_err(SinkError::by("cannot connect"))?;
        let channel = self.exchange(&connection).await?;
        // from here on: that there was no exchange is told as an error as well
        let events = Box::pin(connection.events_listener());
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(SinkError::by("no publisher confirms"))?;
        Ok(Box::new(AmqpLink { exchange: self.config.exchange.clone(), connection, channel, events, _hangup: hangup }))
    }

    fn window(&self) -> usize {
        64
    }
}

/// A second handle to a connection's socket.
#[derive(Clone, Default)]
struct Line(Arc<Mutex<Option<OwnedFd>>>);

impl Line {
    fn hold(&self, socket: OwnedFd) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket);
    }
}

/// Ends the socket when it is dropped. The library has a thread per connection, which would wait for a broker that says nothing
/// long after everybody else has given up on it.
struct Hangup(Line);

impl Drop for Hangup {
    fn drop(&mut self) {
        if let Some(socket) = self.0.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // one that is closed already is as good
            let _ = rustix::net::shutdown(&socket, rustix::net::Shutdown::Both);
        }
    }
}

struct AmqpLink {
    exchange: String,
    connection: Connection,
    channel: Channel,
    events: Pin<Box<dyn Stream<Item = Event> + Send>>,
    _hangup: Hangup,
}

#[async_trait]
impl Link for AmqpLink {
    async fn send(&mut self, event: &Stored) -> Result<BoxFuture<'static, Result<Verdict, SinkError>>, SinkError> {
        let mut properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_delivery_mode(PERSISTENT)
            .with_message_id(event.id.as_str().into())
            .with_type(event.name.as_str().into())
            .with_app_id("portico".into());
        if event.made.is_plausible() {
            properties = properties.with_timestamp(event.made.0 / 1000);
        }
        // mandatory: what no queue is bound for comes back, and is counted
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let (exchange, key) = (self.exchange.as_str().into(), event.name.as_str().into());
        let sent = self.channel.basic_publish(exchange, key, options, &event.payload, properties).await;
        let confirm = sent.map_err(SinkError::by("cannot publish"))?;
        Ok(Box::pin(async move {
            match confirm.await.map_err(SinkError::by("not confirmed"))? {
                Confirmation::Ack(None) => Ok(Verdict::Confirmed),
                Confirmation::Ack(Some(_)) => Ok(Verdict::Unrouted),
                Confirmation::Nack(_) => Err(SinkError::new("the broker could not take an event")),
                Confirmation::NotRequested => Err(SinkError::new("the broker confirms nothing")),
            }
        }))
    }

    async fn lost(&mut self) -> SinkError {
        while let Some(event) = self.events.next().await {
            match event {
                Event::Error(error) => return SinkError::by("connection lost")(error),
                Event::ConnectionBlocked(why) => warn!(why, "events: the broker takes nothing now"),
                Event::ConnectionUnblocked => info!("events: the broker takes events again"),
                _ => {}
            }
        }
        SinkError::new("connection lost")
    }

    async fn close(self: Box<Self>, _end: End) {
        // the broker notices a connection that just ends as well
        let _ = self.connection.close(200, "stopping".into()).await;
    }
}
