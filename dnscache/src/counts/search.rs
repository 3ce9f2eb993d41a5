//! The counts of shortcuts through search lists.

use super::cell::{Cell, Shards, Writers};
use crate::engine::wire::header::rcode::NXDOMAIN;
use crate::engine::{Facts, Reason, Shortcut};

/// What one writer adds to, for one block. Expansions are the sum of what became of them.
#[derive(Debug, Default)]
pub(super) struct SearchShard {
    cuts: Cell,
    rewrites: Cell,
    spared: Cell,
    skipped: Cell,
    noise: Cell,
    not_taken: [Cell; Reason::ALL.len()],
}

impl SearchShard {
    /// Counts a query that was answered, if it was an expansion.
    #[inline]
    pub(super) fn replied(&self, facts: &Facts, writers: Writers) {
        if facts.shortcut != Shortcut::NotAnExpansion {
            self.expanded(facts, writers);
        }
    }

    fn expanded(&self, facts: &Facts, writers: Writers) {
        match facts.shortcut {
            Shortcut::NotAnExpansion => return,
            Shortcut::Cut { is_spared } => {
                self.cuts.add(1, writers);
                self.spared.add(u64::from(is_spared), writers);
            }
            Shortcut::Rewritten { skipped, spared } => {
                self.rewrites.add(1, writers);
                self.spared.add(u64::from(spared), writers);
                self.skipped.add(u64::from(skipped), writers);
            }
            Shortcut::NotTaken(reason) => self.not_taken[reason as usize].add(1, writers),
        }
        if facts.rcode == NXDOMAIN {
            self.noise.add(1, writers);
        }
    }
}

/// What became of one block's expansions, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SearchReading {
    /// Denied, because a name above does not exist.
    pub cuts: u64,
    /// Answered with the name the search list leads to.
    pub rewrites: u64,
    /// Questions that upstream was not asked.
    pub spared: u64,
    /// Questions that clients did not need to ask any more.
    pub skipped: u64,
    /// Expansions answered NXDOMAIN, by a shortcut or not.
    pub noise: u64,
    /// Answered like any other name, by the `reason` label.
    pub not_taken: [(&'static str, u64); Reason::ALL.len()],
}

impl SearchReading {
    /// Sums the shards; `pick` finds these counts in those of a block.
    pub(super) fn of<T>(shards: &Shards<T>, pick: impl Fn(&T) -> &SearchShard) -> Self {
        let sum = |cell: fn(&SearchShard) -> &Cell| shards.sum(|shard| cell(pick(shard)));
        let not_taken = Reason::ALL.map(|reason| {
            let count = shards.sum(|shard| &pick(shard).not_taken[reason as usize]);
            (reason_label(reason), count)
        });
        Self {
            cuts: sum(|shard| &shard.cuts),
            rewrites: sum(|shard| &shard.rewrites),
            spared: sum(|shard| &shard.spared),
            skipped: sum(|shard| &shard.skipped),
            noise: sum(|shard| &shard.noise),
            not_taken,
        }
    }

    /// All questions that were steps through a search list.
    pub fn expansions(&self) -> u64 {
        let not_taken: u64 = self.not_taken.iter().map(|(_, count)| count).sum();
        self.cuts + self.rewrites + not_taken
    }
}

/// The name of a reason in metrics and in the query log.
pub fn reason_label(reason: Reason) -> &'static str {
    match reason {
        Reason::Exists => "exists",
        Reason::Unknown => "unknown",
        Reason::NoneExists => "none-exists",
        Reason::NoData => "no-data",
        Reason::NoNamespace => "no-namespace",
        Reason::OtherNamespace => "other-namespace",
        Reason::OtherType => "other-type",
        Reason::HostDomain => "host-domain",
        Reason::BelowService => "below-service",
        Reason::Failing => "failing",
        Reason::LeftOut => "left-out",
        Reason::CutsOnly => "cuts-only",
        Reason::Verbatim => "verbatim",
        Reason::OtherDirective => "other-directive",
        Reason::SwitchedOff => "switched-off",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{BlockId, Source};

    fn facts(rcode: u8, shortcut: Shortcut) -> Facts {
        Facts {
            block: Some(BlockId(0)),
            qtype: 1,
            rcode,
            dnssec_ok: false,
            source: Source::SearchPath,
            shortcut,
        }
    }

    /// The sums after these replies, one shard for each.
    fn read(replies: &[(u8, Shortcut)]) -> SearchReading {
        let shards: Shards<SearchShard> = Shards::new(replies.len());
        for (shard, (rcode, shortcut)) in replies.iter().enumerate() {
            let (counts, writers) = shards.at(shard);
            counts.replied(&facts(*rcode, *shortcut), writers);
        }
        SearchReading::of(&shards, |shard| shard)
    }

    fn taken(reading: &SearchReading) -> [u64; 6] {
        let SearchReading { cuts, rewrites, spared, skipped, noise, .. } = *reading;
        [reading.expansions(), cuts, rewrites, spared, skipped, noise]
    }

    #[test]
    fn other_names_count_nothing() {
        let reading = read(&[(0, Shortcut::NotAnExpansion), (3, Shortcut::NotAnExpansion)]);
        assert_eq!(taken(&reading), [0; 6]);
    }

    #[test]
    fn cuts_spare_upstream_a_question_or_not() {
        let cut = |is_spared| (3, Shortcut::Cut { is_spared });
        assert_eq!(taken(&read(&[cut(true), cut(false), cut(true)])), [3, 3, 0, 2, 0, 3]);
    }

    #[test]
    fn rewrites_spare_clients_their_questions() {
        let rewritten = |rcode, skipped, spared| (rcode, Shortcut::Rewritten { skipped, spared });
        assert_eq!(taken(&read(&[rewritten(0, 4, 3), rewritten(0, 1, 0)])), [2, 0, 2, 3, 5, 0]);
        let most = rewritten(0, u8::MAX, u8::MAX);
        assert_eq!(taken(&read(&[most, rewritten(3, 1, 0)])), [2, 0, 2, 255, 256, 1]);
    }

    #[test]
    fn reasons_are_told_apart() {
        for (slot, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, slot);
            let reading = read(&[(0, Shortcut::NotTaken(reason)), (3, Shortcut::NotTaken(reason))]);
            assert_eq!(taken(&reading), [2, 0, 0, 0, 0, 1]);
            assert_eq!(reading.not_taken[slot], (reason_label(reason), 2));
        }
    }

    #[test]
    fn labels_are_different_and_in_kebab_case() {
        let labels: std::collections::BTreeSet<_> = Reason::ALL.map(reason_label).into();
        assert_eq!(labels.len(), Reason::ALL.len());
        let is_kebab = |label: &str| label.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        assert!(labels.into_iter().all(is_kebab));
    }
}
