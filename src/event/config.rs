//! `[events]` of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Events for a broker: who joins and leaves which room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EventsConfig {
    /// How often `room.live` is told for every room. 1 s to 1 h, default 1 min.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "crate::vocab::DurationText")]
    pub live_interval: Duration,
    /// Whether what tribe clients say about themselves is told as well: `webrtc.ping`, `webrtc.freeze`, `webrtc.cpu`,
    /// `network.change`. Default false.
    pub extended: bool,
    /// Most bytes of events on disk that a sink has not confirmed yet. 4194304 to 1099511627776, default 67108864: about 250000
    /// joins and leaves. The oldest are dropped first, counted and logged.
    #[schemars(range(min = 4_194_304, max = 1_099_511_627_776_u64))]
    pub max_bytes: u64,
    /// How long an event is kept for a sink that is away. At least 1 min, default 7 days.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "crate::vocab::DurationText")]
    pub max_age: Duration,
    /// What was stored is made safe from a power cut this often, and only then: each time wears an SD card. A kill loses nothing.
    /// 0 s to 1 min, default 1 s; `0s` after every event.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "crate::vocab::DurationText")]
    pub sync_interval: Duration,
    /// Where events are kept. Default: `events` in the service's state directory, `/var/lib/portico`, or the user's own
    /// (`~/.local/state/portico`) when that cannot be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store_dir: Option<PathBuf>,
    /// Where events go. Each gets all of them. Default none: no event is made or stored.
    pub sink: Vec<SinkConfig>,
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self {
            live_interval: Duration::from_secs(60),
            extended: false,
            max_bytes: 64 << 20,
            max_age: Duration::from_secs(7 * 24 * 3600),
            sync_interval: Duration::from_secs(1),
            store_dir: None,
            sink: Vec::new(),
        }
    }
}

impl EventsConfig {
    /// Where events are kept.
    pub fn store_dir(&self) -> PathBuf {
        self.store_dir.clone().unwrap_or_else(|| crate::ops::default_state_dir().join("events"))
    }
}

/// One place where events go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SinkConfig {
    /// Its name, unique: the store keeps its place by it. 1 to 64 characters.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// What it is.
    #[serde(flatten)]
    pub kind: SinkKind,
}

/// The kinds of sinks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum SinkKind {
    /// RabbitMQ, or another broker that speaks AMQP 0-9-1.
    Amqp(AmqpConfig),
    /// A broker that speaks MQTT 5.
    Mqtt(MqttConfig),
    /// A web server that gets each event as a signed POST.
    Webhook(WebhookConfig),
}

impl SinkKind {
    /// As written.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Amqp(_) => "amqp",
            Self::Mqtt(_) => "mqtt",
            Self::Webhook(_) => "webhook",
        }
    }
}

/// A broker of AMQP 0-9-1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AmqpConfig {
    /// `amqp://HOST[:PORT][/VHOST]`, or `amqps` for TLS. Without user and password.
    pub url: String,
    /// Who logs in.
    #[serde(flatten)]
    pub login: Login,
    /// The exchange. One that exists is used whatever its type; else it is declared, durable. Default `live_events`.
    #[serde(default = "default_exchange")]
    #[schemars(length(min = 1, max = 127))]
    pub exchange: String,
    /// The type of an exchange that is declared. Default `topic`.
    #[serde(default)]
    pub exchange_type: ExchangeType,
}

fn default_exchange() -> String {
    "live_events".into()
}

/// How an exchange chooses queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExchangeType {
    /// By patterns of the event's name.
    #[default]
    Topic,
    /// By the event's name.
    Direct,
    /// All of them.
    Fanout,
    /// By headers.
    Headers,
}

/// A broker of MQTT 5.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct MqttConfig {
    /// `mqtt://HOST[:PORT]`, or `mqtts` for TLS. Without user and password.
    pub url: String,
    /// Who logs in.
    #[serde(flatten)]
    pub login: Login,
    /// What topics begin with; the event's name follows. Default `portico/events`.
    #[serde(default = "default_topic")]
    #[schemars(length(min = 1, max = 200))]
    pub topic: String,
    /// The client id. Default `portico-` and a random number; with `home_assistant` one that stays the same, made of the machine's
    /// id. Of several gateways on one machine each needs one of its own then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Whether Home Assistant finds the listed rooms and the sources, by retained messages of its MQTT discovery. Default false: what
    /// there is of such messages is taken back.
    #[serde(default)]
    pub home_assistant: bool,
    /// How often Home Assistant gets a picture of each source, for which it then has a camera. 1 s to 1 h; default `0s`: no pictures and
    /// no cameras. Each picture opens its source for a moment, as a viewer does, and costs the decoding of one frame. The broker keeps
    /// the newest of each. With `home_assistant` only.
    #[serde(default, with = "humantime_serde")]
    #[schemars(with = "crate::vocab::DurationText")]
    pub picture_every: Duration,
    /// Most pixels in width of these pictures. 16 to 4096, default 640, which makes about 50 KB.
    #[serde(default = "default_picture_width")]
    #[schemars(range(min = 16, max = 4096))]
    pub picture_width: u16,
    /// What Home Assistant's discovery topics begin with. Default `homeassistant`.
    #[serde(default = "default_discovery_prefix")]
    #[schemars(length(min = 1, max = 200))]
    pub discovery_prefix: String,
    /// What the board is called in Home Assistant. Default: the machine's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub device_name: Option<String>,
}

fn default_discovery_prefix() -> String {
    "homeassistant".into()
}

fn default_picture_width() -> u16 {
    640
}

fn default_topic() -> String {
    "portico/events".into()
}

/// How a broker is entered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Login {
    /// The user. Default: `guest` by AMQP, nobody by MQTT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// A file with the user's password; white space around it is ignored. A name without `/` is that of a systemd credential
    /// (`LoadCredential=`). Default: `guest` by AMQP, none by MQTT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// A PEM file with the certificate authority of the broker. Default: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// A PEM file with the certificate Portico shows to the broker. Default none. Set together with `key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// A PEM file with its private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

/// A web server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct WebhookConfig {
    /// `https://HOST[:PORT]/PATH`, or `http`. Without user and password.
    pub url: String,
    /// A file with the secret that signs: `whsec_` and base64, or any text of at least 16 characters; white space around it is
    /// ignored. A name without `/` is that of a systemd credential (`LoadCredential=`).
    pub secret_file: PathBuf,
    /// The server must have answered after this time. 1 s to 25 s, default 10 s.
    #[serde(default = "default_timeout", with = "humantime_serde")]
    #[schemars(with = "crate::vocab::DurationText")]
    pub timeout: Duration,
    /// A PEM file with the certificate authority of the server. Default: those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

fn default_timeout() -> Duration {
    Duration::from_secs(10)
}
