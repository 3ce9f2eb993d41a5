//! The metrics of search paths and of names that are kept fresh.

use std::fmt;

use super::blocks::{Readings, block_labels};
use crate::admin::sheet::{Labels, Sheet};
use crate::admin::sources::{RefreshReading, SearchStateReading};
use crate::counts::SearchReading;

/// Writes what became of expansions, of the blocks that have `searchpath`.
pub(super) fn counts(sheet: &mut Sheet<'_>, readings: &Readings<'_>) -> fmt::Result {
    let searching = || readings.iter().filter(|(block, _)| block.has("searchpath"));
    let mut count = |name, help, value: fn(&SearchReading) -> u64| {
        let each = searching()
            .map(|(block, reading)| (block_labels(&block.counts), value(&reading.search)));
        sheet.counters(name, help, each)
    };
    let help = "Queries that were steps through a search list.";
    count("dnscache_search_expansions", help, SearchReading::expansions)?;
    let help = "Steps through a search list that were answered NXDOMAIN.";
    count("dnscache_search_noise", help, |search| search.noise)?;
    let help = "Steps through a search list denied because a name above does not exist.";
    count("dnscache_search_cuts", help, |search| search.cuts)?;
    let help = "Steps through a search list answered with the name it leads to.";
    count("dnscache_search_rewrites", help, |search| search.rewrites)?;
    let help = "Questions that upstream was not asked because a search list was cut short.";
    count("dnscache_search_upstream_questions_avoided", help, |search| search.spared)?;
    let help = "Questions that clients did not ask because a search list was cut short.";
    count("dnscache_search_client_questions_saved", help, |search| search.skipped)?;
    let not_taken = searching().flat_map(|(block, reading)| {
        reading.search.not_taken.iter().map(|(reason, count)| {
            let mut labels = block_labels(&block.counts);
            labels.push(("reason", (*reason).into()));
            (labels, *count)
        })
    });
    let help = "Steps through a search list that were not cut short, by reason.";
    sheet.counters("dnscache_search_not_taken", help, not_taken)
}

/// Writes what checking shortcuts upstream came to.
pub(in crate::admin) fn searches(
    sheet: &mut Sheet<'_>,
    states: &[SearchStateReading],
) -> fmt::Result {
    let each = |value: fn(&SearchStateReading) -> u64| {
        states.iter().map(move |state| (state_labels(state), value(state)))
    };
    let help = "Shortcuts that were checked upstream afterwards.";
    sheet.counters("dnscache_search_audits", help, each(|state| state.audits))?;
    let help = "Shortcuts that upstream contradicted when it was asked afterwards.";
    sheet.counters("dnscache_search_contradictions", help, each(|state| state.contradictions))?;
    let help = "Names below which nothing is cut short now, because upstream contradicted it.";
    sheet.gauges("dnscache_search_boundaries_off", help, each(|state| state.boundaries_off))
}

/// Writes what keeping names fresh came to.
pub(in crate::admin) fn refreshes(sheet: &mut Sheet<'_>, reading: &RefreshReading) -> fmt::Result {
    sheet.gauge("dnscache_hot_names", "Names followed as hot.", reading.names)?;
    let help = "Questions upstream that kept hot names fresh.";
    sheet.counter("dnscache_hot_refreshes", help, reading.refreshes)?;
    let help = "Renewals of hot names that were left out because the budget was used up.";
    sheet.counter("dnscache_hot_refreshes_skipped", help, reading.skipped)?;
    let help = "Questions per second that may be asked now to keep hot names fresh.";
    sheet.gauge("dnscache_hot_refresh_budget_per_second", help, reading.budget_per_second)
}

fn state_labels(state: &SearchStateReading) -> Labels<'_> {
    vec![
        ("server", state.server.as_str().into()),
        ("zone", state.zone.as_str().into()),
        ("view", "".into()),
    ]
}
