//! `/api/v1/bridges`: who may, and what is told.

use axum::http::Method;

use super::*;

fn wish(room: &str, more: &str) -> String {
    format!("{{\"name\":\"out\",\"kind\":\"whip\",\"room\":\"{room}\",\"url\":\"https://media.example/whip\"{more}}}")
}

async fn add(rig: &Rig, token: &str, body: &str) -> Reply {
    let bearer = format!("Bearer {token}");
    rig.send(ask(Method::POST, "/api/v1/bridges", &[("authorization", &bearer), ("content-type", "application/json")], body))
        .await
}

#[tokio::test]
async fn adding_needs_control_and_bridge_in_the_room() {
    let rig = Rig::new();
    for token in ["ps@*", "c@*", "b@*", "cb@yard"] {
        assert_eq!(add(&rig, token, &wish("studio", "")).await.status, StatusCode::FORBIDDEN, "{token}");
    }
    let added = add(&rig, "cb@studio", &wish("studio", ",\"token\":\"hush\"")).await;
    assert_eq!(added.status, StatusCode::CREATED, "{}", added.body);
    assert!(!added.body.contains("hush") && added.body.contains("\"configured\":false"), "{}", added.body);
}

#[tokio::test]
async fn odd_wishes_are_malformed_and_files_are_none_of_the_api() {
    let rig = Rig::new();
    let long = format!(",\"token\":\"{}\"", "x".repeat(9000));
    for more in [",\"token_file\":\"/etc/shadow\"", ",\"ca\":\"/etc/shadow\"", ",\"token\":\"a b\"", &long, ",\"stream\":\"\""] {
        let reply = add(&rig, "cb@*", &wish("studio", more)).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{more}: {}", reply.body);
    }
    let taken = add(&rig, "cb@*", &wish("studio", "").replace("\"out\"", "\"yard-in\"")).await;
    assert_eq!((taken.status, taken.body.contains("bridge_taken")), (StatusCode::CONFLICT, true));
}

#[tokio::test]
async fn who_controls_a_room_sees_and_ends_its_bridges() {
    let rig = Rig::new();
    let asked = async |method, path: &str, token: &str| {
        let bearer = format!("Bearer {token}");
        rig.send(ask(method, path, &[("authorization", &bearer)], "")).await
    };
    assert_eq!(asked(Method::GET, "/api/v1/bridges", "s@*").await.status, StatusCode::FORBIDDEN);
    assert_eq!(asked(Method::GET, "/api/v1/bridges", "c@studio").await.body, "[]");
    let shown = asked(Method::GET, "/api/v1/bridges", "c@yard").await.body;
    assert!(shown.contains("\"code\":\"unauthorised\"") && shown.contains("\"state\":\"waiting\""), "{shown}");
    assert_eq!(asked(Method::DELETE, "/api/v1/bridges/yard-in", "c@studio").await.status, StatusCode::NOT_FOUND);
    assert_eq!(asked(Method::DELETE, "/api/v1/bridges/yard-in", "s@*").await.status, StatusCode::FORBIDDEN);
    let configured = asked(Method::DELETE, "/api/v1/bridges/yard-in", "c@yard").await;
    assert_eq!((configured.status, configured.body.contains("configured_bridge")), (StatusCode::CONFLICT, true));
}
