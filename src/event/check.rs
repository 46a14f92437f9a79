//! What is wrong with `[events]` beyond the types of its values. Looks at files.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::config::{EventsConfig, Login, SinkKind, WebhookConfig};
use super::credential::{self, CredentialError};
use super::sink;

/// Something wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The sink it is in; `None` for `[events]` itself.
    pub sink: Option<usize>,
    /// The key.
    pub key: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: &'static str,
    /// Whether it may stay.
    pub warning: bool,
}

/// An address of an MQTT broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttAddress {
    /// Name or address.
    pub host: String,
    /// 1883, or 8883 with TLS, where none is given.
    pub port: u16,
    /// Whether it is `mqtts`.
    pub tls: bool,
}

/// Why a text is no address of a sink.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Another scheme, or no address at all.
    #[error("not an address that begins with {0}")]
    Form(&'static str),
    /// Nothing where the host should be.
    #[error("names no host")]
    Host,
    /// A user or password in it.
    #[error("holds a user or password")]
    Login,
    /// Something behind the host.
    #[error("has a path")]
    Path,
}

impl MqttAddress {
    /// `mqtt://HOST[:PORT]` or `mqtts://…`.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let url = address(text, ["mqtt", "mqtts"], "mqtt:// or mqtts://")?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() {
            return Err(AddressError::Path);
        }
        let tls = url.scheme() == "mqtts";
        // an IPv6 address stands in brackets there
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        Ok(Self { host, port: url.port().unwrap_or(if tls { 8883 } else { 1883 }), tls })
    }
}

fn address(text: &str, schemes: [&str; 2], form: &'static str) -> Result<reqwest::Url, AddressError> {
    let url = reqwest::Url::parse(text).map_err(|_| AddressError::Form(form))?;
    if !schemes.contains(&url.scheme()) || !text.contains("://") {
        return Err(AddressError::Form(form));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(AddressError::Login);
    }
    match url.host_str() {
        None | Some("") => Err(AddressError::Host),
        Some(_) => Ok(url),
    }
}

/// Everything that is wrong.
pub fn check(config: &EventsConfig) -> Vec<Fault> {
    let mut found = Findings { sink: None, faults: Vec::new() };
    let second = Duration::from_secs(1);
    let spans = [
        ("live_interval", config.live_interval, second, 3600 * second, "allowed: 1 s to 1 h"),
        ("max_age", config.max_age, 60 * second, Duration::MAX, "allowed: 1 min or more"),
        ("sync_interval", config.sync_interval, Duration::ZERO, 60 * second, "allowed: 0 s to 1 min"),
    ];
    for (key, value, least, most, help) in spans {
        if !(least..=most).contains(&value) {
            found.error(key, "outside of what works", help);
        }
    }
    let mut names = BTreeSet::new();
    for (index, entry) in config.sink.iter().enumerate() {
        found.sink = Some(index);
        if !names.insert(&entry.name) {
            found.error(
                "name",
                format!("a sink named \"{}\" is already listed above", entry.name),
                "give each a name of its own",
            );
        }
        if sink::build(entry, None).is_none() {
            let message = format!("this build has no sinks of type \"{}\"", entry.kind.as_str());
            found.error("type", message, "build it with the cargo feature of that name");
        }
        match &entry.kind {
            SinkKind::Amqp(amqp) => {
                found.address(address(&amqp.url, ["amqp", "amqps"], "amqp:// or amqps://").map(drop), AMQP_HELP);
                found.login(&amqp.login, amqp.url.starts_with("amqps:"));
            }
            SinkKind::Mqtt(mqtt) => {
                found.address(MqttAddress::parse(&mqtt.url).map(drop), MQTT_HELP);
                found.login(&mqtt.login, mqtt.url.starts_with("mqtts:"));
                if mqtt.login.cert.is_some() && mqtt.login.ca.is_none() {
                    found.error("cert", "a client certificate by MQTT needs `ca` as well", "name the broker's authority in `ca`");
                }
                if !mqtt.picture_every.is_zero() {
                    if !(second..=3600 * second).contains(&mqtt.picture_every) {
                        found.error("picture_every", "outside of what works", "allowed: 0 s, and 1 s to 1 h");
                    }
                    if !mqtt.home_assistant {
                        found.warning("picture_every", "pictures are for Home Assistant only", "set `home_assistant = true`");
                    }
                }
                for (key, topic) in [("topic", &mqtt.topic), ("discovery_prefix", &mqtt.discovery_prefix)] {
                    if topic.contains(['+', '#', '\0']) || topic.starts_with(['/', '$']) {
                        let help = "allowed: names with `/` between them, without `+` and `#`, such as \"portico/events\"";
                        found.error(key, format!("\"{topic}\" is not the beginning of a topic"), help);
                    }
                }
            }
            SinkKind::Webhook(webhook) => found.webhook(webhook),
        }
    }
    found.faults
}

