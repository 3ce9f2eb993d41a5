//! Every row of a run as comma-separated values.

use std::fmt::Write as _;

use super::Row;

/// The head and a line per row. Names of scenarios, servers and figures hold no comma.
pub fn text(rows: &[Row]) -> String {
    let mut text = String::from(
        "scenario,server,round,cpu_us,queries_per_sec,p50_us,p99_us,p99_9_us,lost,wrong,rss_bytes,\
         echo_ratio,extra\n",
    );
    for row in rows {
        writeln!(text, "{}", line(row)).expect("a string takes any text");
    }
    text
}

/// An absent value is an empty field; extras share the last field, as `name=value;name=value`.
fn line(row: &Row) -> String {
    let [p50, p99, p999] = row
        .latency_us
        .map_or_else(Default::default, |latency| latency.map(|value| format!("{value:.1}")));
    let extra: Vec<String> =
        row.extra.iter().map(|(name, value)| format!("{name}={value:.4}")).collect();
    [
        row.scenario.to_owned(),
        row.server.to_owned(),
        (row.round + 1).to_string(),
        format!("{:.4}", row.cpu_us),
        format!("{:.0}", row.queries_per_sec),
        p50,
        p99,
        p999,
        row.lost.to_string(),
        row.wrong.to_string(),
        row.rss_bytes.to_string(),
        row.echo_ratio.map(|ratio| format!("{ratio:.4}")).unwrap_or_default(),
        extra.join(";"),
    ]
    .join(",")
}
