//! Brokers of MQTT 5, by `rumqttc`. At least once (QoS 1), never retained; the topic ends in the event's name, the user property
//! `id` is the event's. Beside them [`home`] tells Home Assistant what is true now.

mod home;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use rumqttc::mqttbytes::v5::{PubAckReason, PublishProperties};
use rumqttc::{
    AsyncClient, Broker, ConnectionError, Event, EventLoop, Incoming, MqttOptions, PublishNoticeError, PublishOptions,
    PublishResult, TlsConfiguration, Transport,
};
use tokio_util::task::AbortOnDropHandle;

use super::{End, HomePort, Link, Sink, SinkError, Verdict};
use crate::event::check::MqttAddress;
use crate::event::config::MqttConfig;
use crate::event::credential;
use crate::event::publisher::CONNECT_LIMIT;
use crate::event::store::Stored;

/// A dead connection is noticed after about this time, in seconds.
const KEEP_ALIVE: u16 = 10;
/// Events sent and not acknowledged at a time; brokers take 20 without being told otherwise.
const WINDOW: usize = 20;

/// A broker.
pub(super) struct Mqtt {
    config: MqttConfig,
    /// The same at each connection, so that the broker drops a connection of ours that it still takes for alive.
    client_id: String,
    home: Option<home::Told>,
}

impl Mqtt {
    pub(super) fn new(config: MqttConfig, port: Option<HomePort>) -> Self {
        let home = port.map(|port| home::Told::new(&config, port));
        let stable = home.as_ref().and_then(home::Told::client_id);
        let random = || format!("portico-{:08x}", rand::random::<u32>());
        let client_id = config.client_id.clone().or(stable).unwrap_or_else(random);
        Self { config, client_id, home }
    }

    async fn options(&self) -> Result<MqttOptions, SinkError> {
        let address = MqttAddress::parse(&self.config.url).map_err(SinkError::by("not an address"))?;
        let mut options = MqttOptions::new(self.client_id.clone(), Broker::tcp(address.host, address.port));
        options.set_keep_alive(KEEP_ALIVE).set_clean_start(true).set_connect_timeout(CONNECT_LIMIT);
        let login = &self.config.login;
        let password = login.password_file.as_deref().map(credential::read).transpose();
        let password = password.map_err(SinkError::by("no password"))?;
        match (&login.user, &password) {
            (Some(user), Some(password)) => drop(options.set_credentials(user.clone(), password.expose().to_owned())),
            (Some(user), None) => drop(options.set_username(user.clone())),
            (None, Some(password)) => drop(options.set_password(password.expose().to_owned())),
            (None, None) => {}
        }
        if let Some(will) = self.home.as_ref().and_then(home::Told::last_will) {
            options.set_last_will(will);
        }
        if address.tls {
            options.set_transport(Transport::tls_with_config(self.tls().await?));
        }
        Ok(options)
    }

    async fn tls(&self) -> Result<TlsConfiguration, SinkError> {
        let login = &self.config.login;
        let Some(ca) = &login.ca else {
            return TlsConfiguration::try_default_rustls().map_err(SinkError::by("no certificate authorities"));
        };
        let ca = tokio::fs::read(ca).await.map_err(SinkError::by("cannot read `ca`"))?;
        let mut client_auth = None;
        if let (Some(cert), Some(key)) = (&login.cert, &login.key) {
            let cert = tokio::fs::read(cert).await.map_err(SinkError::by("cannot read `cert`"))?;
            let key = tokio::fs::read(key).await.map_err(SinkError::by("cannot read `key`"))?;
            client_auth = Some((cert, key));
        }
        Ok(TlsConfiguration::Simple { ca, alpn: None, client_auth })
    }
}

#[async_trait]
impl Sink for Mqtt {
    async fn connect(&self) -> Result<Box<dyn Link>, SinkError> {
        let (client, mut events) = AsyncClient::builder(self.options().await?).capacity(WINDOW).build();
        // the first event of a connection is the broker's answer; a refusal is an error
        let answer = loop {
            if let Event::Incoming(Incoming::ConnAck(answer)) = events.poll().await.map_err(SinkError::by("cannot connect"))? {
                break answer;
            }
        };
        let most = answer.properties.and_then(|properties| properties.max_packet_size);
        let network = AbortOnDropHandle::new(tokio::spawn(carry(events)));
        let teller = self.home.clone().map(|told| AbortOnDropHandle::new(tokio::spawn(told.run(client.clone(), most))));
        let topic = self.config.topic.trim_end_matches('/').to_owned();
        Ok(Box::new(MqttLink { topic, client, network, home: self.home.clone(), teller }))
    }

    fn window(&self) -> usize {
        WINDOW
    }
}

/// Runs the connection until it ends; the library would connect again by itself.
async fn carry(mut events: EventLoop) -> ConnectionError {
    loop {
        if let Err(error) = events.poll().await {
            return error;
        }
    }
}

struct MqttLink {
    topic: String,
    client: AsyncClient,
    network: AbortOnDropHandle<ConnectionError>,
    home: Option<home::Told>,
    /// Tells Home Assistant until it is dropped.
    teller: Option<AbortOnDropHandle<()>>,
}

#[async_trait]
impl Link for MqttLink {
    async fn send(&mut self, event: &Stored) -> Result<BoxFuture<'static, Result<Verdict, SinkError>>, SinkError> {
        let mut user_properties = vec![("id".to_owned(), event.id.clone())];
        if event.made.is_plausible() {
            user_properties.push(("timestamp".to_owned(), event.made.0.to_string()));
        }
        let properties =
            PublishProperties { content_type: Some("application/json".into()), user_properties, ..PublishProperties::default() };
        let options = PublishOptions::at_least_once().properties(properties);
        let topic = format!("{}/{}", self.topic, event.name.as_str());
        let sent = self.client.publish_tracked(topic, event.payload.clone(), options).await;
        let notice = sent.map_err(SinkError::by("cannot publish"))?;
        Ok(Box::pin(async move {
            match notice.wait_async().await {
                Ok(PublishResult::Qos1(ack)) if ack.reason == PubAckReason::NoMatchingSubscribers => Ok(Verdict::Unrouted),
                Ok(_) => Ok(Verdict::Confirmed),
                Err(PublishNoticeError::V5PubAck(PubAckReason::PayloadFormatInvalid)) => {
                    Ok(Verdict::Refused("payload format invalid".into()))
                }
                Err(error) => Err(SinkError::by("not acknowledged")(error)),
            }
        }))
    }

    async fn lost(&mut self) -> SinkError {
        match (&mut self.network).await {
            Ok(error) => SinkError::by("connection lost")(error),
            Err(error) => SinkError::by("connection lost")(error),
        }
    }

    async fn close(self: Box<Self>, end: End) {
        if let Some(teller) = self.teller {
            // not in the middle of a word: what is said below comes last
            teller.abort();
            let _ = teller.await;
        }
        if let Some(home) = &self.home {
            home.leave(&self.client, end).await;
        }
        // the broker notices a connection that just ends as well
        if self.client.disconnect().await.is_ok() {
            let _ = self.network.await;
        }
    }
}
