//! Whether all ranks do the same thing.

use crate::{World, WorldError};
use std::hash::{DefaultHasher, Hash, Hasher};

impl World {
    /// Refuses ranks that were started on something else; each fact has its name.
    ///
    /// # Errors
    /// Names the odd rank, and the first of the facts that is another there.
    pub fn agree(&self, facts: &[(&str, &str)]) -> Result<(), WorldError> {
        let hashes = facts.iter().flat_map(|(_, fact)| hash(fact).to_le_bytes());
        let all = self.gather(hashes.collect())?;
        for (index, (what, _)) in facts.iter().enumerate() {
            let values: Vec<Option<&[u8]>> = all
                .iter()
                .map(|hashes| hashes.get(8 * index..8 * index + 8))
                .collect();
            if let Some(rank) = odd_one(&values) {
                return Err(WorldError::Disagrees {
                    rank: self.name_of(rank),
                    what: (*what).into(),
                });
            }
        }
        Ok(())
    }

    /// Refuses to go on when the parameters of a rank, of which this is a digest, are not those of
    /// the others.
    ///
    /// # Errors
    /// Names the odd rank.
    pub fn check_equal(&self, digest: u64) -> Result<(), WorldError> {
        match odd_one(&self.gather(digest.to_le_bytes().to_vec())?) {
            None => Ok(()),
            Some(rank) => Err(WorldError::Diverged(self.name_of(rank))),
        }
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// The first that is not what most are; where as many are one thing as another, what rank 0 is
/// counts.
fn odd_one<T: PartialEq>(values: &[T]) -> Option<usize> {
    let count = |value: &T| values.iter().filter(|other| *other == value).count();
    let mut usual = values.first()?;
    for value in values {
        if count(value) > count(usual) {
            usual = value;
        }
    }
    values.iter().position(|value| value != usual)
}
