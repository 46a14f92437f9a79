//! The example configuration and the reference of keys, written from the schema.

use std::fmt::Write as _;

use serde_json::Value;

use super::shape::{Key, Kind, Shape, Word};

/// Sections in the order a reader wants them; those that are not named come after, lists last.
const ORDER: [&str; 14] = [
    "http", "access", "tls", "mdns", "media", "rooms", "sources", "rtsp", "log", "room", "source", "record", "listener", "bridge",
];

/// So many of them, at the end, are lists.
const LISTS: usize = 4;

/// Values for required keys, which have no default to show.
const SAMPLES: &[(&str, &str, &str)] = &[
    ("room", "name", "\"kitchen\""),
    ("source", "name", "\"door\""),
    ("source", "device", "\"/dev/v4l/by-id/usb-046d_HD_Webcam_C525-video-index0\""),
    ("source", "path", "\"/srv/video/loop.mp4\""),
    ("source", "url", "\"rtsp://192.168.1.20/stream1\""),
    ("record", "room", "\"kitchen\""),
    ("record", "stream", "\"door\""),
    ("recording", "directory", "\"/var/lib/portico/recordings\""),
    ("rtsp", "listen", "\"0.0.0.0:8554\""),
    ("listener", "dialect", "\"peerjs\""),
    ("bridge", "name", "\"studio\""),
    ("bridge", "kind", "\"whip\""),
    ("bridge", "room", "\"main\""),
    ("bridge", "url", "\"https://media.example/whip/studio\""),
    ("bridge", "remote_room", "\"yard\""),
    ("bridge", "id", "\"the-hall\""),
    ("bridge", "key", "\"peerjs\""),
    ("bridge", "call", "[\"camera-1\"]"),
    ("rpc.service", "path", "\"account/*\""),
    ("rpc.service", "target", "\"http://127.0.0.1:9001\""),
    ("events.sink", "name", "\"backend\""),
    ("events.sink", "url", "\"amqps://broker.lan\""),
    ("events.sink.mqtt", "url", "\"mqtt://broker.lan\""),
    ("events.sink.webhook", "url", "\"https://example.org/portico\""),
    ("events.sink", "secret_file", "\"webhook-secret\""),
    ("peerjs.mount", "path", "\"/peerjs\""),
    ("peerjs.mount", "key", "\"peerjs\""),
    ("peerjs.mount", "room", "\"main\""),
    ("peerjs.mount.node", "peer_id", "\"n2\""),
    ("peerjs.mount.node", "external_ip", "\"192.0.2.1\""),
    ("peerjs.mount.node", "external_port", "6000"),
    ("peerjs.mount.node", "public_key", "\"758b1c119412298802cd28dbfa394cdfeecc4074492d60844cc192d632d84de3\""),
];

/// Values for keys that are empty or absent by default, where an empty one would say nothing.
const SAMPLES_OF_EMPTY: &[(&str, &str)] = &[
    ("allowed_origins", "[\"https://intranet.example\"]"),
    ("trusted_proxies", "[\"127.0.0.1\"]"),
    ("token_secret", "\"at least sixteen characters\""),
    ("token_secret_file", "\"/etc/portico/token-secret\""),
    ("anonymous", "[\"subscribe\"]"),
    ("anonymous_rooms", "[\"lobby\", \"public-*\"]"),
    ("cert", "\"/etc/portico/cert.pem\""),
    ("key", "\"/etc/portico/key.pem\""),
    ("names", "[\"door.example\"]"),
    ("state_dir", "\"/var/lib/portico\""),
    ("ice_addresses", "[\"192.168.1.7\"]"),
    ("ice_interfaces", "[\"eth*\", \"!docker*\"]"),
    ("ice_external_addresses", "[\"203.0.113.7\"]"),
    ("turn_secret_file", "\"/etc/portico/turn-secret\""),
    ("ice_servers", "[\"stun:stun.example:3478\"]"),
    ("board", "\"generic\""),
    ("sources", "[\"door\"]"),
    ("audio_device", "\"hw:CARD=C525\""),
    ("max_members", "16"),
    ("listen", "\"127.0.0.1:3001\""),
    ("path", "\"/\""),
    ("room_prefix", "\"forum-\""),
    ("store_dir", "\"/var/lib/portico/events\""),
    ("user", "\"portico\""),
    ("password_file", "\"broker-password\""),
    ("ca", "\"/etc/portico/ca.pem\""),
    ("client_id", "\"portico-door\""),
    ("device_name", "\"Hall board\""),
    ("stream", "\"main\""),
    ("token_file", "\"whip-token\""),
    ("directory", "\"/var/cache/portico/clips\""),
];

