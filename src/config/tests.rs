use std::path::Path;

use super::*;
use crate::vocab::Right;

/// All problems of a text, one line each, help indented.
fn problems(text: &str) -> String {
    let problems = match parse("portico.toml", text) {
        Ok(loaded) => loaded.warnings,
        Err(errors) => errors.problems,
    };
    let line = |problem: &Problem| {
        let kind = if problem.warning { "warning" } else { "error" };
        let help = problem.help.as_deref().unwrap_or("-").replace('\n', "\n        ");
        format!("{kind}: {problem}\n        {help}\n")
    };
    problems.iter().map(line).collect()
}

/// Bad texts, each by a name for its snapshot.
const BAD: &[(&str, &str)] = &[
    ("syntax", "[http]\nlisten = 127.0.0.1:80\n\n[media]\nice_port = \"x\"\n"),
    ("unknown_key", "[http]\nlitsen = \"127.0.0.1:1\"\nice_port = 5\nbananas = 1\n\n[nonsense]\na = 1\n"),
    (
        "wrong_types",
        "[http]\nlisten = 8780\nallowed_origins = \"x\"\n[rooms]\nad_hoc = \"yes\"\nrejoin_grace = 30\n[media]\nice_addresses = [\"10.0.0.1\", \"x\"]\n",
    ),
    (
        "out_of_range",
        "[media]\nice_port = 70000\nshards = -1\n[rooms]\nmax_members = 0\nmax_streams_per_member = 65\nrejoin_grace = \"soon\"\n",
    ),
    ("topology", "[[room]]\nname = \"b\"\ntopology = \"sfuu\"\n"),
    (
        "mixes",
        "[[room]]\nname = \"a\"\ntopology = \"mcu\"\nmix = { layout = \"griid\", width = 8, colour = 1 }\n[[room]]\nname = \"b\"\nmix = { framerate = 5 }\n[[room]]\nname = \"0123456789012345678901234567890123456789012345678901234567890\"\ntopology = \"mcu\"\n[[source]]\nname = \"mix:a\"\ntype = \"test\"\n",
    ),
    (
        "source_kinds",
        "[[source]]\nname = \"a\"\ntype = \"webcam\"\n[[source]]\nname = \"b\"\n[[source]]\ntype = \"test\"\n[[source]]\nname = \"c\"\ntype = \"v4l2\"\n[[source]]\nname = \"d\"\ntype = \"test\"\ndevice = \"any\"\n",
    ),
    (
        "source_values",
        "[[source]]\nname = \"a\"\ntype = \"test\"\nwidth = 5\nbitrate = 1\ntone = \"loud\"\n[[source]]\nname = \"b\"\ntype = \"rtsp\"\nurl = \"rtsp://cam/1\"\nlatency = \"now\"\ntransport = \"tpc\"\n",
    ),
    (
        "device_by_number",
        "[[source]]\nname = \"a\"\ntype = \"v4l2\"\ndevice = \"/dev/video0\"\n[[source]]\nname = \"b\"\ntype = \"v4l2\"\ndevice = \"0\"\n[[source]]\nname = \"c\"\ntype = \"v4l2\"\ndevice = \"Logitech\"\n",
    ),
    (
        "names",
        "[[room]]\nname = \"a\"\nsources = [\"x\", \"gone\", \"x\"]\n[[room]]\nname = \"a\"\n[[source]]\nname = \"x\"\ntype = \"test\"\n[[source]]\nname = \"x\"\ntype = \"test\"\n[[source]]\nname = \"y\"\ntype = \"file\"\npath = \"/nowhere.mp4\"\n[[room]]\nname = \"\"\n",
    ),
    ("exposed", "[http]\nlisten = \"0.0.0.0:8780\"\n"),
    (
        "secrets",
        "[access]\ntoken_secret = \"geheim\"\ntoken_secret_file = \"/nowhere\"\nanonymous_rooms = [\"*\"]\n[tls]\ncert = \"/nowhere\"\n[log]\nfilter = \"portico=loud\"\n",
    ),
    ("files", "[access]\ntoken_secret_file = \"/nowhere/secret\"\n[tls]\ncert = \"/nowhere/cert\"\nkey = \"/nowhere/key\"\n"),
    (
        "lists",
        "[http]\nallowed_origins = [\"https://a.example\", \"a.example\", \"https://b/\"]\n[media]\nice_servers = [\"stun:a:3478\", \"a:3478\"]\npublish_codecs = [\"H264\", \"opus\", \"H266\"]\n[access]\nanonymous = [\"watch\"]\n",
    ),
    ("everyone", "[http]\nlisten = \"0.0.0.0:8780\"\n[access]\nanonymous = [\"publish\", \"control\"]\n[tls]\nmode = \"off\"\n"),
    (
        "rpc",
        "[rpc]\nmax_waiting = 0\n[[rpc.service]]\npath = \"*\"\ntarget = \"https://a\"\nrate = 0\nmethods = [\"PUT\"]\n[[rpc.service]]\npath = \"a/../b\"\ntarget = \"127.0.0.1:80\"\n[[rpc.service]]\npath = \"a\"\n[clips]\nmax_clip_bytes = 5\n",
    ),
    (
        "events",
        "[events]\nlive_interval = \"0s\"\nmax_bytes = 5\n[[events.sink]]\nname = \"a\"\ntype = \"amqp\"\nurl = \"amqp://me:geheim@broker\"\ntopic = \"x\"\npassword_file = \"/nowhere/word\"\nexchange_type = \"topc\"\n[[events.sink]]\nname = \"a\"\ntype = \"mqtt\"\nurl = \"http://broker\"\ntopic = \"a/#\"\nuser = \"u\"\npassword_file = \"word\"\nkey = \"/nowhere/key\"\n[[events.sink]]\nname = \"c\"\ntype = \"webhook\"\nurl = \"https://\"\n[[events.sink]]\nname = \"d\"\ntype = \"kafka\"\n",
    ),
    (
        "pictures",
        "[[events.sink]]\nname = \"a\"\ntype = \"mqtt\"\nurl = \"mqtt://broker\"\npicture_every = \"100ms\"\npicture_width = 8\n[[events.sink]]\nname = \"b\"\ntype = \"mqtt\"\nurl = \"mqtt://broker\"\npicture_every = \"1m\"\n",
    ),
    (
        "event_files",
        "[[events.sink]]\nname = \"a\"\ntype = \"webhook\"\nurl = \"https://a/hook\"\nsecret_file = \"/nowhere/secret\"\ntimeout = \"1h\"\n[[events.sink]]\nname = \"b\"\ntype = \"amqp\"\nurl = \"amqps://broker/vhost\"\ncert = \"/nowhere/cert\"\n",
    ),
    ("cascade", "[[source]]\nname = \"cam\"\ntype = \"v4l2\"\ndevice = 5\n[[room]]\nname = \"a\"\nsources = [\"cam\"]\n"),
];

