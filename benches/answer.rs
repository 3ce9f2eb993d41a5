//! What the engine's verbs cost by themselves: nanoseconds and allocations, no socket in sight.
//!
//! `cargo bench --bench answer` measures everything; `-- --quick` measures for a moment and without
//! the million names; `-- --test` runs everything once, without them. Times are of one thread, and
//! of a machine that does nothing else: compare ratios. A line without `alloc` under it allocates
//! nothing; `tests/allocations.rs` holds the hits to that.

#![allow(missing_docs, reason = "benches are named for what they time")]

use std::time::Duration;

use divan::{AllocProfiler, Bencher, Divan, black_box};

#[path = "../tests/harness/cases.rs"]
mod cases;
#[path = "../tests/harness/engine.rs"]
mod engine;
#[path = "../tests/harness/questions.rs"]
mod questions;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// How long each line is measured at least.
const MEASURED: Duration = Duration::from_millis(500);
/// The same in a quick run.
const MEASURED_QUICKLY: Duration = Duration::from_millis(20);
/// Calls per sample where each is of another name: divan would choose by the first, which is slow.
const SAMPLE_LEN: u32 = 100;

fn main() {
    if is_asked_for("--quick") {
        Divan::default().max_time(MEASURED_QUICKLY).run_benches();
    } else {
        Divan::default().min_time(MEASURED).config_with_args().main();
    }
}

/// Whether the command line has this word.
fn is_asked_for(word: &str) -> bool {
    std::env::args().any(|argument| argument == word)
}

/// `Engine::answer`.
mod answer {
    use super::{Bencher, SAMPLE_LEN, black_box, is_asked_for};
    use crate::cases::{Case, Client};
    use crate::questions::{Saying, qtype, query};

    /// One packet over and over: each verdict with everything it needs at hand.
    #[divan::bench(args = Case::all())]
    fn verdict(bencher: Bencher<'_, '_>, case: &Case) {
        let mut client = case.client();
        bencher.bench_local(|| {
            black_box(&client.ask(black_box(&case.packet)));
        });
    }

    /// Positive hits of this many names in random order: the same work, but the processor's caches
    /// hold less and less of what it needs.
    #[divan::bench(args = name_counts(), sample_size = SAMPLE_LEN)]
    fn hit_among(bencher: Bencher<'_, '_>, names: usize) {
        let mut client = Client::new();
        let packets = Packets::shuffled(names);
        for (packet, number) in packets.in_order().zip(&packets.numbers) {
            client.know(packet, &Saying::Addresses(2).message(&label(*number)));
        }
        let mut packets = packets.in_order().cycle();
        bencher.bench_local(|| {
            let packet = packets.next().expect("a cycle");
            black_box(&client.ask(black_box(packet)));
        });
    }

    fn name_counts() -> &'static [usize] {
        let is_short = is_asked_for("--quick") || is_asked_for("--test");
        if is_short { &[1_000, 100_000] } else { &[1_000, 100_000, 1_000_000] }
    }

    /// Queries of equal length one after the other, so that reading them costs what reading a
    /// receive buffer costs.
    struct Packets {
        numbers: Vec<usize>,
        bytes: Vec<u8>,
        packet_len: usize,
    }

    impl Packets {
        fn shuffled(count: usize) -> Self {
            let mut numbers: Vec<usize> = (0..count).collect();
            shuffle(&mut numbers);
            let packet = |number: &usize| query(&label(*number), "example", qtype::A);
            let bytes: Vec<u8> = numbers.iter().flat_map(packet).collect();
            Self { numbers, packet_len: bytes.len() / count, bytes }
        }

        fn in_order(&self) -> impl Iterator<Item = &[u8]> + Clone {
            self.bytes.chunks_exact(self.packet_len)
        }
    }

    fn label(number: usize) -> String {
        format!("name-{number:07}")
    }

    /// The same order in every run (Fisher and Yates's shuffle, Knuth's MMIX generator).
    fn shuffle(numbers: &mut [usize]) {
        let mut state = 7_u64;
        for last in (1..numbers.len()).rev() {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            numbers.swap(last, (state >> 33) as usize % (last + 1));
        }
    }
}

/// `Engine::learn` and `Engine::reply`: the ends of a miss.
mod miss {
    use super::{Bencher, SAMPLE_LEN, black_box};
    use crate::cases::Client;
    use crate::questions::{Saying, qtype, query};

    const SAYINGS: [Saying; 3] =
        [Saying::Addresses(2), Saying::NoName, Saying::Chain { aliases: 4, addresses: 8 }];

    /// A new name each time.
    #[divan::bench(args = SAYINGS, sample_size = SAMPLE_LEN)]
    fn learn(bencher: Bencher<'_, '_>, saying: &Saying) {
        let client = Client::new();
        let mut asking = Client::new();
        let mut labels = (0..).map(|number| format!("name-{number:07}"));
        let new = || {
            let label = labels.next().expect("no end");
            let ask = asking.ask_in_vain(&query(&label, "example", qtype::A));
            (ask, saying.message(&label))
        };
        bencher.with_inputs(new).bench_local_refs(|(ask, message)| {
            black_box(&client.learn(black_box(ask), black_box(message)));
        });
    }

