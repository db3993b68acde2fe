//! Whether images generated from prompts show what the prompts say, compared with the real images
//! of these prompts.

use crate::{Features, MetricsError, Result};
use serde::{Deserialize, Serialize};

/// How often an image generated from a prompt finds the real image of that prompt.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retrieval {
    /// Share of the generated images whose nearest real image is that of their own prompt.
    pub first: f64,
    /// Share of those that have it among their five nearest.
    pub five: f64,
    /// Number of prompts, each with one real image; chance is one in this number.
    pub texts: usize,
}

/// Finds the nearest real image of every generated one by the cosine of their features. Image i was
/// generated from prompt i modulo the number of real images. Features are taken relative to the
/// mean of the real ones, since what all images have in common does not distinguish them.
///
/// This is R-precision with images in place of texts, so that no network for both is needed.
///
/// # Errors
/// With fewer than two real images, features of other widths, or a number of generated images that
/// differs between prompts.
pub fn retrieval(generated: &Features, real: &Features) -> Result<Retrieval> {
    let (dim, texts) = (real.dim, real.count());
    if texts < 2 || generated.count() < texts || !generated.count().is_multiple_of(texts) {
        return Err(MetricsError::NotPaired {
            restored: (generated.count(), [1, 1, generated.dim]),
            truth: (texts, [1, 1, dim]),
        });
    }
    let mut mean = vec![0.0f64; dim];
    for row in real.rows() {
        for (sum, &value) in mean.iter_mut().zip(row) {
            *sum += f64::from(value) / texts as f64;
        }
    }
    let centred = |row: &[f32]| -> Vec<f64> {
        let row = row
            .iter()
            .zip(&mean)
            .map(|(&value, mean)| f64::from(value) - mean);
        let row: Vec<f64> = row.collect();
        let norm = row.iter().map(|value| value * value).sum::<f64>().sqrt();
        row.into_iter()
            .map(|value| value / norm.max(1e-12))
            .collect()
    };
    let real: Vec<Vec<f64>> = real.rows().map(centred).collect();
    let ranks = generated.rows().enumerate().map(|(image, row)| {
        let row = centred(row);
        let likeness = |other: &Vec<f64>| other.iter().zip(&row).map(|(a, b)| a * b).sum::<f64>();
        let own = likeness(&real[image % texts]);
        real.iter().filter(|other| likeness(other) > own).count()
    });
    let ranks: Vec<usize> = ranks.collect();
    let share =
        |most: usize| ranks.iter().filter(|&&rank| rank < most).count() as f64 / ranks.len() as f64;
    Ok(Retrieval {
        first: share(1),
        five: share(5),
        texts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(rows: &[[f32; 2]]) -> Features {
        Features::new(2, rows.concat()).expect("whole rows")
    }

    #[test]
    fn images_find_their_own_by_direction_from_the_mean() {
        let real = features(&[[11.0, 10.0], [9.0, 10.0], [10.0, 11.0], [10.0, 9.0]]);
        // The first two rounds point at their own, the third at the opposite.
        let generated = [
            [15.0, 10.5],
            [9.9, 10.0],
            [10.1, 12.0],
            [10.0, 8.0],
            [10.5, 10.1],
            [2.0, 10.0],
            [10.0, 10.2],
            [10.3, 9.0],
            [9.0, 10.1],
            [11.0, 10.0],
            [10.0, 9.0],
            [10.0, 11.0],
        ];
        let found = retrieval(&features(&generated), &real).expect("paired");
        assert_eq!(
            found,
            Retrieval {
                first: 8.0 / 12.0,
                five: 1.0,
                texts: 4
            }
        );
    }

    #[test]
    fn sets_that_do_not_pair_up_are_refused() {
        let two = features(&[[1.0, 0.0], [0.0, 1.0]]);
        let three = features(&[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]);
        assert!(retrieval(&three, &two).is_err() && retrieval(&two, &three).is_err());
        assert!(retrieval(&two, &two).is_ok_and(|found| found.first == 1.0));
    }
}
