//! The images that are measured.

use super::figures::blame;
use super::pairs::{PairValues, Pairs};
use super::real::features_of_pixels;
use crate::arguments::both_conventions;
use crate::commands::artist::Artist;
use crate::failure::CliResult;
use crate::progress;
use crate::report::plural;
use fewstep::{Request, SamplerConfig};
use fewstep_data::image::Image;
use fewstep_diffusion::Warning;
use fewstep_metrics::{FeatureNetwork, Features};
use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

/// Images that are drawn, looked at and forgotten together.
const CHUNK: usize = 512;

/// A model as it is to be sampled.
pub(super) struct Subject {
    pub(super) artist: Rc<Artist>,
    pub(super) sampler: SamplerConfig,
    pub(super) steps: usize,
    /// None for a model that knows no guidance.
    pub(super) w: Option<f64>,
}

/// What a model draws from.
pub(super) enum Given {
    /// The class of each image.
    Classes(Vec<Option<u32>>),
    /// The text of each image.
    Texts(Vec<String>),
    /// Control images.
    Pairs(Box<Pairs>),
}

/// Images that are kept to be shown.
const SHOWN: usize = 12;

/// What the network saw in the images.
pub(super) struct Drawn {
    /// The first few.
    pub(super) shown: Vec<Image>,
    pub(super) features: Features,
    /// How near they are to the true ones, where there are any.
    pub(super) values: Option<PairValues>,
    pub(super) seconds_per_image: f64,
}

impl Given {
    fn len(&self) -> usize {
        match self {
            Given::Classes(classes) => classes.len(),
            Given::Texts(texts) => texts.len(),
            Given::Pairs(pairs) => pairs.classes().len(),
        }
    }

    /// The classes of some of the images.
    fn classes(&self, some: Range<usize>) -> Vec<Option<u32>> {
        match self {
            Given::Classes(classes) => classes[some].to_vec(),
            Given::Texts(_) => vec![None; some.len()],
            Given::Pairs(pairs) => pairs.classes()[some].to_vec(),
        }
    }

    /// The texts of some of the images, where they have such.
    fn texts(&self, some: Range<usize>) -> &[String] {
        match self {
            Given::Classes(_) => &[],
            Given::Texts(texts) => &texts[some],
            Given::Pairs(pairs) => &pairs.texts()[some],
        }
    }
}

impl Subject {
    /// Checks the request against the model's recipe, with w as the user gave it.
    pub(super) fn check(&self, w: Option<f64>) -> CliResult<Vec<Warning>> {
        Ok(self.artist.generator().check(&Request {
            w,
            ..self.request(vec![], 0, 1)
        })?)
    }

    /// Draws all images, looks at them and compares them with the true ones.
    pub(super) fn draw(
        &self,
        given: &Given,
        seed: u64,
        batch: usize,
        network: &dyn FeatureNetwork,
    ) -> CliResult<Drawn> {
        let count = given.len();
        let bar = progress::bar(&self.title(), count as u64, "images");
        let mut features = Features::empty(network.dim());
        let mut values = matches!(given, Given::Pairs(_)).then(PairValues::default);
        let (mut seconds, mut shown) = (0.0, vec![]);
        for first in (0..count).step_by(CHUNK) {
            let indices = first..count.min(first + CHUNK);
            let request = Request {
                first: first as u64,
                ..self.request(given.classes(indices.clone()), seed, batch)
            };
            let controls = match given {
                Given::Classes(_) | Given::Texts(_) => None,
                Given::Pairs(pairs) => Some(pairs.controls(indices.clone())?),
            };
            let texts = given.texts(indices.clone());
            let progress = &mut |done| bar.set_position((first + done) as u64);
            let started = Instant::now();
            let mut images = self.artist.draw(controls, texts, &request, progress)?;
            seconds += started.elapsed().as_secs_f64();
            if let Given::Pairs(pairs) = given {
                let drawn = indices.clone().zip(images);
                images = drawn
                    .map(|(index, drawn)| pairs.finish(index, drawn))
                    .collect::<CliResult<_>>()?;
            }
            let more = SHOWN - shown.len();
            shown.extend(images.iter().take(more).cloned());
            let pixels: Vec<u8> = images.into_iter().flat_map(|image| image.pixels).collect();
            let seen = features_of_pixels(&pixels, self.artist.shape(), network)?;
            features.append(seen).map_err(blame)?;
            if let (Given::Pairs(pairs), Some(values)) = (given, &mut values) {
                values.append(pairs.compare(indices, &pixels)?);
            }
        }
        bar.finish_and_clear();
        Ok(Drawn {
            shown,
            features,
            values,
            seconds_per_image: seconds / count.max(1) as f64,
        })
    }

