//! PURE. What another configuration means for the sources and their places in rooms.

use crate::config::Effective;
use crate::media::{SourceConfig, SourceKind};
use crate::room::SourceUpdate;
use crate::vocab::{MediaKind, SourceName};

/// The steps from one list of sources to another. What is as before is in no step that anybody would notice.
#[derive(Debug, Default)]
pub(super) struct SourceSteps {
    /// Told to the rooms before the sources change: those that are gone, and those that are not the same thing any more, whose
    /// players come back to what they are then.
    pub before: Vec<SourceUpdate>,
    /// Told to the rooms afterwards: all that there are.
    pub after: Vec<SourceUpdate>,
    /// For the log.
    pub added: usize,
    /// For the log.
    pub changed: usize,
    /// For the log.
    pub removed: usize,
}

impl SourceSteps {
    /// From what runs to what is to run.
    pub fn between(old: &Effective, new: &Effective) -> Self {
        let mut steps = Self { after: present(new), ..Self::default() };
        for source in &old.sources {
            let name = source.name.clone();
            match new.sources.iter().find(|other| other.name == name) {
                None => {
                    steps.removed += 1;
                    steps.before.push(SourceUpdate::Removed { source: name });
                }
                Some(other) if other == source => {}
                Some(other) => {
                    steps.changed += 1;
                    if !is_same_thing(source, other) {
                        steps.before.push(SourceUpdate::Absent { source: name });
                    }
                }
            }
        }
        let is_new = |source: &&SourceConfig| !old.sources.iter().any(|other| other.name == source.name);
        steps.added = new.sources.iter().filter(is_new).count();
        steps
    }
}

/// Which source is in which room, and what it gives.
pub(super) fn present(effective: &Effective) -> Vec<SourceUpdate> {
    let rooms_of = |source: &SourceName| {
        effective.rooms.iter().filter(|room| room.sources.contains(source)).map(|room| room.name.clone()).collect()
    };
    let update = |source: &SourceConfig| SourceUpdate::Present {
        source: source.name.clone(),
        rooms: rooms_of(&source.name),
        kinds: kinds(source),
    };
    effective.sources.iter().map(update).collect()
}

fn kinds(source: &SourceConfig) -> Vec<MediaKind> {
    let sound = match &source.kind {
        SourceKind::Test(test) => test.tone > 0,
        SourceKind::V4l2(_) | SourceKind::Csi(_) => source.audio_device.is_some(),
        // known only once it is open; the player gets what there is
        SourceKind::File(_) | SourceKind::Rtsp(_) | SourceKind::Mix(_) => true,
    };
    let mut kinds = vec![MediaKind::Video];
    kinds.extend(sound.then_some(MediaKind::Audio));
    kinds
}

/// Whether players can go on with the layers they have: the same sort of source with other settings. What a file or a server gives
/// is known only once it is open, and may be of another codec.
fn is_same_thing(old: &SourceConfig, new: &SourceConfig) -> bool {
    let settings_only = match (&old.kind, &new.kind) {
        (SourceKind::Rtsp(_) | SourceKind::File(_), _) => old.kind == new.kind,
        (old, new) => std::mem::discriminant(old) == std::mem::discriminant(new),
    };
    settings_only && kinds(old) == kinds(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn effective(text: &str) -> Effective {
        toml::from_str::<Config>(text).unwrap().effective(false)
    }

    const GARDEN: &str = "[[source]]\nname = 'garden'\ntype = 'test'\ntone = 0\n";
    const DOOR: &str = "[[source]]\nname = 'door'\ntype = 'test'\ntone = 0\n";

    fn told(updates: &[SourceUpdate]) -> Vec<String> {
        let one = |update: &SourceUpdate| match update {
            SourceUpdate::Present { source, rooms, kinds } => format!("{source} in {} gives {}", rooms.len(), kinds.len()),
            SourceUpdate::Absent { source } => format!("{source} absent"),
            SourceUpdate::Removed { source } => format!("{source} removed"),
        };
        updates.iter().map(one).collect()
    }

    fn steps(old: &str, new: &str) -> SourceSteps {
        SourceSteps::between(&effective(old), &effective(new))
    }

    #[test]
    fn nothing_changed_is_nothing_to_tell() {
        let both = format!("{GARDEN}{DOOR}");
        let steps = steps(&both, &both);
        assert!(steps.before.is_empty() && steps.added + steps.changed + steps.removed == 0);
        assert_eq!(told(&steps.after), ["garden in 1 gives 1", "door in 1 gives 1"]);
    }

    #[test]
    fn sources_come_and_go() {
        let steps = steps(GARDEN, DOOR);
        assert_eq!(told(&steps.before), ["garden removed"]);
        assert_eq!(told(&steps.after), ["door in 1 gives 1"]);
        assert_eq!((steps.added, steps.changed, steps.removed), (1, 0, 1));
    }

    #[test]
    fn other_settings_keep_the_players_and_another_thing_does_not() {
        let larger = format!("{GARDEN}width = 640\nheight = 360\nbitrate = 900000\n");
        let steps_of = |new: &str| {
            let steps = steps(GARDEN, new);
            assert_eq!((steps.added, steps.changed, steps.removed), (0, 1, 0), "{new}");
            told(&steps.before)
        };
        assert!(steps_of(&larger).is_empty());
        assert_eq!(steps_of(&GARDEN.replace("tone = 0", "tone = 440")), ["garden absent"]);
        assert_eq!(steps_of("[[source]]\nname = 'garden'\ntype = 'file'\npath = '/film.mp4'\n"), ["garden absent"]);
        let film = |name: &str| format!("[[source]]\nname = 'film'\ntype = 'file'\npath = '/{name}.mp4'\n");
        assert_eq!(told(&steps(&film("a"), &film("b")).before), ["film absent"]);
    }

    #[test]
    fn a_source_in_another_room_is_the_same_source() {
        let room = |name: &str| format!("[[room]]\nname = '{name}'\nsources = ['garden']\n{GARDEN}");
        let steps = steps(&room("a"), &room("b"));
        assert!(steps.before.is_empty() && steps.added + steps.changed + steps.removed == 0);
        assert_eq!(told(&steps.after), ["garden in 1 gives 1"]);
    }
}
