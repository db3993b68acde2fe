//! Independent parts of some work in parallel.

use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

/// Does independent parts of some work in parallel, each worker with its share of the threads, and
/// returns the results in the order of the parts.
///
/// One operation after another leaves cores idle wherever an operation is too small to share out.
/// Whole parts (of a batch, say) have no such gaps, and their tensors stay in the cache of one
/// core. Inside a part [`rayon::current_num_threads`] is the worker's share, so nested calls do not
/// use more threads than there are. With one thread the parts are done one by one, and a single
/// part has all threads; it is still done by a thread of the pool, so that its operations need not
/// wake the pool again and again.
pub fn parallel_parts<T: Send, R: Send>(parts: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let count = rayon::current_num_threads().min(parts.len());
    if count < 2 {
        return rayon::scope(|_| parts.into_iter().map(&work).collect());
    }
    let mut results: Vec<Option<R>> = parts.iter().map(|_| None).collect();
    let queue = Mutex::new(parts.into_iter().zip(&mut results));
    let next = || queue.lock().ok()?.next();
    let pools = pools(count);
    std::thread::scope(|scope| {
        for pool in pools.iter() {
            scope.spawn(|| {
                pool.install(|| {
                    while let Some((part, result)) = next() {
                        *result = Some(work(part));
                    }
                });
            });
        }
    });
    results.into_iter().flatten().collect()
}

/// `count` pools that share the current number of threads. They live as long as the program.
fn pools(count: usize) -> Arc<Vec<ThreadPool>> {
    type Pools = HashMap<(usize, usize), Arc<Vec<ThreadPool>>>;
    static POOLS: OnceLock<Mutex<Pools>> = OnceLock::new();
    let threads = rayon::current_num_threads();
    let pool = |index: usize| {
        let share = threads / count + usize::from(index < threads % count);
        let builder = ThreadPoolBuilder::new().num_threads(share);
        builder.build().expect("the system gives threads")
    };
    let mut pools = POOLS
        .get_or_init(Mutex::default)
        .lock()
        .expect("nothing panics while holding the lock");
    pools
        .entry((threads, count))
        .or_insert_with(|| Arc::new((0..count).map(pool).collect()))
        .clone()
}

#[cfg(test)]
mod tests {
    use super::parallel_parts;
    use rayon::ThreadPoolBuilder;

    #[test]
    fn results_are_in_order_and_workers_share_the_threads() {
        for threads in [1, 2, 3, 5] {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build();
            let shares = pool.expect("threads").install(|| {
                parallel_parts((0..7).collect(), |part: usize| {
                    (part, rayon::current_num_threads())
                })
            });
            let order: Vec<usize> = shares.iter().map(|(part, _)| *part).collect();
            assert_eq!(order, [0, 1, 2, 3, 4, 5, 6]);
            assert!(shares.iter().all(|(_, share)| *share == 1));
        }
        let pool = ThreadPoolBuilder::new().num_threads(5).build();
        let work = |_| rayon::current_num_threads();
        let shares = pool
            .expect("threads")
            .install(|| parallel_parts(vec![0, 1], work));
        assert!(
            shares.iter().all(|share| [2, 3].contains(share)),
            "{shares:?}"
        );
        assert!(parallel_parts(Vec::<usize>::new(), |part| part).is_empty());
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_panic_in_a_part_is_not_swallowed() {
        let pool = ThreadPoolBuilder::new().num_threads(2).build();
        pool.expect("threads").install(|| {
            parallel_parts(vec![0, 1], |part| assert_eq!(part, 0));
        });
    }
}
