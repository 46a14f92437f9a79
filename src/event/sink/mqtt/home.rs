//! Tells Home Assistant, over the same connection as the events: once everything, then what changes. The broker retains it, and
//! says by our last will when we are gone. Beside that a picture of every source now and then, of which the broker keeps the newest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v5::LastWill;
use rumqttc::{AsyncClient, IntoPublishPayload, PublishNoticeError, PublishOptions};
use tokio::time::MissedTickBehavior;
use tracing::warn;

use super::super::{End, HomePort};
use crate::event::config::MqttConfig;
use crate::event::home::{Board, Habits, Messages, OFFLINE, board_key, cameras, changes, retained};
use crate::ops::net::host_name;

/// Larger pictures are not sent: some clients of the broker would stumble over them.
const MOST_PICTURE: usize = 2 << 20;
/// More than a packet has beside topic and payload.
const FRAMING: usize = 64;

/// What is told, and how. Cheap to clone.
#[derive(Clone)]
pub(super) struct Told {
    /// `None` where it is switched off: then only what is left of an earlier run is taken back.
    habits: Option<Habits>,
    port: HomePort,
    picture_every: Duration,
    picture_width: u16,
}

impl Told {
    pub fn new(config: &MqttConfig, port: HomePort) -> Self {
        let habits = config.home_assistant.then(|| {
            let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
            let machine = if machine.trim().is_empty() { host_name() } else { machine };
            let key = board_key(config.client_id.as_deref(), &machine);
            let name = config.device_name.clone().unwrap_or_else(host_name);
            let pictures = !config.picture_every.is_zero();
            Habits { prefix: config.discovery_prefix.trim_end_matches('/').into(), board: Board { key, name }, pictures }
        });
        Self { habits, port, picture_every: config.picture_every, picture_width: config.picture_width }
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

    /// Runs until the connection ends. The broker takes no packet larger than `most`.
    pub async fn run(self, client: AsyncClient, most: Option<u32>) {
        let pictures = self.clone().send_pictures(client.clone(), most);
        tokio::join!(self.send_states(client), pictures);
    }

    async fn send_states(mut self, client: AsyncClient) {
        // what the broker has of it is not known, but for the topics
        let known = self.known().await;
        let mut told: BTreeMap<String, Option<String>> = known.into_iter().map(|topic| (topic, None)).collect();
        loop {
            let (wanted, pictures) = {
                let picture = self.port.picture.borrow_and_update();
                let habits = self.habits.as_ref();
                let pictures = habits.map(|habits| cameras(habits, &picture)).unwrap_or_default();
                (habits.map(|habits| retained(habits, &picture)).unwrap_or_default(), pictures.into_keys().collect())
            };
            if self.tell(&client, &mut told, &wanted, &pictures).await.is_none() {
                return;
            }
            // gone with the gateway
            if self.port.picture.changed().await.is_err() {
                return;
            }
        }
    }

    /// A picture of each source, one after the other and one at a time: a broker that is slow gets fewer. What fails is tried again when
    /// it is due.
    async fn send_pictures(self, client: AsyncClient, most: Option<u32>) {
        let Some(habits) = self.habits.as_ref().filter(|habits| habits.pictures) else { return };
        let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
        let mut due = tokio::time::interval(self.picture_every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut complained = false;
        loop {
            due.tick().await;
            let all = cameras(habits, &self.port.picture.borrow());
            for (topic, source) in all {
                let Some(jpeg) = (self.port.take)(source, self.picture_width).await else { continue };
                if jpeg.len() > MOST_PICTURE || jpeg.len() + topic.len() + FRAMING > most {
                    if !std::mem::replace(&mut complained, true) {
                        let (sink, bytes) = (&self.port.sink, jpeg.len());
                        warn!(sink, bytes, topic, "events: a picture is too large for the broker; make `picture_width` smaller");
                    }
                    continue;
                }
                // what was taken back meanwhile stays so
                if !cameras(habits, &self.port.picture.borrow()).contains_key(&topic) {
                    continue;
                }
                match send(&client, topic, jpeg).await {
                    // that it is refused is told with the states, which are as well
                    Sent::Taken | Sent::Refused(_) => {}
                    Sent::Lost => return,
                }
            }
        }
    }

    /// The last words on a connection that is up.
    pub async fn leave(&self, client: &AsyncClient, end: End) {
        match (end, &self.habits) {
            (End::Stopped, Some(habits)) => drop(send(client, habits.board.status_topic(), OFFLINE).await),
            (End::Stopped, None) => {}
            (End::Removed, _) => {
                let mut told = self.known().await.into_iter().map(|topic| (topic, None)).collect();
                self.tell(client, &mut told, &Messages::new(), &BTreeSet::new()).await;
            }
        }
    }

    /// Makes the broker retain what is wanted, the pictures, and nothing else of ours; `None` when the connection is lost.
    async fn tell(
        &self,
        client: &AsyncClient,
        told: &mut BTreeMap<String, Option<String>>,
        wanted: &Messages,
        pictures: &BTreeSet<String>,
    ) -> Option<()> {
        let all: BTreeSet<String> = wanted.keys().chain(pictures).cloned().collect();
        let list_changes = !told.keys().eq(&all);
        if list_changes {
            // before it is sent: after a kill nothing is there that nobody knows of
            self.remember(told.keys().chain(&all).cloned().collect()).await;
        }
        let mut refused = None;
        for (topic, payload) in changes(told, wanted, pictures) {
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
        // what is there is not known, but that something may be
        told.extend(pictures.iter().map(|topic| (topic.clone(), None)));
        if list_changes {
            self.remember(all).await;
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
async fn send(client: &AsyncClient, topic: String, payload: impl IntoPublishPayload) -> Sent {
    let sent = client.publish_tracked(topic, payload, PublishOptions::at_least_once().retained()).await;
    let Ok(notice) = sent else { return Sent::Lost };
    match notice.wait_completion_async().await {
        Ok(()) => Sent::Taken,
        Err(why @ (PublishNoticeError::V5PubAck(_) | PublishNoticeError::RetainNotSupported)) => Sent::Refused(why.to_string()),
        Err(_) => Sent::Lost,
    }
}
