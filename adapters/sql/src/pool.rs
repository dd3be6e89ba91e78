//! A few threads, each with a connection of its own, behind one bounded queue. A full queue refuses at
//! once; a job whose asker has gone is skipped or interrupted.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use yiwang_proto::ambient::Clock;

/// Jobs that may wait: at a twentieth of a millisecond each, the last one waits some 10 ms. Twice a hundred is
/// what comes in while a busy machine holds the threads up for a tenth of a second.
pub(crate) const WAITING_MAX: usize = 256;

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

/// Jobs that one view may serve.
const TOGETHER_MAX: usize = 16;
/// How long a view may be handed on, so that whoever writes to the source waits for it hardly longer than
/// for a single job: a dozen short look-ups take half a millisecond.
const TOGETHER_US: u64 = 2_000;

/// A connection whose jobs can share one view of the source: most of a short look-up is taking and giving
/// back its locks.
pub(crate) trait Shares: Send + 'static {
    /// Jobs from here on see the source as it is at the first of them.
    fn begin(&mut self);
    /// Gives the view back.
    fn end(&mut self);
}

type Work<C> = Box<dyn FnOnce(&mut C) + Send>;

struct Queue<C> {
    jobs: VecDeque<(Cancel, Work<C>)>,
    /// Jobs ever taken out: with the queue's length, the number of the last job that came in.
    taken: u64,
    /// Threads that wait for a job and that nobody woke. Waking costs a call of the system even where nobody sleeps.
    idle: usize,
    /// Threads that were woken and have not run yet.
    woken: usize,
    closed: bool,
}

impl<C> Queue<C> {
    fn take(&mut self) -> Option<(Cancel, Work<C>)> {
        let job = self.jobs.pop_front()?;
        self.taken = self.taken.wrapping_add(1);
        Some(job)
    }

    /// Number of the last job that came in.
    fn last(&self) -> u64 {
        self.taken.wrapping_add(self.jobs.len() as u64)
    }
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

impl<C: Shares> Pool<C> {
    /// One thread per connection.
    pub(crate) fn start(name: &str, clock: Arc<dyn Clock>, connections: Vec<C>) -> std::io::Result<Self> {
        let queue = Mutex::new(Queue {
            jobs: VecDeque::with_capacity(WAITING_MAX),
            taken: 0,
            idle: 0,
            woken: 0,
            closed: false,
        });
        let shared = Arc::new(Shared { queue, changed: Condvar::new() });
        let mut workers = Vec::with_capacity(connections.len());
        for connection in connections {
            let (shared, clock) = (Arc::clone(&shared), Arc::clone(&clock));
            let builder = std::thread::Builder::new().name(name.to_owned());
            workers.push(builder.spawn(move || work(&shared, clock.as_ref(), connection))?);
        }
        Ok(Self { shared, workers })
    }

    /// Queues a job and lets whoever else is about to ask do so, then wakes a thread: each that is woken for one job
    /// takes a core from those who ask, and jobs that came in together share a view. False if the queue is full.
    pub(crate) async fn submit(&self, cancel: Cancel, work: Work<C>) -> bool {
        let queued = self.queue(cancel, work);
        // Also where the asker goes meanwhile, and where the queue is full of those who went: else nobody would ever
        // empty it.
        let _wakes = Wakes(self);
        if queued {
            tokio::task::yield_now().await;
        }
        queued
    }

    fn queue(&self, cancel: Cancel, work: Work<C>) -> bool {
        let mut queue = self.shared.lock();
        let room = !queue.closed && queue.jobs.len() < WAITING_MAX;
        if room {
            queue.jobs.push_back((cancel, work));
        }
        room
    }

    /// Wakes a thread if a job waits and one sleeps.
    fn wake(&self) {
        let mut queue = self.shared.lock();
        if queue.jobs.is_empty() || queue.idle == 0 {
            return;
        }
        queue.idle -= 1;
        queue.woken += 1;
        drop(queue);
        self.shared.changed.notify_one();
    }
}

fn work<C: Shares>(shared: &Shared<C>, clock: &dyn Clock, mut connection: C) {
    loop {
        let mut queue = shared.lock();
        let first = loop {
            if let Some(job) = queue.take() {
                break job;
            }
            if queue.closed {
                return;
            }
            queue.idle += 1;
            queue = shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            // Whoever woke it has taken it from the idle ones; a wait may also end by itself.
            let count = if queue.woken > 0 { &mut queue.woken } else { &mut queue.idle };
            *count = count.saturating_sub(1);
        };
        let (alone, last) = (queue.jobs.is_empty(), queue.last());
        drop(queue);
        if alone {
            run(first, &mut connection);
        } else {
            together(shared, first, last, clock, &mut connection);
        }
    }
}

fn run<C>((cancel, job): (Cancel, Work<C>), connection: &mut C) {
    if cancel.is_set() {
        return;
    }
    // A panic is the job's own, and the hook has told it: its asker sees its channel close. A thread that ended with it
    // would never come back, and a few such jobs would leave the source without any.
    drop(catch_unwind(AssertUnwindSafe(|| job(connection))));
}

/// Runs jobs in one view, as long as they came in before it was taken: nobody is shown what was there
/// before it asked. They stay in the queue until their turn, so that another thread can take them from
/// behind a slow one.
fn together<C: Shares>(
    shared: &Shared<C>,
    first: (Cancel, Work<C>),
    last: u64,
    clock: &dyn Clock,
    connection: &mut C,
) {
    let begun = clock.monotonic_us();
    connection.begin();
    let mut next = Some(first);
    let mut served = 0;
    while let Some(job) = next {
        run(job, connection);
        served += 1;
        let mut queue = shared.lock();
        // Both numbers only grow, and `last` was at most a queue's length ahead.
        let older = last.wrapping_sub(queue.taken) as i64 > 0;
        let soon = clock.monotonic_us().saturating_sub(begun) < TOGETHER_US;
        next = if older && soon && served < TOGETHER_MAX { queue.take() } else { None };
    }
    connection.end();
}

struct Wakes<'p, C: Shares>(&'p Pool<C>);

impl<C: Shares> Drop for Wakes<'_, C> {
    fn drop(&mut self) {
        self.0.wake();
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
            // A thread that panicked outside of a job has ended already; there is nothing left to release.
            drop(worker.join());
        }
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
