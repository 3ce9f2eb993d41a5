//! The metrics of `template` and `dns64`, which make replies of their own.

use std::collections::BTreeMap;
use std::fmt;

use super::blocks::{Readings, block_labels};
use crate::admin::sheet::Sheet;
use crate::engine::Source;

/// Writes what `template` and `dns64` answered, of the blocks that have them.
///
/// CoreDNS also tells classes and the texts of templates apart; here a failure is found by its
/// server, zone and type.
pub(super) fn counts(sheet: &mut Sheet<'_>, readings: &Readings<'_>) -> fmt::Result {
    let help = "Queries that a template was for.";
    templated(sheet, readings, "coredns_template_matches", help, |_| true)?;
    let help = "Queries for which a template could not be filled in.";
    let not_filled_in = |source| source == Source::TemplateNotFilledIn;
    templated(sheet, readings, "coredns_template_template_failures", help, not_filled_in)?;
    let help = "Queries for which a template was filled in to what is no record.";
    let no_record = |source| source == Source::TemplateNoRecord;
    templated(sheet, readings, "coredns_template_rr_failures", help, no_record)?;
    // One sum per `server`: this metric has no zone.
    let mut translated = BTreeMap::new();
    for (block, reading) in readings.iter().filter(|(block, _)| block.has("dns64")) {
        *translated.entry(block.counts.server_label()).or_insert(0_u64) += reading.translated();
    }
    let translated =
        translated.into_iter().map(|(server, count)| (vec![("server", server.into())], count));
    let help = "Queries for AAAA answered with addresses made of those of IPv4.";
    sheet.counters("coredns_dns64_requests_translated", help, translated)
}

fn templated(
    sheet: &mut Sheet<'_>,
    readings: &Readings<'_>,
    name: &'static str,
    help: &'static str,
    counts: fn(Source) -> bool,
) -> fmt::Result {
    let mut sums = Vec::new();
    for (block, reading) in readings {
        let mut by_type = BTreeMap::new();
        for templated in reading.templated.iter().filter(|templated| counts(templated.source)) {
            *by_type.entry(templated.type_label).or_insert(0_u64) += templated.count;
        }
        for (type_label, count) in by_type {
            let mut labels = block_labels(&block.counts);
            labels.push(("type", type_label.into()));
            sums.push((labels, count));
        }
    }
    sheet.counters(name, help, sums)
}
