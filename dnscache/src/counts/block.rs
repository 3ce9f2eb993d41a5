//! The counts of one server block.

use std::borrow::Cow;

use super::cell::{Cell, Histogram, HistogramReading, Shards};
use super::kinds::{
    DURATION_SLOTS, RCODE_SLOTS, SIZE_SLOTS, SOURCES, TYPE_SLOTS, duration_slot, plugin_label,
    rcode_slot, rcode_slot_label, size_slot, source_slot, type_slot, type_slot_label,
};
use super::search::{SearchReading, SearchShard};
use crate::engine::wire::header::rcode::{NOERROR, NXDOMAIN, REFUSED};
use crate::engine::{Ask, Facts, Source};

/// The counts of one server block, shared by all planes and kept over reloads.
#[derive(Debug)]
pub struct BlockCounts {
    server_label: String,
    zone_label: String,
    shards: Shards<BlockShard>,
}

/// What one writer adds to. `[transport]` is 0 for UDP and 1 for TCP.
#[derive(Debug, Default)]
struct BlockShard {
    /// By transport and address family (`2 * transport + family`), and by type.
    requests: [[Cell; TYPE_SLOTS]; 4],
    requests_dnssec_ok: Cell,
    request_sizes: [Histogram<SIZE_SLOTS>; 2],
    reply_sizes: [Histogram<SIZE_SLOTS>; 2],
    durations: [Histogram<DURATION_SLOTS>; TYPE_SLOTS],
    /// By answerer and response code.
    replies: [[Cell; RCODE_SLOTS]; SOURCES.len()],
    misses: Cell,
    renewals: Cell,
    unusable: Cell,
    /// Replies of `template`, by outcome and by type.
    templates: [[Cell; TYPE_SLOTS]; TEMPLATED.len()],
    search: SearchShard,
}

/// What `template` came to.
const TEMPLATED: [Source; 3] =
    [Source::Template, Source::TemplateNotFilledIn, Source::TemplateNoRecord];

impl BlockCounts {
    /// Counts from zero for the block with these labels, for the slow plane and `workers`.
    pub fn new(server_label: String, zone_label: String, workers: usize) -> Self {
        Self { server_label, zone_label, shards: Shards::new(workers) }
    }

    /// Counts a query that was answered, once: by `shard` (0 is the slow plane's, worker N has
    /// N + 1). Sizes in octets without framing, duration in microseconds.
    #[expect(clippy::too_many_arguments, reason = "one call per reply, each a different fact")]
    #[inline]
    pub fn replied(
        &self,
        shard: usize,
        facts: &Facts,
        tcp: bool,
        ipv6: bool,
        request_len: usize,
        reply_len: usize,
        duration_us: u64,
    ) {
        let (counts, writers) = self.shards.at(shard);
        let transport = usize::from(tcp);
        let qtype = type_slot(facts.qtype);
        counts.requests[2 * transport + usize::from(ipv6)][qtype].add(1, writers);
        if facts.dnssec_ok {
            counts.requests_dnssec_ok.add(1, writers);
        }
        let request_size = &counts.request_sizes[transport];
        request_size.observe(size_slot(request_len), request_len as u64, writers);
        let reply_size = &counts.reply_sizes[transport];
        reply_size.observe(size_slot(reply_len), reply_len as u64, writers);
        counts.durations[qtype].observe(duration_slot(duration_us), duration_us, writers);
        counts.replies[source_slot(facts.source)][rcode_slot(facts.rcode)].add(1, writers);
        if let Some(templated) = TEMPLATED.iter().position(|source| *source == facts.source) {
            counts.templates[templated][qtype].add(1, writers);
        }
        counts.search.replied(facts, writers);
    }

    /// Queries answered so far.
    pub fn questions(&self) -> u64 {
        let ways = (0..4).flat_map(|way| (0..TYPE_SLOTS).map(move |slot| (way, slot)));
        ways.map(|(way, slot)| self.shards.sum(|shard| &shard.requests[way][slot])).sum()
    }

