//! What the program does to its node.

mod fallthrough;
mod instances;
mod killed;
mod refusals;
mod repairs;
mod rules;
