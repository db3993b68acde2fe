//! The classifier score, which is called Inception score with the Inception network.

use crate::{MeanStd, MetricsError, Probabilities, Result};

/// `exp(E KL(p(y|x) ‖ p(y)))` over `splits` equal runs of the samples, Salimans et al. 2016:
/// between 1 (every image looks the same to the classifier) and the number of classes (every image
/// is certain, and all classes are equally frequent). The usual setting is 10 splits of 5000.
///
/// # Errors
/// When there are no splits or fewer samples than splits.
pub fn classifier_score(probabilities: &Probabilities, splits: usize) -> Result<MeanStd> {
    if splits == 0 {
        return Err(MetricsError::Zero {
            what: "the number of splits",
        });
    }
    let (count, classes) = (probabilities.count(), probabilities.classes);
    if count < splits {
        return Err(MetricsError::TooFewSamples {
            metric: "a classifier score with this many splits",
            needed: splits,
            got: count,
        });
    }
    let bound = |split: usize| split * count / splits * classes;
    let scores: Vec<f64> = (0..splits)
        .map(|split| {
            score(
                &probabilities.values[bound(split)..bound(split + 1)],
                classes,
            )
        })
        .collect();
    Ok(MeanStd::of(&scores))
}

fn score(probabilities: &[f32], classes: usize) -> f64 {
    let count = (probabilities.len() / classes) as f64;
    let mut marginal = vec![0.0; classes];
    for row in probabilities.chunks_exact(classes) {
        std::iter::zip(&mut marginal, row).for_each(|(m, p)| *m += f64::from(*p) / count);
    }
    let divergence = |row: &[f32]| -> f64 {
        let terms = std::iter::zip(row, &marginal).filter(|(p, _)| **p > 0.0);
        terms
            .map(|(p, m)| f64::from(*p) * (f64::from(*p) / m).ln())
            .sum()
    };
    let rows = probabilities.chunks_exact(classes);
    (rows.map(divergence).sum::<f64>() / count).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn certain_and_balanced_is_the_number_of_classes() {
        let values = (0..30).flat_map(|i| (0..10).map(move |c| f32::from(c == i % 10)));
        let p = Probabilities::new(10, values.collect()).unwrap();
        let score = classifier_score(&p, 3).unwrap();
        assert!(
            (score.mean - 10.0).abs() < 1e-9 && score.std < 1e-9,
            "{score:?}"
        );
    }

    #[test]
    fn the_same_answer_always_is_one() {
        let p = Probabilities::new(4, [0.1, 0.2, 0.3, 0.4].repeat(8)).unwrap();
        assert!((classifier_score(&p, 1).unwrap().mean - 1.0).abs() < 1e-6);
    }

    #[test]
    fn splits_are_runs() {
        // First half: two classes in turn (score 2). Second half: one class (score 1).
        let values = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]].concat();
        let score = classifier_score(&Probabilities::new(2, values).unwrap(), 2).unwrap();
        assert!(
            (score.mean - 1.5).abs() < 1e-9 && (score.std - 0.5).abs() < 1e-9,
            "{score:?}"
        );
    }

    #[test]
    fn more_splits_than_samples_are_refused() {
        let p = Probabilities::new(2, vec![0.5; 4]).unwrap();
        assert!(classifier_score(&p, 3).is_err());
        assert!(classifier_score(&p, 0).is_err());
    }

    proptest! {
        #[test]
        fn between_one_and_the_classes_in_any_order(
            weights in prop::collection::vec(0.01f32..1.0, 15..60),
        ) {
            let rows: Vec<[f32; 3]> = weights
                .chunks_exact(3)
                .map(|w| { let sum: f32 = w.iter().sum(); [w[0] / sum, w[1] / sum, w[2] / sum] })
                .collect();
            let score = |rows: Vec<[f32; 3]>| {
                classifier_score(&Probabilities::new(3, rows.concat()).unwrap(), 1).unwrap().mean
            };
            let reversed = rows.iter().rev().copied().collect();
            let forward = score(rows);
            prop_assert!((1.0 - 1e-6..=3.0).contains(&forward), "{}", forward);
            prop_assert!((forward - score(reversed)).abs() < 1e-9);
        }
    }
}
