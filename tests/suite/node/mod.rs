//! What the program does to its node.

mod fallthrough;
mod instances;
mod refusals;
mod repairs;
mod rules;
