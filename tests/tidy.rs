//! What the source tree must not contain, read from the sources themselves.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// No file may be longer; a longer one does two things.
const LINES_MAX: usize = 600;

#[test]
fn engine_touches_neither_sockets_files_clocks_nor_tasks() {
    let forbidden = [
        "tokio",
        "UdpSocket",
        "TcpStream",
        "TcpListener",
        "std::fs",
        "std::io",
        "std::process",
        "std::thread",
        "std::env",
        "Instant",
        "SystemTime",
        "socket2",
        "libc::",
        "hickory",
        "async ",
    ];
    let faults = code_lines("dnscache/src/engine")
        .filter(|line| !line.is_test)
        .filter_map(|line| {
            Some((forbidden.iter().find(|word| line.code().contains(**word))?, line))
        })
        .map(|(word, line)| format!("{line} names {word}"));
    none(faults);
}

/// The model and what stands on it: the same input gives the same output.
#[test]
fn the_planner_touches_neither_sockets_files_clocks_nor_tasks() {
    let forbidden = [
        "tokio",
        "std::net",
        "std::fs",
        "std::process",
        "std::thread",
        "std::env",
        "Instant",
        "SystemTime",
        "async ",
        "println!",
        "HashMap",
        "HashSet",
    ];
    let pure = ["model", "plan", "lint", "trace/generate", "report"];
    let faults = pure
        .iter()
        .flat_map(|folder| code_lines(&format!("cni-tuner/src/{folder}")))
        .filter(|line| !line.is_test)
        .filter_map(|line| {
            Some((forbidden.iter().find(|word| line.code().contains(**word))?, line))
        })
        .map(|(word, line)| format!("{line} names {word}"));
    none(faults);
}

#[test]
fn unsafe_stands_in_one_file() {
    let faults = code_lines("dnscache/src")
        .chain(code_lines("cni-tuner/src"))
        .filter(|line| line.file != Path::new("dnscache/src/fast/sys.rs"))
        .filter(|line| has_word(line.code(), "unsafe"))
        .map(|line| line.to_string());
    none(faults);
}

#[test]
fn unsafe_blocks_say_why_they_are_safe() {
    let lines: Vec<Line> = code_lines("dnscache/src/fast/sys.rs").collect();
    let faults = lines.iter().enumerate().filter_map(|(at, line)| {
        let opens = line.code().contains("unsafe {") || line.code().contains("unsafe impl");
        let above = &lines[at.saturating_sub(8)..at];
        let explained = above.iter().any(|line| line.text.contains("// SAFETY:"));
        (opens && !explained).then(|| line.to_string())
    });
    none(faults);
}

#[test]
fn the_planes_do_not_know_each_other() {
    for (plane, other) in [("fast", "slow"), ("slow", "fast")] {
        let path = format!("crate::{other}");
        let faults = code_lines(&format!("dnscache/src/{plane}"))
            .filter(|line| line.code().contains(&path))
            .map(|line| line.to_string());
        none(faults);
    }
}

#[test]
fn hickory_reads_messages_in_tests_only() {
    let faults = code_lines("dnscache/src")
        .filter(|line| line.code().contains("hickory_"))
        .map(|line| line.to_string());
    none(faults);
}

#[test]
fn every_file_says_what_it_is_for() {
    let faults = sources(&["dnscache", "cni-tuner", "tests", "benches"])
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(file, _)| file.display().to_string());
    none(faults);
}

#[test]
fn no_file_is_too_long() {
    let faults = sources(&["dnscache", "cni-tuner", "tests", "benches"])
        .into_iter()
        .map(|(file, text)| (file, text.lines().count()))
        .filter(|(_, count)| *count > LINES_MAX)
        .map(|(file, count)| format!("{}: {count} lines", file.display()));
    none(faults);
}

#[test]
fn nothing_is_left_undone() {
    let words = ["todo!", "unimplemented!", "dbg!", "TODO", "FIXME", "XXX"];
    let faults = code_lines("dnscache")
        .chain(code_lines("cni-tuner"))
        .chain(code_lines("tests"))
        .chain(code_lines("benches"))
        .filter(|line| line.file != Path::new("tests/tidy.rs"))
        .filter(|line| words.iter().any(|word| line.text.contains(word)))
        .map(|line| line.to_string());
    none(faults);
}

#[test]
fn ignored_tests_say_what_they_need() {
    let faults = code_lines("dnscache")
        .chain(code_lines("cni-tuner"))
        .chain(code_lines("tests"))
        .filter(|line| line.file != Path::new("tests/tidy.rs"))
        .filter(|line| line.code().trim() == "#[ignore]")
        .map(|line| line.to_string());
    none(faults);
}

#[test]
fn exceptions_from_lints_carry_a_reason() {
    let openings = ["#[allow(", "#![allow(", "#[expect(", "#![expect("];
    let faults = sources(&["dnscache", "cni-tuner", "tests", "benches"]).into_iter().flat_map(
        |(file, text)| {
            let of_file = openings.iter().flat_map(|opening| {
                text.match_indices(opening).filter(|(at, _)| {
                    let rest = &text[*at..];
                    let end = rest.find(")]").unwrap_or(rest.len());
                    let quoted = text[..*at].ends_with('"');
                    !quoted && !rest[..end].contains("reason")
                })
            });
            of_file
                .map(|(at, opening)| format!("{}: {opening} at octet {at}", file.display()))
                .collect::<Vec<_>>()
        },
    );
    none(faults);
}

