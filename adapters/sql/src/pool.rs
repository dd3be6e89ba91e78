//! A few threads, each with a connection of its own, behind one bounded queue. A full queue refuses at
//! once; a job whose asker has gone is skipped or interrupted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Jobs that may wait: at a tenth of a millisecond each, the last one waits under 10 ms.
pub(crate) const WAITING_MAX: usize = 64;

/// Tells a job that nobody waits for it any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cancel(Arc<AtomicBool>);

impl Cancel {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Cancels when dropped; held by whoever waits.
pub(crate) struct CancelOnDrop(pub(crate) Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

type Work<C> = Box<dyn FnOnce(&mut C) + Send>;

struct Queue<C> {
    jobs: VecDeque<(Cancel, Work<C>)>,
    closed: bool,
}

struct Shared<C> {
    queue: Mutex<Queue<C>>,
    changed: Condvar,
}

impl<C> Shared<C> {
    fn lock(&self) -> MutexGuard<'_, Queue<C>> {
        // The queue is only pushed to and popped from under the lock, so it is whole even after a panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The threads; they end when this is dropped.
pub(crate) struct Pool<C> {
    shared: Arc<Shared<C>>,
    workers: Vec<std::thread::JoinHandle<()>>,
}

impl<C: Send + 'static> Pool<C> {
    /// One thread per connection.
    pub(crate) fn start(name: &str, connections: Vec<C>) -> std::io::Result<Self> {
        let queue = Mutex::new(Queue { jobs: VecDeque::with_capacity(WAITING_MAX), closed: false });
        let shared = Arc::new(Shared { queue, changed: Condvar::new() });
        let mut workers = Vec::with_capacity(connections.len());
        for connection in connections {
            let shared = Arc::clone(&shared);
            let builder = std::thread::Builder::new().name(name.to_owned());
            workers.push(builder.spawn(move || work(&shared, connection))?);
        }
        Ok(Self { shared, workers })
    }

    /// Queues a job; false if the queue is full.
    pub(crate) fn submit(&self, cancel: Cancel, work: Work<C>) -> bool {
        let mut queue = self.shared.lock();
        if queue.closed || queue.jobs.len() >= WAITING_MAX {
            return false;
        }
        queue.jobs.push_back((cancel, work));
        drop(queue);
        self.shared.changed.notify_one();
        true
    }
}

fn work<C>(shared: &Shared<C>, mut connection: C) {
    loop {
        let mut queue = shared.lock();
        let (cancel, job) = loop {
            if let Some(job) = queue.jobs.pop_front() {
                break job;
            }
            if queue.closed {
                return;
            }
            queue = shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        };
        drop(queue);
        if !cancel.is_set() {
            job(&mut connection);
        }
    }
}

impl<C> Drop for Pool<C> {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.closed = true;
        // Whoever waits for these sees its channel close.
        for (cancel, _) in queue.jobs.drain(..) {
            drop(CancelOnDrop(cancel));
        }
        drop(queue);
        self.shared.changed.notify_all();
        for worker in self.workers.drain(..) {
            // A job that panicked has ended its thread already; there is nothing left to release.
            drop(worker.join());
        }
    }
}
