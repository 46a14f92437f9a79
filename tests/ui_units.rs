//! The pure parts of the built-in page, tested by Node's own test runner; and what the page promises about its files.

use std::path::Path;
use std::process::Command;

#[test]
fn the_pages_units() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let mut tests: Vec<_> = std::fs::read_dir(&folder)
        .expect("the clients' folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().ends_with(".test.mjs"))
        .collect();
    tests.sort();
    assert!(!tests.is_empty());
    let run = Command::new("node").arg("--test").args(&tests).output().expect("node runs (make test installs it)");
    assert!(run.status.success(), "{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
}

/// The content security policy refuses inline scripts, handlers and styles, and whatever comes from elsewhere.
#[test]
fn the_page_is_small_and_keeps_to_its_policy() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/ui");
    let mut bytes = 0;
    for entry in std::fs::read_dir(&folder).expect("the page's folder") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("the page's files are text");
        bytes += text.len();
        let elsewhere = text.replace("http://www.w3.org/2000/svg", "").replace("`https://${host}", "");
        assert!(!elsewhere.contains("http://") && !elsewhere.contains("https://"), "{} names another host", path.display());
        if path.extension().is_some_and(|extension| extension == "html") {
            for refused in [" style=", " onclick=", " onload=", "<style", "javascript:"] {
                assert!(!text.contains(refused), "{} has {refused}", path.display());
            }
            assert_eq!(text.matches("<script").count(), text.matches("src=\"app.js\"").count(), "inline script");
        }
    }
    assert!(bytes <= 200_000, "{bytes} bytes");
}
