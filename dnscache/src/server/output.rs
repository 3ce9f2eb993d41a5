//! What becomes of a filled-in template: it is written where the flags say, for people to read, and
//! what of the kube-dns ConfigMap had to be left out is told.
//!
//! Nothing depends on the file, so that it cannot be written (a read-only root file system) is a
//! warning. A file that somebody else wrote is never replaced.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::environment::{Environment as _, System};
use crate::config::load::OUTPUT_MARK;
use crate::config::{ConfigError, FilledIn, Origin};
use crate::counts::{NodeCounts, SetupError};

/// Tells and writes what templates become.
pub struct Output {
    counts: Arc<NodeCounts>,
    /// What was told to be left out.
    told: Vec<ConfigError>,
}

impl Output {
    /// Nothing was told yet.
    pub fn new(counts: Arc<NodeCounts>) -> Self {
        Self { counts, told: Vec::new() }
    }

    /// Says what a configuration leaves out of the ConfigMap and counts it, each thing once for as
    /// long as it stays.
    pub fn tell(&mut self, origin: &Origin) {
        let Origin::Template(filled) = origin else { return };
        for error in filled.left_out.iter().filter(|error| !self.told.contains(error)) {
            self.counts.failed(SetupError::ConfigMap);
            tracing::error!(
                "kube-dns ConfigMap: {error}; left out, what it said before (if anything) stays in force"
            );
        }
        self.told = filled.left_out.clone();
    }

    /// Counts a configuration that was refused while this one is in force.
    pub fn refused(&self, in_force: &Origin) {
        if matches!(in_force, Origin::Template(_)) {
            self.counts.failed(SetupError::ConfigMap);
        }
    }

    /// Writes what is in force.
    pub fn write(&self, in_force: &Origin) {
        let Origin::Template(filled) = in_force else { return };
        let (template, output) = (filled.template.display(), filled.output.display());
        tracing::info!(
            stub_domains = filled.kube_dns.stub_domains.len(),
            upstream_nameservers = filled.kube_dns.upstream_nameservers.join(" "),
            "the Corefile is {template}, filled in"
        );
        if let Err(reason) = write(filled) {
            tracing::warn!(
                "the filled-in Corefile is not written to {output}: {reason}; it is in force all \
                 the same"
            );
        }
    }
}

/// Writes a filled-in template beside its place and moves it there, unless it is there already.
fn write(filled: &FilledIn) -> Result<(), String> {
    match System.read_file(&filled.output.to_string_lossy()) {
        Ok(text) if text == filled.text => return Ok(()),
        Ok(text) if text.is_empty() || text.starts_with(OUTPUT_MARK) => {}
        Err(_) if !System.exists(&filled.output.to_string_lossy()) => {}
        Err(reason) => return Err(reason),
        Ok(_) => return Err("a file that dnscache did not write is there".to_owned()),
    }
    let beside = beside(&filled.output);
    let written = write_new(&beside, &filled.text)
        .and_then(|()| std::fs::rename(&beside, &filled.output))
        .map_err(|error| error.to_string());
    if written.is_err() {
        // It is not there if it could not even be made.
        let _ = std::fs::remove_file(&beside);
    }
    written
}

/// Writes a new file, so that nobody's link is followed. One that is there is what a process of
/// this number left behind when it was killed.
fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let _ = std::fs::remove_file(path);
    let mut file = std::fs::File::create_new(path)?;
    file.write_all(text.as_bytes())
}

fn beside(output: &Path) -> PathBuf {
    let mut name = OsString::from(output.as_os_str());
    name.push(format!(".{}.new", std::process::id()));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Position;
    use crate::config::kube_dns::KubeDns;

    fn filled(output: &Path, text: &str) -> FilledIn {
        FilledIn {
            template: "T".into(),
            output: output.to_owned(),
            text: format!("{OUTPUT_MARK} T\n{text}"),
            kube_dns: KubeDns::default(),
            left_out: Vec::new(),
        }
    }

    /// What was counted as `configmap`.
    fn refused(counts: &NodeCounts) -> u64 {
        let errors = counts.read().errors;
        errors.iter().find(|(kind, _)| *kind == "configmap").expect("a kind").1
    }

    #[test]
    fn the_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let output = folder.path().join("Corefile");
        std::fs::write(&output, "").expect("written");
        std::fs::write(beside(&output), "left by a process that was killed").expect("written");
        for text in ["one", "two", "two"] {
            let filled = filled(&output, text);
            assert_eq!(write(&filled), Ok(()));
            assert_eq!(std::fs::read_to_string(&output).expect("the file"), filled.text);
            assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 1);
        }
    }

    #[test]
    fn a_file_of_somebody_else_stays() {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let output = folder.path().join("Corefile");
        std::fs::write(&output, ". {\n}\n").expect("written");
        assert!(write(&filled(&output, "")).expect_err("not ours").contains("did not write"));
        assert_eq!(std::fs::read_to_string(&output).expect("the file"), ". {\n}\n");
        assert!(write(&filled(folder.path(), "")).is_err(), "a folder");
        assert!(write(&filled(&folder.path().join("none/Corefile"), "")).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 1);
    }

    #[test]
    fn a_mistake_is_counted_once_for_as_long_as_it_stays() {
        let counts = Arc::new(NodeCounts::default());
        let mut output = Output::new(Arc::clone(&counts));
        let error = |line| ConfigError {
            position: Position { file: "stubDomains".to_owned(), line, column: 1 },
            found: "x".to_owned(),
            expected: "y".to_owned(),
        };
        let with = |left_out: Vec<ConfigError>| {
            Origin::Template(Arc::new(FilledIn { left_out, ..filled(Path::new("C"), "") }))
        };
        for (lines, total) in
            [(vec![1], 1), (vec![1], 1), (vec![1, 2], 2), (vec![], 2), (vec![1], 3)]
        {
            output.tell(&with(lines.into_iter().map(error).collect()));
            assert_eq!(refused(&counts), total);
        }
        output.refused(&Origin::BuiltIn);
        output.refused(&with(Vec::new()));
        assert_eq!(refused(&counts), 4);
    }
}
