//! The program `cni-tuner` from outside: one file for each command in `planner`.

#![allow(missing_docs, reason = "tests are named for the fact they show")]

mod planner;