/// Longest comment line of the example.
const WIDTH: usize = 110;

/// The sections in order: name and key.
fn sections(shape: &Shape) -> Vec<&Key> {
    let mut keys = shape.keys(None);
    let rank = |key: &Key| {
        let last = ORDER.len() - LISTS;
        ORDER.iter().position(|name| *name == key.name).map_or((last, 0), |at| (at, usize::from(at >= last)))
    };
    keys.sort_by_key(|key| rank(key));
    keys
}

/// A configuration file with every key, each with its meaning; all commented out, so that it changes nothing.
pub fn example() -> String {
    let mut text = String::from(
        "# Portico's configuration with every key there is. Each line `#key = value` shows the default, or a sample where the\n\
         # default is to leave the key out. An empty file is a good start.\n",
    );
    let shape = Shape::of_config();
    for section in sections(&shape) {
        match &section.shape {
            Shape::List(of) => list_example(&mut text, &section.name, section, of),
            Shape::Table(keys) => table_example(&mut text, &section.name, "", &section.doc, keys),
            _ => key_example(&mut text, "", section),
        }
    }
    text
}

/// `mark` is `#` where the table is part of something that is only shown.
fn table_example(text: &mut String, path: &str, mark: &str, about: &str, keys: &[Key]) {
    text.push('\n');
    comment(text, about);
    let _ = writeln!(text, "{mark}[{path}]");
    let (nested, plain): (Vec<&Key>, Vec<&Key>) = keys.iter().partition(|key| is_section(&key.shape));
    plain.iter().for_each(|key| key_example(text, path, key));
    nested_examples(text, path, mark, &nested);
}

fn nested_examples(text: &mut String, path: &str, mark: &str, nested: &[&Key]) {
    for key in nested {
        let name = format!("{path}.{}", key.name);
        match &key.shape {
            Shape::Table(keys) => table_example(text, &name, mark, &key.doc, keys),
            Shape::List(of) => list_example(text, &name, key, of),
            _ => {}
        }
    }
}

/// Whether a key is described as a section of its own: a table, or a list of tables.
fn is_section(shape: &Shape) -> bool {
    match shape {
        Shape::Table(_) => true,
        Shape::List(of) => matches!(**of, Shape::Table(_) | Shape::Kinds { .. }),
        _ => false,
    }
}

