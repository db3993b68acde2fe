//! Worlds of threads.

use crate::{World, WorldError};
use std::thread;
use std::time::{Duration, Instant};

/// What every rank gets from some work.
fn all<T: Send>(size: usize, work: impl Fn(World) -> T + Sync) -> Vec<T> {
    all_with(Duration::from_millis(300), size, work)
}

/// The same where ranks wait this long for one another.
fn all_with<T: Send>(patience: Duration, size: usize, work: impl Fn(World) -> T + Sync) -> Vec<T> {
    let ranks = World::of_threads(size, patience);
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = ranks
            .into_iter()
            .map(|rank| scope.spawn(|| work(rank)))
            .collect();
        let results = threads.into_iter().map(|thread| thread.join());
        results.map(|result| result.expect("no panic")).collect()
    })
}

/// Rows of numbers whose sum depends on the order of additions.
fn rows(count: usize, len: usize) -> Vec<Vec<f32>> {
    let value = |i: usize| ((i * 7919 % 1013) as f32 - 500.0) * 1.1f32.powi((i % 90) as i32);
    let row = |row: usize| (0..len).map(|i| value(row * len + i)).collect();
    (0..count).map(row).collect()
}

#[test]
fn sums_have_the_bits_of_one_process_for_any_number_of_ranks() {
    let parts = rows(12, 3);
    let alone = World::default().sum(parts.clone()).expect("alone");
    // Another order gives other bits, or this test would prove nothing.
    let halves = [&parts[..6], &parts[6..]].map(|half| World::default().sum(half.to_vec()));
    let halves = halves.map(|half| half.expect("alone")).to_vec();
    assert_ne!(World::default().sum(halves).expect("alone"), alone);
    for size in 1..=12 {
        let sums = all(size, |world| {
            let share = |rank: usize| rank * parts.len() / size;
            let own = parts[share(world.rank())..share(world.rank() + 1)].to_vec();
            world.sum(own).expect("all are here")
        });
        assert!(sums.iter().all(|sum| *sum == alone), "{size} ranks");
    }
}

#[test]
fn long_rows_are_summed_in_pieces() {
    let parts = rows(3, (1 << 18) + 5);
    let alone = World::default().sum(parts.clone()).expect("alone");
    let sums = all(3, |world| world.sum(vec![parts[world.rank()].clone()]));
    assert!(sums.into_iter().all(|sum| sum.as_ref() == Ok(&alone)));
}

#[test]
fn everyone_gets_what_everyone_gives() {
    let results = all(3, |world| {
        let mine = vec![world.rank() as u8; world.rank()];
        let gathered = world.gather(mine).expect("all are here");
        let any = world.any(world.rank() == 2).expect("all are here");
        let first = world.broadcast(vec![world.rank() as u8 + 7]);
        (gathered, any, first.expect("all are here"))
    });
    let expected = (vec![vec![], vec![1], vec![2, 2]], true, vec![7]);
    assert_eq!(results, vec![expected; 3]);
}

#[test]
fn rank_0_works_first() {
    let done = std::sync::Mutex::new(vec![]);
    all(4, |world| {
        let rank = world.rank();
        world.first_at_rank_0(|| done.lock().expect("whole").push(rank))
    });
    assert_eq!(done.into_inner().expect("whole")[0], 0);
}

/// The others wait for 450 ms.
#[test]
fn work_of_rank_0_may_take_longer_than_the_others_wait() {
    let done = all(3, |world| {
        world.first_at_rank_0(|| {
            let time = if world.is_first() { 1500 } else { 0 };
            thread::sleep(Duration::from_millis(time));
            world.rank()
        })
    });
    assert_eq!(done, [Ok(0), Ok(1), Ok(2)]);
}

/// A rank that hangs before rank 0 has begun its work, and one that waits for it.
#[test]
fn nobody_waits_for_ever_for_the_work_of_rank_0() {
    let results = all(2, |world| match world.is_first() {
        true => {
            thread::sleep(Duration::from_millis(900));
            None
        }
        false => Some(world.first_at_rank_0(|| ())),
    });
    let error = results[1]
        .clone()
        .expect("it waited")
        .expect_err("too long");
    assert!(matches!(error, WorldError::Silent { ranks, .. } if ranks[0].rank == 0));
}

#[test]
fn a_silent_rank_is_named_by_rank_0() {
    let results = all(4, |world| {
        if world.rank() == 2 {
            // Longer than the others wait.
            thread::sleep(Duration::from_millis(700));
            return None;
        }
        Some(world.barrier().expect_err("one is missing"))
    });
    let error = results[0].as_ref().expect("it waited").to_string();
    assert!(
        error.contains("rank 2 on ") && !error.contains("rank 3"),
        "{error}"
    );
}

#[test]
fn a_rank_that_has_ended_is_named() {
    let results = all(3, |world| (world.rank() != 1).then(|| world.barrier()));
    let gone = |result: &Option<Result<(), WorldError>>| match result {
        Some(Err(WorldError::Gone(name))) => name.rank,
        other => panic!("{other:?}"),
    };
    assert_eq!(gone(&results[0]), 1);
}

#[test]
fn the_odd_rank_is_named() {
    let results = all(4, |world| {
        let recipe = if world.rank() == 0 {
            "lr = 2"
        } else {
            "lr = 1"
        };
        world.agree(&[("version", "1"), ("recipe", recipe)])
    });
    for result in results {
        let error = result.expect_err("they differ").to_string();
        assert!(error.starts_with("rank 0 on "), "{error}");
        assert!(error.contains("another recipe"), "{error}");
    }
    let digests = all(2, |world| world.check_equal(world.rank() as u64));
    assert!(matches!(&digests[1], Err(WorldError::Diverged(name)) if name.rank == 1));
}

/// Rank 0 waits for a row that comes through rank 1, which knows better who is silent.
#[test]
fn who_waits_for_a_silent_rank_itself_says_so_first() {
    // Long enough that a busy machine does not change who is first: an eighth of it for each hop.
    let patience = Duration::from_millis(1000);
    for silent in [0, 3] {
        let results = all_with(patience, 4, |world| {
            if world.rank() == silent {
                thread::sleep(2 * patience);
                return None;
            }
            let error = world.sum(vec![vec![1.0; 3]]).expect_err("one is missing");
            // Before this rank ends, which the others notice.
            Some((Instant::now(), error.to_string()))
        });
        let said: Vec<_> = results.into_iter().flatten().collect();
        let first = said.iter().min().expect("three waited");
        assert!(first.1.contains(&format!("rank {silent} on ")), "{said:?}");
    }
}
