use super::*;
use std::sync::mpsc;
use std::time::Duration;
use yiwang_proto::ambient::ManualClock;

/// What a connection is asked to do, in its order.
struct Told(mpsc::Sender<&'static str>);

impl Shares for Told {
    fn begin(&mut self) {
        self.0.send("begin").unwrap();
    }

    fn end(&mut self) {
        self.0.send("end").unwrap();
    }
}

/// What an asker does, without a runtime.
fn submit(pool: &Pool<Told>, cancel: Cancel, work: Work<Told>) -> bool {
    let queued = pool.queue(cancel, work);
    pool.wake();
    queued
}

fn pool() -> (Pool<Told>, mpsc::Receiver<&'static str>) {
    let (pool, heard, _) = timed();
    (pool, heard)
}

/// With a clock that stands still until it is moved.
fn timed() -> (Pool<Told>, mpsc::Receiver<&'static str>, Arc<ManualClock>) {
    let (told, heard) = mpsc::channel();
    let clock = Arc::new(ManualClock::new(0));
    let now: Arc<dyn Clock> = Arc::clone(&clock) as _;
    (Pool::start("test", now, vec![Told(told)]).unwrap(), heard, clock)
}

/// A job that waits for its word to go on.
fn held(pool: &Pool<Told>) -> mpsc::Sender<()> {
    let (go, wait) = mpsc::channel::<()>();
    let (running, runs) = mpsc::channel();
    let job = move |told: &mut Told| {
        let _ = running.send(());
        wait.recv().unwrap();
        told.0.send("held").unwrap();
    };
    assert!(submit(pool, Cancel::default(), Box::new(job)));
    // Only a job that nobody stands before runs at once.
    let _ = runs.recv_timeout(Duration::from_millis(200));
    go
}

fn plain(pool: &Pool<Told>, name: &'static str) -> bool {
    submit(pool, Cancel::default(), Box::new(move |told: &mut Told| told.0.send(name).unwrap()))
}

fn heard(from: &mpsc::Receiver<&'static str>, count: usize) -> Vec<&'static str> {
    (0..count).map(|_| from.recv_timeout(Duration::from_secs(5)).unwrap()).collect()
}

#[test]
fn jobs_that_wait_share_a_view_and_later_ones_get_a_newer_one() {
    let (pool, told) = pool();
    let first = held(&pool);
    assert!(plain(&pool, "a"));
    let second = held(&pool);
    assert!(plain(&pool, "b"));
    first.send(()).unwrap();
    // `first` ran alone; `a`, the second held one and `b` had all come in when the view was taken.
    assert_eq!(heard(&told, 3), ["held", "begin", "a"]);
    // This one comes in when the view is taken already.
    assert!(plain(&pool, "c"));
    assert!(plain(&pool, "d"));
    second.send(()).unwrap();
    assert_eq!(heard(&told, 7), ["held", "b", "end", "begin", "c", "d", "end"]);
}

#[test]
fn a_view_serves_so_many_and_no_more() {
    let (pool, told) = pool();
    let first = held(&pool);
    for _ in 0..TOGETHER_MAX + 1 {
        assert!(plain(&pool, "x"));
    }
    first.send(()).unwrap();
    let all = heard(&told, 1 + 2 + TOGETHER_MAX + 1);
    assert_eq!(all[..2], ["held", "begin"]);
    assert_eq!(all[2 + TOGETHER_MAX], "end");
    assert_eq!(all.last(), Some(&"x"), "the last one is alone");
}

#[test]
fn a_cancelled_job_is_skipped_and_a_full_queue_refuses() {
    let (pool, told) = pool();
    let first = held(&pool);
    let cancel = Cancel::default();
    assert!(submit(&pool, cancel.clone(), Box::new(|told: &mut Told| told.0.send("gone").unwrap())));
    drop(CancelOnDrop(cancel));
    for _ in 0..WAITING_MAX - 1 {
        assert!(plain(&pool, "x"));
    }
    assert!(!plain(&pool, "too many"));
    first.send(()).unwrap();
    let all = heard(&told, 1 + WAITING_MAX - 1);
    assert!(!all.contains(&"gone") && !all.contains(&"too many"));
}

#[test]
fn a_slow_job_ends_the_view_and_the_next_gets_a_newer_one() {
    let (pool, told, clock) = timed();
    let first = held(&pool);
    let slow = move |told: &mut Told| {
        clock.advance_ms(3);
        told.0.send("slow").unwrap();
    };
    assert!(submit(&pool, Cancel::default(), Box::new(slow)));
    assert!(plain(&pool, "a"));
    assert!(plain(&pool, "b"));
    first.send(()).unwrap();
    assert_eq!(heard(&told, 8), ["held", "begin", "slow", "end", "begin", "a", "b", "end"]);
}

#[test]
fn a_job_that_panics_takes_neither_its_thread_nor_its_view_with_it() {
    let (pool, told) = pool();
    let panics = || submit(&pool, Cancel::default(), Box::new(|_: &mut Told| panic!("the job's own fault")));
    let first = held(&pool);
    assert!(panics() && plain(&pool, "a"));
    first.send(()).unwrap();
    assert_eq!(heard(&told, 4), ["held", "begin", "a", "end"]);
    // Alone, with nobody behind it, once for each thread that there is and more.
    for _ in 0..3 {
        let (ended, asker) = mpsc::channel::<()>();
        let alone = move |_: &mut Told| {
            let _ended = ended;
            panic!("the job's own fault");
        };
        assert!(submit(&pool, Cancel::default(), Box::new(alone)));
        assert!(
            asker
                .recv_timeout(Duration::from_secs(5))
                .is_err_and(|end| end == mpsc::RecvTimeoutError::Disconnected)
        );
    }
    assert!(plain(&pool, "b"));
    while heard(&told, 1) != ["b"] {}
}

#[tokio::test]
async fn askers_that_go_before_they_woke_anybody_leave_a_queue_that_empties() {
    let (pool, told) = pool();
    for _ in 0..WAITING_MAX + 1 {
        let gone = Cancel::default();
        let asking = pool.submit(gone.clone(), Box::new(|told: &mut Told| told.0.send("gone").unwrap()));
        tokio::pin!(asking);
        // Polled once: the job is queued, and nobody is woken yet.
        let _ = futures_util::poll!(asking.as_mut());
        drop(CancelOnDrop(gone));
    }
    while !pool.submit(Cancel::default(), Box::new(|told: &mut Told| told.0.send("b").unwrap())).await {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut all = Vec::new();
    while all.last() != Some(&"b") {
        all.push(told.recv_timeout(Duration::from_secs(5)).unwrap());
    }
    assert!(!all.contains(&"gone"), "{all:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_of_many_askers_runs() {
    let (pool, told) = pool();
    let pool = Arc::new(pool);
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let pool = Arc::clone(&pool);
        asking.spawn(async move {
            pool.submit(Cancel::default(), Box::new(|told: &mut Told| told.0.send("x").unwrap())).await
        });
    }
    while let Some(queued) = asking.join_next().await {
        assert!(queued.unwrap());
    }
    let mut seen = 0;
    while seen < 100 {
        seen += usize::from(told.recv_timeout(Duration::from_secs(5)).unwrap() == "x");
    }
}
