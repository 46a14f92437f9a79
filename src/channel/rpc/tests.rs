use super::*;
use crate::channel::framing::Content;

fn seat() -> RpcSeat {
    RpcSeat { own_id: "n1".into(), far_id: "c1".into() }
}

fn service(path: &str) -> RpcService {
    let text = format!("path = \"{path}\"\ntarget = \"http://127.0.0.1:9001/base/\"");
    toml::from_str(&text).unwrap()
}

fn table(services: &[RpcService]) -> Table {
    Table::new(&RpcConfig { service: services.to_vec(), ..RpcConfig::default() })
}

fn value(text: &str) -> Value {
    Value::from_json(text.as_bytes()).unwrap()
}

fn request(text: &str) -> Request {
    match read(&value(text), text.len(), &seat()) {
        Asked::Request(request, Ok(())) => request,
        other => panic!("{text}: {other:?}"),
    }
}

fn fault(text: &str) -> (u16, String) {
    match read(&value(text), text.len(), &seat()) {
        Asked::Request(request, Err(fault)) => (fault.code, request.error(&fault, &seat()).to_json().unwrap()),
        other => panic!("{text}: {other:?}"),
    }
}

fn call_of(table: &Table, text: &str) -> Result<Call, u16> {
    let request = request(text);
    let (_, service) = table.service(&request, text.len()).map_err(|fault| fault.code)?;
    table.call(CallId(1), &request, service).map_err(|fault| fault.code)
}

fn answer(text: &str, reply: Result<(u16, &str), CallError>) -> Option<String> {
    let reply = reply.map(|(status, body)| Reply { status, body: Bytes::copy_from_slice(body.as_bytes()) });
    let (request, seat) = (request(text), seat());
    let said = request.answer(reply, &seat).unwrap_or_else(|fault| Some(request.error(&fault, &seat)));
    said.map(|value| value.to_json().unwrap())
}

const ACCOUNT: &str = r#"{"url":"account/id","method":"GET","body":{"id":"abc123"},"sender":"c1"}"#;
const INJECT: &str = r#"{"url":"inject","method":"POST","body":{"amount":1},"sender":"c1"}"#;

