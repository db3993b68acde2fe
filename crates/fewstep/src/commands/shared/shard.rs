//! Shards: the shares of a set of images that independent processes generate or measure.

use crate::error::{CliError, CliResult};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// The most shards of a set.
const MOST: u64 = 100_000;

/// One of the shards of a set, counted from 0 as job arrays count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shard {
    pub(crate) index: u64,
    pub(crate) of: u64,
}

impl Shard {
    /// Its share of so many images: numbers that follow one another. Shares differ by one at most.
    pub(crate) fn share(self, count: usize) -> Range<usize> {
        let start = |index: u64| (u128::from(index) * count as u128 / u128::from(self.of)) as usize;
        start(self.index)..start(self.index + 1)
    }

    /// Its share, where every shard has an image.
    pub(crate) fn share_of(self, count: usize) -> CliResult<Range<usize>> {
        match count as u64 >= self.of {
            true => Ok(self.share(count)),
            false => Err(CliError::input(format!(
                "--shard {self}: a set of {count} images has at most {count} shards"
            ))),
        }
    }

    /// The name of the file that says what the shard is; written last.
    pub(crate) fn file(self, ending: &str) -> String {
        format!("shard-{:05}-of-{:05}.{ending}", self.index, self.of)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/');
        let numbers = numbers.and_then(|(i, of)| Some((i.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((index, of)) if index < of && of <= MOST => Ok(Self { index, of }),
            Some((_, of)) if (1..=MOST).contains(&of) => Err(format!(
                "shards are counted from 0: 0/{of} to {}/{of}",
                of - 1
            )),
            _ => Err(format!(
                "expected a shard such as 0/64, the first of 64 (at most {MOST})"
            )),
        }
    }
}

/// Refuses shards that are not each of one set's, once.
///
/// # Errors
/// Names those that are missing or there twice, with the places that they are in.
pub(crate) fn check_whole(found: &[(Shard, String)]) -> CliResult {
    let Some(&(Shard { of, .. }, _)) = found.first() else {
        return Err(CliError::input("there is no shard"));
    };
    if let Some((shard, place)) = found.iter().find(|(shard, _)| shard.of != of) {
        return Err(CliError::input(format!(
            "{place} is shard {shard} and {} is shard {}: they are of two sets",
            found[0].1, found[0].0
        )));
    }
    let mut places: Vec<Option<&str>> = vec![None; of as usize];
    for (shard, place) in found {
        if let Some(other) = places[shard.index as usize].replace(place) {
            return Err(CliError::input(format!(
                "there are two of shard {shard}, {other} and {place}: delete one of them"
            )));
        }
    }
    let missing = (0..of).filter(|&index| places[index as usize].is_none());
    let missing: Vec<u64> = missing.collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(CliError::input(format!(
            "{} of {of} shards are missing: {}. Run them, each with --shard I/{of}, and merge again",
            missing.len(),
            ranges(&missing)
        ))),
    }
}

/// Numbers as ranges, as job arrays take them: `0-3,7`.
fn ranges(numbers: &[u64]) -> String {
    let runs = numbers.chunk_by(|a, b| a + 1 == *b);
    let text = |run: &[u64]| match run {
        [one] => one.to_string(),
        run => format!("{}-{}", run[0], run[run.len() - 1]),
    };
    runs.map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_one_another_and_cover_the_set() {
        for (count, of) in [(7, 3), (64, 64), (10_000_000, 7), (5, 1)] {
            let shares = (0..of).map(|index| Shard { index, of }.share(count));
            let mut next = 0;
            for share in shares {
                assert_eq!(share.start, next);
                assert!(share.len() >= count / of as usize);
                assert!(share.len() <= count.div_ceil(of as usize));
                next = share.end;
            }
            assert_eq!(next, count);
        }
    }

    #[test]
    fn only_shards_of_a_set_are_read() {
        assert_eq!("3/64".parse(), Ok(Shard { index: 3, of: 64 }));
        for text in ["", "3", "/", "-1/4", "1/0", "0/100001", "a/b", "1/2/3"] {
            let error = text.parse::<Shard>().expect_err(text);
            assert!(error.contains("such as 0/64"), "{text}: {error}");
        }
        let error = "4/4".parse::<Shard>().expect_err("refused");
        assert!(error.contains("0/4 to 3/4"), "{error}");
    }

    #[test]
    fn missing_shards_are_named_as_ranges() {
        let found: Vec<_> = [0, 4, 9]
            .map(|index| (Shard { index, of: 10 }, index.to_string()))
            .to_vec();
        let CliError::Input(error) = check_whole(&found).expect_err("refused") else {
            panic!("bad input");
        };
        let error = error.to_string();
        assert!(
            error.contains("7 of 10 shards are missing: 1-3,5-8"),
            "{error}"
        );
    }
}
