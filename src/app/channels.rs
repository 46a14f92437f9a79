//! What the desk of the data channels works with: the store of clips, and the way to local services.

use std::path::PathBuf;

use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::channel::call::Caller;
use crate::channel::store::{self, Store};
use crate::channel::{ClipsConfig, RpcConfig};
use crate::config::Config;
use crate::hub::{ChannelParts, StorePort};

/// Orders and answers of the store that wait. An order that does not fit is a lost clip; an answer makes the store wait.
const STORE_QUEUE: usize = 64;

pub(super) fn parts(config: &Config, tasks: &TaskTracker) -> ChannelParts {
    ChannelParts {
        clips: config.clips.clone(),
        rpc: config.rpc.clone(),
        store: store(&config.clips, tasks),
        caller: caller(&config.rpc),
    }
}

/// `None` when mesh rooms store no clips, or there is no place for them.
fn store(clips: &ClipsConfig, tasks: &TaskTracker) -> Option<StorePort> {
    if !clips.store_in_mesh {
        return None;
    }
    let folder: PathBuf = clips.directory.clone().unwrap_or_else(store::default_directory);
    let store = match Store::open(folder.clone()) {
        Ok(store) => store,
        Err(error) => {
            warn!(folder = %folder.display(), %error, "clips are not stored");
            return None;
        }
    };
    let (orders, ordered) = mpsc::channel(STORE_QUEUE);
    let (tell, events) = mpsc::channel(STORE_QUEUE);
    // ends with the hub, which has the only sender
    tasks.spawn(store::run(store, ordered, tell));
    Some(StorePort { orders, events })
}

/// `None` where there is no service to ask.
pub(super) fn caller(rpc: &RpcConfig) -> Option<Caller> {
    if rpc.service.is_empty() {
        return None;
    }
    Caller::new().inspect_err(|error| warn!(%error, "local services cannot be asked")).ok()
}
