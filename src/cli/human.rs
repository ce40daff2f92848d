//! Numbers for people, paths for programs.

use crate::model::{ArchivePath, json_line, one_line};
use serde_json::{Value, json};

/// A size in IEC units: one digit behind the point below ten, none above.
pub(super) fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    // Rounded first, so that 1023.9 KiB is 1 MiB and not 1024 KiB.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let unit = UNITS.get(unit).copied().unwrap_or_default();
    let tenths = (value * 10.0).round() / 10.0;
    if tenths < 10.0 && tenths.fract() != 0.0 {
        format!("{tenths:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

/// `1 object`, `2 objects`.
pub(super) fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A document about a path: the path as text, as hexadecimal bytes too where it is no UTF-8, and what `more` has.
pub(super) fn path_json(path: &ArchivePath, more: Value) -> Value {
    let bytes = path.as_bytes();
    let hex = || bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let named = match std::str::from_utf8(bytes) {
        Ok(text) => json!({ "path": text }),
        Err(_) => json!({ "path": String::from_utf8_lossy(bytes), "path_hex": hex() }),
    };
    merge(named, more)
}

/// A document on a line of its own.
pub(super) fn document_line(document: &Value) -> String {
    format!("{}\n", json_line(&document.to_string()))
}

/// One document of the members of two.
pub(super) fn merge(mut document: Value, more: Value) -> Value {
    if let (Value::Object(members), Value::Object(more)) = (&mut document, more) {
        members.extend(more);
    }
    document
}

/// Lays out rows in columns; the first column and those in `left` are aligned to the left, the others to the right.
/// What cells say is on one line each, whatever they say.
pub(super) fn table(rows: &[Vec<String>], left: &[usize]) -> String {
    let cells = |row: &Vec<String>| row.iter().map(|cell| one_line(cell).into_owned()).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(c, (cell, &width))| {
            if c == 0 || left.contains(&c) { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (2 << 20, "2 MiB"),
            (9_856_614, "9.4 MiB"),
            (32_505_856, "31 MiB"),
            ((1 << 20) - 1, "1 MiB"),
            (10_480_000, "10 MiB"),
            (u64::MAX, "16 EiB"),
        ];
        for (n, text) in cases {
            assert_eq!(bytes(n), text);
        }
    }
}
