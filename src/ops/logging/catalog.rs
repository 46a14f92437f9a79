//! `MESSAGE_ID`s of the journal for what operators look for: `journalctl MESSAGE_ID=…`, explained by `journalctl -x`
//! (`systemd/portico.catalog`).

/// Messages as they are logged, and their ids. An id stays with its meaning for ever, however the words change.
const EVENTS: [(&str, &str); 26] = [
    ("listening", "81234a15f73d43b3a2ddcc012b5d3b33"),
    ("stopping: sessions are ended", "94d3ed7f553d438a843b18ecbc535fbc"),
    ("stopped", "f98a0c1cdb2944fa9a21dd27d3a592b2"),
    ("the gateway cannot start", "fbc0f499b8ae4b1792630eb27285b8bc"),
    ("the configuration is refused", "48d4c9faf785431d920ea9b530551789"),
    ("the configuration is refused; the running one stays", "bfdd14a6a872433493cbadb4cdb0b2df"),
    ("configuration applied", "c9ef94162d684b508b49b6986c853f88"),
    ("source failed; trying again", "31fe0ee9933d4bdba21b11e8fe21c8a3"),
    ("source cannot be opened; it is tried again when somebody wants it", "ca8fc5b5a969471f8d8fca5db8dd43fb"),
    ("source runs again", "7cd0e6db0df345a8a25a5d9be4807fdc"),
    ("source can be opened now", "dcbccbd916a7403893ce8e4af734bdcc"),
    ("codec failed; another takes its place", "d3bd8f5c2a7e4f0f9f3c7b6f1f6c8a11"),
    ("source does with less", "3f0b7f5a6d2c4d0c8f6f2a90c1b7e4d2"),
    ("source does with more again", "5c6e1d7b90a84c3ea2d4f8b3617c0e55"),
    ("the board is hot: all sources do with less", "a9d0c3e47b524f66b1e8d75f20c93a7e"),
    ("the board is cooler: all sources do with more again", "e17f42b8c0d94a6d93ab5e6c84f10d29"),
    ("recording started", "0d6a4f6c2b9e4b0c8a53d1f7e6c92b14"),
    ("recording stopped", "7be21c90f5d84a3e9c6047ab15d3e88f"),
    ("recording failed; it is tried again", "c4f9087ad1e64b528e3b9d70a6f1255c"),
    ("the disk is too slow for a recording; frames are missing in it", "92d5b1e37c0a4f86b4e8f2136dca7509"),
    ("member joined", "f79fdaf0e8374022b790940a6fa39408"),
    ("member left", "3755030dbdf247ff84bf6b7b005980d7"),
    ("bridge connected", "6b1f0c4d9e3a4b7d8c25a1f7e09d4c36"),
    ("bridge waits", "c84e2a7715f94d0aa3f6b90d5e7c1b28"),
    ("the watchdog is not fed", "22060b538ab743b393c3c152d29ceb9d"),
    ("the watchdog is fed again", "2e2a64981a0f4559b55663e82cf0359f"),
];

/// The id of a message; most have none.
pub(super) fn message_id(message: &str) -> Option<&'static str> {
    EVENTS.iter().find(|(known, _)| *known == message).map(|(_, id)| *id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn sources(folder: &Path, text: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                sources(&path, text);
            } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("logging/catalog.rs") {
                text.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }

    #[test]
    fn every_message_with_an_id_is_logged_somewhere() {
        let mut text = String::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut text);
        for (message, _) in EVENTS {
            assert!(text.contains(&format!("\"{message}\")")), "nobody logs {message:?}");
        }
    }

    #[test]
    fn every_id_is_one_and_is_explained() {
        let catalog = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/portico.catalog")).unwrap();
        let explained: BTreeSet<&str> = catalog.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
        let ids: BTreeSet<&str> = EVENTS.iter().map(|(_, id)| *id).collect();
        assert_eq!(ids.len(), EVENTS.len(), "an id is there twice");
        assert!(ids.iter().all(|id| id.len() == 32 && id.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))), "{ids:?}");
        assert_eq!(explained, ids);
    }
}
