//! Reads all layers and joins them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_path_to_error::Segment;

use super::problem::{ConfigErrors, Problem, Source};
use super::shape::Shape;
use super::tree::{Node, Step, Value, from_environment, from_flags, parse as parse_tree, path_text};
use super::{Config, MERGED_BY_NAME, check, validate};
use crate::signalling::listener::ListenerConfig;

/// The file that is read when none is named, if it is there.
pub const DEFAULT_FILE: &str = "/etc/portico/portico.toml";

/// Folder of drop-ins beside the file.
const DROP_INS: &str = "conf.d";

/// Most bytes of one file. Ours have a few thousand; a device or a disk image named by mistake shall not be read whole.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Most values taken out one by one before reading is given up; the check has found nearly all of them before.
const MAX_RETRIES: usize = 64;

/// What to read.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The file; `None` for [`DEFAULT_FILE`] if that is there.
    pub file: Option<PathBuf>,
    /// The environment, as from [`std::env::vars_os`].
    pub environment: Vec<(String, String)>,
    /// The flags.
    pub flags: Flags,
}

impl Inputs {
    /// Of this process. Variables that are not UTF-8 are left out.
    pub fn of_process(file: Option<PathBuf>, flags: Flags) -> Self {
        let utf8 =
            |(name, value): (std::ffi::OsString, std::ffi::OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Self { file, environment: std::env::vars_os().filter_map(utf8).collect(), flags }
    }
}

/// Flags that set keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `http.listen`.
    pub listen: Option<SocketAddr>,
    /// `media.ice_port`.
    pub ice_port: Option<u16>,
    /// `log.filter`.
    pub log: Option<String>,
}

/// A configuration that can be run.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is suspicious.
    pub warnings: Vec<Problem>,
    /// The files it was read from, in order; to be watched for a reload.
    pub files: Vec<PathBuf>,
}

/// Reads everything, or says everything that is wrong.
pub fn load(inputs: &Inputs) -> Result<Loaded, ConfigErrors> {
    let mut reading = Reading::new();
    let named = inputs.file.is_some();
    let file = inputs.file.clone().unwrap_or_else(|| DEFAULT_FILE.into());
    if named || file.exists() {
        reading.file(&file);
    }
    for drop_in in drop_ins(&file) {
        reading.file(&drop_in);
    }
    let environment = from_environment(&inputs.environment, &reading.shape);
    reading.layer(environment);
    let flags = &inputs.flags;
    let listen = flags.listen.map(|listen| ("--listen", &["http", "listen"][..], Value::Text(listen.to_string())));
    let ice_port = flags.ice_port.map(|port| ("--ice-port", &["media", "ice_port"][..], Value::Integer(port.into())));
    let log = flags.log.clone().map(|filter| ("--log", &["log", "filter"][..], Value::Text(filter)));
    reading.layer(from_flags(&[listen, ice_port, log].into_iter().flatten().collect::<Vec<_>>()));
    reading.finish()
}

/// Reads one text, as if it were the only file and there were neither environment nor flags.
pub fn parse(name: &str, text: &str) -> Result<Loaded, ConfigErrors> {
    let mut reading = Reading::new();
    reading.text(name, text);
    reading.finish()
}

/// A file's text, or why not.
fn read_bounded(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    match text.len() as u64 > MAX_FILE_BYTES {
        true => Err(format!("it has more than {MAX_FILE_BYTES} bytes")),
        false => Ok(text),
    }
}

/// `conf.d/*.toml` beside the file, by name.
fn drop_ins(file: &Path) -> Vec<PathBuf> {
    let folder = file.parent().unwrap_or(Path::new(".")).join(DROP_INS);
    // without the folder there are none
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    files
}

struct Reading {
    shape: Shape,
    tree: Node,
    written: Option<Node>,
    problems: Vec<Problem>,
    files: Vec<PathBuf>,
}

impl Reading {
    fn new() -> Self {
        let nowhere = Source::new("defaults", false, "");
        Self {
            shape: Shape::of_config(),
            tree: Node::empty(&nowhere),
            written: Some(Node::empty(&nowhere)),
            problems: Vec::new(),
            files: Vec::new(),
        }
    }

    fn file(&mut self, path: &Path) {
        self.files.push(path.to_path_buf());
        let text = read_bounded(path);
        match text {
            Ok(text) => self.text(&path.display().to_string(), &text),
            Err(why) => self.problems.push(Problem {
                key: String::new(),
                message: format!("the file {} cannot be read: {why}", path.display()),
                help: Some(
                    "name the configuration with --config FILE; `portico schema --example` prints one to start from".into(),
                ),
                place: None,
                warning: false,
            }),
        }
    }

