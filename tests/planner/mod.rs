//! Runs `cni-tuner` and looks at what it prints.

use std::process::{Command, Output};

mod capacity;
mod explain;
mod limits;
mod lint;
mod plan;
mod readme;
mod simulate;
mod speed;
mod steady_state;
mod trace;

/// Runs the program to its end.
fn run(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cni-tuner"));
    command.args(words).output().expect("the program starts")
}

/// What it prints, if it ends with success.
fn prints(words: &[&str]) -> String {
    let output = run(words);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {error}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// What it says on standard error, if it ends with that exit code.
fn fails(words: &[&str], code: i32) -> String {
    let output = run(words);
    let error = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(code), "{words:?}: {error}");
    error
}
