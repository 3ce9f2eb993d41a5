//! Where a command's trace comes from: a file, a generator, or the built-in one.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::model::limits::InstanceType;
use crate::trace::read::{self, Format};
use crate::trace::{self, Trace, generate};

/// The flags that say which trace; flattened into commands that need one.
#[derive(Debug, clap::Args)]
pub(super) struct TraceArgs {
    /// The trace: JSON Lines or CSV; "-" is standard input [default: the built-in environment]
    #[arg(long, value_name = "FILE", conflicts_with = "generate")]
    trace: Option<PathBuf>,

    /// A generator's trace instead; `cni-tuner trace list` shows them
    #[arg(long, value_name = "NAME[:KEY=VALUE,...]")]
    generate: Option<String>,

    /// The type of nodes that never join in the file: they are there from the start
    #[arg(long, value_name = "TYPE", requires = "trace")]
    instance_type: Option<String>,
}

impl TraceArgs {
    /// The file the trace is read from, if it is one.
    pub(super) fn file(&self) -> Option<&Path> {
        self.trace.as_deref()
    }

    /// The trace; the seed is for generators.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or is no trace, a generator that is none, an unknown type.
    pub(super) fn trace(&self, seed: u64) -> anyhow::Result<Trace> {
        if let Some(file) = &self.trace {
            return read_file(file, absent_type(self.instance_type.as_deref())?);
        }
        let specification = self.generate.as_deref().unwrap_or(generate::BUILT_IN);
        generate::make_specified(specification, seed).context("--generate")
    }
}

/// The type that `--instance-type` names.
pub(super) fn absent_type(name: Option<&str>) -> anyhow::Result<Option<&'static InstanceType>> {
    name.map(trace::instance_type).transpose().context("--instance-type")
}

/// Reads a trace from a file, or from standard input for `-`.
pub(super) fn read_file(
    file: &Path,
    absent: Option<&'static InstanceType>,
) -> anyhow::Result<Trace> {
    let name = file.to_string_lossy();
    if name == "-" {
        return Ok(read::read(io::stdin().lock(), "stdin", None, absent)?);
    }
    let opened = File::open(file).with_context(|| format!("cannot open the trace {name}"))?;
    Ok(read::read(BufReader::new(opened), &name, Format::of_name(&name), absent)?)
}
