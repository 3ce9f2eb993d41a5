//! What a configuration may ask of the machine it runs on: files, variables, interfaces.
//!
//! The parser and the checks see only the [`Environment`] trait, so they are tested without any of
//! it. [`System`] is the machine; [`Witness`] remembers what was asked, for the fingerprint.

use std::cell::RefCell;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::net::IpAddr;

use super::interfaces;

/// Files, variables and interfaces as a configuration sees them. Errors are texts for a person.
pub trait Environment {
    /// The text of a file, at most [`FILE_BYTES_MAX`] octets of UTF-8.
    fn read_file(&self, path: &str) -> Result<String, String>;

    /// Whether there is anything at a path. One that may not be looked at counts as something:
    /// reading it says what is wrong.
    fn exists(&self, path: &str) -> bool;

    /// The names (not paths) of the regular files in a directory, sorted.
    fn file_names(&self, directory: &str) -> Result<Vec<String>, String>;

    /// An environment variable; `None` if it is not set or not UTF-8.
    fn variable(&self, name: &str) -> Option<String>;

    /// The index of a network interface; `None` if there is none of that name.
    fn interface_index(&self, name: &str) -> Option<u32>;

    /// The addresses of the interface with this index; 0: of all interfaces.
    fn interface_addresses(&self, index: u32) -> Result<Vec<IpAddr>, String>;
}

/// The machine this process runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Environment for System {
    fn read_file(&self, path: &str) -> Result<String, String> {
        read_text(path, FILE_BYTES_MAX)
    }

    fn exists(&self, path: &str) -> bool {
        use std::io::ErrorKind::{NotADirectory, NotFound};
        let looked = std::fs::metadata(path);
        !looked.is_err_and(|error| matches!(error.kind(), NotFound | NotADirectory))
    }

    fn file_names(&self, directory: &str) -> Result<Vec<String>, String> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(|error| error.to_string())? {
            let entry = entry.map_err(|error| error.to_string())?;
            // Follows links: the files of a mounted ConfigMap are links.
            if std::fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file())
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn variable(&self, name: &str) -> Option<String> {
        // `std::env::var` panics on neither an empty name nor one with `=` or NUL, it finds none.
        std::env::var(name).ok()
    }

    fn interface_index(&self, name: &str) -> Option<u32> {
        interfaces::index(name)
    }

    fn interface_addresses(&self, index: u32) -> Result<Vec<IpAddr>, String> {
        interfaces::addresses(index).map_err(|error| error.to_string())
    }
}

/// Passes questions on and hashes every answer: two configurations with the same fingerprint were
/// read from the same texts, variables and interface addresses.
pub struct Witness<'a> {
    inner: &'a dyn Environment,
    // Fixed keys, so that fingerprints of one build can be compared with each other.
    hash: RefCell<DefaultHasher>,
}

impl<'a> Witness<'a> {
    /// A witness that has seen nothing yet.
    pub fn new(inner: &'a dyn Environment) -> Self {
        Self { inner, hash: RefCell::new(DefaultHasher::new()) }
    }

    /// Counts something the configuration depends on that was not asked for through the trait.
    pub fn note(&self, seen: impl Hash) {
        seen.hash(&mut *self.hash.borrow_mut());
    }

    /// The hash of everything seen so far.
    pub fn fingerprint(&self) -> u64 {
        self.hash.borrow().finish()
    }
}

impl Environment for Witness<'_> {
    fn read_file(&self, path: &str) -> Result<String, String> {
        let text = self.inner.read_file(path);
        self.note(("file", path, &text));
        text
    }

    fn exists(&self, path: &str) -> bool {
        let exists = self.inner.exists(path);
        self.note(("exists", path, exists));
        exists
    }

    fn file_names(&self, directory: &str) -> Result<Vec<String>, String> {
        let names = self.inner.file_names(directory);
        self.note(("directory", directory, &names));
        names
    }

    fn variable(&self, name: &str) -> Option<String> {
        let value = self.inner.variable(name);
        self.note(("variable", name, &value));
        value
    }

    fn interface_index(&self, name: &str) -> Option<u32> {
        let index = self.inner.interface_index(name);
        self.note(("interface", name, index));
        index
    }

    fn interface_addresses(&self, index: u32) -> Result<Vec<IpAddr>, String> {
        let addresses = self.inner.interface_addresses(index);
        self.note(("addresses", index, &addresses));
        addresses
    }
}

