//! Standard output: one write, and a reader that leaves early is no failure.

use std::io::Write;

use serde_json::Value;

use crate::failure::Stop;

/// Writes text that ends its own lines.
pub(crate) fn text(text: impl AsRef<[u8]>) -> Result<(), Stop> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Stop::failed(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes one value on one line.
pub(crate) fn json(value: &Value) -> Result<(), Stop> {
    text(format!("{value}\n"))
}

/// Writes rows under their heads, each column as wide as its widest cell.
pub(crate) fn columns<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> Result<(), Stop> {
    let heads = heads.map(str::to_owned);
    let lines = || std::iter::once(&heads).chain(rows);
    let mut widths = [0; N];
    for line in lines() {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut shown = String::new();
    for line in lines() {
        let cells: Vec<String> = line
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        shown.push_str(cells.join("  ").trim_end());
        shown.push('\n');
    }
    text(shown)
}

/// Bytes as a person reads them, rounded up.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}