    /// Counts a question the cache could not answer. The query itself is counted when its reply
    /// is, by [`BlockCounts::replied`].
    #[inline]
    pub fn missed(&self, shard: usize, _ask: &Ask, _tcp: bool, _ipv6: bool, _request_len: usize) {
        let (counts, writers) = self.shards.at(shard);
        counts.misses.add(1, writers);
    }

    /// Counts an answer that is renewed before it expires.
    #[inline]
    pub fn renewed(&self, shard: usize) {
        let (counts, writers) = self.shards.at(shard);
        counts.renewals.add(1, writers);
    }

    /// Counts a message from upstream that was not kept because it breaks the rules.
    #[inline]
    pub fn unusable(&self, shard: usize) {
        let (counts, writers) = self.shards.at(shard);
        counts.unusable.add(1, writers);
    }

    /// The `server` label.
    pub fn server_label(&self) -> &str {
        &self.server_label
    }

    /// The `zone` and `zones` labels.
    pub fn zone_label(&self) -> &str {
        &self.zone_label
    }

    /// Sums the shards. Each number is exact, but numbers of one query may fall into two readings.
    pub fn read(&self) -> BlockReading {
        let shards = &self.shards;
        let sizes = |pick: fn(&BlockShard) -> &[Histogram<SIZE_SLOTS>; 2]| {
            [0, 1].map(|transport| shards.histogram(|shard| &pick(shard)[transport], 1.0))
        };
        BlockReading {
            requests: self.read_requests(),
            requests_dnssec_ok: shards.sum(|shard| &shard.requests_dnssec_ok),
            request_sizes: sizes(|shard| &shard.request_sizes),
            reply_sizes: sizes(|shard| &shard.reply_sizes),
            durations: self.read_durations(),
            replies: self.read_replies(),
            misses: shards.sum(|shard| &shard.misses),
            renewals: shards.sum(|shard| &shard.renewals),
            unusable: shards.sum(|shard| &shard.unusable),
            templated: self.read_templated(),
            search: SearchReading::of(shards, |shard| &shard.search),
        }
    }

    fn read_requests(&self) -> Vec<RequestReading> {
        let mut requests = Vec::new();
        for way in 0..4 {
            for qtype in 0..TYPE_SLOTS {
                let count = self.shards.sum(|shard| &shard.requests[way][qtype]);
                if count > 0 {
                    let type_label = type_slot_label(qtype);
                    requests.push(RequestReading {
                        tcp: way >= 2,
                        ipv6: way % 2 == 1,
                        type_label,
                        count,
                    });
                }
            }
        }
        requests
    }

    fn read_templated(&self) -> Vec<TemplatedReading> {
        let mut templated = Vec::new();
        for (index, source) in TEMPLATED.into_iter().enumerate() {
            for slot in 0..TYPE_SLOTS {
                let count = self.shards.sum(|shard| &shard.templates[index][slot]);
                if count > 0 {
                    let type_label = type_slot_label(slot);
                    templated.push(TemplatedReading { source, type_label, count });
                }
            }
        }
        templated
    }

    fn read_durations(&self) -> Vec<(&'static str, HistogramReading)> {
        (0..TYPE_SLOTS)
            .map(|slot| {
                let reading = self.shards.histogram(|shard| &shard.durations[slot], 1e6);
                (type_slot_label(slot), reading)
            })
            .filter(|(_, reading)| reading.count > 0)
            .collect()
    }

    fn read_replies(&self) -> Vec<ReplyReading> {
        let mut replies = Vec::new();
        for source in SOURCES {
            for rcode in 0..RCODE_SLOTS {
                let count = self.shards.sum(|shard| &shard.replies[source_slot(source)][rcode]);
                if count > 0 {
                    replies.push(ReplyReading { source, rcode, count });
                }
            }
        }
        replies
    }
}