const AMQP_HELP: &str = "allowed: amqp://broker.lan, amqps://broker.lan:5671/vhost";
const MQTT_HELP: &str = "allowed: mqtt://broker.lan, mqtts://broker.lan:8883";
const WEB_HELP: &str = "allowed: https://example.org/hook, http://127.0.0.1:9000/hook";
const LOGIN_HELP: &str = "keep the user in `user` and the password in a file that `password_file` names";

struct Findings {
    sink: Option<usize>,
    faults: Vec<Fault>,
}

impl Findings {
    fn error(&mut self, key: &'static str, message: impl Into<String>, help: &'static str) {
        self.faults.push(Fault { sink: self.sink, key, message: message.into(), help, warning: false });
    }

    fn warning(&mut self, key: &'static str, message: impl Into<String>, help: &'static str) {
        self.faults.push(Fault { sink: self.sink, key, message: message.into(), help, warning: true });
    }

    /// Without the address itself, which may hold a password.
    fn address(&mut self, checked: Result<(), AddressError>, help: &'static str) {
        if let Err(why) = checked {
            let help = if why == AddressError::Login { LOGIN_HELP } else { help };
            self.error("url", format!("the address {why}").replace("address not", "address is not"), help);
        }
    }

    fn login(&mut self, login: &Login, tls: bool) {
        if let Some(file) = &login.password_file {
            self.credential("password_file", file);
            if login.user.is_none() {
                self.warning("password_file", "a password without a user", "set `user` as well");
            }
        }
        match (&login.cert, &login.key) {
            (Some(_), None) => self.error("cert", "a certificate without its key", "set `key` as well"),
            (None, Some(_)) => self.error("key", "a key without its certificate", "set `cert` as well"),
            _ => {}
        }
        for (key, file) in [("ca", &login.ca), ("cert", &login.cert), ("key", &login.key)] {
            let Some(file) = file else { continue };
            if let Err(error) = std::fs::File::open(file) {
                let help = "allowed: PEM files that the user portico runs as may read";
                self.error(key, format!("{} cannot be read: {error}", file.display()), help);
            } else if !tls {
                self.warning(key, "it is used with TLS only", "begin the address with amqps:// or mqtts://");
            }
        }
    }

    fn webhook(&mut self, webhook: &WebhookConfig) {
        self.address(address(&webhook.url, ["http", "https"], "http:// or https://").map(drop), WEB_HELP);
        if !(1..=25).contains(&webhook.timeout.as_secs()) {
            self.error("timeout", "outside of what works", "allowed: 1 s to 25 s");
        }
        if let Some(secret) = self.credential("secret_file", &webhook.secret_file) {
            let help = "make one: `install -m 600 /dev/null FILE && echo whsec_$(openssl rand -base64 32) > FILE`";
            match sink::webhook_key(secret.expose()) {
                None => self.error("secret_file", "what follows whsec_ is not base64", help),
                Some(key) if key.len() < crate::ops::access::Secret::MIN_CHARS => {
                    self.error("secret_file", "the secret is too short: at least 16 characters are needed", help);
                }
                Some(_) => {}
            }
        }
        if let Some(ca) = &webhook.ca
            && let Err(error) = std::fs::File::open(ca)
        {
            let message = format!("{} cannot be read: {error}", ca.display());
            self.error("ca", message, "allowed: a PEM file that the user portico runs as may read");
        }
    }

    /// A credential of systemd is there only while the service runs: that it is missing now says nothing.
    fn credential(&mut self, key: &'static str, file: &Path) -> Option<crate::ops::access::Secret> {
        match credential::read(file) {
            Ok(secret) => return Some(secret),
            Err(error @ CredentialError::NoCredentials { .. }) => {
                self.warning(key, error.to_string(), "give it to the service with LoadCredential=, or write a path");
            }
            Err(error) => self.error(key, error.to_string(), "allowed: a file that the user portico runs as may read"),
        }
        None
    }
}
