//! Tables and JSON on standard output. A reader that went away (`| head`) is no error.

use std::io::Write;

use comfy_table::{Cell, Color, ContentArrangement, LineStyle, Table, TableStyle};

/// One line below the heading and nothing else: easy to read, to copy and to `grep`.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Writes text and a line end.
pub(super) fn text(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{}", text.trim_end());
}

/// Writes a value as indented JSON.
pub(super) fn json(value: &impl serde::Serialize) {
    let encoded = serde_json::to_string_pretty(value).expect("reports are plain data: text keys, finite numbers");
    text(&encoded);
}

/// An empty table with a heading; as wide as the terminal, colours only on a terminal.
pub(super) fn table(heading: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic).set_header(heading);
    table
}

/// A cell that is good, doubtful or bad news.
pub(super) fn verdict(text: &str, good: Option<bool>) -> Cell {
    Cell::new(text).fg(match good {
        Some(true) => Color::Green,
        None => Color::Yellow,
        Some(false) => Color::Red,
    })
}
