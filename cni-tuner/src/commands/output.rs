//! Results on standard output.

use std::io::{self, Write as _};

use anyhow::Context as _;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

/// Writes a text. A reader that has seen enough (`| head`) is no mistake.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("printing"),
        _ => Ok(()),
    }
}

/// Writes a value as JSON, with a line feed at its end.
pub(super) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value).context("writing JSON")?;
    text.push('\n');
    print(&text)
}

/// A table without lines: words to the left, columns of numbers to the right.
pub(super) fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let is_numeric =
        |at: usize| rows.iter().filter_map(|row| row.get(at)).all(|cell| is_number(cell));
    let alignments: Vec<CellAlignment> = (0..header.len())
        .map(|at| if is_numeric(at) { CellAlignment::Right } else { CellAlignment::Left })
        .collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.to_vec()).add_rows(rows);
    for (at, (column, alignment)) in table.column_iter_mut().zip(alignments).enumerate() {
        column.set_padding((if at == 0 { 0 } else { 2 }, 0));
        column.set_cell_alignment(alignment);
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// A number as people read it (`65,531`, `0.5`), `-` for none, or nothing.
fn is_number(cell: &str) -> bool {
    cell.chars().all(|letter| letter.is_ascii_digit() || "-,.".contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right_and_no_line_ends_in_blanks() {
        let row = |words: [&str; 3]| words.map(str::to_owned).to_vec();
        let rows = vec![row(["m5.large", "nitro", "2"]), row(["c3.large", "xen", "-"])];
        let expected = "type      runs on  vCPUs\n\
                        m5.large  nitro        2\n\
                        c3.large  xen          -\n";
        assert_eq!(table(&["type", "runs on", "vCPUs"], rows), expected);
    }
}