    #[divan::bench(args = SAYINGS)]
    fn reply(bencher: Bencher<'_, '_>, saying: &Saying) {
        let mut client = Client::new();
        let packet = query("here", "example", qtype::A);
        let ask = client.ask_in_vain(&packet);
        let outcome = client.learn(&ask, &saying.message("here"));
        bencher.bench_local(|| {
            black_box(&client.reply(black_box(&packet), black_box(&ask), black_box(&outcome)));
        });
    }
}

/// `HotTable::note`, as a worker calls it for a part of the questions.
mod hot {
    use dnscache::engine::policy::hot::{HotTable, Sighting};
    use dnscache::engine::wire::name::Name;
    use dnscache::engine::{ListenerId, Now};

    use super::{Bencher, SAMPLE_LEN, black_box};

    const SIZE: usize = 10_000;
    const NOW: Now = Now::from_millis(1_000_000);
    const SUFFIX: &[u8] = b"\x07default\x03svc\x07cluster\x05local\0";

    /// A name that is followed: each in turn of a full table.
    #[divan::bench(args = [1, 100, SIZE])]
    fn note_followed_of(bencher: Bencher<'_, '_>, followed: usize) {
        let (mut table, names) = full(followed);
        let mut names = names.iter().cycle();
        bencher.bench_local(|| {
            let name = names.next().expect("a cycle");
            table.note(black_box(&sighting(name)), NOW);
        });
    }

    /// A new name each time, none of which comes to be followed.
    #[divan::bench(sample_size = SAMPLE_LEN)]
    fn note_stranger(bencher: Bencher<'_, '_>) {
        let (mut table, _) = full(SIZE);
        let mut numbers = SIZE..;
        let next = || name(numbers.next().expect("no end"));
        bencher.with_inputs(next).bench_local_refs(|name| {
            table.note(black_box(&sighting(name)), NOW);
        });
    }

    /// What ends a half-life, once in 30 s.
    #[divan::bench]
    fn halve_all(bencher: Bencher<'_, '_>) {
        let (mut table, names) = full(SIZE);
        let mut now = NOW;
        bencher.bench_local(|| {
            now = now.plus_millis(30_000);
            let warm = Sighting { weight: 1_000_000, ..sighting(&names[0]) };
            table.note(black_box(&warm), now);
        });
    }

    fn full(size: usize) -> (HotTable, Vec<Vec<u8>>) {
        let mut table = HotTable::new(size);
        let names: Vec<Vec<u8>> = (0..size).map(name).collect();
        for name in &names {
            table.note(&Sighting { weight: u32::MAX, ..sighting(name) }, NOW);
        }
        assert_eq!(table.len(), size);
        (table, names)
    }

    fn name(number: usize) -> Vec<u8> {
        let name = Name::from_text(&format!("name-{number:07}.example"));
        name.expect("a name").wire().to_vec()
    }

    fn sighting(name: &[u8]) -> Sighting<'_> {
        Sighting {
            name,
            suffix: SUFFIX,
            is_absolute: true,
            qtype: 1,
            listener: ListenerId(0),
            weight: 1,
            skipped: 3,
        }
    }
}

/// What surrounds the verbs.
mod around {
    use dnscache::config::environment::System;
    use dnscache::config::{Origin, check::check, corefile};
    use dnscache::counts::BlockCounts;
    use dnscache::engine::wire::question::parse;
    use dnscache::engine::{BlockId, Facts, Source};

    use super::{Bencher, black_box};
    use crate::questions::{qtype, query, with_dnssec_ok};

    /// The Corefile of a NodeLocal DNSCache as its users have it.
    const COREFILE: &str = include_str!("../tests/data/corefiles/good/node-local-dns.corefile");

    #[divan::bench]
    fn parse_query(bencher: Bencher<'_, '_>) {
        let packet = query("here", "example", qtype::A);
        bencher.bench_local(|| {
            black_box(&parse(black_box(&packet)));
        });
    }

    #[divan::bench]
    fn parse_query_with_edns(bencher: Bencher<'_, '_>) {
        let packet = with_dnssec_ok(query("here", "example", qtype::A));
        bencher.bench_local(|| {
            black_box(&parse(black_box(&packet)));
        });
    }

    #[divan::bench]
    fn parse_corefile() {
        let blocks = corefile::parse("Corefile", black_box(COREFILE), &System);
        black_box(&blocks.expect("it is well-formed"));
    }

    #[divan::bench]
    fn parse_and_check_corefile() {
        let blocks = corefile::parse("Corefile", black_box(COREFILE), &System);
        let blocks = blocks.expect("it is well-formed");
        let config = check(&blocks, Origin::BuiltIn, 53, &System);
        black_box(&config.expect("it makes sense"));
    }

    /// As a worker counts, which is the only one to write to its shard.
    #[divan::bench]
    fn count_a_reply(bencher: Bencher<'_, '_>) {
        let counts = BlockCounts::new("dns://:53".to_owned(), ".".to_owned(), 1);
        let facts = Facts {
            block: Some(BlockId(0)),
            qtype: qtype::A,
            rcode: 0,
            dnssec_ok: false,
            source: Source::CacheSuccess,
            shortcut: dnscache::engine::Shortcut::NotAnExpansion,
        };
        bencher.bench_local(|| {
            black_box(&counts).replied(1, black_box(&facts), false, false, 40, 120, 12);
        });
    }
}
