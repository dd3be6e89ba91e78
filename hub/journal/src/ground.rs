//! What a journal stands on: a disk, and threads for the work that owns it. A process has real ones; a simulation
//! gives a disk that fails on demand, and turns each thread into a task of its one runtime, so that the order of
//! all events follows from a seed.

use crate::disk::{Disk, RealDisk};
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{JoinHandle, Thread};

/// Work that lasts.
pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where work that lasts runs.
#[derive(Debug, Clone, Copy, Default)]
pub enum Workers {
    /// Each on a thread of its own, which may block.
    #[default]
    Threads,
    /// Handed to a runtime, which polls it between others: for simulations.
    Tasks(fn(Work)),
}

/// Work that was started.
#[derive(Debug)]
pub struct Worker(Option<JoinHandle<()>>);

impl Worker {
    /// Waits until its thread has ended; false if it ended by a panic. A task is not waited for: it ends when its
    /// runtime polls it next, or with the runtime.
    #[must_use]
    pub fn join(self) -> bool {
        self.0.is_none_or(|thread| thread.join().is_ok())
    }
}

impl Workers {
    /// Starts work under a name.
    ///
    /// # Errors
    /// The system's, where it has no thread to give.
    pub fn start(self, name: &str, work: impl Future<Output = ()> + Send + 'static) -> io::Result<Worker> {
        match self {
            Self::Threads => {
                let builder = std::thread::Builder::new().name(name.to_owned());
                builder.spawn(move || block_on(work)).map(|thread| Worker(Some(thread)))
            }
            Self::Tasks(spawn) => {
                spawn(Box::pin(work));
                Ok(Worker(None))
            }
        }
    }

    /// Whether work has threads of its own, so that it may block.
    #[must_use]
    pub fn may_block(self) -> bool {
        matches!(self, Self::Threads)
    }
}

/// Disk and threads.
#[derive(Debug, Clone)]
pub struct Ground {
    /// Where the files are.
    pub disk: Arc<dyn Disk>,
    /// Who writes them.
    pub workers: Workers,
}

impl Default for Ground {
    fn default() -> Self {
        Self { disk: Arc::new(RealDisk), workers: Workers::Threads }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread, which sleeps while the future waits.
fn block_on(work: impl Future<Output = ()>) {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut work = pin!(work);
    while work.as_mut().poll(&mut context) == Poll::Pending {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Ready at its third poll, woken from another thread.
    struct Third(u32, Sender<u32>);

    impl Future for Third {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            self.0 += 1;
            self.1.send(self.0).unwrap();
            if self.0 == 3 {
                return Poll::Ready(());
            }
            let waker = context.waker().clone();
            std::thread::spawn(move || waker.wake());
            Poll::Pending
        }
    }

    #[test]
    fn work_runs_on_a_thread_until_it_is_ready_and_a_panic_is_seen() {
        let (polls, seen): (_, Receiver<u32>) = channel();
        assert!(Workers::Threads.start("third", Third(0, polls)).unwrap().join());
        assert_eq!(seen.iter().collect::<Vec<_>>(), [1, 2, 3]);
        assert!(!Workers::Threads.start("panics", async { panic!("on purpose") }).unwrap().join());
    }

    #[test]
    fn a_task_is_handed_over_and_not_waited_for() {
        let nobody: fn(Work) = drop;
        let worker = Workers::Tasks(nobody).start("task", std::future::pending()).unwrap();
        assert!(worker.join());
    }
}
