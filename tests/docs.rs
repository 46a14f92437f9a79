//! The pages keep their promises: configurations in them pass `portico check`, links lead somewhere, commands exist.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Pages, with what they say.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["docs", "packaging", "pipelines", "systemd", "yocto", "tests", "src"].map(|name| root.join(name)).into();
    let mut files: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md"].map(|name| root.join(name)).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the repository").flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            // installed clients bring pages of their own
            if path.is_dir() && name != "node_modules" && !name.starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                files.push(path);
            }
        }
    }
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        found.push((file, text));
    }
    found
}

/// Code blocks: line, what stands behind the fence, text.
fn blocks(text: &str) -> Vec<(usize, String, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String, String)> = None;
    for (line, number) in text.lines().zip(1..) {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(info)) => open = Some((number, info.trim().to_owned(), String::new())),
            (Some(_), Some("")) => found.extend(open.take()),
            (Some((_, _, block)), _) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a code block does not end");
    found
}

/// The text without code blocks.
fn prose(text: &str) -> String {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        if !inside && !fence {
            lines.push(line);
        }
    }
    lines.join("\n")
}

/// The secrets, tokens and certificate that examples name.
fn machine() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let etc = tempfile::tempdir().expect("a temporary folder");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let files = [
        ("token-secret", "a secret of more than sixteen characters".to_owned()),
        ("turn-secret", "a secret of more than sixteen characters".to_owned()),
        ("live-token", "what a WHIP endpoint gave".to_owned()),
        ("yard-token", "what another Portico signed".to_owned()),
        ("hall-token", "what another Portico signed".to_owned()),
        ("cert.pem", made.cert.pem()),
        ("key.pem", made.signing_key.serialize_pem()),
    ];
    for (name, text) in files {
        let path = etc.path().join(name);
        std::fs::write(&path, text).expect("it is written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("it is guarded");
    }
    etc
}

/// Blocks marked `toml` are whole configurations. Those marked `toml fragment` are parts, which must be TOML at least.
#[test]
fn configurations_in_pages_are_right() {
    let etc = machine();
    let mut checked = 0;
    for (page, text) in pages() {
        for (line, info, block) in blocks(&text) {
            let place = format!("{}:{line}", page.display());
            match info.as_str() {
                "toml" => {
                    let here = block.replace("/etc/portico", &etc.path().display().to_string());
                    let outcome = portico::config::parse(&place, &here);
                    let loaded = outcome.unwrap_or_else(|errors| panic!("{place}\n{}", errors.report(false)));
                    // files of a user's machine are not on this one
                    let warnings: Vec<_> =
                        loaded.warnings.iter().filter(|problem| !problem.message.starts_with("there is no file")).collect();
                    assert!(warnings.is_empty(), "{place}: {warnings:?}");
                    checked += 1;
                }
                "toml fragment" => drop(toml::from_str::<toml::Table>(&block).unwrap_or_else(|error| panic!("{place}: {error}"))),
                other => assert!(!other.starts_with("toml"), "{place}: what is `{other}`? `toml` or `toml fragment`"),
            }
        }
    }
    assert!(checked > 10, "{checked} configurations: the pages are not read");
}

/// The targets of `[…](target)`.
fn links(text: &str) -> Vec<&str> {
    let prose = text.split("](").skip(1);
    prose.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.trim()).collect()
}

/// A heading's anchor as GitHub writes it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_')).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn links_in_pages_lead_somewhere() {
    let mut checked = 0;
    for (page, text) in pages() {
        let text = prose(&text);
        for link in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().expect("a folder").join(file) };
            assert!(target.exists(), "{} links to {link}", page.display());
            if !heading.is_empty() {
                let there = prose(&std::fs::read_to_string(&target).expect("a page"));
                let anchors: Vec<String> =
                    there.lines().filter(|l| l.starts_with('#')).map(|l| anchor(l.trim_start_matches('#'))).collect();
                assert!(anchors.iter().any(|known| known == heading), "{} links to {link}: have {anchors:?}", page.display());
            }
            checked += 1;
        }
    }
    assert!(checked > 40, "{checked} links: the pages are not read");
}

#[test]
fn commands_in_pages_exist() {
    let mut named: Vec<String> = Vec::new();
    for (_, text) in pages() {
        for piece in text.split('`').flat_map(str::lines) {
            let Some(rest) = piece.trim().strip_prefix("portico ") else { continue };
            let word: String = rest.chars().take_while(char::is_ascii_lowercase).collect();
            // `portico help COMMAND` is the other way to ask
            if !word.is_empty() && word != "help" && !named.contains(&word) {
                named.push(word);
            }
        }
    }
    for known in ["run", "check", "devices", "doctor", "plan", "token", "schema"] {
        assert!(named.iter().any(|name| name == known), "no page names `portico {known}`");
    }
    for name in named {
        let output = Command::new(env!("CARGO_BIN_EXE_portico")).args([&name, "--help"]).output().expect("the binary runs");
        assert!(output.status.success(), "pages name `portico {name}`, which is no command");
    }
}

/// Every page of the guide, the reference and the design stands in its index.
#[test]
fn indexes_name_every_page() {
    for folder in ["guide", "ref", "design"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(folder);
        let index = std::fs::read_to_string(folder.join("README.md")).expect("an index");
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let named =
                [format!("({name})"), format!("({name}/README.md)"), format!("`{name}`")].iter().any(|form| index.contains(form));
            assert!(name == "README.md" || named, "{} does not name {name}", folder.display());
        }
    }
}

/// The rows of all tables whose last column is called `test`: their cells.
fn test_tables(text: &str) -> Vec<Vec<Vec<&str>>> {
    let mut tables: Vec<Vec<Vec<&str>>> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        if !line.starts_with('|') {
            inside = false;
        } else if inside {
            let table = tables.last_mut().expect("the head was there");
            table.extend((!cells[0].starts_with("---")).then_some(cells));
        } else if cells.last() == Some(&"test") {
            inside = true;
            tables.push(vec![cells]);
        }
    }
    tables
}

/// All of a folder's sources as one text.
fn sources(folder: PathBuf, text: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "node_modules" {
            sources(path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(path).expect("a source"));
        }
    }
}

/// Tables that say which test shows what name tests that are there, and those of a checklist have all its lines.
#[test]
fn tables_of_tests_name_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    sources(root.join("src"), &mut code);
    sources(root.join("tests"), &mut code);
    let mut named = 0;
    for (page, text) in pages() {
        for table in test_tables(&text) {
            let mut lines: Vec<usize> = Vec::new();
            for row in &table[1..] {
                lines.extend(row[0].split(',').filter_map(|number| number.trim().parse::<usize>().ok()));
                let pieces = row.last().expect("cells").split('`').skip(1).step_by(2);
                let pieces = pieces.filter(|piece| !piece.ends_with(".mjs") && !piece.ends_with(".rs"));
                let words = pieces.flat_map(|piece| piece.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':'));
                for test in words {
                    // a module may stand before it
                    let name = test.rsplit("::").next().unwrap_or(test);
                    if name.contains('_') {
                        assert!(code.contains(&format!("fn {name}(")), "{} names {test}", page.display());
                        named += 1;
                    }
                }
            }
            if table[0][0] == "checklist line" {
                lines.sort_unstable();
                let all: Vec<usize> = (1..=lines.last().copied().unwrap_or_default()).collect();
                assert_eq!(lines, all, "{}", page.display());
            }
        }
    }
    assert!(named > 60, "{named} tests: the tables are not read");
}
