//! Hands lines to the thread that writes them.
//!
//! At most [`LINES_MAX`] lines wait; further ones are dropped and counted, and the count is logged
//! once the reader has caught up.

use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use super::Quiet;

/// Lines that may wait: a second of the query log at 4,000 queries a second, about 1 MB.
const LINES_MAX: usize = 4096;

/// How long the end of the program waits for a reader that does not read.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);

static LOST: AtomicU64 = AtomicU64::new(0);

/// Lines dropped since the start because nobody took them in time.
pub fn lines_lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Takes lines without ever waiting.
#[derive(Clone)]
pub(super) struct Lines(SyncSender<Item>);

enum Item {
    Line(Box<[u8]>),
    /// Everything before this is written out, then this is answered.
    Flush(SyncSender<()>),
}

/// The writing thread; dropping this waits up to a second until what is left has been written.
#[must_use = "dropping this flushes the log, which belongs at the end of the program"]
pub struct Writing(SyncSender<Item>);

/// Starts the thread that writes to `sink`.
pub(super) fn spawn(sink: impl Write + Send + 'static) -> io::Result<(Lines, Writing)> {
    let (sender, receiver) = sync_channel(LINES_MAX);
    thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&receiver, sink))?;
    Ok((Lines(sender.clone()), Writing(sender)))
}

/// Writes lines until all senders are gone. A sink that fails (a closed pipe) loses its lines.
fn write_all(receiver: &Receiver<Item>, sink: impl Write) {
    static LOSING: Quiet = Quiet::new();
    let mut sink = BufWriter::new(sink);
    let mut lost_before = 0;
    while let Ok(first) = receiver.recv() {
        write_one(&mut sink, first);
        while let Ok(next) = receiver.try_recv() {
            write_one(&mut sink, next);
        }
        let _ = sink.flush();
        let lost = lines_lost();
        if let Some(lost) = LOSING.count(crate::clock::now(), lost - lost_before) {
            tracing::warn!(lost, "log lines were lost: nobody read them in time");
        }
        lost_before = lost;
    }
}

fn write_one(sink: &mut impl Write, item: Item) {
    match item {
        Item::Line(line) => {
            let _ = sink.write_all(&line);
        }
        Item::Flush(done) => {
            let _ = sink.flush();
            let _ = done.try_send(());
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let (done, flushed) = sync_channel(1);
        // The queue may be full for a moment; the thread makes room unless its sink is stuck.
        for _ in 0..10 {
            match self.0.try_send(Item::Flush(done.clone())) {
                Ok(()) => {
                    let _ = flushed.recv_timeout(FLUSH_PATIENCE);
                    return;
                }
                Err(TrySendError::Full(_)) => thread::sleep(FLUSH_PATIENCE / 10),
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter(self)
    }
}

/// Sends what it is given, which tracing gives it an event at a time.
pub(super) struct LineWriter<'a>(&'a Lines);

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.0.try_send(Item::Line(line.into())).is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic while locked").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_end_writes_what_is_left() {
        let sink = Sink::default();
        let (lines, writing) = spawn(sink.clone()).expect("a thread");
        for number in 0..100 {
            writeln!(lines.make_writer(), "line {number}").expect("never fails");
        }
        drop(writing);
        let written = sink.0.lock().expect("no panic while locked");
        assert!(written.starts_with(b"line 0\nline 1\n"));
        assert!(written.ends_with(b"line 99\n"));
    }

    #[test]
    fn a_stuck_reader_costs_lines_and_not_time() {
        let sink = Sink::default();
        let stuck = sink.0.lock().expect("no panic while locked");
        let (lines, writing) = spawn(sink.clone()).expect("a thread");
        let lost_before = lines_lost();
        for _ in 0..4 * LINES_MAX {
            lines.make_writer().write_all(b"x\n").expect("never fails");
        }
        assert!(lines_lost() - lost_before > 0);
        drop(stuck);
        drop(writing);
        assert!(sink.0.lock().expect("no panic while locked").len() >= 2 * LINES_MAX);
    }
}
