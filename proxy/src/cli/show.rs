//! Tables and JSON for people. The one place that prints.

use std::io::IsTerminal;

use serde_json::Value;

use super::{Exit, Failure};

/// One line on stdout.
#[allow(clippy::print_stdout, reason = "what a command answers goes to stdout")]
pub(super) fn line(text: &str) {
    println!("{text}");
}

/// One line on stderr.
#[allow(clippy::print_stderr, reason = "why a command fails goes to stderr")]
pub(super) fn complain(sentence: &str) {
    eprintln!("lockgate: {sentence}");
}

/// A line on a terminal's stderr that the next one overwrites; none wipes it. Nothing where stderr goes elsewhere.
#[allow(clippy::print_stderr, reason = "how far a command is goes to stderr")]
pub(super) fn progress(text: Option<&str>) {
    if std::io::stderr().is_terminal() {
        eprint!("\r{}\x1b[K", text.unwrap_or_default());
    }
}

/// A value as JSON.
pub(super) fn json(value: &Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|cause| Failure::new(Exit::Failed, cause.to_string()))?;
    line(&text);
    Ok(())
}

/// Columns as wide as their widest cell.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) {
    for row in layout(head, rows) {
        line(&row);
    }
}

fn layout(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let width = |column: usize| {
        let cells = std::iter::once(&head).chain(rows);
        let widths = cells.filter_map(|row| row.get(column));
        widths
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    std::iter::once(&head)
        .chain(rows)
        .map(|row| {
            let cells = row.iter().zip(&widths);
            let padded = cells.map(|(cell, width)| format!("{cell:width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect()
}

/// A field as a cell: strings bare, lists by commas, null as a dash.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["orders".to_owned(), cell(&Value::Null)]];
        assert_eq!(
            layout(&["route", "home"], &rows),
            ["route   home", "orders  -"]
        );
    }
}
