//! What belongs to the node and not to a process: interface, packet rules, the take-over from one
//! instance to the next, and the cache on disk.

pub mod confine;
