//! Reads recorded HTTP requests (`tests/transcripts/whip`); also by the tests of the handlers.
//!
//! A file holds notes (`#`), requests (`>>> METHOD PATH`, headers, an empty line, the body) and expectations (`<<< STATUS`, then
//! headers that must begin so). `{location}` stands for the path of the last `Location`, as the client would build it.

/// A request and what must come back.
pub struct Step {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub status: u16,
    pub expected: Vec<(String, String)>,
}

fn header_line(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line:?}"));
    (name.trim().to_ascii_lowercase(), value.trim().to_owned())
}

/// The steps of a transcript.
pub fn read(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for block in text.split(">>> ").skip(1) {
        let (request, expectation) = block.split_once("<<< ").expect("each request has its expectation");
        let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
        let mut lines = head.lines();
        let mut first = lines.next().expect("a request line").split(' ');
        let mut expected = expectation.lines();
        steps.push(Step {
            method: first.next().expect("a method").to_owned(),
            path: first.next().expect("a path").to_owned(),
            headers: lines.filter(|line| !line.is_empty()).map(header_line).collect(),
            body: body.trim_end().lines().map(|line| format!("{line}\r\n")).collect(),
            status: expected.next().expect("a status").trim().parse().expect("a number"),
            expected: expected.filter(|line| !line.is_empty() && !line.starts_with('#')).map(header_line).collect(),
        });
    }
    steps
}

/// All transcripts, by path.
pub fn all() -> Vec<(std::path::PathBuf, Vec<Step>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts/whip");
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "http"));
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    files.into_iter().map(|file| (file.clone(), read(&std::fs::read_to_string(&file).expect("a text")))).collect()
}
