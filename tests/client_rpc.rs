//! Requests over a data channel, from genuine simple-peerjs and PeerJS clients to a local HTTP service: peerjs.md §6.

#[path = "support/service.rs"]
mod service;
mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use service::{Service, hangs_up, nowhere};
use support::{ANY_ORIGIN, Gateway, node, read, tests_dir};

/// The default broker's room, where every connection ends at Portico. Without it the room is a mesh.
const SFU: &str = "[[room]]\nname = \"peerjs\"\ntopology = \"sfu\"\n";
/// Both kinds of rooms.
const ROOMS: [&str; 2] = ["", SFU];

/// A service behind `/v1` for each path, with more settings.
fn services(base: &str, paths: &[(&str, &str)]) -> String {
    let one = |(path, more): &(&str, &str)| format!("[[rpc.service]]\npath = \"{path}\"\ntarget = \"{base}/v1\"\n{more}\n");
    paths.iter().map(one).collect()
}

/// Steps of `rpc.mjs` by clients of these libraries.
fn run(gateway: &Gateway, libraries: &str, steps: &[Value]) -> Value {
    let steps = Value::from(steps).to_string();
    let seen = node("rpc.mjs", &[&gateway.base, "/peerjs", "peerjs", "peerjs", libraries, &steps]);
    assert_eq!(seen["more"], json!([]), "nothing is said twice: {seen:#}");
    seen
}

/// The only answer of a step.
fn only(seen: &Value, step: usize) -> &Value {
    let answers = seen["steps"][step].as_array().expect("a list");
    assert_eq!(answers.len(), 1, "{seen:#}");
    &answers[0]
}

/// The document's request, and its answer from the room `peerjs`.
fn account() -> Value {
    json!({"url": "account/id", "method": "GET", "body": {"id": "abc123"}, "sender": "$me"})
}

fn account_answer() -> Value {
    json!({"type": "account", "method": "GET", "body": {"id": "abc123"}, "sender": "peerjs"})
}

/// A request with a number of its own.
fn ask(method: &str, url: &str) -> Value {
    json!({"say": {"url": url, "method": method, "id": 1}})
}

/// That an answer is an error of this code for this request, in the form of the protocol page.
fn assert_error(answer: &Value, code: u64, request: &Value) {
    let (body, url) = (&answer["body"], &request["url"]);
    let form = (&answer["type"], &answer["sender"], &answer["method"], &body["url"]);
    assert_eq!(form, (&json!("error"), &json!("peerjs"), &request["method"], url), "{answer:#}");
    assert_eq!(body["code"], code, "{request}: {answer:#}");
    assert!(body["message"].as_str().is_some_and(|text| !text.is_empty()), "{answer:#}");
}

