//! The alerts and the dashboard of `docs/guide/monitoring`: `promtool` takes them, and every name in them is a figure that there is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide/monitoring")
}

fn promtool(args: &[&str]) {
    let done = Command::new("promtool").args(args).current_dir(folder()).output();
    let done = done.unwrap_or_else(|error| panic!("promtool does not start: {error} (Debian package prometheus; run make test)"));
    let said = [done.stdout, done.stderr].concat();
    assert!(done.status.success(), "promtool {}: {}", args.join(" "), String::from_utf8_lossy(&said));
}

/// Every expression of the dashboard.
fn expressions() -> Vec<String> {
    let text = std::fs::read_to_string(folder().join("portico-dashboard.json")).expect("the dashboard");
    let board: Value = serde_json::from_str(&text).expect("it is JSON");
    let mut ids = BTreeSet::new();
    let mut found = Vec::new();
    for panel in board["panels"].as_array().expect("panels") {
        assert!(ids.insert(panel["id"].as_u64()), "two panels have the same id: {panel}");
        for target in panel["targets"].as_array().into_iter().flatten() {
            found.push(target["expr"].as_str().expect("an expression").to_owned());
        }
    }
    assert!(found.len() > 20, "{}", found.len());
    found
}

/// The figures of `docs/ref/metrics.md`, which a test compares with the program.
fn figures() -> BTreeSet<String> {
    let page = std::fs::read_to_string(folder().join("../../ref/metrics.md")).expect("the page");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn the_alerts_are_rules_that_fire_when_they_should() {
    promtool(&["check", "rules", "portico.rules.yml"]);
    promtool(&["test", "rules", "portico.rules.test.yml"]);
}

#[test]
fn the_dashboards_expressions_are_expressions() {
    // as rules, since promtool checks those; what Grafana fills in is filled in
    let fill = |text: &str| text.replace("$instance", "x").replace("$__rate_interval", "5m");
    let rules: Vec<Value> =
        expressions().iter().enumerate().map(|(n, text)| json!({"record": format!("panel:{n}"), "expr": fill(text)})).collect();
    let file = tempfile::NamedTempFile::new().expect("a file");
    // JSON is YAML
    let group = json!({"groups": [{"name": "dashboard", "rules": rules}]});
    std::fs::write(file.path(), group.to_string()).expect("it is written");
    promtool(&["check", "rules", file.path().to_str().expect("a plain path")]);
}

#[test]
fn alerts_and_dashboard_name_figures_that_there_are() {
    let figures = figures();
    assert!(figures.len() > 40, "{figures:?}");
    let rules = std::fs::read_to_string(folder().join("portico.rules.yml")).expect("the rules");
    let named = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let ours = words.filter(|word| word.starts_with("portico_") || word.starts_with("process_"));
        // a histogram is three series
        let base =
            |word: &str| ["_bucket", "_count", "_sum"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word).to_owned();
        ours.map(base).collect()
    };
    let mut seen = named(&rules);
    seen.extend(named(&expressions().join("\n")));
    assert!(seen.len() > 20, "{seen:?}");
    let unknown: Vec<&String> = seen.iter().filter(|name| !figures.contains(*name)).collect();
    assert!(unknown.is_empty(), "no such figures: {unknown:?}");
}
