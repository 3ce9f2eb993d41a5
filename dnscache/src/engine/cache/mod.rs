//! What is known: answers by question, with lifetimes, in bounded memory.

pub mod entry;
pub mod key;
pub mod lifetime;
pub mod renewal;
pub mod shared;