#[test]
fn every_dependency_says_why_it_is_there() {
    let manifest = read("Cargo.toml");
    let section = manifest.split("[workspace.dependencies]").nth(1).expect("dependencies");
    let section = section.split("\n[").next().expect("a section");
    let lines: Vec<&str> = section.lines().collect();
    let faults = lines.iter().enumerate().filter_map(|(at, line)| {
        let name = line.split([' ', '=', '.']).next().filter(|name| !name.is_empty())?;
        let is_dependency = !line.starts_with('#') && line.contains('=');
        let mut comment = lines[..at].iter().rev().take_while(|above| above.starts_with('#'));
        let explained = comment.any(|above| above.starts_with(&format!("# {name}: ")));
        (is_dependency && !explained).then(|| name.to_owned())
    });
    none(faults);
}

#[test]
fn members_take_their_dependencies_from_the_workspace() {
    let manifests = ["dnscache/Cargo.toml", "cni-tuner/Cargo.toml"].map(read);
    let faults = manifests
        .iter()
        .flat_map(|manifest| manifest.split("\n["))
        .filter(|section| {
            section.split(']').next().is_some_and(|head| head.ends_with("dependencies"))
        })
        .flat_map(|section| section.lines().skip(1))
        .filter(|line| {
            line.contains('=') && !line.starts_with('#') && !line.contains("workspace = true")
        })
        .map(str::to_owned);
    none(faults);
}

#[test]
fn the_architecture_names_every_module() {
    let architecture = read("ARCHITECTURE.md");
    let sources = sources(&["dnscache/src", "cni-tuner/src"]);
    let test_only = |stem: &str| {
        let declaration = format!("mod {stem};");
        sources.iter().any(|(_, text)| {
            text.split("#[cfg(test)]\n")
                .skip(1)
                .any(|rest| rest.lines().next().is_some_and(|line| line.ends_with(&declaration)))
        })
    };
    let faults = sources.iter().filter_map(|(file, _)| {
        let stem = match file.file_stem()?.to_str()? {
            "mod" => file.parent()?.file_name()?.to_str()?,
            "main" | "lib" => return None,
            stem => stem,
        };
        let is_test = file.components().any(|part| part.as_os_str() == "tests") || test_only(stem);
        let is_named = has_word(&architecture, stem);
        (!is_test && !is_named).then(|| format!("{} is not mentioned", file.display()))
    });
    none(faults);
}

/// `tests/threats.md` names what shows each of its cases: tests, and files that tests play.
#[test]
fn every_threat_names_tests_that_exist() {
    let table = read("tests/threats.md");
    let tests = names_of_tests();
    let exists = |name: &str| match name.contains('/') {
        true => root().join("tests/data").join(name).is_file() || root().join(name).exists(),
        false => tests.contains(name),
    };
    let mut faults = Vec::new();
    for (number, line) in table.lines().enumerate() {
        let names: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
        if line.starts_with("- ") && names.is_empty() {
            faults.push(format!("tests/threats.md:{}: no test", number + 1));
        }
        let missing = names.into_iter().filter(|name| !exists(name));
        faults.extend(missing.map(|name| format!("tests/threats.md:{}: {name}", number + 1)));
    }
    // A row is a heading with a case at least below it.
    let rows = table.split("\n### ").skip(1);
    let empty = rows.filter(|row| !row.contains("\n- "));
    faults.extend(empty.map(|row| format!("{}: no case", row.lines().next().unwrap_or(""))));
    none(faults.into_iter());
}

/// What is said of panics in `tests/threats.md` holds only where they unwind.
#[test]
fn panics_unwind_in_every_profile() {
    let manifest = read("Cargo.toml");
    none(manifest.lines().filter(|line| line.trim().starts_with("panic")).map(str::to_owned));
}

/// The functions below a `#[test]` (or tokio's) of all sources.
fn names_of_tests() -> HashSet<String> {
    let mut names = HashSet::new();
    for (_, text) in sources(&["dnscache", "cni-tuner", "tests"]) {
        let mut is_marked = false;
        for line in text.lines().map(str::trim) {
            is_marked |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            if let Some(function) = function.filter(|_| std::mem::take(&mut is_marked)) {
                names.extend(function.split(['(', '<']).next().map(str::to_owned));
            }
        }
    }
    names
}

/// One line of a source file.
struct Line {
    file: PathBuf,
    number: usize,
    text: String,
    /// Whether it stands below the file's `#[cfg(test)]`.
    is_test: bool,
}

impl Line {
    /// The line without a comment that begins it or ends it.
    fn code(&self) -> &str {
        self.text.split("//").next().unwrap_or("")
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.number, self.text.trim())
    }
}

fn none(faults: impl Iterator<Item = String>) {
    let faults: Vec<String> = faults.collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// Whether `word` stands in `text` with no letter, digit or underscore beside it.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part)
    })
}

fn code_lines(under: &str) -> impl Iterator<Item = Line> + use<> {
    sources(&[under]).into_iter().flat_map(|(file, text)| {
        let mut is_test = false;
        let lines: Vec<Line> = text
            .lines()
            .enumerate()
            .map(|(at, text)| {
                is_test |= text.starts_with("#[cfg(test)]");
                Line { file: file.clone(), number: at + 1, text: text.to_owned(), is_test }
            })
            .collect();
        lines
    })
}

/// All Rust files under some folders (or the file itself), relative to the root, with their text.
fn sources(under: &[&str]) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut pending: Vec<PathBuf> = under.iter().map(PathBuf::from).collect();
    while let Some(path) = pending.pop() {
        let full = root().join(&path);
        if full.is_dir() && !path.ends_with("target") {
            let entries = std::fs::read_dir(&full).expect("a readable folder");
            pending.extend(entries.map(|entry| path.join(entry.expect("an entry").file_name())));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&full).expect("a text file");
            files.push((path, text));
        }
    }
    files.sort();
    files
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
