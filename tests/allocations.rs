//! A hit allocates nothing, whatever is hit; nor does a packet that needs no looking up, nor the
//! reply to a client that waited. Allocations are counted by thread.

#[path = "harness/cases.rs"]
mod cases;
#[path = "harness/engine.rs"]
mod engine;
#[path = "harness/questions.rs"]
mod questions;

use cases::{COREFILE, Case, Client};
use dnscache::engine::policy::hot::{HotNames, Sighting};
use dnscache::engine::wire::name::Name;
use dnscache::engine::{ListenerId, Now, Verdict};
use questions::{Saying, qtype, query};

const ROUNDS: usize = 10_000;

/// A question that goes upstream takes its name along, and a table's records are collected.
const ALLOCATING: [&str; 2] = ["miss", "hosts"];

#[test]
fn only_misses_and_tables_allocate() {
    for case in Case::all() {
        let mut client = case.client();
        let allocations = allocations(|| case.ask(&mut client));
        assert_eq!(allocations > 0, ALLOCATING.contains(&case.name), "{case}: {allocations}");
    }
    let mut client = Client::new();
    let packet = query("here", "example", qtype::A);
    let ask = client.ask_in_vain(&packet);
    let outcome = client.learn(&ask, &Saying::Addresses(2).message("here"));
    let allocations = allocations(|| assert!(client.reply(&packet, &ask, &outcome).len > 12));
    assert_eq!(allocations, 0, "a reply to a client that waited");
}

/// Enough that the store is wider than a processor's caches and has grown several times.
const NAMES: usize = 20_000;

#[test]
fn a_hit_among_many_names_allocates_nothing() {
    // A name that comes to be followed as hot is written down, and among so many equally hot ones
    // chance decides which do.
    let mut client = Client::of(&COREFILE.replacen("cache {", "hotnames off\n cache {", 1));
    let label = |number| format!("name-{number:07}");
    let packets: Vec<_> =
        (0..NAMES).map(|number| query(&label(number), "example", qtype::A)).collect();
    for (number, packet) in packets.iter().enumerate() {
        client.know(packet, &Saying::Addresses(2).message(&label(number)));
    }
    let allocations = allocation_counter::measure(|| {
        for packet in &packets {
            assert!(matches!(client.ask(packet), Verdict::Reply(_)));
        }
    });
    assert_eq!(allocations.count_total, 0);
}

/// Rules of every kind, none of which is for the names asked.
const RULES: &str = "hotnames off
 rewrite name old.test new.test
 rewrite name suffix .corp .test answer auto
 rewrite name prefix x- y-
 rewrite name regex ^(.*)-eu[.]test[.]$ {1}.test
 rewrite ttl substring .cdn. 5
 rewrite type ANY HINFO
 template IN A made {
  match ^ip-([0-9]+)[.]
  answer \"{{ .Name }} 60 IN A 192.0.2.{{ index .Match 1 }}\"
 }
 dns64
 cache {";

#[test]
fn a_hit_under_rules_for_other_names_allocates_nothing() {
    let mut client = Client::of(&COREFILE.replacen("cache {", RULES, 1));
    let packet = query("name", "example", qtype::A);
    client.know(&packet, &Saying::Addresses(2).message("name"));
    let allocations = allocations(|| assert!(matches!(client.ask(&packet), Verdict::Reply(_))));
    assert_eq!(allocations, 0);
}

#[test]
fn a_name_that_is_followed_is_counted_without_allocating() {
    let names = HotNames::new(100);
    let wire = |text: &str| Name::from_text(text).expect("a name").wire().to_vec();
    let (name, suffix) = (wire("amazon.com"), wire("default.svc.cluster.local"));
    let sighting = Sighting {
        name: &name,
        suffix: &suffix,
        is_absolute: true,
        qtype: qtype::A,
        listener: ListenerId(0),
        weight: 1,
        skipped: 3,
    };
    let mut now = Now::from_millis(1_000_000);
    // Half-lives end on the way.
    let allocations = allocations(|| {
        now = now.plus_millis(100);
        assert!(names.note(&sighting, now));
    });
    assert_eq!(allocations, 0);
    assert_eq!(names.len(), 1);
}

/// How often memory is allocated when this is done many times; the first times do not count.
fn allocations(mut act: impl FnMut()) -> u64 {
    (0..ROUNDS).for_each(|_| act());
    allocation_counter::measure(|| (0..ROUNDS).for_each(|_| act())).count_total
}
