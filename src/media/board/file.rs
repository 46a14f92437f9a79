//! Board files: how they are found, overridden and matched to the machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::schema::BoardFile;
use super::{Board, Origin};

/// The built-in files. A test compares this list with the folder.
const BUILT_IN: &[(&str, &str)] = &[
    ("amd", include_str!("../../../pipelines/boards/amd.toml")),
    ("generic", include_str!("../../../pipelines/boards/generic.toml")),
    ("imx8mm", include_str!("../../../pipelines/boards/imx8mm.toml")),
    ("imx8mn", include_str!("../../../pipelines/boards/imx8mn.toml")),
    ("imx8mp", include_str!("../../../pipelines/boards/imx8mp.toml")),
    ("imx8mq", include_str!("../../../pipelines/boards/imx8mq.toml")),
    ("imx8q", include_str!("../../../pipelines/boards/imx8q.toml")),
    ("intel", include_str!("../../../pipelines/boards/intel.toml")),
    ("jetson-agx-orin", include_str!("../../../pipelines/boards/jetson-agx-orin.toml")),
    ("jetson-nano", include_str!("../../../pipelines/boards/jetson-nano.toml")),
    ("jetson-orin-nano", include_str!("../../../pipelines/boards/jetson-orin-nano.toml")),
    ("jetson-orin-nx", include_str!("../../../pipelines/boards/jetson-orin-nx.toml")),
    ("jetson-thor", include_str!("../../../pipelines/boards/jetson-thor.toml")),
    ("jetson-tx2", include_str!("../../../pipelines/boards/jetson-tx2.toml")),
    ("jetson-xavier", include_str!("../../../pipelines/boards/jetson-xavier.toml")),
    ("nvidia", include_str!("../../../pipelines/boards/nvidia.toml")),
    ("raspberry-pi-3", include_str!("../../../pipelines/boards/raspberry-pi-3.toml")),
    ("raspberry-pi-4", include_str!("../../../pipelines/boards/raspberry-pi-4.toml")),
    ("raspberry-pi-5", include_str!("../../../pipelines/boards/raspberry-pi-5.toml")),
    ("raspberry-pi-zero-2", include_str!("../../../pipelines/boards/raspberry-pi-zero-2.toml")),
    ("rk3399", include_str!("../../../pipelines/boards/rk3399.toml")),
    ("rk3568", include_str!("../../../pipelines/boards/rk3568.toml")),
    ("rk3588", include_str!("../../../pipelines/boards/rk3588.toml")),
    ("rockchip-mainline", include_str!("../../../pipelines/boards/rockchip-mainline.toml")),
];

/// Names and texts of the built-in files.
#[cfg(test)]
pub(super) fn built_in_texts() -> &'static [(&'static str, &'static str)] {
    BUILT_IN
}

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
    /// Graphics devices on the PCI bus, in its order: `8086:46a6`. At most 16.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pci: Vec<String>,
}

/// Most graphics devices that are looked at.
const MOST_PCI: usize = 16;

/// Display controllers below `root`, by their class (PCI Code and ID Assignment, base class 03).
fn graphics(root: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root.join("sys/bus/pci/devices")) else { return Vec::new() };
    let mut devices: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    devices.sort();
    let id = |device: PathBuf| {
        let hex = |name: &str| {
            let text = std::fs::read_to_string(device.join(name)).ok()?;
            u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
        };
        (hex("class")? >> 16 == 3).then_some(())?;
        Some(format!("{:04x}:{:04x}", hex("vendor")?, hex("device")?))
    };
    devices.into_iter().filter_map(id).take(MOST_PCI).collect()
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
            pci: graphics(root),
        }
    }
}