/// One block's counts at one moment; combinations that never occurred are left out.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockReading {
    /// Queries by transport, family and type.
    pub requests: Vec<RequestReading>,
    /// Queries with the DO bit.
    pub requests_dnssec_ok: u64,
    /// Octets of queries over UDP and TCP.
    pub request_sizes: [HistogramReading; 2],
    /// Octets of replies over UDP and TCP.
    pub reply_sizes: [HistogramReading; 2],
    /// Seconds from query to reply by type label.
    pub durations: Vec<(&'static str, HistogramReading)>,
    /// Replies by answerer and response code.
    pub replies: Vec<ReplyReading>,
    /// Questions the cache could not answer.
    pub misses: u64,
    /// Answers renewed before they expired.
    pub renewals: u64,
    /// Messages from upstream that were not kept.
    pub unusable: u64,
    /// Replies of `template`.
    pub templated: Vec<TemplatedReading>,
    /// What became of questions that were steps through a search list.
    pub search: SearchReading,
}

/// Replies of `template` to questions of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplatedReading {
    /// What came of it: one of the three answerers that `template` is.
    pub source: Source,
    /// The `type` label.
    pub type_label: &'static str,
    /// How many.
    pub count: u64,
}

/// Queries that came one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestReading {
    /// Over TCP.
    pub tcp: bool,
    /// From an IPv6 address.
    pub ipv6: bool,
    /// The `type` label.
    pub type_label: &'static str,
    /// How many.
    pub count: u64,
}

/// Replies of one answerer with one response code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyReading {
    /// Who answered.
    pub source: Source,
    /// How many.
    pub count: u64,
    rcode: usize,
}

impl ReplyReading {
    /// The `rcode` label.
    pub fn rcode_label(&self) -> Cow<'static, str> {
        rcode_slot_label(self.rcode)
    }

    /// The `plugin` label.
    pub fn plugin_label(&self) -> &'static str {
        plugin_label(self.source)
    }

    fn has_rcode(&self, rcode: u8) -> bool {
        self.rcode == rcode_slot(rcode)
    }
}

impl BlockReading {
    /// Replies from the cache with records, live or expired; what `searchpath` made of such
    /// records is no less of a hit.
    pub fn hits_success(&self) -> u64 {
        self.count(|reply| match reply.source {
            Source::CacheSuccess => true,
            Source::Stale | Source::SearchPath => !reply.has_rcode(NXDOMAIN),
            _ => false,
        })
    }

    /// Replies from the cache without records: negative ones and remembered failures.
    pub fn hits_denial(&self) -> u64 {
        self.count(|reply| match reply.source {
            Source::CacheDenial | Source::CacheFailure => true,
            Source::Stale | Source::SearchPath => reply.has_rcode(NXDOMAIN),
            _ => false,
        })
    }

    /// Replies with an expired answer.
    pub fn served_stale(&self) -> u64 {
        self.count(|reply| reply.source == Source::Stale)
    }

    /// Queries that `acl` refused.
    pub fn acl_blocked(&self) -> u64 {
        self.count(|reply| reply.source == Source::Acl && reply.has_rcode(REFUSED))
    }

    /// Queries that `acl` answered without records.
    pub fn acl_filtered(&self) -> u64 {
        self.count(|reply| reply.source == Source::Acl && reply.has_rcode(NOERROR))
    }

    /// Queries that `acl` let through.
    pub fn acl_allowed(&self) -> u64 {
        self.count(|reply| reply.source != Source::Acl)
    }

    /// Queries that `dns64` answered.
    pub fn translated(&self) -> u64 {
        self.count(|reply| reply.source == Source::Dns64)
    }