#[test]
fn the_documents_account_request_is_answered_in_its_form() {
    let call = call_of(&table(&[service("account/id")]), ACCOUNT).unwrap();
    assert_eq!((call.method, call.url.as_str()), (RpcMethod::Get, "http://127.0.0.1:9001/base/account/id?id=abc123"));
    assert_eq!((call.body, call.timeout, call.max_response), (None, Duration::from_secs(5), 65_536));
    let said = answer(ACCOUNT, Ok((200, r#"{"id":"abc123"}"#))).unwrap();
    assert_eq!(said, r#"{"type":"account","method":"GET","body":{"id":"abc123"},"sender":"n1"}"#);
}

#[test]
fn inject_is_silent_without_a_number_unless_it_fails() {
    let call = call_of(&table(&[service("inject")]), INJECT).unwrap();
    assert_eq!(call.method, RpcMethod::Post);
    assert_eq!(call.url, "http://127.0.0.1:9001/base/inject");
    assert_eq!(call.body.as_deref(), Some(br#"{"amount":1}"#.as_slice()));
    assert_eq!(answer(INJECT, Ok((200, ""))), None);
    assert_eq!(answer(INJECT, Ok((200, r#"{"x":1}"#))), None);
    let failed = r#"{"type":"error","method":"POST","body":{"code":504,"message":"the service did not answer in time","url":"inject"},"sender":"n1"}"#;
    assert_eq!(answer(INJECT, Err(CallError::Timeout)).unwrap(), failed);
    let numbered = r#"{"url":"inject","method":"POST","body":{"amount":1},"id":7}"#;
    let done = r#"{"type":"inject","method":"POST","body":{"success":true},"sender":"n1","id":7}"#;
    assert_eq!(answer(numbered, Ok((204, ""))).unwrap(), done);
}

#[test]
fn each_way_to_fail_has_its_code() {
    let code = |reply| value(&answer(ACCOUNT, reply).unwrap()).get("body").unwrap().get("code").unwrap().as_uint().unwrap();
    for (status, expected) in
        [(400, 400), (404, 404), (405, 405), (413, 413), (403, 403), (429, 429), (401, 500), (302, 500), (503, 500), (504, 504)]
    {
        assert_eq!(code(Ok((status, "secret page"))), expected, "{status}");
    }
    assert_eq!(code(Err(CallError::Timeout)), 504);
    assert_eq!(code(Err(CallError::Unreachable)), 500);
    assert_eq!(code(Err(CallError::TooLarge)), 500);
    assert_eq!(code(Err(CallError::Busy)), 429);
    assert!(!answer(ACCOUNT, Ok((503, "secret page"))).unwrap().contains("secret"));
}

#[test]
fn malformed_requests_are_answered_with_400_and_large_ones_with_413() {
    for text in [
        r#"{"url":5,"method":"GET"}"#,
        r#"{"url":"","method":"GET"}"#,
        r#"{"url":"a"}"#,
        r#"{"url":"a","method":5}"#,
        r#"{"url":"a","method":"GET","id":{}}"#,
        r#"{"url":"a","method":"GET","sender":"somebody"}"#,
        r#"{"url":"a","method":"GET","sender":null}"#,
    ] {
        let (code, said) = fault(text);
        assert_eq!(code, 400, "{text}");
        assert!(said.starts_with(r#"{"type":"error","method":"#), "{said}");
    }
    let (_, said) = fault(r#"{"url":"a","method":"GET","id":"x7","sender":"somebody"}"#);
    assert!(said.ends_with(r#""url":"a"},"sender":"n1","id":"x7"}"#), "{said}");
    let large = format!(r#"{{"url":"a","method":"POST","body":"{}"}}"#, "x".repeat(MAX_MESSAGE));
    assert_eq!(fault(&large).0, 413);
}

#[test]
fn what_is_no_request_is_told_apart() {
    let of = |text: &str| read(&value(text), text.len(), &seat());
    assert_eq!(of(r#"{"type":"account"}"#), Asked::Answer);
    assert_eq!(of(r#"{"hello":1}"#), Asked::Other);
    assert_eq!(of("5"), Asked::Other);
}

#[test]
fn only_listed_paths_and_methods_are_reached() {
    let mut post_only = service("tx/*");
    post_only.methods = vec![RpcMethod::Post];
    let mut small = service("small/**");
    small.max_request = 60;
    let table = table(&[service("account/id"), post_only, small, service("deep/*/x/**")]);
    let code =
        |url: &str, method: &str| call_of(&table, &format!(r#"{{"url":"{url}","method":"{method}"}}"#)).map(|call| call.url);
    let at = |path: &str| Ok(format!("http://127.0.0.1:9001/base/{path}"));
    assert_eq!(code("account/id", "GET"), at("account/id"));
    assert_eq!(code("/account/id", "GET"), at("account/id"));
    assert_eq!(code("tx/5", "POST"), at("tx/5"));
    assert_eq!(code("small", "GET"), at("small"));
    assert_eq!(code("deep/1/x/2/3", "GET"), at("deep/1/x/2/3"));
    for url in ["account", "account/id/x", "tx", "tx/1/2", "deep/1/y", "nothing"] {
        assert_eq!(code(url, "POST"), Err(404), "{url}");
    }
    assert_eq!(code("tx/5", "GET"), Err(405));
    assert_eq!(code("tx/5", "DELETE"), Err(405));
    assert_eq!(code("account/id", "get"), Err(405));
    assert_eq!(code("small/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "GET"), Err(413));
}

#[test]
fn no_url_leads_away_from_the_service() {
    let mut open = service("a/**");
    open.query = true;
    let table = table(&[open, service("b/**")]);
    let code = |url: &str| call_of(&table, &format!(r#"{{"url":"{url}","method":"GET"}}"#)).map(|call| call.url);
    for url in [
        "a/../b",
        "a/./b",
        "a/..",
        "a/..;/b",
        "a/.;x=1/b",
        "a/;/b",
        "..",
        "//evil.example/a",
        "a//b",
        "a/",
        "http://evil.example/a",
        "a/%2e%2e/b",
        "a\\\\..\\\\b",
        "a/b#c",
        "a b",
        "a/é",
        "a@evil",
        "a/\\u0000",
        "a?b c",
        "a?x#y",
        "a/b\\r\\nHost: x",
    ] {
        assert!(matches!(code(url), Err(400 | 404)), "{url}: {:?}", code(url));
    }
    assert_eq!(code("a/x;v=1").unwrap(), "http://127.0.0.1:9001/base/a/x;v=1");
    assert_eq!(code("a/x@y:1").unwrap(), "http://127.0.0.1:9001/base/a/x@y:1");
    assert_eq!(code("a/x?q=%2e").unwrap(), "http://127.0.0.1:9001/base/a/x?q=%2e");
    assert_eq!(code("b/x?q=1"), Err(400), "queries must be allowed");
}

#[test]
fn arguments_of_a_get_are_encoded_and_flat() {
    let table = table(&[service("a")]);
    let of = |body: &str| call_of(&table, &format!(r#"{{"url":"a","method":"GET","body":{body}}}"#)).map(|call| call.url);
    let base = "http://127.0.0.1:9001/base/a";
    assert_eq!(
        of(r#"{"a b":"&=?/#é","n":-1.5,"t":true,"z":null}"#).unwrap(),
        format!("{base}?a%20b=%26%3D%3F%2F%23%C3%A9&n=-1.5&t=true&z=")
    );
    assert_eq!(of("null").unwrap(), base);
    assert_eq!(of("{}").unwrap(), base);
    for body in ["5", "[1]", r#"{"a":{}}"#, r#"{"a":[1]}"#] {
        assert_eq!(of(body), Err(400), "{body}");
    }
    assert_eq!(of(&format!(r#"{{"a":"{}"}}"#, "x".repeat(5000))), Err(400));
}

#[test]
fn targets_and_paths_of_the_configuration_are_checked() {
    for good in ["http://127.0.0.1", "http://localhost:80/", "http://[::1]:9001/a/b/", "http://nas.lan:8080/v1"] {
        assert_eq!(check_target(good), Ok(()), "{good}");
    }
    for bad in [
        "https://a",
        "127.0.0.1:80",
        "http://",
        "http://a:x",
        "http://u@h",
        "http://h/a?b",
        "http://h/#",
        "http://h/../x",
        "http://h//x",
        "http://[::1",
        "http://[x]",
        "http://[::1]x",
        "http://h:99999",
        "file:///etc",
        "http://a b",
    ] {
        assert!(check_target(bad).is_err(), "{bad}");
    }
    for good in ["a", "a/b", "a/*", "a/*/c", "a/**"] {
        assert_eq!(check_path(good), Ok(()), "{good}");
    }
    for bad in ["", "*", "**", "*/a", "a/**/b", "a/b*", "a//b", "/a", "a/..", "a?b"] {
        assert!(check_path(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_services_answer_is_json_text_or_nothing() {
    let body = |text: &str| value(&answer(ACCOUNT, Ok((200, text))).unwrap()).get("body").cloned();
    assert_eq!(body(""), Some(Value::Null));
    assert_eq!(body("plain words"), Some(Value::text("plain words")));
    assert_eq!(body("[1,2]"), Some(value("[1,2]")));
    let large = answer(ACCOUNT, Ok((200, &"x".repeat(MAX_MESSAGE - 600)))).unwrap();
    assert!(large.len() <= MAX_MESSAGE && large.starts_with(r#"{"type":"account""#));
    let too_large = answer(ACCOUNT, Ok((200, &"\"".repeat(MAX_MESSAGE / 2 + 1)))).unwrap();
    assert!(too_large.contains(r#""code":500"#), "escaped it is too large");
}

#[test]
fn answers_without_a_number_keep_the_requests_order() {
    let said = |n: u64| Content::Value(Value::UInt(n));
    let mut ledger = Ledger::default();
    ledger.open(CallId(1));
    ledger.open(CallId(2));
    assert_eq!(ledger.answered(said(3)), []);
    assert_eq!(ledger.close(CallId(2), None), []);
    assert_eq!(ledger.close(CallId(9), Some(said(9))), []);
    assert_eq!(ledger.close(CallId(1), Some(said(1))), [said(1), said(3)]);
    (0..256).for_each(|call| ledger.open(CallId(call)));
    assert!(!ledger.has_room());
}

proptest::proptest! {
    #[test]
    fn any_url_stays_below_the_target_or_is_refused(url in "[a-z./?#%@:;\\\\é]{0,20}") {
        let mut open = service("a/**");
        open.query = true;
        let table = table(&[open]);
        let request = Request { url: format!("a{url}"), method: "GET".into(), body: Value::Null, id: None };
        if let Ok((_, service)) = table.service(&request, 10) {
            let call = table.call(CallId(1), &request, service).unwrap();
            let read = reqwest::Url::parse(&call.url).unwrap();
            proptest::prop_assert_eq!(read.host_str(), Some("127.0.0.1"));
            proptest::prop_assert!(read.path().starts_with("/base/a"), "{}", read);
            proptest::prop_assert_eq!(read.fragment(), None);
            proptest::prop_assert_eq!(read.as_str(), call.url.as_str(), "nothing is left to be normalised");
        }
    }
}
