//! The plain text of `dnscache top --once`.

use std::fmt::Write as _;

use super::rows::{ADVICE, Row, Sort, advice, sorted, summary, uptime};
use crate::admin::hot::HotReading;

/// The page for a reading of the cache at `address`, with at most `limit` names.
pub fn page(address: &str, reading: &HotReading, sort: Sort, limit: usize) -> String {
    let names = sorted(reading, sort);
    let shown = &names[..names.len().min(limit)];
    let mut page = format!("dnscache at {address}, up {}\n\n", uptime(reading.uptime_secs));
    for line in summary(reading) {
        page.push_str(&line);
        page.push('\n');
    }
    page.push('\n');
    if names.is_empty() {
        page.push_str("No name is asked often enough to be followed.\n");
        return page;
    }
    let rows = shown.iter().map(|name| Row::of(name));
    page.push_str(&table(&std::iter::once(Row::headings()).chain(rows).collect::<Vec<_>>()));
    if shown.len() < names.len() {
        // Writing to a String does not fail.
        let _ = writeln!(page, "({} more)", names.len() - shown.len());
    }
    let gaining = advice(shown);
    if !gaining.is_empty() {
        let _ = writeln!(page, "\n{ADVICE}");
    }
    for name in gaining {
        let _ = writeln!(page, "  `{name}` instead of `{}`", name.trim_end_matches('.'));
    }
    page
}

/// Columns as wide as their widest cell; the last one ends where its text does.
fn table(rows: &[Row]) -> String {
    let width = |cell: fn(&Row) -> &str| rows.iter().map(|row| cell(row).len()).max().unwrap_or(0);
    let (rates, saved) = (width(|row| &row.per_second), width(|row| &row.saved));
    let (types, names) = (width(|row| &row.types), width(|row| &row.name));
    let mut text = String::new();
    for Row { per_second, saved: of_row, types: asked, name, ways } in rows {
        let line = format!(
            "{per_second:>rates$}  {of_row:>saved$}  {asked:types$}  {name:names$}  {ways}"
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::rows::tests::reading;

    #[test]
    fn a_reading_is_a_page() {
        let expected = "\
dnscache at 127.0.0.1:9253, up 1h02m

search noise  2,500 of 10,000 questions (25.0%)
saved         90,000 questions more would have been asked (90.0%): 30,000 rewrites, 1,200 cuts
kept fresh    3 names, 1,234 refreshes (at most 50 per second)

per s   saved  types   name                             asked under
 12.3  86,400  A AAAA  amazon.com.                      default.svc.cluster.local. 75%, as it is 25%
  3.0       0  A AAAA  api.payments.svc.cluster.local.  default.svc.cluster.local. 100%
  0.5       0  A AAAA  plain.example.                   as it is 100%

Applications would ask once instead of walking the search list if they wrote
  `amazon.com.` instead of `amazon.com`
";
        assert_eq!(page("127.0.0.1:9253", &reading(), Sort::Rate, 20), expected);
    }

    #[test]
    fn names_left_out_are_counted() {
        let page = page("x:1", &reading(), Sort::Name, 1);
        assert!(page.contains("amazon.com.") && !page.contains("plain.example."));
        assert!(page.contains("\n(2 more)\n"), "{page}");
    }

    #[test]
    fn nothing_hot_is_said() {
        let page = page("x:1", &HotReading::default(), Sort::Rate, 20);
        assert!(page.ends_with("\n\nNo name is asked often enough to be followed.\n"), "{page}");
        assert!(!page.contains("instead"));
    }
}
