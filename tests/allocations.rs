//! A hit allocates nothing, whatever is hit; nor does a packet that needs no looking up, nor the
//! reply to a client that waited.
//!
//! One test, so that no other thread leaves garbage for this one to collect.

#[path = "harness/cases.rs"]
mod cases;
#[path = "harness/engine.rs"]
mod engine;
#[path = "harness/questions.rs"]
mod questions;

use cases::{Case, Client};
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

/// How often memory is allocated when this is done many times. The first times settle what was
/// learned and set up what the store keeps for each thread.
fn allocations(mut act: impl FnMut()) -> u64 {
    (0..ROUNDS).for_each(|_| act());
    allocation_counter::measure(|| (0..ROUNDS).for_each(|_| act())).count_total
}