fn list_example(text: &mut String, name: &str, section: &Key, of: &Shape) {
    text.push('\n');
    comment(text, &section.doc);
    match of {
        Shape::Kinds { tag, common, kinds } => {
            for (index, kind) in kinds.iter().enumerate() {
                text.push('\n');
                comment(text, &kind.doc);
                let _ = writeln!(text, "#[[{}]]", name);
                let common = common.iter().filter(|key| takes(name, tag, kind, key));
                let mut keys: Vec<&Key> = common.chain(&kind.keys).collect();
                keys.sort_by_key(|key| (key.name != "name", !key.required, key.name.clone()));
                for key in keys {
                    if key.name == "name" {
                        comment(text, &key.doc);
                        let own = format!("\"{}\"", kind.name);
                        let _ = writeln!(text, "#name = {}", if index == 0 { sample(name, key) } else { own });
                        let _ = writeln!(text, "#{tag} = \"{}\"", kind.name);
                    } else {
                        let of_kind = format!("{name}.{}", kind.name);
                        let has_own = SAMPLES.iter().any(|(section, sampled, _)| *section == of_kind && *sampled == key.name);
                        key_example(text, if has_own { &of_kind } else { name }, key);
                    }
                }
            }
        }
        _ => {
            let _ = writeln!(text, "#[[{}]]", name);
            let mut keys = of.keys(None);
            keys.sort_by_key(|key| (!key.required, key.name.clone()));
            let (nested, plain): (Vec<&Key>, Vec<&Key>) = keys.into_iter().partition(|key| is_section(&key.shape));
            plain.iter().for_each(|key| key_example(text, name, key));
            // an entry that is shown and does not count has parts that do not count
            nested_examples(text, name, "#", &nested);
        }
    }
}

fn key_example(text: &mut String, section: &str, key: &Key) {
    comment(text, &key.doc);
    words(&key.shape).iter().filter(|word| !word.doc.is_empty()).for_each(|word| comment(text, &word_text(word)));
    let _ = writeln!(text, "#{} = {}", key.name, sample(section, key));
}

/// The words a key takes, if it takes a single one.
fn words(shape: &Shape) -> &[Word] {
    match shape {
        Shape::Word(words) => words,
        _ => &[],
    }
}

fn word_text(word: &Word) -> String {
    format!("`{}`: {}", word.name, word.doc)
}

/// The default, or a sample where there is none to show.
fn sample(section: &str, key: &Key) -> String {
    let required = SAMPLES.iter().find(|(s, k, _)| *s == section && *k == key.name).map(|(_, _, value)| *value);
    if let Some(value) = required {
        return value.into();
    }
    let says_nothing = match &key.default {
        None | Some(Value::Null) => true,
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    };
    let empty = SAMPLES_OF_EMPTY.iter().find(|(k, _)| *k == key.name).map(|(_, value)| *value);
    match (&key.default, empty, &key.shape) {
        (_, Some(value), _) if says_nothing => value.into(),
        (Some(default), ..) if !default.is_null() => toml_text(default),
        (_, _, Shape::Integer(low, _)) => (*low).max(1).to_string(),
        (_, _, Shape::List(_)) => "[]".into(),
        (_, _, Shape::Bool) => "false".into(),
        _ => "\"\"".into(),
    }
}

/// Whether the reader lets an entry of that kind have a key that the schema gives to all kinds: the reader is asked, as only it
/// knows.
fn takes(section: &str, tag: &str, kind: &Kind, key: &Key) -> bool {
    if key.required {
        return true;
    }
    let required = kind.keys.iter().filter(|of_kind| of_kind.required);
    let lines: String = required.chain([key]).map(|key| format!("{} = {}\n", key.name, sample(section, key))).collect();
    super::parse("sample", &format!("[[{section}]]\nname = \"x\"\n{tag} = \"{}\"\n{lines}", kind.name)).is_ok()
}