#[test]
fn bad_texts_are_told_by_file_line_and_key() {
    let told: String = BAD.iter().map(|(name, text)| format!("== {name}\n{}", problems(text))).collect();
    insta::assert_snapshot!(told);
}

#[test]
fn what_only_the_type_of_a_value_refuses_is_told_by_its_key() {
    let text = "[[source]]\nname = \"cam\"\ntype = \"rtsp\"\nurl = \"http://cam\"\nwidth = 3\n[[room]]\nname = \"a\\u0001b\"\n";
    let errors = parse("portico.toml", text).unwrap_err();
    let at = |key: &str| {
        let problem = errors.problems.iter().find(|problem| problem.key == key);
        problem.unwrap_or_else(|| panic!("{key} in {errors:?}"))
    };
    assert!(at("source[0].url").to_string().starts_with("portico.toml:4:7: "));
    assert!(at("room[0].name").to_string().starts_with("portico.toml:7:8: "));
    assert!(at("room[0].name").help.as_deref().unwrap_or_default().contains("1 to 256 characters"));
    at("source[0].width");
}

#[test]
fn a_report_shows_the_line() {
    let errors = parse("portico.toml", "[http]\nlitsen = \"127.0.0.1:1\"\n\n[access]\ntoken_secret = \"geheim\"\n").unwrap_err();
    let report = errors.report(false);
    assert!(!report.contains("geheim"));
    insta::assert_snapshot!(report);
}

