//! `cni-tuner/README.md` shows what the program prints: every command of a `console` block is run, and
//! what it prints is what stands below it. A line `...` stands for any lines.
//!
//! `UPDATE_README=1 cargo test -p cni-tuner --test cni-tuner readme` writes what is printed now;
//! blocks with `...` are left to people.

use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn the_readme_shows_what_is_printed() {
    let path = root().join("cni-tuner/README.md");
    let text = std::fs::read_to_string(&path).expect("a README");
    let folder = tempfile::tempdir().expect("a folder");
    furnish(folder.path());
    let pieces: Vec<&str> = text.split("```").collect();
    let mut told = String::new();
    let mut faults = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let shown = piece.strip_prefix("console\n").filter(|_| at % 2 == 1);
        let now = shown.map(|shown| replay(shown, folder.path()));
        if let (Some(shown), Some(now)) = (shown, &now)
            && !is_like(shown, now)
        {
            faults.push(format!("README:\n{shown}\nprinted:\n{now}"));
        }
        let kept = |shown: &&str| shown.contains("\n...\n");
        let piece = match (shown, now) {
            (Some(shown), Some(now)) if !kept(&shown) => format!("console\n{now}"),
            _ => (*piece).to_owned(),
        };
        told.push_str(&piece);
        told.push_str(if at + 1 < pieces.len() { "```" } else { "" });
    }
    if std::env::var_os("UPDATE_README").is_some() {
        return std::fs::write(&path, told).expect("written");
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What the README's commands read.
fn furnish(folder: &Path) {
    let state = r#"{"instance_type": "c5.9xlarge", "enis": [{"id": "eni-a", "primary": true, "ips": 29, "assigned": 1}]}"#;
    std::fs::write(folder.join("state.json"), format!("{state}\n")).expect("written");
    let traces = root().join("tests/data/traces");
    for name in ["deleted-before-added.csv", "more-pods-than-fit.csv"] {
        std::fs::copy(traces.join(name), folder.join(name)).expect(name);
    }
    let manifest = root().join("tests/data/aws-node-minimum-only.yaml");
    std::fs::copy(manifest, folder.join("aws-node.yaml")).expect("a manifest");
}

/// Runs each command of a block; the block as it would be now.
fn replay(block: &str, folder: &Path) -> String {
    let mut told = String::new();
    for command in commands(block) {
        let output = shell(&command.replace("\\\n", " "), folder);
        told.push_str(&format!("$ {command}\n{output}"));
    }
    told
}

/// The commands of a block, which begin with `$ ` and go on after a backslash.
fn commands(block: &str) -> Vec<String> {
    let mut lines = block.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        let Some(first) = line.strip_prefix("$ ") else { continue };
        let mut command = first.to_owned();
        while command.ends_with('\\') {
            command.push('\n');
            command.push_str(lines.next().expect("a line after a backslash"));
        }
        found.push(command);
    }
    found
}

fn shell(command: &str, folder: &Path) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_cni-tuner")).parent().expect("a folder");
    let path = std::env::var("PATH").expect("a path");
    let output = Command::new("sh")
        .args(["-c", &format!("{{ {command}\n}} 2>&1")])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", program.display()))
        .output()
        .expect("a shell");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    // Rulers and padding leave blanks at line ends, which editors take away.
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Whether a block is what is printed, if `...` stands for any lines.
fn is_like(shown: &str, now: &str) -> bool {
    let mut rest = now;
    for (at, part) in shown.split("...\n").enumerate() {
        let Some(found) = rest.find(part).filter(|found| at > 0 || *found == 0) else {
            return false;
        };
        rest = &rest[found + part.len()..];
    }
    rest.is_empty() || shown.ends_with("...\n")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn dots_stand_for_any_lines_and_for_nothing_else() {
    assert!(is_like("a\nb\n", "a\nb\n"));
    assert!(!is_like("a\nb\n", "a\nc\n"));
    assert!(!is_like("a\n", "a\nb\n"));
    assert!(is_like("a\n...\n", "a\nb\nc\n"));
    assert!(is_like("a\n...\nc\n", "a\nb\nc\n"));
    assert!(!is_like("a\n...\nd\n", "a\nb\nc\n"));
}
