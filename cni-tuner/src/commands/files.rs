//! Files that are written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// Where a result goes. A file that is there already is replaced in one step, so that a reader sees
/// the old one or the new one; a device or a pipe is written to.
#[derive(Debug)]
pub(super) struct Destination {
    /// As it was given.
    given: PathBuf,
    /// Behind all links.
    path: PathBuf,
    /// For devices and pipes, which nothing can take the place of.
    is_direct: bool,
}

impl Destination {
    /// Finds out whether the file can be written, before anything is worked out for it.
    ///
    /// # Errors
    ///
    /// A folder that is not there or is not ours to write to, a path that is a folder.
    pub(super) fn open(path: &Path) -> anyhow::Result<Destination> {
        let context = || format!("cannot write {}", path.display());
        if path == Path::new("-") {
            bail!("cannot write -: it names no file; name one, or /dev/stdout");
        }
        let there = match fs::metadata(path) {
            Ok(there) => Some(there),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(context),
        };
        if there.as_ref().is_some_and(fs::Metadata::is_dir) || path.file_name().is_none() {
            bail!("cannot write {}: it is a folder; name a file in it", path.display());
        }
        let is_direct =
            path == Path::new(STDOUT) || there.as_ref().is_some_and(|there| !there.is_file());
        let real = if is_direct { Ok(path.to_owned()) } else { real_path(path, there.is_some()) };
        let (given, path) = (path.to_owned(), real.with_context(context)?);
        let destination = Destination { given, path, is_direct };
        if !is_direct {
            let beside = destination.beside();
            create(&beside).and_then(|_| fs::remove_file(&beside)).with_context(context)?;
        }
        Ok(destination)
    }

    /// Writes the file.
    ///
    /// # Errors
    ///
    /// What the system says; the file is then as it was.
    pub(super) fn write(&self, text: &str) -> anyhow::Result<()> {
        self.write_with(|out| out.write_all(text.as_bytes()))
    }

    /// Writes what `put` writes, as [`write`](Self::write).
    ///
    /// # Errors
    ///
    /// What the system says; the file is then as it was.
    pub(super) fn write_with(
        &self,
        put: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let written = if self.is_direct { self.write_directly(put) } else { self.replace(put) };
        written.with_context(|| format!("cannot write {}", self.given.display()))
    }

    /// Its path as it was given.
    pub(super) fn given(&self) -> &Path {
        &self.given
    }

    /// Whether both are one file.
    pub(super) fn is_same(&self, other: &Destination) -> bool {
        self.path == other.path
    }

    /// Whether this file, which is there, would be replaced.
    pub(super) fn replaces(&self, file: &Path) -> bool {
        fs::canonicalize(file).is_ok_and(|file| file == self.path)
    }

    /// Standard output may be a file that more is written to: it must not be opened anew.
    fn write_directly(&self, put: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        if self.path != Path::new(STDOUT) {
            return put(&mut OpenOptions::new().write(true).open(&self.path)?);
        }
        let mut out = io::stdout().lock();
        match put(&mut out).and_then(|()| out.flush()) {
            // A reader that has seen enough (`| head`) is no mistake.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    }

    fn replace(&self, put: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let beside = self.beside();
        let written = create(&beside)
            .and_then(|mut file| put(&mut file).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&beside, &self.path));
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        written
    }

    /// A name in the same folder that no other run uses.
    fn beside(&self) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        self.path.with_file_name(format!(".{name}.{}.part", std::process::id()))
    }
}

/// A path behind all links, so that one file has one path: a link stays, and what it points to is
/// replaced.
fn real_path(path: &Path, is_there: bool) -> io::Result<PathBuf> {
    if is_there {
        return fs::canonicalize(path);
    }
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = fs::canonicalize(folder.unwrap_or(Path::new(".")))?;
    Ok(folder.join(path.file_name().unwrap_or_default()))
}

const STDOUT: &str = "/dev/stdout";

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_in(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        entries.map(|entry| name(entry).into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_appears_when_it_is_written_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        let destination = Destination::open(&path).unwrap();
        assert_eq!(names_in(folder.path()), Vec::<String>::new());
        destination.write("one").unwrap();
        destination.write("two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(names_in(folder.path()), ["report"]);
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        Destination::open(&link).unwrap().write("new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_file_is_the_same_however_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        let open = |name: &str| Destination::open(&folder.path().join(name)).unwrap();
        assert!(open("report").is_same(&open("./report")));
        assert!(open("report").is_same(&open("sub/../report")));
        assert!(!open("report").is_same(&open("sub/report")));
        fs::write(folder.path().join("trace"), "old").unwrap();
        assert!(open("sub/../trace").replaces(&folder.path().join("trace")));
    }

    #[test]
    fn a_file_that_is_not_written_to_its_end_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace");
        fs::write(&path, "old").unwrap();
        let half = |out: &mut dyn Write| {
            out.write_all(b"half")?;
            Err(io::Error::other("full"))
        };
        Destination::open(&path).unwrap().write_with(half).unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names_in(folder.path()), ["trace"]);
    }

    #[test]
    fn a_device_is_written_to_and_not_replaced() {
        let destination = Destination::open(Path::new("/dev/null")).unwrap();
        assert!(destination.is_direct);
        destination.write("text").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    fn check_refused(path: &Path, part: &str) {
        let error = format!("{:#}", Destination::open(path).unwrap_err());
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn what_cannot_be_written_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        check_refused(folder.path(), "it is a folder");
        check_refused(&folder.path().join("none/report"), "cannot write");
        check_refused(Path::new("/"), "it is a folder");
        check_refused(Path::new(""), "it is a folder");
        check_refused(Path::new("-"), "name one, or /dev/stdout");
    }
}