#[test]
fn an_empty_text_runs_the_main_job() {
    let loaded = parse("portico.toml", "").unwrap();
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.warnings.is_empty());
    assert_eq!(loaded.config.http.listen.to_string(), "127.0.0.1:8780");
    assert_eq!(loaded.config.media.ice_port, 8781);
    let with = loaded.config.effective(true);
    assert_eq!((with.sources[0].name.as_str(), with.rooms[0].sources.len()), (Config::AUTO_CAMERA, 1));
    let without = loaded.config.effective(false);
    assert_eq!(without.sources[0].name.as_str(), "test");
    assert_eq!(without.rooms[0].name.as_str(), "main");
}

#[test]
fn listed_rooms_and_sources_are_taken_as_they_are() {
    let config = |text| parse("x", text).unwrap().config;
    let source_only = config("[[source]]\nname = \"s\"\ntype = \"test\"\n").effective(true);
    assert_eq!(source_only.rooms[0].sources, [source_only.sources[0].name.clone()]);
    let room_only = config("[[room]]\nname = \"r\"\n").effective(true);
    assert!(room_only.sources.is_empty() && room_only.rooms.len() == 1);
}

fn write(dir: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

fn vars(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn later_layers_win() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(
        dir.path(),
        "portico.toml",
        "[http]\nlisten = \"127.0.0.1:1\"\n[media]\nice_port = 1\nshards = 1\n[rooms]\nmax_rooms = 1\n",
    );
    write(dir.path(), "conf.d/20-b.toml", "[media]\nice_port = 3\n[http]\nlisten = \"127.0.0.1:3\"\n");
    write(dir.path(), "conf.d/10-a.toml", "[media]\nice_port = 2\nshards = 2\n");
    write(dir.path(), "conf.d/ignored.txt", "[nonsense]\n");
    let environment = vars(&[("PORTICO_MEDIA__ICE_PORT", "4"), ("PORTICO_HTTP__LISTEN", "127.0.0.1:4"), ("PORTICO_OTHER", "x")]);
    let flags = Flags { listen: Some("127.0.0.1:5".parse().unwrap()), ..Default::default() };
    let loaded = load(&Inputs { file: Some(file.clone()), environment: environment.clone(), flags }).unwrap();
    let config = &loaded.config;
    assert_eq!((config.http.listen.port(), config.media.ice_port), (5, 4));
    assert_eq!((config.media.shards, config.rooms.max_rooms), (2, 1));
    assert_eq!(loaded.files.len(), 3);
    let flags = Flags { ice_port: Some(6), log: Some("debug".into()), ..Default::default() };
    let config = load(&Inputs { file: Some(file), environment, flags }).unwrap().config;
    assert_eq!((config.http.listen.port(), config.media.ice_port, config.log.filter.as_str()), (4, 6, "debug"));
}

#[test]
fn the_environment_is_read_as_each_key_wants_it() {
    let environment = vars(&[
        ("PORTICO_ACCESS__ANONYMOUS", "subscribe, publish"),
        ("PORTICO_HTTP__TRUSTED_PROXIES", "[\"10.0.0.1\"]"),
        ("PORTICO_ROOMS__AD_HOC", "false"),
        ("PORTICO_ROOMS__MAX_ROOMS", "7"),
        ("PORTICO_HTTP__LIMITS__HANDSHAKE_TIME", "3s"),
    ]);
    let dir = tempfile::tempdir().unwrap();
    let file = Some(write(dir.path(), "portico.toml", ""));
    let config = load(&Inputs { file: file.clone(), environment, flags: Flags::default() }).unwrap().config;
    assert_eq!(config.access.anonymous, [Right::Subscribe, Right::Publish]);
    assert_eq!(config.http.trusted_proxies, ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
    assert!(!config.rooms.ad_hoc);
    assert_eq!((config.rooms.max_rooms, config.http.limits.handshake_time.as_secs()), (7, 3));

    let environment = vars(&[("PORTICO_HTTP__LISTNE", "x"), ("PORTICO_MEDIA__ICE_PORT", "many")]);
    let flags = Flags { listen: Some("0.0.0.0:1".parse().unwrap()), ..Default::default() };
    let errors = load(&Inputs { file, environment, flags }).unwrap_err();
    let told: Vec<String> = errors.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "environment: http.listne: there is no key `listne` here",
            "environment: media.ice_port: \"many\" is not allowed here",
            "command line: http.listen: 0.0.0.0:1 can be reached by others, and nothing says who may do what",
        ]
    );
}