pub(super) fn recognise(dir: &Path, forced: Option<&str>, root: &Path) -> Result<Board, BoardError> {
    let files = load_all(dir)?;
    let generic = files.get(GENERIC).expect("the built-in list has generic, and an override only replaces it");
    if let Some(name) = forced {
        let chosen = files
            .get(name)
            .ok_or_else(|| BoardError::Unknown { name: name.to_owned(), known: files.keys().cloned().collect() })?;
        return Ok(chosen.clone().board(generic));
    }
    let identity = Identity::read(root);
    let by_tree = identity
        .compatible
        .iter()
        .find_map(|compatible| best_match(&files, root, |file| file.compatible.iter().any(|entry| entry == compatible)));
    if let Some(chosen) = by_tree {
        return Ok(chosen.clone().board(generic));
    }
    // a PC may have several graphics devices: the first names the board, the candidates of the others follow
    let by_pci =
        identity.pci.iter().filter_map(|id| best_match(&files, root, |file| file.pci.iter().any(|pattern| pattern.matches(id))));
    let mut chosen: Vec<&Loaded> = Vec::new();
    for loaded in by_pci {
        if !chosen.iter().any(|have| have.name == loaded.name) {
            chosen.push(loaded);
        }
    }
    let Some((first, others)) = chosen.split_first() else { return Ok(generic.clone().board(generic)) };
    let mut board = (*first).clone().alone();
    others.iter().for_each(|other| join(&mut board, (*other).clone().alone()));
    join(&mut board, generic.clone().alone());
    Ok(board)
}

/// The file that is meant. One that wants a node that is there comes first, then a file of the machine, then the alphabet.
fn best_match<'a>(files: &'a BTreeMap<String, Loaded>, root: &Path, meant: impl Fn(&BoardFile) -> bool) -> Option<&'a Loaded> {
    let there = |node: &PathBuf| root.join(node.strip_prefix("/").unwrap_or(node)).exists();
    let applies = |loaded: &&Loaded| loaded.file.nodes.is_empty() || loaded.file.nodes.iter().any(there);
    let of_files = files.values().filter(|loaded| meant(&loaded.file)).filter(applies);
    of_files.min_by_key(|loaded| (loaded.origin == Origin::BuiltIn, loaded.file.nodes.is_empty()))
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
    /// The board as its file says, without anything behind.
    fn alone(self) -> Board {
        self.file.board(self.name, self.origin)
    }

    /// The board, with the generic candidates behind its own: every list ends in software.
    fn board(self, generic: &Loaded) -> Board {
        let mut board = self.alone();
        join(&mut board, generic.clone().alone());
        board
    }
}

/// Puts another board's candidates behind a board's own. An element that the board names itself (to set it up in its own way) is
/// not added again.
fn join(board: &mut Board, other: Board) {
    let own = board.encoders.len();
    for entry in other.encoders {
        if !board.encoders[..own].iter().any(|have| have.codec == entry.codec && have.element == entry.element) {
            board.encoders.push(entry);
        }
    }
    let own = board.decoders.len();
    for entry in other.decoders {
        if !board.decoders[..own].iter().any(|have| have.input == entry.input && have.element == entry.element) {
            board.decoders.push(entry);
        }
    }
    let own = board.compositors.len();
    for entry in other.compositors {
        if !board.compositors[..own].iter().any(|have| have.element == entry.element) {
            board.compositors.push(entry);
        }
    }
    for chain in other.convert {
        if !board.convert.contains(&chain) {
            board.convert.push(chain);
        }
    }
    for (element, from) in other.vendor {
        board.vendor.entry(element).or_insert(from);
    }
    board.quirks.extend(other.quirks);
}

/// One board file by itself, for who writes it: read, and its caps understood. GStreamer must be initialised.
pub(super) fn check(path: &Path) -> Result<Board, BoardError> {
    let text = std::fs::read_to_string(path).map_err(|source| BoardError::Read { file: path.into(), source })?;
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    let board = Loaded { name, origin: Origin::File(path.into()), file: parse(path, &text)? }.alone();
    let encoders = board.encoders.iter().flat_map(|it| [&it.input_caps, &it.output_caps]);
    let others = board.decoders.iter().map(|it| &it.output_caps).chain(board.csi.iter().map(|it| &it.output_caps));
    let compositors = board.compositors.iter().flat_map(|it| [&it.input_caps, &it.output_caps]);
    for caps in encoders.chain(others).chain(compositors).filter(|caps| !caps.is_empty()) {
        if caps.parse::<gstreamer::Caps>().is_err() {
            // written as it is, so it is found where it stands
            let at = text.find(caps.as_str()).unwrap_or(0);
            return Err(error_at(path, &text, at, format!("`{caps}` are no caps; `gst-launch-1.0` takes the same")));
        }
    }
    Ok(board)
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
        let start = error.span().map_or(0, |span| span.start);
        error_at(path, text, start, error.message().trim().replace('\n', ", "))
    })
}

/// An error at a byte of a file.
fn error_at(path: &Path, text: &str, start: usize, message: String) -> BoardError {
    let before = text.get(..start.min(text.len())).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    BoardError::Parse {
        file: path.into(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        message,
    }
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
