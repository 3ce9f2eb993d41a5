//! Programs in C from `tests/data`, compiled when a test starts.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::data_folder;

/// A C library, by the compiler that links with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    Glibc,
    Musl,
}

/// Compiles `tests/data/libc/NAME.c` into `folder`.
pub fn compile(name: &str, library: Library, folder: &Path) -> PathBuf {
    // musl's is static, so that no loader of it need be installed; glibc's cannot be, because
    // getaddrinfo loads what nsswitch.conf names.
    let (compiler, options) = match library {
        Library::Glibc => ("cc", &["-O2"][..]),
        Library::Musl => ("musl-gcc", &["-O2", "-static"][..]),
    };
    let source = data_folder().join("libc").join(format!("{name}.c"));
    let program = folder.join(format!("{name}-{library:?}"));
    let output = Command::new(compiler)
        .args(["-Wall", "-Wextra", "-Werror"])
        .args(options)
        .arg("-o")
        .args([&program, &source])
        .output()
        .unwrap_or_else(|error| panic!("{compiler}: {error}"));
    assert!(output.status.success(), "{compiler}: {}", String::from_utf8_lossy(&output.stderr));
    program
}
