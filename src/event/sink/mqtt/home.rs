//! Tells Home Assistant, over the same connection as the events: once everything, then what changes. The broker retains it, and
//! says by our last will when we are gone.

use std::collections::{BTreeMap, BTreeSet};

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v5::LastWill;
use rumqttc::{AsyncClient, PublishNoticeError, PublishOptions};
use tracing::warn;

use super::super::{End, HomePort};
use crate::event::config::MqttConfig;
use crate::event::home::{Board, Habits, Messages, OFFLINE, board_key, changes, retained, topics};
use crate::ops::net::host_name;

/// What is told, and how. Cheap to clone.
#[derive(Clone)]
pub(super) struct Told {
    /// `None` where it is switched off: then only what is left of an earlier run is taken back.
    habits: Option<Habits>,
    port: HomePort,
}

impl Told {
    pub fn new(config: &MqttConfig, port: HomePort) -> Self {
        let habits = config.home_assistant.then(|| {
            let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
            let machine = if machine.trim().is_empty() { host_name() } else { machine };
            let key = board_key(config.client_id.as_deref(), &machine);
            let name = config.device_name.clone().unwrap_or_else(host_name);
            Habits { prefix: config.discovery_prefix.trim_end_matches('/').into(), board: Board { key, name } }
        });
        Self { habits, port }
    }

    /// One that is the same after a crash, so that the broker ends the connection of before it, and sends its will, when we come
    /// back and not later.
    pub fn client_id(&self) -> Option<String> {
        self.habits.as_ref().map(|habits| format!("{}-{}", habits.board.key.replace('_', "-"), self.port.sink))
    }

    /// That we are gone.
    pub fn last_will(&self) -> Option<LastWill> {
        let topic = self.habits.as_ref()?.board.status_topic();
        Some(LastWill::new(topic, OFFLINE, QoS::AtLeastOnce, true, None))
    }

    /// Runs until the connection ends.
    pub async fn run(mut self, client: AsyncClient) {
        // what the broker has of it is not known, but for the topics
        let known = self.known().await;
        let mut told: BTreeMap<String, Option<String>> = known.into_iter().map(|topic| (topic, None)).collect();
        loop {
            let wanted = {
                let picture = self.port.picture.borrow_and_update();
                self.habits.as_ref().map(|habits| retained(habits, &picture)).unwrap_or_default()
            };
            if self.tell(&client, &mut told, &wanted).await.is_none() {
                return;
            }
            // gone with the gateway
            if self.port.picture.changed().await.is_err() {
                return;
            }
        }
    }

    /// The last words on a connection that is up.
    pub async fn leave(&self, client: &AsyncClient, end: End) {
        match (end, &self.habits) {
            (End::Stopped, Some(habits)) => drop(send(client, habits.board.status_topic(), OFFLINE.into()).await),
            (End::Stopped, None) => {}
            (End::Removed, _) => {
                let mut told = self.known().await.into_iter().map(|topic| (topic, None)).collect();
                self.tell(client, &mut told, &Messages::new()).await;
            }
        }
    }

    /// Makes the broker retain what is wanted and nothing else of ours; `None` when the connection is lost.
    async fn tell(&self, client: &AsyncClient, told: &mut BTreeMap<String, Option<String>>, wanted: &Messages) -> Option<()> {
        let list_changes = !told.keys().eq(wanted.keys());
        if list_changes {
            // before it is sent: after a kill nothing is there that nobody knows of
            self.remember(told.keys().cloned().chain(topics(wanted)).collect()).await;
        }
        let mut refused = None;
        for (topic, payload) in changes(told, wanted) {
            match send(client, topic.clone(), payload.clone()).await {
                Sent::Taken => {}
                Sent::Refused(why) => refused = Some(why),
                Sent::Lost => return None,
            }
            // what is refused once is refused again: it is tried when it changes
            match payload.is_empty() {
                true => drop(told.remove(&topic)),
                false => drop(told.insert(topic, Some(payload))),
            }
        }
        if let Some(why) = refused {
            warn!(
                sink = self.port.sink,
                why, "events: the broker takes not all that Home Assistant is told; it may want more rights"
            );
        }
        if list_changes {
            self.remember(topics(wanted)).await;
        }
        Some(())
    }

    async fn known(&self) -> BTreeSet<String> {
        let port = self.port.clone();
        tokio::task::spawn_blocking(move || port.memory.topics(&port.sink)).await.unwrap_or_default()
    }

    async fn remember(&self, topics: BTreeSet<String>) {
        let port = self.port.clone();
        // a panic there is logged, and costs a file that is out of date
        let _ = tokio::task::spawn_blocking(move || port.memory.remember(&port.sink, topics)).await;
    }
}

enum Sent {
    Taken,
    Refused(String),
    Lost,
}

/// One at a time: a broker that is slow gets fewer states in between, and events have their turn.
async fn send(client: &AsyncClient, topic: String, payload: String) -> Sent {
    let sent = client.publish_tracked(topic, payload, PublishOptions::at_least_once().retained()).await;
    let Ok(notice) = sent else { return Sent::Lost };
    match notice.wait_completion_async().await {
        Ok(()) => Sent::Taken,
        Err(why @ (PublishNoticeError::V5PubAck(_) | PublishNoticeError::RetainNotSupported)) => Sent::Refused(why.to_string()),
        Err(_) => Sent::Lost,
    }
}
