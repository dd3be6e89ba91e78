//! Work over a chunk of entries, spread over threads.

/// Applies `work` to every item, in parts of equal length on up to `threads` threads; results keep their order.
pub(crate) fn map<T: Send, R: Send>(items: Vec<T>, threads: usize, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let part = items.len().div_ceil(threads.max(1)).max(1);
    if items.len() <= part {
        return items.into_iter().map(work).collect();
    }
    let mut parts = Vec::with_capacity(threads);
    let mut rest = items;
    while rest.len() > part {
        let after = rest.split_off(part);
        parts.push(std::mem::replace(&mut rest, after));
    }
    let work = &work;
    let do_part = move |part: Vec<T>| part.into_iter().map(work).collect::<Vec<R>>();
    std::thread::scope(|scope| {
        let running: Vec<_> = parts.into_iter().map(|part| scope.spawn(move || do_part(part))).collect();
        let last = do_part(rest);
        let mut results = Vec::new();
        for thread in running {
            // A fault in here must never pass for "verified": it goes on in this thread.
            results.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        results.extend(last);
        results
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_whatever_the_number_of_threads() {
        for threads in 0..9 {
            for items in [0, 1, 2, 7, 100] {
                let doubled: Vec<u32> = map((0..items).collect(), threads, |item: u32| item * 2);
                assert_eq!(doubled, (0..items).map(|item| item * 2).collect::<Vec<_>>());
            }
        }
    }
}