    fn request(&self, classes: Vec<Option<u32>>, seed: u64, batch: usize) -> Request {
        Request {
            classes,
            first: 0,
            seed,
            steps: self.steps,
            sampler: self.sampler,
            w: self.w,
            batch,
        }
    }

    fn title(&self) -> String {
        let steps = plural(self.steps, "step");
        match self.w {
            Some(w) => format!("{steps}, {}", both_conventions(w)),
            None => steps,
        }
    }
}

/// The text of each of `count` images: texts spread evenly over all, as the real images are whose features are kept,
/// and then these again.
pub(super) fn texts_in_turn(texts: &[String], count: usize) -> Vec<String> {
    let keep = count.min(texts.len());
    (0..if keep > 0 { count } else { 0 })
        .map(|turn| texts[turn % keep * texts.len() / keep].clone())
        .collect()
}

/// The class of each of `count` images: at every moment each class has had its share of the turns, as large as
/// its share of the real images; equal shares where that is not known.
pub(super) fn turns(counts: &Option<Vec<u64>>, classes: usize, count: usize) -> Vec<Option<u32>> {
    let shares = match counts {
        Some(counts) if counts.len() == classes => counts.clone(),
        _ => vec![1; classes],
    };
    let total: u64 = shares.iter().sum();
    let mut had = vec![0u64; classes];
    let mut next = |turn: usize| {
        // Whole numbers, so that equal shares tie and the classes come in their order.
        let owed = |class: &usize| {
            (shares[*class] * (turn as u64 + 1)) as i64 - (had[*class] * total) as i64
        };
        let class = (0..classes).rev().max_by_key(owed)?;
        had[class] += 1;
        Some(class as u32)
    };
    (0..count).map(&mut next).collect()
}

#[cfg(test)]
mod tests {
    use super::{texts_in_turn, turns};

    #[test]
    fn texts_are_spread_and_take_turns() {
        let texts = ["a", "b", "c", "d"].map(String::from);
        assert_eq!(texts_in_turn(&texts, 2), ["a", "c"]);
        assert_eq!(texts_in_turn(&texts, 5), ["a", "b", "c", "d", "a"]);
        assert!(texts_in_turn(&[], 5).is_empty());
    }

    #[test]
    fn equal_shares_come_in_order() {
        let in_order = [0, 1, 2, 0, 1].map(Some);
        assert_eq!(turns(&None, 3, 5), in_order);
        assert_eq!(turns(&Some(vec![40, 40, 40]), 3, 5), in_order);
        // Counts of other classes than the model's say nothing.
        assert_eq!(turns(&Some(vec![1, 9]), 3, 5), in_order);
        assert_eq!(turns(&None, 0, 2), [None, None]);
    }

    #[test]
    fn larger_classes_have_more_turns() {
        let drawn = turns(&Some(vec![300, 100]), 2, 400);
        assert_eq!(drawn.iter().filter(|class| **class == Some(0)).count(), 300);
        // Also among the first few.
        assert_eq!(
            drawn[..4].iter().filter(|class| **class == Some(0)).count(),
            3
        );
    }
}
