//! A look ahead over a batch: the memory its answers lie in is asked for before it is needed.
//!
//! With a million names known, a hit waits five times for memory that no cache of the processor
//! holds: for the index, then for the record's lines. The waits of one packet follow each other,
//! but those of different packets can pass together. So a worker first goes over its batch twice,
//! with [`Engine::glimpse`] and [`Engine::approach`], and then answers. Nothing depends on it: a
//! question that is not foreseen is answered as well.

use super::wire::question::{Parsed, parse};
use super::{Engine, Scratch};

/// What is foreseen of a packet: its question's hash in the shared store.
#[derive(Debug, Clone, Copy)]
pub struct Glimpse(u64);

impl Engine {
    /// Whether looking ahead is worth its price: not while what is known fits the processor's
    /// caches.
    pub fn looks_ahead(&self) -> bool {
        self.shared.as_ref().is_some_and(|store| store.is_wide())
    }

    /// First pass: asks for the part of the index that knows the answer. `fetch` brings the memory
    /// at an address nearer, without waiting.
    pub fn glimpse(
        &self,
        packet: &[u8],
        scratch: &mut Scratch,
        fetch: impl Fn(*const u8),
    ) -> Option<Glimpse> {
        let (store, Parsed::Query(question)) = (self.shared.as_ref()?, parse(packet)) else {
            return None;
        };
        let asked = scratch.key.set_question(question.name(), question.qtype, question.qclass);
        let hash = store.hash(asked);
        store.fetch_index(hash, fetch);
        Some(Glimpse(hash))
    }

    /// Second pass: asks for the answer itself.
    pub fn approach(&self, glimpse: Glimpse, fetch: impl Fn(*const u8)) {
        if let Some(store) = &self.shared {
            store.fetch_record(glimpse.0, fetch);
        }
    }
}
