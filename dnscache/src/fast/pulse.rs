//! Signs of life of the workers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The workers that run.
#[derive(Debug, Default)]
pub struct Pulses(Mutex<Workers>);

#[derive(Debug, Default)]
struct Workers {
    next_id: u64,
    running: Vec<(u64, String, Weak<AtomicU64>)>,
}

/// One worker's pulse; the worker has ended when it is dropped.
#[derive(Debug)]
pub struct Pulse(Arc<AtomicU64>);

/// What was seen of one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// The worker, by a number that is never given again.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// How often it has turned.
    pub count: u64,
}

impl Pulses {
    /// A pulse for a worker that begins.
    pub fn start(&self, name: String) -> Pulse {
        let count = Arc::new(AtomicU64::new(0));
        let mut workers = self.workers();
        let id = workers.next_id;
        workers.next_id += 1;
        workers.running.push((id, name, Arc::downgrade(&count)));
        Pulse(count)
    }

    /// How often each worker that runs has turned.
    pub fn read(&self) -> Vec<Beat> {
        let mut workers = self.workers();
        workers.running.retain(|(.., count)| count.strong_count() > 0);
        let running = workers.running.iter().filter_map(|(id, name, count)| {
            let count = count.upgrade()?.load(Ordering::Relaxed);
            Some(Beat { id: *id, name: name.clone(), count })
        });
        running.collect()
    }

    fn workers(&self) -> MutexGuard<'_, Workers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pulse {
    /// Notes a turn. Only one thread does, so that nothing has to be locked.
    #[inline]
    pub fn beat(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }
}
