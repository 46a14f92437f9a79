//! Tells the sources how warm the board is.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::media::strain::heat::{Warmth, Zone};
use crate::media::{Media, MediaCommand};
use crate::ops::metrics::BoardFigures;

/// How often the board is asked. Metal does not warm up faster; a dozen small files are read each time.
const LOOK: Duration = Duration::from_secs(1);

/// Looks below `sys` until the gateway stops.
pub(super) async fn watch(sys: PathBuf, media: Arc<Media>, stop: CancellationToken) {
    loop {
        let sys = sys.clone();
        // a sensor behind a slow bus takes its time
        let Ok(figures) = tokio::task::spawn_blocking(move || BoardFigures::now(&sys)).await else { return };
        media.send(MediaCommand::Warmth(warmth(figures)));
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.cancelled() => return,
        }
    }
}

fn warmth(figures: BoardFigures) -> Warmth {
    let BoardFigures { temperatures, limits, throttled, .. } = figures;
    let zones = temperatures.into_iter().map(|(name, celsius)| Zone { limit: limits.get(&name).copied(), name, celsius });
    Warmth { zones: zones.collect(), flags: throttled.into_iter().filter(|(_, state)| state.now).map(|(flag, _)| flag).collect() }
}