/// A JSON value as TOML writes it.
fn toml_text(value: &Value) -> String {
    match value {
        Value::Array(list) => format!("[{}]", list.iter().map(toml_text).collect::<Vec<_>>().join(", ")),
        Value::Object(table) => {
            let pairs: Vec<String> = table.iter().map(|(key, value)| format!("{key} = {}", toml_text(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        // a JSON string escapes no less than a TOML string must
        other => other.to_string(),
    }
}

fn comment(text: &mut String, about: &str) {
    let mut line = String::from("#");
    for word in about.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(text, "{line}");
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    if line.len() > 1 {
        let _ = writeln!(text, "{line}");
    }
}

/// The reference of keys, in Markdown.
pub fn reference() -> String {
    let mut text = String::from(
        "# Configuration keys\n\n\
         One TOML file, `/etc/portico/portico.toml` or what `--config` names; `conf.d/*.toml` beside it; environment variables\n\
         `PORTICO_SECTION__KEY` (`PORTICO_HTTP__LISTEN=0.0.0.0:8780`, lists separated by commas); flags. Later ones win; entries of\n\
         `[[room]]` and `[[source]]` replace those of the same name and are added otherwise. `portico check` tells what is wrong with\n\
         file, line, key and what is allowed.\n\n\
         This page is generated from the program; a test compares the two.\n",
    );
    let shape = Shape::of_config();
    for section in sections(&shape) {
        match &section.shape {
            Shape::List(of) => {
                let _ = write!(text, "\n## `[[{}]]`\n\n{}\n", section.name, section.doc);
                match of.as_ref() {
                    Shape::Kinds { tag, common, kinds } => kinds_reference(&mut text, &section.name, tag, common, kinds),
                    of => keys_reference(&mut text, &section.name, &of.keys(None)),
                }
            }
            Shape::Table(keys) => table_reference(&mut text, &section.name, &section.doc, keys),
            _ => rows(&mut text, &[section]),
        }
    }
    text
}

fn table_reference(text: &mut String, path: &str, about: &str, keys: &[Key]) {
    let _ = write!(text, "\n## `[{path}]`\n\n{about}\n");
    keys_reference(text, path, &keys.iter().collect::<Vec<_>>());
}

fn keys_reference(text: &mut String, path: &str, keys: &[&Key]) {
    let (nested, plain): (Vec<&Key>, Vec<&Key>) = keys.iter().partition(|key| is_section(&key.shape));
    rows(text, &plain);
    for key in nested {
        let name = format!("{path}.{}", key.name);
        match &key.shape {
            Shape::Table(keys) => table_reference(text, &name, &key.doc, keys),
            Shape::List(of) => {
                let _ = write!(text, "\n## `[[{name}]]`\n\n{}\n", key.doc);
                match of.as_ref() {
                    Shape::Kinds { tag, common, kinds } => kinds_reference(text, &name, tag, common, kinds),
                    of => keys_reference(text, &name, &of.keys(None)),
                }
            }
            _ => {}
        }
    }
}

fn kinds_reference(text: &mut String, section: &str, tag: &str, common: &[Key], kinds: &[Kind]) {
    let names: Vec<String> = kinds.iter().map(|kind| format!("`{}`", kind.name)).collect();
    let _ = write!(text, "\nEvery entry has `{tag}`, one of {}, and these keys:\n", names.join(", "));
    let (of_all, of_some): (Vec<&Key>, Vec<&Key>) =
        common.iter().partition(|key| kinds.iter().all(|kind| takes(section, tag, kind, key)));
    rows(text, &of_all);
    for kind in kinds {
        let _ = write!(text, "\n### `{tag} = \"{}\"`\n\n{}\n", kind.name, kind.doc);
        let of_kind = of_some.iter().copied().filter(|key| takes(section, tag, kind, key));
        rows(text, &kind.keys.iter().chain(of_kind).collect::<Vec<_>>());
    }
}

fn rows(text: &mut String, keys: &[&Key]) {
    if keys.is_empty() {
        return;
    }
    text.push_str("\n| key | value | default | meaning |\n|---|---|---|---|\n");
    for key in keys {
        let default = match &key.default {
            _ if key.required => "must be set".into(),
            None | Some(Value::Null) => "–".into(),
            Some(value) => format!("`{}`", toml_text(value)),
        };
        let words = words(&key.shape).iter().filter(|word| !word.doc.is_empty()).map(word_text);
        let meaning = std::iter::once(key.doc.clone()).chain(words).collect::<Vec<_>>().join("<br>").replace('|', "\\|");
        let _ = writeln!(text, "| `{}` | {} | {default} | {meaning} |", key.name, key.shape.allowed());
    }
}