    fn text(&mut self, name: &str, text: &str) {
        let source = Source::new(name, true, text);
        let before = self.problems.len();
        let layer = parse_tree(&source, text, &mut self.problems);
        let line_of = |problem: &Problem| problem.place.as_ref().map(|place| place.source.position(place.span.start).0);
        let broken: BTreeSet<usize> = self.problems[before..].iter().filter_map(line_of).collect();
        let after = self.problems.len();
        self.layer(layer);
        // what is left of a line that is not TOML is not worth another word
        let more = self.problems.split_off(after);
        self.problems.extend(more.into_iter().filter(|problem| line_of(problem).is_none_or(|line| !broken.contains(&line))));
    }

    fn layer(&mut self, mut layer: Node) {
        if let Some(written) = &mut self.written {
            written.merge(layer.clone(), &MERGED_BY_NAME);
        }
        check::check(&mut layer, &self.shape, &mut self.problems);
        self.tree.merge(layer, &MERGED_BY_NAME);
    }

    fn finish(mut self) -> Result<Loaded, ConfigErrors> {
        let sources = self.written.take().map(|written| validate::written_names(&written, "source")).unwrap_or_default();
        if let Some(config) = self.deserialize() {
            self.problems.extend(validate::validate(&config, &self.tree, &sources));
            if self.problems.iter().all(|problem| problem.warning) {
                return Ok(Loaded { config, warnings: self.problems, files: self.files });
            }
        }
        Err(ConfigErrors { problems: self.problems })
    }

    /// Lets serde read the tree; what it refuses is reported and taken out, and it is asked again.
    fn deserialize(&mut self) -> Option<Config> {
        for _ in 0..MAX_RETRIES {
            let error = match serde_path_to_error::deserialize::<_, Config>(self.tree.to_toml()) {
                Ok(config) => return Some(config),
                Err(error) => error,
            };
            let path = self.blame(&error);
            // an entry of which something was taken out, or missing, has been reported already: it goes without another word
            if !self.tree.at(&path).is_some_and(|node| node.faulty) {
                self.problems.push(Problem {
                    key: path_text(&path),
                    message: error.inner().message().trim().to_owned(),
                    help: self.shape.key_at(&path).map(|key| format!("allowed: {}\n{}", key.shape.allowed(), key.doc)),
                    place: self.tree.place_of(&path),
                    warning: false,
                });
            }
            if !self.tree.remove(&path) {
                return None;
            }
        }
        None
    }

    /// The value an error is about. Within entries of several kinds serde loses the way; there, the value whose absence makes
    /// the error another one is to blame.
    fn blame(&self, error: &serde_path_to_error::Error<toml::de::Error>) -> Vec<Step> {
        let mut path: Vec<Step> = error
            .path()
            .iter()
            .filter_map(|segment| match segment {
                Segment::Map { key } => Some(Step::Key(key.clone())),
                Segment::Seq { index } => Some(Step::Item(*index)),
                _ => None,
            })
            .collect();
        while !path.is_empty() && self.tree.at(&path).is_none() {
            path.pop();
        }
        let message = error.inner().message().to_owned();
        let keys: Vec<String> =
            self.tree.at(&path).and_then(Node::table).into_iter().flatten().map(|(key, _)| key.clone()).collect();
        if message.starts_with("missing field") {
            return path;
        }
        for key in keys {
            let mut without = self.tree.clone();
            let inner = [path.clone(), vec![Step::Key(key)]].concat();
            without.remove(&inner);
            let after = Config::deserialize(without.to_toml()).err().map(|error| error.message().to_owned());
            if after.is_none_or(|after| after != message && !after.starts_with("missing field")) {
                return inner;
            }
        }
        path
    }
}

impl Loaded {
    /// One line per file, room and source, for `check` and the log.
    pub fn summary(&self) -> String {
        let config = &self.config;
        let files = match self.files.as_slice() {
            [] => "built-in values".into(),
            files => files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", "),
        };
        let rooms: Vec<&str> = config.room.iter().map(|room| room.name.as_str()).collect();
        let sources: Vec<&str> = config.source.iter().map(|source| source.name.as_str()).collect();
        let listener = |(listener, address): (&ListenerConfig, SocketAddr)| {
            format!("           {address} for {}\n", listener.dialect.as_str())
        };
        let listeners: String = config.listener.iter().zip(config.addresses().into_iter().skip(1)).map(listener).collect();
        let or = |list: Vec<&str>, none: &str| if list.is_empty() { none.to_owned() } else { list.join(", ") };
        format!(
            "read from  {files}\nlisten     {}\n{listeners}media      UDP port {}\nrooms      {}\nsources    {}",
            config.http.listen,
            config.media.ice_port,
            or(rooms, "main") + if config.rooms.ad_hoc { ", and any that is asked for" } else { "" },
            or(sources, "the first camera, or the test picture"),
        )
    }
}
