//! Board files: how they are found, overridden and matched to the machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::schema::BoardFile;
use super::{Board, Origin};

/// The built-in files. A test compares this list with the folder.
const BUILT_IN: &[(&str, &str)] = &[
    ("generic", include_str!("../../../pipelines/boards/generic.toml")),
    ("jetson", include_str!("../../../pipelines/boards/jetson.toml")),
    ("jetson-orin", include_str!("../../../pipelines/boards/jetson-orin.toml")),
    ("jetson-orin-nano", include_str!("../../../pipelines/boards/jetson-orin-nano.toml")),
    ("imx8mm", include_str!("../../../pipelines/boards/imx8mm.toml")),
    ("imx8mp", include_str!("../../../pipelines/boards/imx8mp.toml")),
    ("raspberry-pi-3", include_str!("../../../pipelines/boards/raspberry-pi-3.toml")),
    ("raspberry-pi-4", include_str!("../../../pipelines/boards/raspberry-pi-4.toml")),
    ("raspberry-pi-5", include_str!("../../../pipelines/boards/raspberry-pi-5.toml")),
    ("rockchip", include_str!("../../../pipelines/boards/rockchip.toml")),
    ("va-api", include_str!("../../../pipelines/boards/va-api.toml")),
];

/// The file whose candidates end every other file's lists, and the board of a machine that no file recognises.
const GENERIC: &str = "generic";

/// Why there is no board.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// No file of that name.
    #[error("there is no board file `{name}`: have {}", known.join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The folder or a file of it cannot be read.
    #[error("board file {} cannot be read", file.display())]
    Read {
        /// The file or folder.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is not what the schema says.
    #[error("{}:{line}:{column}: {message}", file.display())]
    Parse {
        /// The file.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What is wrong and what is allowed.
        message: String,
    },
}

/// What a machine says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Identity {
    /// The model for people: of the device tree, else of the firmware (DMI).
    pub model: Option<String>,
    /// The device tree's `compatible` list, most specific first. Empty on machines without a device tree.
    pub compatible: Vec<String>,
}

impl Identity {
    /// Reads the identity below `root` (`/`; tests give a tree of their own). What cannot be read is left empty.
    pub fn read(root: &Path) -> Self {
        let text = |path: &str| std::fs::read(root.join(path)).ok();
        let line = |path: &str| {
            let bytes = text(path)?;
            let line = String::from_utf8_lossy(&bytes).trim_matches(['\0', '\n', ' ']).to_owned();
            (!line.is_empty()).then_some(line)
        };
        let compatible = text("proc/device-tree/compatible").or_else(|| text("sys/firmware/devicetree/base/compatible"));
        let compatible = compatible.unwrap_or_default();
        Self {
            model: line("proc/device-tree/model")
                .or_else(|| line("sys/firmware/devicetree/base/model"))
                .or_else(|| line("sys/class/dmi/id/product_name")),
            compatible: compatible
                .split(|byte| *byte == 0)
                .filter(|name| !name.is_empty())
                .map(|name| String::from_utf8_lossy(name).into_owned())
                .collect(),
        }
    }
}

pub(super) fn recognise(dir: &Path, forced: Option<&str>, root: &Path) -> Result<Board, BoardError> {
    let files = load_all(dir)?;
    let generic = files.get(GENERIC).expect("the built-in list has generic, and an override only replaces it");
    let chosen = match forced {
        Some(name) => files
            .get(name)
            .ok_or_else(|| BoardError::Unknown { name: name.to_owned(), known: files.keys().cloned().collect() })?,
        None => {
            let identity = Identity::read(root);
            let mut matches = identity.compatible.iter().filter_map(|name| best_match(&files, name));
            matches.next().unwrap_or(generic)
        }
    };
    Ok(chosen.clone().board(generic))
}

