//! Recorded requests of real WHIP clients, replayed (`tests/transcripts/whip`).
//!
//! A file holds notes (`#`), requests (`>>> METHOD PATH`, headers, an empty line, the body) and expectations (`<<< STATUS`, then
//! headers that must begin so). `{location}` stands for the path of the last `Location`, as the client would build it.

use axum::http::Method;

use super::*;

struct Step {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
    status: u16,
    expected: Vec<(String, String)>,
}

fn header_line(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line:?}"));
    (name.trim().to_ascii_lowercase(), value.trim().to_owned())
}

fn read(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for block in text.split(">>> ").skip(1) {
        let (request, expectation) = block.split_once("<<< ").expect("each request has its expectation");
        let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
        let mut lines = head.lines();
        let mut first = lines.next().unwrap().split(' ');
        let mut expected = expectation.lines();
        steps.push(Step {
            method: first.next().unwrap().parse().unwrap(),
            path: first.next().unwrap().to_owned(),
            headers: lines.filter(|line| !line.is_empty()).map(header_line).collect(),
            body: body.trim_end().lines().map(|line| format!("{line}\r\n")).collect(),
            status: expected.next().unwrap().trim().parse().unwrap(),
            expected: expected.filter(|line| !line.is_empty() && !line.starts_with('#')).map(header_line).collect(),
        });
    }
    steps
}

#[tokio::test]
async fn recorded_clients_are_served() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts/whip");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "http"));
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let rig = Rig::new();
        let mut location = String::new();
        for step in read(&std::fs::read_to_string(&file).unwrap()) {
            let path = step.path.replace("{location}", &location);
            let mut request = Request::builder().method(step.method.clone()).uri(&path);
            for (name, value) in &step.headers {
                request = request.header(name, value);
            }
            let request = request.body(Body::from(step.body)).unwrap();
            let reply = rig.send_from("192.0.2.1", request).await;
            let at = format!("{} {} of {}", step.method, step.path, file.display());
            assert_eq!(reply.status.as_u16(), step.status, "{at}: {}", reply.body);
            for (name, value) in step.expected {
                assert!(reply.header(&name).starts_with(&value), "{at}: {name} is {:?}", reply.header(&name));
            }
            if step.status == 201 {
                location = reply.header("location").to_owned();
                // OBS and FFmpeg both take an answer only if it begins so
                assert!(reply.body.starts_with("v=0"), "{at}");
            }
        }
    }
}
