//! Snapshots as files: written beside and renamed, and read only if nobody else could have written
//! them.
//!
//! A file is not synced to the disk: what a process has written survives its end, and a machine that
//! loses power leaves at worst a file whose checksums do not fit.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Snapshot, Unusable};

/// Only the owner reads and writes it: it says which names the node's pods ask for.
const MODE: u32 = 0o600;
/// The bits that let others write.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Ends the names of files that are being written.
const PART: &str = ".part";
/// A file being written that was not touched for so long was left behind by a process that is gone.
const LEFT_BEHIND: Duration = Duration::from_secs(600);

/// Reads a snapshot; `None` if there is no such file.
///
/// # Errors
/// The file is not a snapshot that can be used, or not one that can be trusted.
pub fn read(path: &Path, bytes_max: u64) -> Result<Option<Snapshot>, Unusable> {
    // Opening a pipe would wait for who writes to it, and a link may lead anywhere.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            return Err(Unusable::Untrusted("it is a symbolic link".to_owned()));
        }
        Err(error) => return Err(Unusable::Unreadable(error)),
    };
    let metadata = file.metadata()?;
    check_trust(&metadata)?;
    if metadata.len() > bytes_max {
        return Err(Unusable::TooLarge(bytes_max));
    }
    let mut input = BufReader::new(file);
    let snapshot = Snapshot::read(&mut input, bytes_max)?;
    match input.read(&mut [0])? {
        0 => Ok(Some(snapshot)),
        _ => Err(Unusable::GoesOn),
    }
}

/// A file that others can write could tell the node's pods anything.
fn check_trust(metadata: &fs::Metadata) -> Result<(), Unusable> {
    let own = nix::unistd::Uid::effective().as_raw();
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    let fault = if !metadata.is_file() {
        "it is no regular file".to_owned()
    } else if owner != own && owner != 0 {
        format!("it belongs to user {owner}, not to root or to user {own}, who runs this program")
    } else if mode & WRITABLE_BY_OTHERS != 0 {
        format!("its mode is {mode:04o}, so others could have written it; right would be 0600")
    } else {
        return Ok(());
    };
    Err(Unusable::Untrusted(fault))
}

/// Writes a file with what `fill` writes in place of the one at `path`, which stays as it is if
/// anything fails.
///
/// # Errors
/// Those of the file system and of `fill`.
pub fn replace<T>(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<T>,
) -> io::Result<T> {
    let part = Part::create(path)?;
    let mut out = BufWriter::with_capacity(128 << 10, part.file.try_clone()?);
    let result = fill(&mut out)?;
    out.flush()?;
    fs::rename(&part.path, path)?;
    Ok(result)
}

/// Whether a file could be put at `path`.
///
/// # Errors
/// Why not.
pub fn try_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::EISDIR));
    }
    Part::create(path).map(|_| ())
}

/// Removes what processes left beside `path` that ended while they were writing.
pub fn sweep(path: &Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return };
    let Ok(entries) = fs::read_dir(folder) else { return };
    let name = format!("{}.", name.to_string_lossy());
    for entry in entries.flatten() {
        let found = entry.file_name();
        let found = found.to_string_lossy();
        let is_part = found.starts_with(&name) && found.ends_with(PART);
        let is_old = || -> Option<bool> {
            let modified = entry.metadata().ok()?.modified().ok()?;
            Some(SystemTime::now().duration_since(modified).ok()? > LEFT_BEHIND)
        };
        if is_part && is_old() == Some(true) {
            // Whoever cannot remove it cannot write here either, and hears of that.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A file in the making; it is gone when this is dropped, unless it was renamed.
struct Part {
    path: PathBuf,
    file: File,
}

impl Part {
    /// Its name has the number of the process, and a random one because two processes in containers
    /// of their own may have the same.
    fn create(path: &Path) -> io::Result<Self> {
        let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
        name.push(format!(".{}-{:08x}{PART}", std::process::id(), rand::random::<u32>()));
        let part = path.with_file_name(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(MODE)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&part)?;
        Ok(Self { path: part, file })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // After the renaming there is nothing to remove.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::process::Command;

    use super::*;

    const ROOM: u64 = 1 << 20;

    fn refused(path: &Path) -> String {
        read(path, ROOM).expect_err("not to be trusted").to_string()
    }

    fn put(path: &Path, text: &str) {
        replace(path, |out| out.write_all(text.as_bytes())).expect("a writable folder");
    }

    #[test]
    fn only_our_own_regular_files_are_read() {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let path = folder.path().join("snapshot");
        assert!(read(&path, ROOM).expect("no file is no mistake").is_none());
        put(&path, "something");
        assert_eq!(fs::metadata(&path).expect("a file").mode() & 0o7777, MODE);
        assert_eq!(refused(&path), "it is cut short");
        for mode in [0o620, 0o602] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("our own file");
            assert!(refused(&path).contains("others could have written it"), "{mode:o}");
        }
        let link = folder.path().join("link");
        symlink(&path, &link).expect("a writable folder");
        assert_eq!(refused(&link), "it is a symbolic link");
        assert_eq!(refused(folder.path()), "it is no regular file");
        // Nobody writes to this pipe, and nobody waits for it.
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
        assert_eq!(refused(&pipe), "it is no regular file");
    }

    #[test]
    #[ignore = "needs root: gives a file to somebody else"]
    fn a_file_of_somebody_else_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let path = folder.path().join("snapshot");
        put(&path, "something");
        chown(&path, Some(65_534), None).expect("root may");
        assert!(refused(&path).starts_with("it belongs to user 65534, not to root or to user"));
    }

    #[test]
    fn what_fails_leaves_the_file_before_and_nothing_beside_it() {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let path = folder.path().join("snapshot");
        put(&path, "before");
        let failing = replace(&path, |out| {
            out.write_all(b"half of what")?;
            Err::<(), _>(io::Error::from(io::ErrorKind::StorageFull))
        });
        assert!(failing.is_err());
        assert_eq!(fs::read(&path).expect("a file"), b"before");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
        try_folder(&path).expect("a writable folder");
        assert!(try_folder(folder.path()).is_err());
        assert!(try_folder(&folder.path().join("missing/snapshot")).is_err());
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn what_others_left_unfinished_is_removed_after_a_while() {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let (path, old) = (folder.path().join("snapshot"), SystemTime::now() - 2 * LEFT_BEHIND);
        for (name, modified) in [
            ("snapshot.1-00000001.part", old),
            ("snapshot.2-00000002.part", SystemTime::now()),
            ("snapshots.part", old),
            ("snapshot", old),
        ] {
            let file = File::create(folder.path().join(name)).expect("a writable folder");
            file.set_modified(modified).expect("our own file");
        }
        sweep(&path);
        let entries = fs::read_dir(folder.path()).expect("a folder").flatten();
        let mut left: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        left.sort();
        assert_eq!(left, ["snapshot", "snapshot.2-00000002.part", "snapshots.part"]);
    }
}