#[test]
fn drop_ins_add_entries_and_replace_those_of_the_same_name() {
    let dir = tempfile::tempdir().unwrap();
    let file =
        write(dir.path(), "p.toml", "[[source]]\nname = \"a\"\ntype = \"test\"\n[[source]]\nname = \"b\"\ntype = \"test\"\n");
    write(
        dir.path(),
        "conf.d/x.toml",
        "[[source]]\nname = \"b\"\ntype = \"test\"\ntone = 0\n[[source]]\nname = \"c\"\ntype = \"csi\"\n",
    );
    let config = load(&Inputs { file: Some(file), ..Default::default() }).unwrap().config;
    let names: Vec<&str> = config.source.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert!(matches!(&config.source[1].kind, SourceKind::Test(test) if test.tone == 0));
}

#[test]
fn a_named_file_must_be_there() {
    let errors = load(&Inputs { file: Some("/nowhere/portico.toml".into()), ..Default::default() }).unwrap_err();
    assert!(errors.problems[0].message.contains("/nowhere/portico.toml cannot be read"), "{errors:?}");
    for (wrong, why) in [("/dev/zero", "more than 1048576 bytes"), ("/dev", "directory")] {
        let errors = load(&Inputs { file: Some(wrong.into()), ..Default::default() }).unwrap_err();
        assert!(errors.problems[0].message.contains(why), "{errors:?}");
    }
}

/// Compares a generated page with the one that is checked in; `UPDATE=1` writes it.
pub(crate) fn compare_with_checked_in(path: &str, generated: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, generated).unwrap();
    }
    let checked_in = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(checked_in == generated, "{path} is out of date: run `UPDATE=1 cargo test --lib checked_in`");
}

#[test]
fn generated_pages_are_those_checked_in() {
    compare_with_checked_in("docs/ref/portico.example.toml", &example());
    compare_with_checked_in("docs/ref/config.md", &reference());
    compare_with_checked_in("docs/ref/config.schema.json", &(serde_json::to_string_pretty(&schema()).unwrap() + "\n"));
    compare_with_checked_in("docs/ref/metrics.md", &crate::app::metrics_reference());
}

#[test]
fn the_example_changes_nothing_and_shows_only_what_is_allowed() {
    let example = example();
    assert_eq!(parse("example", &example).unwrap().config, Config::default());
    // every `#key = value` made live; what names files of this machine or excludes another key is left as it is
    let impossible = ["#token_secret", "#turn_secret", "#cert", "#key ", "#ca "];
    let live = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') && !rest.is_empty() && !impossible.iter().any(|p| line.starts_with(p)) => {
            rest.to_owned()
        }
        _ => line.to_owned(),
    };
    let uncommented: String = example.lines().map(|line| live(line) + "\n").collect();
    let told: Vec<String> = match parse("example", &uncommented) {
        Ok(loaded) => loaded.warnings,
        Err(errors) => errors.problems,
    }
    .iter()
    .filter(|problem| !problem.warning)
    .map(|problem| format!("{problem} {:?}", problem.help))
    .collect();
    assert!(told.is_empty(), "{told:#?}");
}

#[test]
fn a_relay_for_all_that_cannot_be_is_said() {
    let warned = |text: &str| {
        let loaded = parse("x", &format!("[media]\n{text}\n")).unwrap();
        loaded.warnings.iter().any(|problem| problem.to_string().contains("the gateway gets no relay"))
    };
    assert!(warned("relay = 'all'") && warned("relay = 'all'\nice_lite = true"));
    assert!(!warned("relay = 'bridges'\nice_lite = true") && !warned("relay = 'off'") && !warned(""));
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in "(\\[\\[?(http|source|room|rooms|x)\\]\\]?\n|[a-z_]{1,6} = (\"[^\"]{0,5}\"|-?[0-9]{1,20}|\\[1,\"a\"\\]|true|\\{a=1\\})\n|.{0,10}\n){0,12}") {
        let _ = parse("x", &text);
    }
}