/// Reads at most `bytes_max` octets of UTF-8; a longer file is an error, not a shorter text.
pub(super) fn read_text(
    path: impl AsRef<std::path::Path>,
    bytes_max: u64,
) -> Result<String, String> {
    // Opening a pipe would wait for somebody to write into it.
    let is_file = std::fs::metadata(&path).map_err(|error| error.to_string())?.is_file();
    if !is_file {
        return Err("not a regular file".to_owned());
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("the file is larger than {bytes_max} octets"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid_len = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..valid_len].iter().filter(|&&byte| byte == b'\n').count();
        format!("the file is not UTF-8 (line {line})")
    })
}

/// Octets of the largest file of a configuration. A ConfigMap holds at most this much.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// An environment made of literals.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Literal {
        pub(crate) files: BTreeMap<String, String>,
        pub(crate) variables: BTreeMap<String, String>,
        pub(crate) interfaces: Vec<(String, Vec<IpAddr>)>,
    }

    impl Literal {
        pub(crate) fn file(mut self, path: &str, text: &str) -> Self {
            self.files.insert(path.to_owned(), text.to_owned());
            self
        }

        pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Self {
            self.variables.insert(name.to_owned(), value.to_owned());
            self
        }

        pub(crate) fn interface(mut self, name: &str, addresses: &[&str]) -> Self {
            let addresses =
                addresses.iter().map(|text| text.parse().expect("an address")).collect();
            self.interfaces.push((name.to_owned(), addresses));
            self
        }
    }

    impl Environment for Literal {
        fn read_file(&self, path: &str) -> Result<String, String> {
            self.files.get(path).cloned().ok_or_else(|| "no such file".to_owned())
        }

        fn exists(&self, path: &str) -> bool {
            let inside = format!("{path}/");
            self.files.keys().any(|known| known == path || known.starts_with(&inside))
        }

        fn file_names(&self, directory: &str) -> Result<Vec<String>, String> {
            let prefix = format!("{directory}/");
            Ok(self
                .files
                .keys()
                .filter_map(|path| path.strip_prefix(&prefix))
                .map(str::to_owned)
                .collect())
        }

        fn variable(&self, name: &str) -> Option<String> {
            self.variables.get(name).cloned()
        }

        fn interface_index(&self, name: &str) -> Option<u32> {
            self.interfaces.iter().position(|(known, _)| known == name).map(|at| at as u32 + 1)
        }

        fn interface_addresses(&self, index: u32) -> Result<Vec<IpAddr>, String> {
            let all = self.interfaces.iter().zip(1..);
            let meant = all.filter(|(_, known)| index == 0 || *known == index);
            Ok(meant.flat_map(|((_, addresses), _)| addresses).copied().collect())
        }
    }

    #[test]
    fn a_witness_tells_changed_answers_apart() {
        let ask = |environment: &Literal| {
            let witness = Witness::new(environment);
            let _ = witness.read_file("a");
            let _ = witness.variable("V");
            witness.fingerprint()
        };
        let first = Literal::default().file("a", "text");
        assert_eq!(ask(&first), ask(&first.clone()));
        assert_ne!(ask(&first), ask(&Literal::default().file("a", "texts")));
        assert_ne!(ask(&first), ask(&first.clone().with_variable("V", "")));
    }

    #[test]
    fn files_that_are_long_or_not_text_are_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("file");
        std::fs::write(&path, b"one\ntwo \xff").expect("written");
        assert_eq!(read_text(&path, 100), Err("the file is not UTF-8 (line 2)".to_owned()));
        assert_eq!(read_text(&path, 8), Err("the file is larger than 8 octets".to_owned()));
        std::fs::write(&path, b"one").expect("written");
        assert_eq!(read_text(&path, 3), Ok("one".to_owned()));
    }

    #[test]
    fn the_system_lists_regular_files_only() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for name in ["b", "a"] {
            std::fs::write(directory.path().join(name), "").expect("written");
        }
        std::fs::create_dir(directory.path().join("c")).expect("made");
        let names = System.file_names(directory.path().to_str().expect("UTF-8")).expect("listed");
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn what_may_not_be_looked_at_counts_as_something() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| directory.path().join(name).to_str().expect("UTF-8").to_owned();
        std::fs::write(path("file"), "").expect("written");
        std::os::unix::fs::symlink(path("loop"), path("loop")).expect("linked");
        assert!(System.exists(&path("")) && System.exists(&path("file")));
        assert!(System.exists(&path("loop")));
        assert!(!System.exists(&path("none")) && !System.exists(&path("file/none")));
    }

    #[test]
    fn odd_variable_names_are_not_set() {
        for name in ["", "=", "a=b", "\0"] {
            assert_eq!(System.variable(name), None, "{name:?}");
        }
    }
}
