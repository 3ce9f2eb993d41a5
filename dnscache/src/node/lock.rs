//! Who is here: a file of the node that every instance holds a shared lock on while it lives, so
//! that the last one out is known.
//!
//! The locks are byte ranges that belong to an open file (`F_OFD_SETLK`). The kernel lets go of
//! them when the process ends, however it ends, and they have nothing to do with the whole-file
//! locks (`flock`) that iptables takes, so both may use the same file; the reference manifest
//! mounts iptables' own into the container.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// A place among the instances of a node; given up when dropped.
#[derive(Debug)]
pub struct NodeLock(File);

/// What to do to a range.
#[derive(Debug, Clone, Copy)]
#[repr(i32)]
enum Wish {
    Share = libc::F_RDLCK,
    Own = libc::F_WRLCK,
}

impl NodeLock {
    /// Takes a place. While the last one out cleans up, this waits, but not longer than `patience`.
    ///
    /// # Errors
    /// The file cannot be opened or locked; `WouldBlock` when patience is over.
    pub async fn enter(path: &Path, patience: Duration) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        // As iptables makes it: whoever can read it can lock it, and iptables would wait for them.
        let file = options.mode(0o600).open(path)?;
        let lock = Self(file);
        lock.wait_for(Wish::Share, MEMBERS, patience).await?;
        Ok(lock)
    }

    /// Whether nobody else has a place. If so, nobody can take one until this is dropped.
    pub async fn is_last_out(&self) -> bool {
        // Of two that leave at the same moment, the second must see that the first has gone. So
        // they pass a gate one by one, and who is not the last gives up its place in it.
        if self.wait_for(Wish::Own, GATE, LEAVE_PATIENCE).await.is_err() {
            return false;
        }
        self.set(Wish::Own, MEMBERS).is_ok()
    }

    async fn wait_for(&self, wish: Wish, byte: i64, patience: Duration) -> io::Result<()> {
        let end = tokio::time::Instant::now() + patience;
        loop {
            match self.set(wish, byte) {
                Err(Errno::EAGAIN | Errno::EACCES) if tokio::time::Instant::now() < end => {
                    tokio::time::sleep(LOOK_PAUSE).await;
                }
                outcome => return outcome.map_err(io::Error::from),
            }
        }
    }

    fn set(&self, wish: Wish, byte: i64) -> Result<(), Errno> {
        let range = libc::flock {
            l_type: wish as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: byte,
            l_len: 1,
            // The kernel wants it so for locks that belong to an open file.
            l_pid: 0,
        };
        fcntl(&self.0, FcntlArg::F_OFD_SETLK(&range)).map(drop)
    }
}

/// Far behind the end of any file, so that nobody else's ranges are met.
const MEMBERS: i64 = 0x646e_7363_6163_6865;
const GATE: i64 = MEMBERS + 1;
/// Passing the gate takes microseconds.
const LEAVE_PATIENCE: Duration = Duration::from_millis(500);
const LOOK_PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use nix::fcntl::{Flock, FlockArg};

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn the_last_one_out_knows() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lock");
        let first = NodeLock::enter(&path, PATIENCE).await.expect("a lock");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "only ours to read and lock");
        let second = NodeLock::enter(&path, PATIENCE).await.expect("shared");
        assert!(!first.is_last_out().await);
        drop(first);
        assert!(second.is_last_out().await);
        let late = NodeLock::enter(&path, PATIENCE).await.expect_err("it is cleaning up");
        assert_eq!(late.kind(), io::ErrorKind::WouldBlock);
        drop(second);
        NodeLock::enter(&path, PATIENCE).await.expect("free again");
    }

    #[tokio::test]
    async fn of_many_that_leave_at_once_one_is_the_last() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lock");
        for _ in 0..20 {
            let mut locks = Vec::new();
            for _ in 0..3 {
                locks.push(NodeLock::enter(&path, PATIENCE).await.expect("a lock"));
            }
            let leave = |lock: NodeLock| async move { usize::from(lock.is_last_out().await) };
            let [a, b, c] = <[NodeLock; 3]>::try_from(locks).expect("three");
            let (a, b, c) = tokio::join!(leave(a), leave(b), leave(c));
            assert_eq!(a + b + c, 1);
        }
    }

    #[tokio::test]
    async fn the_lock_of_iptables_is_another_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("xtables.lock");
        let file = File::create(&path).expect("a file");
        let iptables = Flock::lock(file, FlockArg::LockExclusiveNonblock).expect("free");
        let ours = NodeLock::enter(&path, PATIENCE).await.expect("not in the way");
        assert!(ours.is_last_out().await);
        drop(iptables);
        let file = File::open(&path).expect("a file");
        Flock::lock(file, FlockArg::LockExclusiveNonblock).expect("ours is not in iptables' way");
    }
}
