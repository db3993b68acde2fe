//! Which of several models of one name was taken.

/// A model among several of one name: the students of a run, or embedded ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What it is called among them: the name of its folder.
    pub name: String,
    /// The steps that it was distilled for; none for any number.
    pub steps: Option<usize>,
}

/// The model that was taken of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The one that was taken.
    pub taken: Candidate,
    /// The others.
    pub others: Vec<Candidate>,
}

/// Which of several models suits the number of steps best, given what each was trained for (`None`:
/// any number): the nearest by ratio, of two equally near ones that for more steps, and of those for one
/// number the first. If more
/// steps are requested than any model was trained for, one for any number. Without a number, the
/// one for the fewest steps.
pub(super) fn suited(
    trained: impl Iterator<Item = Option<usize>> + Clone,
    steps: Option<usize>,
) -> Option<usize> {
    let most = trained.clone().flatten().max();
    let any = trained.clone().position(|steps| steps.is_none());
    if steps.is_some() && steps > most && any.is_some() {
        return any;
    }
    let wanted = steps.unwrap_or(1) as f64;
    let distance = |trained: usize| (trained as f64 / wanted).log2().abs();
    trained
        .enumerate()
        .filter_map(|(index, trained)| trained.map(|trained| (index, trained)))
        .min_by(|(_, a), (_, b)| distance(*a).total_cmp(&distance(*b)).then(b.cmp(a)))
        .map(|(index, _)| index)
        .or(any)
}

#[cfg(test)]
mod tests {
    use super::suited;

    #[test]
    fn the_nearest_number_of_steps_suits_best() {
        let family = [None, Some(8), Some(4), Some(2), Some(1)];
        let choice = |steps| suited(family.iter().copied(), steps).map(|index| family[index]);
        for (asked, expected) in [
            (None, Some(1)),
            (Some(1), Some(1)),
            (Some(2), Some(2)),
            (Some(3), Some(4)),
            (Some(5), Some(4)),
            (Some(6), Some(8)),
            (Some(8), Some(8)),
            (Some(16), None),
        ] {
            assert_eq!(choice(asked), Some(expected), "{asked:?} steps");
        }
        let without_any = |steps| suited(family[1..].iter().copied(), steps);
        assert_eq!(without_any(Some(16)), Some(0), "16 steps");
        let of_one_number = [Some(1), Some(4), Some(4)];
        assert_eq!(suited(of_one_number.into_iter(), Some(4)), Some(1));
        assert_eq!(suited([None].into_iter(), Some(4)), Some(0));
        assert_eq!(suited([].into_iter(), Some(4)), None);
    }
}
