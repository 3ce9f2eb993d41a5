//! Runs the programs that set packet rules, never for longer than they are given.

use std::ffi::OsStr;
use std::process::{Output, Stdio};
use std::time::Duration;

use thiserror::Error;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

/// Why a program did not do what it was asked to.
#[derive(Debug, Error)]
pub enum CommandError {
    /// It is not there.
    #[error("{0}: not found in PATH")]
    Missing(String),
    /// It could not be started or talked to.
    #[error("{0}: {1}")]
    Start(String, std::io::Error),
    /// Somebody else holds the lock of iptables.
    #[error("{0}: the lock of iptables is held by another program")]
    Locked(String),
    /// It said no.
    #[error("{0}: {1}")]
    Refused(String, String),
    /// It did not end in time and was killed.
    #[error("{0}: did not end within {1:?}")]
    Late(String, Duration),
    /// It was killed because the process is ending.
    #[error("{0}: given up, because the process is ending")]
    Stopped(String),
}

/// What a run is bound by.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// How long a program may take.
    pub limit: Duration,
    /// Ends it early.
    pub stop: CancellationToken,
}

/// Runs a program with `input` on its standard input; what it printed on its standard output.
/// When this returns, the program has ended.
pub async fn run(
    program: &str,
    arguments: &[&str],
    input: &str,
    bounds: &Bounds,
) -> Result<String, CommandError> {
    let named = || program.to_owned();
    let mut command = Command::new(program);
    // A group of its own: a wrapper script is ended with what it has started.
    command.args(arguments).kill_on_drop(true).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => CommandError::Missing(named()),
        _ => CommandError::Start(named(), error),
    })?;
    let (pid, mut pipe) = (child.id(), child.stdin.take().expect("asked for"));
    let talk = async {
        let write = async move {
            // A program that refuses early closes its end; what it says then is what counts.
            let _ = pipe.write_all(input.as_bytes()).await;
        };
        tokio::join!(write, child.wait_with_output()).1
    };
    tokio::pin!(talk);
    let ended_early = tokio::select! {
        output = &mut talk => {
            let output = output.map_err(|error| CommandError::Start(named(), error))?;
            return judge(program, output);
        }
        () = bounds.stop.cancelled() => CommandError::Stopped(named()),
        () = tokio::time::sleep(bounds.limit) => CommandError::Late(named(), bounds.limit),
    };
    if let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()) {
        // Not waited for yet, so the number is still this child's.
        let _ = nix::sys::signal::killpg(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        );
    }
    let _ = talk.await;
    Err(ended_early)
}

fn judge(program: &str, output: Output) -> Result<String, CommandError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(RESOURCE_PROBLEM) && complaint.contains("xtables lock") {
        return Err(CommandError::Locked(program.to_owned()));
    }
    let lines: Vec<&str> =
        complaint.lines().map(str::trim).filter(|line| !line.is_empty()).take(LINES_MAX).collect();
    let said = if lines.is_empty() { output.status.to_string() } else { lines.join("; ") };
    Err(CommandError::Refused(program.to_owned(), said))
}

/// Whether a program of this name stands in one of the folders of `PATH`.
pub fn is_installed(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_else(|| OsStr::new("").to_owned());
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

/// iptables' exit code when it could not have something it needs, such as its lock.
const RESOURCE_PROBLEM: i32 = 4;
/// Lines of a complaint that are passed on: nft repeats the text it was given.
const LINES_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str, limit: Duration) -> Result<String, String> {
        let bounds = Bounds { limit, stop: CancellationToken::new() };
        run("sh", &["-c", script], "input", &bounds).await.map_err(|error| error.to_string())
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn input_goes_in_and_output_comes_out() {
        assert_eq!(shell("cat; echo .", LONG).await, Ok("input.\n".to_owned()));
        assert_eq!(shell("exit 0", LONG).await, Ok(String::new()));
    }

    #[tokio::test]
    async fn what_went_wrong_is_said() {
        let refused = shell("echo 'no such chain' >&2; exit 1", LONG).await;
        assert_eq!(refused, Err("sh: no such chain".to_owned()));
        let locked = "echo 'Another app is currently holding the xtables lock.' >&2; exit 4";
        let locked = shell(locked, LONG).await.expect_err("locked");
        assert!(locked.contains("lock of iptables"), "{locked}");
        let bounds = Bounds { limit: LONG, stop: CancellationToken::new() };
        let missing = run("no-such-program-here", &[], "", &bounds).await;
        assert!(matches!(missing, Err(CommandError::Missing(_))), "{missing:?}");
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_ended() {
        let late = shell("exec sleep 60", Duration::from_millis(50)).await.expect_err("late");
        assert!(late.contains("did not end within 50ms"), "{late}");
        let began = std::time::Instant::now();
        let wrapper = shell("sleep 30; true", Duration::from_millis(50)).await;
        assert!(wrapper.is_err_and(|error| error.contains("did not end")));
        assert!(began.elapsed() < Duration::from_secs(20), "what a wrapper started is ended too");
        let stop = CancellationToken::new();
        stop.cancel();
        let bounds = Bounds { limit: LONG, stop };
        let stopped = run("sh", &["-c", "exec sleep 60"], "", &bounds).await;
        assert!(matches!(stopped, Err(CommandError::Stopped(_))), "{stopped:?}");
    }
}
