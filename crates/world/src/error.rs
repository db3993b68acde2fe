//! Why processes cannot go on together.

use std::fmt;

/// A rank with its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RankName {
    /// Its number, from 0.
    pub rank: usize,
    /// The name of the machine that it runs on.
    pub host: String,
}

impl fmt::Display for RankName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} on {}", self.rank, self.host)
    }
}

/// Why the processes of a run cannot begin or go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorldError {
    /// Some ranks sent nothing in time: they hang, or their hosts cannot be reached.
    #[error("{} did not answer within {seconds} s", names(.ranks))]
    Silent {
        /// Which.
        ranks: Vec<RankName>,
        /// How long they were waited for.
        seconds: u64,
    },
    /// A rank has ended while others need it.
    #[error("{0} has ended")]
    Gone(RankName),
    /// A rank was started on something else.
    #[error("{rank} has another {what} than the others: start all ranks with the same")]
    Disagrees {
        /// The odd one.
        rank: RankName,
        /// What is different.
        what: String,
    },
    /// A rank computes other numbers than the others.
    #[error(
        "the parameters of {0} are not those of the others any more. Its machine may be faulty or of another kind; what was saved before is good"
    )]
    Diverged(RankName),
    /// The variables of the launcher, or what it started, cannot be used.
    #[error("{0}")]
    Launch(String),
}

fn names(ranks: &[RankName]) -> String {
    let names: Vec<String> = ranks.iter().map(RankName::to_string).collect();
    names.join(", ")
}
