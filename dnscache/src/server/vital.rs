//! Tasks the program cannot do without.
//!
//! A task of the runtime that panics just ends: nobody would accept TCP connections any more, or
//! carry questions upstream, in a process that looks alive. So the server is told, and ends; who
//! started it starts it again, and until then packet rules let clients past it.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::follow::Event;

/// Runs `task`, which does `part` of the program's work, and tells the server if it panics.
pub(super) fn spawn_vital(
    part: &'static str,
    events: mpsc::Sender<Event>,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        // Nothing of the task is looked at afterwards.
        if AssertUnwindSafe(task).catch_unwind().await.is_err() {
            // If the server is gone, the process is ending anyway.
            let _ = events.send(Event::Panicked { part }).await;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_server_hears_of_a_vital_task_that_panicked() {
        let (sender, mut events) = mpsc::channel(1);
        let ended = spawn_vital("nothing", sender.clone(), async {});
        ended.await.expect("it ends in order");
        assert!(events.try_recv().is_err(), "an end in order is no event");
        let ended = spawn_vital("the door", sender, async { panic!("as asked") });
        ended.await.expect("the panic goes no further");
        assert_eq!(events.recv().await, Some(Event::Panicked { part: "the door" }));
    }
}
