//! The control socket: one instance asked about itself.
//!
//! While a successor starts, two instances share every address and port, and either may answer a
//! probe over the network. This socket lies in a folder of the container, so whoever asks through
//! it, as `dnscache probe` does, asks the instance beside it.
//!
//! A question is one line, `ready` or `live`; the answer is `ok`, or what is amiss.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// What a probe wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Probe {
    /// Whether a question was answered that had to go upstream, and the end is not near.
    Ready,
    /// Whether questions get replies at all; the process should be started again if not.
    Live,
}

/// Who knows how this instance is doing.
pub trait Patient: Send + Sync + 'static {
    /// The answer to a probe; the error says what is amiss.
    fn examine(&self, probe: Probe) -> Result<(), String>;
}

/// The control socket; it is removed when this is dropped.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    /// Which file it is: a successor that is told the same path puts its own there.
    file: (u64, u64),
    task: JoinHandle<()>,
}

/// Probes answered at once; more are closed unanswered.
const PROBES_MAX: usize = 16;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Octets of a question or an answer.
const LINE_MAX: u64 = 1_024;
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Control {
    /// Opens the socket and answers on it. A socket that an earlier process of this container left
    /// at its path is replaced.
    ///
    /// # Errors
    /// The path cannot be written, or something else than a socket is there, which stays.
    pub fn open(path: &Path, patient: Arc<impl Patient>) -> io::Result<Self> {
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(io::Error::other(
                    "a file that is no socket is there, and is left alone",
                ));
            }
            Ok(_) => std::fs::remove_file(path)?,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
        let file = identity(path)?;
        let task = tokio::spawn(answer_all(listener, patient));
        Ok(Self { path: path.to_owned(), file, task })
    }
}

/// What tells a file from another one at the same path.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            // A socket nobody listens on refuses probes as well as one that is gone.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

async fn answer_all(listener: UnixListener, patient: Arc<impl Patient>) {
    let mut probes = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if probes.len() < PROBES_MAX => {
                    let patient = Arc::clone(&patient);
                    probes.spawn(async move {
                        // A probe that went away needs no answer.
                        let _ = timeout(PATIENCE, answer(stream, &*patient)).await;
                    });
                }
                Ok(_) => {}
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = probes.join_next() => {}
        }
    }
}

async fn answer(mut stream: UnixStream, patient: &impl Patient) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    BufReader::new(read.take(LINE_MAX)).read_line(&mut line).await?;
    let told = match line.trim_end() {
        "ready" => patient.examine(Probe::Ready),
        "live" => patient.examine(Probe::Live),
        _ => Err("expected `ready` or `live`".to_owned()),
    };
    let answer = told.map_or_else(|amiss| amiss + "\n", |()| "ok\n".to_owned());
    write.write_all(answer.as_bytes()).await
}

/// Asks the instance behind a control socket.
///
/// # Errors
/// What is amiss: in its own words, or that it cannot be asked.
pub async fn ask(path: &Path, probe: Probe) -> Result<(), String> {
    let path = path.display();
    match timeout(PATIENCE, exchange(&path.to_string(), probe)).await {
        Ok(Ok(answer)) if answer == "ok" => Ok(()),
        Ok(Ok(answer)) if answer.is_empty() => Err(format!("{path}: closed without an answer")),
        Ok(Ok(answer)) => Err(answer),
        Ok(Err(error)) => Err(format!(
            "{path}: {error}; it is the control socket of a running instance, see -control"
        )),
        Err(_) => Err(format!("{path}: no answer within {} s", PATIENCE.as_secs())),
    }
}

async fn exchange(path: &str, probe: Probe) -> io::Result<String> {
    let mut stream = UnixStream::connect(path).await?;
    let question: &[u8] = match probe {
        Probe::Ready => b"ready\n",
        Probe::Live => b"live\n",
    };
    stream.write_all(question).await?;
    let mut answer = String::new();
    stream.take(LINE_MAX).read_to_string(&mut answer).await?;
    Ok(answer.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Tired;

    impl Patient for Tired {
        fn examine(&self, probe: Probe) -> Result<(), String> {
            match probe {
                Probe::Live => Ok(()),
                Probe::Ready => Err("upstream has not answered yet".to_owned()),
            }
        }
    }

    #[tokio::test]
    async fn a_probe_hears_ok_or_what_is_amiss() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("control.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("left behind"));
        let control = Control::open(&path, Arc::new(Tired)).expect("opened");
        assert_eq!(ask(&path, Probe::Live).await, Ok(()));
        let amiss = ask(&path, Probe::Ready).await.expect_err("not ready");
        assert_eq!(amiss, "upstream has not answered yet");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut stream = UnixStream::connect(&path).await.expect("connected");
        stream.write_all(&[b'x'; 4_096]).await.expect("sent");
        let mut answer = Vec::new();
        // The rest of an endless line is not read, which resets the connection.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty() || answer.starts_with(b"expected"));
        drop(control);
        let error = ask(&path, Probe::Live).await.expect_err("nobody there");
        assert!(error.contains("control.sock") && error.contains("-control"), "{error}");
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("Corefile");
        std::fs::write(&path, "precious").expect("written");
        let error = Control::open(&path, Arc::new(Tired)).expect_err("no socket");
        assert!(error.to_string().contains("no socket"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "precious");
    }

    #[tokio::test]
    async fn a_successor_at_the_same_path_keeps_its_socket() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("control.sock");
        let elder = Control::open(&path, Arc::new(Tired)).expect("opened");
        let heir = Control::open(&path, Arc::new(Tired)).expect("opened");
        drop(elder);
        assert_eq!(ask(&path, Probe::Live).await, Ok(()));
        drop(heir);
        assert!(!path.exists());
    }
}
