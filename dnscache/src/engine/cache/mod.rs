//! What is known: answers by question, with lifetimes, in bounded memory.

pub mod entry;
pub mod key;
pub mod lifetime;
mod log;
pub mod record;
pub mod renewal;
mod shard;
pub mod shared;
