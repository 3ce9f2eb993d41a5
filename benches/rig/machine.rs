//! What a run was made on: enough to compare runs, nothing that names the host.

use std::fmt::{self, Display};
use std::fs::read_to_string;

/// The machine of a run.
#[derive(Debug, Clone)]
pub struct Machine {
    /// A name for the folder of the run, such as `xeon-2core`.
    pub name: String,
    /// The model, as the CPU names itself.
    pub cpu: String,
    pub cores: usize,
    pub memory_bytes: u64,
    pub kernel: String,
    pub os: String,
}

impl Machine {
    /// Reads the machine this runs on. What cannot be read is "unknown".
    pub fn read() -> Machine {
        let cpu_info = read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = read_to_string("/proc/meminfo").unwrap_or_default();
        let release = read_to_string("/etc/os-release").unwrap_or_default();
        let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cpu = field(&cpu_info, "model name", ':').unwrap_or("unknown").to_owned();
        let cores = cpu_info.lines().filter(|line| line.starts_with("processor")).count().max(1);
        let memory_kib = field(&memory, "MemTotal", ':')
            .and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok())
            .unwrap_or(0);
        Machine {
            name: format!("{}-{cores}core", family(&cpu)),
            cpu,
            cores,
            memory_bytes: memory_kib * 1024,
            kernel: kernel.trim().to_owned(),
            os: field(&release, "PRETTY_NAME", '=')
                .unwrap_or("unknown")
                .trim_matches('"')
                .to_owned(),
        }
    }
}

impl Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let memory_gib = self.memory_bytes as f64 / f64::from(1 << 30);
        let Machine { cpu, cores, kernel, os, .. } = self;
        write!(f, "{cpu}, {cores} cores, {memory_gib:.1} GiB, Linux {kernel}, {os}")
    }
}

/// The value of the first line that begins with `key`.
fn field<'a>(text: &'a str, key: &str, separator: char) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(separator)?.1.trim())
}

/// The word of a CPU's model that people call it by, in lower case: `xeon`, `epyc`, `neoverse`.
fn family(cpu: &str) -> String {
    let plain = |word: &str| -> String {
        let word = word.split('(').next().unwrap_or(word);
        word.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase()
    };
    let words: Vec<String> = cpu.split_whitespace().map(plain).collect();
    let maker = ["", "intel", "amd", "arm", "genuine"];
    let known = words.iter().find(|word| !maker.contains(&word.as_str()));
    known.cloned().unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}
