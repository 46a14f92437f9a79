//! What every request passes, and the page's files.

use axum::http::Method;
use axum::routing::get;

use super::*;

#[tokio::test]
async fn every_refusal_has_the_one_form() {
    let rig = Rig::new();
    rig.get("/nothing/here").await.refused(404, "not_found");
    rig.get("/api/v1/nothing").await.refused(404, "not_found");
    let put = rig.send(ask(Method::PUT, "/api/v1/rooms", &[], "")).await;
    put.refused(405, "method_not_allowed");
    assert!(put.header("allow").contains("GET"));
    rig.send(ask(Method::POST, "/", &[], "")).await.refused(405, "method_not_allowed");
}

#[tokio::test]
async fn pages_of_other_origins_need_to_be_listed() {
    let rig = Rig::new();
    let from = |origin: &'static str, method: Method, path: &'static str| {
        rig.send(ask(method, path, &[("origin", origin), ("content-type", "application/sdp")], OFFER))
    };
    let listed = from("https://app.example", Method::POST, "/whip/studio").await;
    assert_eq!(listed.status, StatusCode::CREATED);
    assert_eq!(listed.header("access-control-allow-origin"), "https://app.example");
    assert!(listed.header("access-control-expose-headers").contains("Location"));
    let own = from("http://127.0.0.1:8780", Method::POST, "/whip/studio").await;
    assert_eq!(own.status, StatusCode::CREATED);
    from("https://evil.example", Method::POST, "/whip/studio").await.refused(403, "origin_refused");
    let read = from("https://evil.example", Method::GET, "/api/v1/rooms").await;
    assert_eq!((read.status, read.header("access-control-allow-origin")), (StatusCode::OK, ""), "the browser does not show it");
    assert!(read.header("vary").contains("Origin"));
}

#[tokio::test]
async fn preflights_are_answered() {
    let rig = Rig::new();
    let preflight = |origin: &'static str, path: &'static str, method: &'static str| {
        let headers = [("origin", origin), ("access-control-request-method", method)];
        rig.send(ask(Method::OPTIONS, path, &headers, ""))
    };
    let whip = preflight("https://app.example", "/whip/studio", "POST").await;
    assert_eq!((whip.status, whip.header("accept-post")), (StatusCode::OK, "application/sdp"));
    assert!(whip.header("access-control-allow-headers").contains("Authorization"));
    assert_eq!(whip.header("link"), "", "RFC 9725 section 4.6: not to a preflight");
    let api = preflight("https://app.example", "/api/v1/tokens", "POST").await;
    assert_eq!(api.status, StatusCode::NO_CONTENT);
    assert!(api.header("access-control-allow-methods").contains("DELETE"));
    let evil = preflight("https://evil.example", "/api/v1/tokens", "POST").await;
    assert_eq!(evil.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn loopback_is_only_trusted_under_names_that_cannot_be_rebound() {
    let rig = Rig::new();
    let named = |host: &'static str| ask(Method::GET, "/api/v1/rooms", &[("host", host)], "");
    rig.send(named("evil.example:8780")).await.refused(421, "unknown_host");
    for known in ["localhost:8780", "board.local", "app.example"] {
        assert_eq!(rig.send(named(known)).await.status, StatusCode::OK, "{known}");
    }
    rig.send_from("192.0.2.1", named("evil.example")).await.refused(401, "unauthorised");
}

#[tokio::test]
async fn requests_of_one_address_are_limited_but_not_those_of_loopback() {
    let rig = Rig::with(|parts| (parts.limits.requests_per_second, parts.limits.request_burst) = (1, 4));
    let version = || ask(Method::GET, "/api/v1/version", &[], "");
    for _ in 0..4 {
        assert_eq!(rig.send_from("192.0.2.1", version()).await.status, StatusCode::OK);
    }
    let late = rig.send_from("192.0.2.1", version()).await;
    late.refused(429, "too_many_requests");
    assert!(late.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(rig.send_from("192.0.2.2", version()).await.status, StatusCode::OK);
    for _ in 0..4 {
        assert_eq!(rig.send_from("2001:db8::1", version()).await.status, StatusCode::OK);
    }
    rig.send_from("2001:db8::2", version()).await.refused(429, "too_many_requests");
    for _ in 0..20 {
        assert_eq!(rig.send(version()).await.status, StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_not_waited_for() {
    let rig = Rig::new();
    let body = Body::from_stream(futures_util::stream::pending::<Result<String, std::io::Error>>());
    let request = Request::post("/whip/studio").header("content-type", "application/sdp").body(body).unwrap();
    rig.send(request).await.refused(408, "timeout");
}

#[tokio::test]
async fn extra_routes_pass_the_edge_and_know_their_caller() {
    async fn who(caller: Caller) -> Result<String, ApiError> {
        let grant = caller.grant()?;
        Ok(format!("{} {} {:?}", caller.remote, grant.subject, caller.token()))
    }
    let upgrade = get(async |upgrade: axum::extract::ws::WebSocketUpgrade| upgrade.on_upgrade(async |_| {}));
    let rig = Rig::with_extra(|_| {}, Router::new().route("/page", get(who)).route("/socket", upgrade));
    rig.get("/socket").await.refused(400, "refused");
    assert_eq!(rig.get("/page?x=1&token=s%40a").await.body, "127.0.0.1 s Some(\"s@a\")");
    let bearer = rig.send_from("::ffff:192.0.2.1", ask(Method::GET, "/page", &[("authorization", "Bearer p@a")], "")).await;
    assert_eq!(bearer.body, "192.0.2.1 p Some(\"p@a\")");
    rig.send_from("192.0.2.1", ask(Method::GET, "/page", &[], "")).await.refused(401, "unauthorised");
    let socket = [("upgrade", "websocket"), ("connection", "upgrade"), ("origin", "https://evil.example")];
    rig.send(ask(Method::GET, "/page", &socket, "")).await.refused(403, "origin_refused");
}

#[tokio::test]
async fn page_files_come_with_type_tag_and_policy() {
    let rig = Rig::new();
    let reply = rig.get("/robots.txt").await;
    assert_eq!((reply.status, reply.header("content-type")), (StatusCode::OK, "text/plain; charset=utf-8"));
    assert_eq!(reply.header("cache-control"), "no-cache");
    assert!(reply.header("content-security-policy").starts_with("default-src 'self'; connect-src 'self' ws://127.0.0.1:8780"));
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    let tag = reply.header("etag").to_owned();
    let again = rig.send(ask(Method::GET, "/robots.txt", &[("if-none-match", &tag)], "")).await;
    assert_eq!((again.status, again.body.as_str()), (StatusCode::NOT_MODIFIED, ""));
    let head = rig.send(ask(Method::HEAD, "/robots.txt", &[], "")).await;
    assert_eq!((head.status, head.body.as_str()), (StatusCode::OK, ""));
    for odd in ["/../Cargo.toml", "/%2e%2e/Cargo.toml", "//robots.txt", "/a/./b", "/..%2fCargo.toml", "/robots.txt/"] {
        rig.get(odd).await.refused(404, "not_found");
    }
}
