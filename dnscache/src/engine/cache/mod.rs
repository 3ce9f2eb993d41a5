//! What is known: answers by question, with lifetimes, in bounded memory.

pub mod entry;
mod index;
pub mod key;
pub mod lifetime;
mod log;
pub mod record;
pub mod renewal;
mod shard;
pub mod shared;
