//! `dnscache probe`: asks the instance of this container how it is doing, for the kubelet.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::admin::control::{self, Probe};
use crate::config::flags::control::CONTROL_SOCKET;

/// What was asked for behind `dnscache probe`.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "dnscache probe", bin_name = "dnscache probe", disable_version_flag = true)]
#[command(about = "Asks the running instance of this container whether it is ready or alive")]
#[command(after_help = "Exits with 0 if it is, else with 1 and what is amiss.")]
pub struct Options {
    /// What to ask
    #[arg(value_enum, default_value = "ready")]
    pub probe: Probe,

    /// The control socket of the instance, as given to its -control
    #[arg(long, value_name = "PATH", default_value = CONTROL_SOCKET)]
    pub control: PathBuf,
}

/// Carries out `dnscache probe`; `words` are its command line from `probe` on.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let options = match Options::try_parse_from(words.into_iter().map(with_two_dashes)) {
        Ok(options) => options,
        Err(error) => {
            // There is nobody left to tell if this cannot be written.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked = runtime
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(control::ask(&options.control, options.probe)));
    match asked {
        Ok(()) => {
            println!("ok");
            ExitCode::SUCCESS
        }
        Err(amiss) => {
            // The kubelet shows what stands on either.
            println!("{amiss}");
            ExitCode::FAILURE
        }
    }
}

/// `-control` is as good as `--control`, as with the program's own flags.
fn with_two_dashes(word: OsString) -> OsString {
    let name = word.to_str().and_then(|text| text.strip_prefix('-'));
    match name.filter(|name| name.len() > 1 && !name.starts_with('-')) {
        Some(name) => format!("--{name}").into(),
        None => word,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_is_consistent() {
        Options::command().debug_assert();
        let options = Options::try_parse_from(["probe"]).expect("defaults");
        assert_eq!(options.probe, Probe::Ready);
        for words in [["live", "--control", "/x"], ["live", "-control", "/x"]] {
            let words = ["probe"].into_iter().chain(words).map(|word| with_two_dashes(word.into()));
            let options = Options::try_parse_from(words).expect("words");
            assert_eq!((options.probe, options.control), (Probe::Live, "/x".into()));
        }
    }
}