/// Line 20 of the checklist, and the rest of the document's exchange.
#[test]
fn simple_peerjs_clients_are_answered_as_the_document_says() {
    let service = Service::start("");
    for room in ROOMS {
        let gateway = Gateway::start(&format!("{room}{}", services(&service.base(), &[("account/id", ""), ("inject", "")])));
        let inject = json!({"url": "inject", "method": "POST", "body": {"amount": 1}, "sender": "$me"});
        let mut numbered = inject.clone();
        numbered["id"] = json!("i1");
        let seen = run(
            &gateway,
            "simple",
            &[
                json!({"say": account()}),
                json!({"say": account(), "bytes": true}),
                json!({"say": inject, "answers": 0}),
                json!({"say": numbered}),
                json!({"say": {"url": "/account/id", "method": "GET", "body": {"id": "a b&c"}, "id": 7}}),
            ],
        );
        assert_eq!(*only(&seen, 0), account_answer());
        assert_eq!(*only(&seen, 1), account_answer(), "bytes that hold JSON are read as well");
        let done = json!({"type": "inject", "method": "POST", "body": {"success": true}, "sender": "peerjs", "id": "i1"});
        assert_eq!(*only(&seen, 3), done, "without an `id` an inject that went well is silent");
        assert_eq!(only(&seen, 4)["body"], json!({"id": "a%20b%26c"}), "as the service got it");
        assert_eq!(seen["wire"][0], json!({"text": 4, "binary": 0}), "answers are text");
    }
    let asked = service.asked();
    let of = |method: &str, uri: &str, body: &str| (method.to_owned(), uri.to_owned(), body.to_owned());
    assert_eq!(asked.len(), 10);
    assert_eq!(asked[0], of("GET", "/v1/account/id?id=abc123", ""));
    assert_eq!(asked[2], of("POST", "/v1/inject", r#"{"amount":1}"#));
}

#[test]
fn peerjs_clients_are_answered_in_the_serialization_they_chose() {
    let service = Service::start("");
    for room in ROOMS {
        let config = format!("{ANY_ORIGIN}{room}{}", services(&service.base(), &[("account/id", "")]));
        let request = |by: usize| json!({"say": account(), "by": by});
        let wrong = |by: usize| json!({"say": {"url": "nowhere", "method": "GET"}, "by": by});
        // PeerJS cuts what is larger than 16300 bytes into parts
        let large = |by: usize| json!({"say": {"url": "account/id", "method": "POST", "body": "$x:70000"}, "by": by});
        let mut steps: Vec<Value> = (0..4).flat_map(|by| [request(by), wrong(by)]).collect();
        steps.extend([large(0), large(2)]);
        let seen = run(&Gateway::start(&config), "binary,json,raw,json@1.4.7", &steps);
        for by in 0..4 {
            assert_eq!(*only(&seen, 2 * by), account_answer(), "client {by}");
            assert_error(only(&seen, 2 * by + 1), 404, &json!({"url": "nowhere", "method": "GET"}));
        }
        for step in [8, 9] {
            assert_error(only(&seen, step), 413, &json!({"url": "account/id", "method": "POST"}));
        }
        let frames = |text: u32, binary: u32| json!({"text": text, "binary": binary});
        assert_eq!(seen["wire"], json!([frames(0, 3), frames(0, 2), frames(3, 0), frames(2, 0)]));
    }
}

/// Line 20 the way a Liberdus client does it: over TLS, by the node list.
#[test]
fn a_liberdus_client_finds_a_node_and_asks_it() {
    let service = Service::start("");
    for topology in ["mesh", "sfu"] {
        let config = format!(
            "[tls]\nmode = \"on\"\n[[room]]\nname = \"liberdus\"\ntopology = \"{topology}\"\n{}{LIBERDUS}",
            services(&service.base(), &[("account/id", ""), ("inject", "")]),
        );
        let gateway = Gateway::start(&config);
        assert!(gateway.base.starts_with("https://"), "{}", gateway.base);
        let seen = node("liberdus.mjs", &[&gateway.base]);
        let node = json!({"externalIp": "192.0.2.1", "externalPort": 9001, "publicKey": "k1", "peerId": "liberdus"});
        assert_eq!(seen["list"], json!([{"nodeInfo": node}]));
        let account = |id: &str| json!({"type": "account", "method": "GET", "body": {"id": id}, "sender": "liberdus"});
        assert_eq!(seen["heard"], json!([account("abc123"), account("def456")]), "{seen:#}");
    }
    let injected = service.asked().into_iter().filter(|(_, uri, _)| uri == "/v1/inject").count();
    assert_eq!(injected, 2);
}

/// A mount with the profile's path and key, and this gateway in its node list.
const LIBERDUS: &str = r#"
[[peerjs.mount]]
profile = "liberdus"
nodes = true

[[peerjs.mount.node]]
external_ip = "192.0.2.1"
external_port = 9001
public_key = "k1"
"#;

/// Whatever the service does, or is not: the one who asked hears of it, the other one's requests go on.
#[test]
fn services_that_fail_are_told_and_touch_nobody_else() {
    let secret = Service::start("");
    let service = Service::start(&format!("{}/v1/account/id", secret.base()));
    let (_closed, down) = nowhere();
    let more = |path: &str, target: &str| format!("[[rpc.service]]\npath = \"{path}\"\ntarget = \"{target}\"\n");
    let paths = [
        ("account/id", "rate = 1000"),
        ("large", "max_response = 1000"),
        ("endless", ""),
        ("never", "timeout = \"1s\""),
        ("drip", "timeout = \"1s\""),
        ("away", ""),
        ("sorry", ""),
        ("bytes", ""),
    ];
    let config = format!("{}{}{}", services(&service.base(), &paths), more("down", &down), more("broken", &hangs_up()));
    let failing = [
        ("large", 500),
        ("endless", 500),
        ("never", 504),
        ("drip", 504),
        ("away", 500),
        ("sorry", 500),
        ("bytes", 500),
        ("down", 500),
        ("broken", 500),
    ];
    for room in ROOMS {
        let mut steps = Vec::new();
        for (url, _) in failing {
            // the other one is answered while this one waits
            let mut asked = ask("GET", url);
            asked["answers"] = json!(0);
            steps.extend([asked, json!({"say": account(), "by": 1}), json!({})]);
        }
        let seen = run(&Gateway::start(&format!("{room}{config}")), "simple,simple", &steps);
        for (at, (url, code)) in failing.into_iter().enumerate() {
            assert_eq!(*only(&seen, 3 * at + 1), account_answer(), "beside {url}");
            let answer = only(&seen, 3 * at + 2);
            assert_error(answer, code, &json!({"url": url, "method": "GET"}));
            assert_eq!(answer["id"], 1, "{url}");
            assert!(!answer.to_string().contains("secret"), "{answer:#}");
        }
    }
    assert!(secret.asked().is_empty(), "a redirect was followed");
}

#[test]
fn requests_that_are_wrong_are_told_and_reach_no_service() {
    let service = Service::start("");
    let paths = [("account/id", ""), ("post", "methods = [\"POST\"]"), ("small", "max_request = 100")];
    let config = services(&service.base(), &paths);
    let wrong = [
        (json!({"url": "nowhere", "method": "GET"}), 404),
        (json!({"url": "account", "method": "GET"}), 404),
        (json!({"url": "account/id/more", "method": "GET"}), 404),
        (json!({"url": "account/id", "method": "DELETE"}), 405),
        (json!({"url": "account/id", "method": "get"}), 405),
        (json!({"url": "account/id", "method": "GET\r\nX: 1"}), 405),
        (json!({"url": "account/id", "method": "GET / HTTP/1.1\r\nHost: a\r\n\r\n"}), 400),
        (json!({"url": "post", "method": "GET"}), 405),
        (json!({"url": "account/id", "method": "GET", "sender": "somebody"}), 400),
        (json!({"url": "account/id", "method": "GET", "sender": 5}), 400),
        (json!({"url": "account/id", "method": "GET", "id": [1]}), 400),
        (json!({"url": "account/id", "method": "GET", "body": [1]}), 400),
        (json!({"url": "account/id", "method": "GET", "body": {"id": {}}}), 400),
        (json!({"url": "account/id"}), 400),
        (json!({"url": 5, "method": "GET"}), 400),
        (json!({"url": "", "method": "GET"}), 400),
        (json!({"url": "small", "method": "POST", "body": "$x:200"}), 413),
        (json!({"url": "post", "method": "POST", "body": "$x:70000"}), 413),
    ];
    for room in ROOMS {
        let mut steps: Vec<Value> = wrong.iter().map(|(request, _)| json!({ "say": request })).collect();
        let broken = r#"{"url":"account/id","method":"GET""#;
        steps.extend([json!({ "text": broken }), json!({"text": broken, "bytes": true}), json!({"say": account()})]);
        let seen = run(&Gateway::start(&format!("{room}{config}")), "simple", &steps);
        for (at, (request, code)) in wrong.iter().enumerate() {
            let mut told = request.clone();
            // what is no text, or too long, is not repeated
            for name in ["url", "method"] {
                let good = told[name].as_str().is_some_and(|text| !text.is_empty() && text.len() <= 16);
                told[name] = if good { told[name].take() } else { Value::Null };
            }
            assert_error(only(&seen, at), *code, &told);
        }
        for at in [wrong.len(), wrong.len() + 1] {
            assert_error(only(&seen, at), 400, &json!({"url": null, "method": null}));
        }
        assert_eq!(*only(&seen, wrong.len() + 2), account_answer(), "the connection goes on");
    }
    assert_eq!(service.asked().len(), ROOMS.len());
}

/// No text leads from an allowed path to another one, or to another host.
#[test]
fn requests_stay_below_the_path_they_are_allowed() {
    let service = Service::start("");
    let config = services(&service.base(), &[("open/**", "query = true\nrate = 1000"), ("plain/*", "")]);
    let refused = [
        "open/../secret",
        "open/..",
        "open/./secret",
        "..",
        "open//secret",
        "//127.0.0.1/open",
        "http://127.0.0.1/open",
        "open/%2e%2e/secret",
        "open/%2E%2E%2Fsecret",
        "open/..%2fsecret",
        "open/..;/secret",
        "open/..;a=1/secret",
        "open/;/secret",
        "open\\..\\secret",
        "open/a b",
        "open/a#b",
        "open/a\r\nHost: b",
        "open/a\u{0}",
        "open/ä",
        "open/a?b#c",
        "open/a?b\r\nX: 1",
        "plain/a?b=c",
    ];
    for room in ROOMS {
        let mut steps: Vec<Value> = refused.iter().map(|url| ask("GET", url)).collect();
        let through = json!({"url": "open/a/b?q=%2e%2e%2f", "method": "GET", "body": {"x\r\ny": "/../"}, "id": 1});
        steps.push(json!({ "say": through }));
        steps.push(json!({"say": {"url": "open/a", "method": "POST", "body": {"deep": [1, {"x": null}]}, "id": 1}}));
        let seen = run(&Gateway::start(&format!("{room}{config}")), "simple", &steps);
        for (at, url) in refused.iter().enumerate() {
            let answer = only(&seen, at);
            assert_eq!((&answer["type"], &answer["body"]["code"]), (&json!("error"), &json!(400)), "{url:?}: {answer:#}");
        }
        let got = &only(&seen, refused.len())["body"];
        assert_eq!(got["uri"], "/v1/open/a/b?q=%2e%2e%2f&x%0D%0Ay=%2F..%2F");
        assert_eq!(got["host"], service.base().trim_start_matches("http://"));
        assert_eq!(got["headers"], json!(["accept", "user-agent", "host"]), "nothing of the client's");
        let posted = &only(&seen, refused.len() + 1)["body"];
        assert_eq!((&posted["method"], &posted["body"]), (&json!("POST"), &json!(r#"{"deep":[1,{"x":null}]}"#)));
    }
    assert_eq!(service.asked().len(), 2 * ROOMS.len());
}

#[test]
fn a_client_that_goes_takes_its_requests_with_it() {
    let service = Service::start("");
    let paths = [("never", "timeout = \"2m\""), ("drip", "timeout = \"1s\"")];
    let gateway = Gateway::start(&services(&service.base(), &paths));
    let mut asked = ask("GET", "never");
    (asked["times"], asked["answers"]) = (json!(4), json!(0));
    // the others have arrived by the time the last one is given up
    run(&gateway, "simple", &[asked, ask("GET", "drip")]);
    let limit = Instant::now() + Duration::from_secs(60);
    while service.waiting() > 0 {
        assert!(Instant::now() < limit, "{} wait", service.waiting());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(service.asked().len(), 5);
}

/// The example of `docs/guide/rpc.md`, as it stands there but for the ports.
#[test]
fn the_guides_example_does_what_it_says() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide/rpc.md")).expect("the page");
    let block = |kind: &str| {
        let (_, rest) = page.split_once(&format!("```{kind}\n")).expect("such a block");
        rest.split_once("```").expect("an end").0.to_owned()
    };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let account = dir.path().join("service/account");
    std::fs::create_dir_all(&account).expect("a folder");
    std::fs::write(account.join("id"), r#"{"id": "abc123", "balance": 5}"#).expect("it is written");
    let (_python, port) = python_server(&dir.path().join("service"));
    let gateway = Gateway::start(&block("toml").replace("9001", &port));
    let own = gateway.base.rsplit(':').next().expect("a port");
    std::fs::write(dir.path().join("ask.mjs"), block("js").replace("8780", own)).expect("it is written");
    std::os::unix::fs::symlink(tests_dir().join("clients/node_modules"), dir.path().join("node_modules")).expect("a link");
    let output = Command::new("node").arg(dir.path().join("ask.mjs")).output().expect("node runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let shown = block("text");
    // the message is not written out there
    let (start, end) = shown.split_once('…').expect("something is left out");
    assert!(said.starts_with(start) && said.ends_with(end), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// `python3 -m http.server` on a free port; ends when dropped.
fn python_server(folder: &Path) -> (Ended, String) {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"]).arg(folder);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("Python runs");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line).expect("a line");
    let port = line.split(" port ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a port");
    (Ended(child), port.to_owned())
}

/// A program that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A client that asks more than it may is told for each request, and another one is answered meanwhile.
#[test]
fn a_client_that_asks_too_much_is_told_and_others_are_not() {
    let service = Service::start("");
    let config = services(&service.base(), &[("few", "rate = 1"), ("never", "timeout = \"1s\""), ("account/id", "")]);
    let gateway = Gateway::start(&format!("[rpc]\nmax_waiting = 4\n{config}"));
    let many =
        |url: &str, times: usize| json!({"say": {"url": url, "method": "GET", "id": "$n"}, "times": times, "answers": times});
    let mut waiting = many("never", 6);
    waiting["answers"] = json!(2);
    let steps = [
        many("few", 40),
        json!({"say": {"url": "few", "method": "GET", "id": "other"}, "by": 1}),
        waiting,
        json!({"say": account(), "by": 1}),
        json!({"answers": 4}),
        json!({"say": account()}),
    ];
    let seen = run(&gateway, "simple,simple", &steps);
    let answers = seen["steps"][0].as_array().unwrap();
    let mut ids: Vec<u64> = answers.iter().filter_map(|answer| answer["id"].as_u64()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..40).collect::<Vec<_>>(), "each is answered once");
    let (good, refused): (Vec<&Value>, Vec<&Value>) = answers.iter().partition(|answer| answer["type"] == "few");
    assert!(good.len() >= 3 && refused.len() >= 20, "three at once, one more each second: {}", good.len());
    assert!(refused.iter().all(|answer| answer["body"]["code"] == 429), "{refused:#?}");
    assert_eq!(only(&seen, 1)["type"], "few", "the rate is each client's own");
    // four wait for a service that never answers, the rest is told at once
    for answer in seen["steps"][2].as_array().unwrap() {
        assert_eq!(answer["body"]["code"], 429, "{answer:#}");
    }
    assert_eq!(*only(&seen, 3), account_answer());
    for answer in seen["steps"][4].as_array().unwrap() {
        assert_eq!(answer["body"]["code"], 504, "{answer:#}");
    }
    assert_eq!(*only(&seen, 5), account_answer(), "and then it is served again");
    // each is counted
    let page = read(&format!("{}/metrics", gateway.base));
    let figure = |name: &str| {
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        line.unwrap_or_else(|| panic!("{name} in\n{page}")) as usize
    };
    let outcome = |outcome: &str| figure(&format!("portico_rpc_requests_total{{outcome=\"{outcome}\"}}"));
    assert_eq!(outcome("answered"), good.len() + 3);
    assert_eq!(outcome("limited"), refused.len() + 2);
    assert_eq!((outcome("timed_out"), outcome("failed"), outcome("refused")), (4, 0, 0));
    assert_eq!(figure("portico_rpc_calls_total"), good.len() + 3 + 4);
}
