//! A progress bar for work that takes more than a second, if somebody watches.

use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on standard error. It does not appear before a second is over, nor where standard error is
/// no terminal, and it is gone at the end.
pub(super) struct Progress {
    started: Instant,
    is_watched: bool,
    bar: OnceLock<ProgressBar>,
}

impl Progress {
    /// With `quiet` there is never a bar.
    pub(super) fn new(quiet: bool) -> Progress {
        let is_watched = !quiet && io::stderr().is_terminal();
        Progress { started: Instant::now(), is_watched, bar: OnceLock::new() }
    }

    /// So much of so much is done.
    pub(super) fn at(&self, what: &'static str, done: u64, total: u64) {
        if !self.is_watched || self.started.elapsed() < PATIENCE {
            return;
        }
        let bar = self.bar.get_or_init(|| {
            let style = ProgressStyle::with_template("{msg} [{bar:40}] {percent} %");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total).with_style(style.progress_chars("=> "))
        });
        bar.set_message(what);
        bar.set_length(total);
        bar.set_position(done.min(total));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(1);