    fn count(&self, wanted: impl Fn(&ReplyReading) -> bool) -> u64 {
        self.replies.iter().filter(|reply| wanted(reply)).map(|reply| reply.count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{BlockId, Shortcut};

    fn facts(qtype: u16, rcode: u8, source: Source) -> Facts {
        Facts {
            block: Some(BlockId(0)),
            qtype,
            rcode,
            dnssec_ok: false,
            source,
            shortcut: Shortcut::default(),
        }
    }

    fn counts() -> BlockCounts {
        BlockCounts::new("dns://:53".to_owned(), ".".to_owned(), 2)
    }

    #[test]
    fn a_query_is_counted_once_under_each_heading() {
        let counts = counts();
        let facts = Facts { dnssec_ok: true, ..facts(28, 3, Source::CacheDenial) };
        counts.replied(1, &facts, true, true, 40, 120, 300);
        let reading = counts.read();
        let request = RequestReading { tcp: true, ipv6: true, type_label: "AAAA", count: 1 };
        assert_eq!(reading.requests, [request]);
        assert_eq!(reading.requests_dnssec_ok, 1);
        assert_eq!(reading.request_sizes[0].count, 0);
        assert_eq!(reading.request_sizes[1].buckets[..3], [0, 1, 0]);
        assert_eq!(reading.reply_sizes[1].buckets[..3], [0, 0, 1]);
        assert_eq!(reading.durations.len(), 1);
        assert_eq!(reading.durations[0].0, "AAAA");
        assert_eq!(reading.durations[0].1.buckets[..3], [0, 1, 0]);
        assert!((reading.durations[0].1.sum - 0.0003).abs() < 1e-9);
        assert_eq!(reading.replies.len(), 1);
        assert_eq!(reading.replies[0].rcode_label(), "NXDOMAIN");
        assert_eq!(reading.replies[0].plugin_label(), "cache");
    }

    #[test]
    fn shards_are_summed() {
        let counts = counts();
        for shard in 0..3 {
            counts.replied(shard, &facts(1, 0, Source::CacheSuccess), false, false, 40, 60, 10);
            counts.renewed(shard);
            counts.unusable(shard);
        }
        let reading = counts.read();
        assert_eq!(reading.requests[0].count, 3);
        assert_eq!(reading.hits_success(), 3);
        assert_eq!((reading.renewals, reading.unusable), (3, 3));
    }

    #[test]
    fn stale_answers_are_hits_of_their_kind() {
        let counts = counts();
        counts.replied(0, &facts(1, 0, Source::Stale), false, false, 40, 60, 10);
        counts.replied(0, &facts(1, 3, Source::Stale), false, false, 40, 60, 10);
        counts.replied(0, &facts(1, 2, Source::CacheFailure), false, false, 40, 60, 10);
        let reading = counts.read();
        assert_eq!(reading.served_stale(), 2);
        assert_eq!(reading.hits_success(), 1);
        assert_eq!(reading.hits_denial(), 2);
    }

    #[test]
    fn shortcuts_are_hits_of_their_kind() {
        let counts = counts();
        let cut = Facts {
            shortcut: Shortcut::Cut { is_spared: true },
            ..facts(1, 3, Source::SearchPath)
        };
        let rewritten = Facts {
            shortcut: Shortcut::Rewritten { skipped: 4, spared: 8 },
            ..facts(28, 0, Source::SearchPath)
        };
        counts.replied(1, &cut, false, false, 40, 120, 10);
        counts.replied(2, &rewritten, false, false, 40, 60, 10);
        counts.replied(0, &facts(1, 0, Source::CacheSuccess), false, false, 40, 60, 10);
        let reading = counts.read();
        assert_eq!((reading.hits_success(), reading.hits_denial()), (2, 1));
        assert_eq!(reading.replies[1].plugin_label(), "searchpath");
        let search = &reading.search;
        assert_eq!((search.expansions(), search.cuts, search.rewrites), (2, 1, 1));
        assert_eq!((search.spared, search.skipped, search.noise), (9, 4, 1));
    }

    #[test]
    fn acl_tells_its_actions_apart() {
        let counts = counts();
        for rcode in [5, 5, 0] {
            counts.replied(0, &facts(1, rcode, Source::Acl), false, false, 40, 60, 10);
        }
        counts.replied(0, &facts(1, 5, Source::Refusal), false, false, 40, 60, 10);
        let reading = counts.read();
        assert_eq!(reading.acl_blocked(), 2);
        assert_eq!(reading.acl_filtered(), 1);
        assert_eq!(reading.acl_allowed(), 1);
    }

    #[test]
    fn no_value_is_too_large_or_too_odd() {
        let counts = counts();
        let facts = facts(u16::MAX, u8::MAX, Source::Refusal);
        counts.replied(usize::MAX, &facts, true, false, usize::MAX, usize::MAX, u64::MAX);
        let reading = counts.read();
        assert_eq!(reading.requests[0].type_label, "other");
        assert_eq!(reading.replies[0].rcode_label(), "other");
    }
}
