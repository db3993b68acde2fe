//! Independent pieces of work side by side.

use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

/// Does independent pieces of work side by side, each lane with its share of the threads, and gives the results in
/// the order of the pieces.
///
/// One operation after another leaves cores idle wherever an operation is too small to share out. Pieces that are
/// whole (parts of a batch, say) have no such gaps, and their tensors stay in the cache of one core. Inside a piece
/// [`rayon::current_num_threads`] is the lane's share, so nested calls do not use more threads than there are. With one
/// thread the pieces are done one by one, and one piece has all threads; it is still done by one of the pool's, so
/// that its operations need not wake them again and again.
pub fn in_lanes<T: Send, R: Send>(pieces: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let count = rayon::current_num_threads().min(pieces.len());
    if count < 2 {
        return rayon::scope(|_| pieces.into_iter().map(&work).collect());
    }
    let mut results: Vec<Option<R>> = pieces.iter().map(|_| None).collect();
    let queue = Mutex::new(pieces.into_iter().zip(&mut results));
    let next = || queue.lock().ok()?.next();
    let lanes = lanes(count);
    std::thread::scope(|scope| {
        for lane in lanes.iter() {
            scope.spawn(|| {
                lane.install(|| {
                    while let Some((piece, result)) = next() {
                        *result = Some(work(piece));
                    }
                });
            });
        }
    });
    results.into_iter().flatten().collect()
}

/// So many pools that share the current number of threads. They live as long as the program.
fn lanes(count: usize) -> Arc<Vec<ThreadPool>> {
    type Pools = HashMap<(usize, usize), Arc<Vec<ThreadPool>>>;
    static POOLS: OnceLock<Mutex<Pools>> = OnceLock::new();
    let threads = rayon::current_num_threads();
    let pool = |lane: usize| {
        let share = threads / count + usize::from(lane < threads % count);
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
    use super::in_lanes;
    use rayon::ThreadPoolBuilder;

    #[test]
    fn results_are_in_order_and_lanes_share_the_threads() {
        for threads in [1, 2, 3, 5] {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build();
            let shares = pool.expect("threads").install(|| {
                in_lanes((0..7).collect(), |piece: usize| {
                    (piece, rayon::current_num_threads())
                })
            });
            let order: Vec<usize> = shares.iter().map(|(piece, _)| *piece).collect();
            assert_eq!(order, [0, 1, 2, 3, 4, 5, 6]);
            assert!(shares.iter().all(|(_, share)| *share == 1));
        }
        let pool = ThreadPoolBuilder::new().num_threads(5).build();
        let work = |_| rayon::current_num_threads();
        let shares = pool
            .expect("threads")
            .install(|| in_lanes(vec![0, 1], work));
        assert!(
            shares.iter().all(|share| [2, 3].contains(share)),
            "{shares:?}"
        );
        assert!(in_lanes(Vec::<usize>::new(), |piece| piece).is_empty());
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_panic_in_a_lane_is_not_swallowed() {
        let pool = ThreadPoolBuilder::new().num_threads(2).build();
        pool.expect("threads").install(|| {
            in_lanes(vec![0, 1], |piece| assert_eq!(piece, 0));
        });
    }
}