/// The file that lists a `compatible` string. A file of the machine wins over a built-in one, then the alphabet decides.
fn best_match<'a>(files: &'a BTreeMap<String, Loaded>, compatible: &str) -> Option<&'a Loaded> {
    let lists = |loaded: &&Loaded| loaded.file.compatible.iter().any(|entry| entry == compatible);
    files.values().filter(|loaded| loaded.origin != Origin::BuiltIn).find(lists).or_else(|| files.values().find(lists))
}

pub(super) fn generic() -> Board {
    let files = built_in();
    let generic = files.get(GENERIC).expect("the built-in list has generic");
    generic.clone().board(generic)
}

/// Every board by name: the built-in ones, replaced or joined by those of `dir`.
pub(super) fn all(dir: &Path) -> Result<Vec<Board>, BoardError> {
    let files = load_all(dir)?;
    let generic = files.get(GENERIC).expect("the built-in list has generic, and an override only replaces it");
    Ok(files.values().cloned().map(|loaded| loaded.board(generic)).collect())
}

#[derive(Clone)]
struct Loaded {
    name: String,
    origin: Origin,
    file: BoardFile,
}

impl Loaded {
    /// The board, with the generic candidates behind its own: every list ends in software. A generic element that the board
    /// names itself (to set it up in its own way) is not added again.
    fn board(self, generic: &Loaded) -> Board {
        let mut board = self.file.board(self.name, self.origin);
        let software = generic.file.clone().board(generic.name.clone(), generic.origin.clone());
        for entry in software.encoders {
            if !board.encoders.iter().any(|have| have.codec == entry.codec && have.element == entry.element) {
                board.encoders.push(entry);
            }
        }
        for entry in software.decoders {
            if !board.decoders.iter().any(|have| have.input == entry.input && have.element == entry.element) {
                board.decoders.push(entry);
            }
        }
        for chain in software.convert {
            if !board.convert.contains(&chain) {
                board.convert.push(chain);
            }
        }
        board
    }
}

fn built_in() -> BTreeMap<String, Loaded> {
    let load = |(name, text): &(&str, &str)| {
        let file = parse(Path::new(name), text).expect("built-in board files load: a test reads each");
        ((*name).to_owned(), Loaded { name: (*name).to_owned(), origin: Origin::BuiltIn, file })
    };
    BUILT_IN.iter().map(load).collect()
}

fn load_all(dir: &Path) -> Result<BTreeMap<String, Loaded>, BoardError> {
    let mut files = built_in();
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(files),
        Err(source) => return Err(BoardError::Read { file: dir.into(), source }),
    };
    for entry in entries {
        let path = entry.map_err(|source| BoardError::Read { file: dir.into(), source })?.path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        if path.extension().is_none_or(|extension| extension != "toml") || name.is_empty() {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|source| BoardError::Read { file: path.clone(), source })?;
        let file = parse(&path, &text)?;
        files.insert(name.clone(), Loaded { name, origin: Origin::File(path), file });
    }
    Ok(files)
}

fn parse(path: &Path, text: &str) -> Result<BoardFile, BoardError> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let before = text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        BoardError::Parse {
            file: path.into(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: error.message().trim().replace('\n', ", "),
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GENERIC_TEXT: &str = include_str!("../../../pipelines/boards/generic.toml");

    proptest! {
        #[test]
        fn any_text_is_a_board_or_an_error_at_a_place(text in "\\PC{0,200}") {
            if let Err(BoardError::Parse { line, column, .. }) = parse(Path::new("x.toml"), &text) {
                prop_assert!(line >= 1 && column >= 1);
            }
        }

        #[test]
        fn a_spoilt_file_is_told_within_its_lines(at in 0..GENERIC_TEXT.len(), junk in "[\\[\\]\"={}\n\u{e9}a1 ]{0,4}") {
            let text: String = GENERIC_TEXT.chars().take(at).chain(junk.chars()).collect();
            if let Err(BoardError::Parse { line, .. }) = parse(Path::new("x.toml"), &text) {
                prop_assert!(line <= text.matches('\n').count() + 1);
            }
        }
    }
}
