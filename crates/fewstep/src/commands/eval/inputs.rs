//! What a model generates the measured images from.

use super::Args;
use super::pairs::Pairs;
use super::real::ReferenceSet;
use crate::console;
use crate::error::{CliError, CliResult};
use fewstep_data::Split;
use fewstep_generate::{Generator, ImageRequest, Subject};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What a model generates from.
pub(super) enum EvalInputs {
    /// The class of each image.
    Classes(Vec<Option<u32>>),
    /// The prompt of each image.
    Prompts(Vec<String>),
    /// Control images.
    Pairs(Box<Pairs>),
}

/// What kind of input that is, and for control images how metrics of pairs are defined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum InputKind {
    Classes,
    Prompts,
    Pairs(String),
}

impl Args {
    /// The images whose control images or captions the model generates from; none for a model of
    /// classes.
    pub(super) fn reference_set(&self, generator: &Generator) -> CliResult<Option<ReferenceSet>> {
        let shape = generator.image_shape();
        let (what, split) = match generator.image_condition() {
            Some(_) if generator.edits_by_instruction() => ("source images", Split::Test),
            Some(_) => ("control images", Split::Test),
            None if generator.takes_prompts() => ("prompts", Split::Train),
            None => return Ok(None),
        };
        self.real.for_generating((shape, what), split).map(Some)
    }

    /// What the model generates from, of these images.
    pub(super) fn inputs_from(
        &self,
        set: &ReferenceSet,
        reference: &str,
        generator: &Generator,
    ) -> CliResult<EvalInputs> {
        let count = self.count();
        if let Some(spec) = generator.image_condition() {
            let pairs = self.pairs.open(reference, (generator, spec), set, count)?;
            return Ok(EvalInputs::Pairs(Box::new(pairs)));
        }
        self.pairs.refuse_all(self.fidelity.is_asked())?;
        let prompts = prompts_in_turn(&set.captions, count);
        if prompts.len() < count {
            console::note(format_args!(
                "{} images are generated, not {count}: as many from each of the {} captions",
                prompts.len(),
                set.captions.len()
            ));
        }
        match prompts.is_empty() {
            false => Ok(EvalInputs::Prompts(prompts)),
            true => Err(CliError::input(
                "this model generates from prompts, and the images have no captions: give captioned ones with --data captioned:PATH",
            )),
        }
    }
}

impl EvalInputs {
    /// Of which kind they are.
    pub(super) fn kind(&self) -> InputKind {
        match self {
            EvalInputs::Classes(_) => InputKind::Classes,
            EvalInputs::Prompts(_) => InputKind::Prompts,
            EvalInputs::Pairs(pairs) => InputKind::Pairs(pairs.definition()),
        }
    }

    /// How many images.
    pub(super) fn len(&self) -> usize {
        match self {
            EvalInputs::Classes(classes) => classes.len(),
            EvalInputs::Prompts(prompts) => prompts.len(),
            EvalInputs::Pairs(pairs) => pairs.len(),
        }
    }

    /// The requests for some of the images, with this seed. `prompted` is whether the model takes
    /// prompts.
    pub(super) fn images(
        &self,
        some: Range<usize>,
        seed: u64,
        prompted: bool,
    ) -> CliResult<Vec<ImageRequest>> {
        let image = |index: usize| {
            let plain = ImageRequest::new(seed, index as u64);
            Ok(match self {
                EvalInputs::Classes(classes) => ImageRequest {
                    subject: classes[index].into(),
                    ..plain
                },
                EvalInputs::Prompts(prompts) => ImageRequest {
                    subject: Subject::Prompt(prompts[index].clone()),
                    ..plain
                },
                EvalInputs::Pairs(pairs) => pairs.request(index, plain, prompted)?,
            })
        };
        some.map(image).collect()
    }
}

/// The prompt of each of `count` images, or of as many as make whole turns: captions spread evenly
/// over all of them, like the real images whose features are kept, then the same captions again.
pub(super) fn prompts_in_turn(captions: &[String], count: usize) -> Vec<String> {
    let keep = count.min(captions.len());
    let turns = count.checked_div(keep).unwrap_or(0);
    (0..turns * keep)
        .map(|turn| captions[turn % keep * captions.len() / keep].clone())
        .collect()
}

/// The class of each of `count` images. At any point each class has had its share of the turns: its
/// share of the real images, or equal shares if that is not known.
pub(super) fn turns(counts: &Option<Vec<u64>>, classes: usize, count: usize) -> Vec<Option<u32>> {
    let shares = match counts {
        Some(counts) => counts.clone(),
        None => vec![1; classes],
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
    use super::{prompts_in_turn, turns};

    #[test]
    fn prompts_are_spread_and_take_turns() {
        let captions = ["a", "b", "c", "d"].map(String::from);
        assert_eq!(prompts_in_turn(&captions, 2), ["a", "c"]);
        assert_eq!(prompts_in_turn(&captions, 7), ["a", "b", "c", "d"]);
        assert_eq!(prompts_in_turn(&captions, 8)[4..], ["a", "b", "c", "d"]);
        assert!(prompts_in_turn(&[], 5).is_empty());
    }

    #[test]
    fn classes_of_equal_shares_take_turns_in_order() {
        let in_order = [0, 1, 2, 0, 1].map(Some);
        assert_eq!(turns(&None, 3, 5), in_order);
        assert_eq!(turns(&Some(vec![40, 40, 40]), 3, 5), in_order);
        assert_eq!(turns(&None, 0, 2), [None, None]);
    }

    #[test]
    fn larger_classes_have_more_turns() {
        let classes = turns(&Some(vec![300, 100]), 2, 400);
        assert_eq!(
            classes.iter().filter(|class| **class == Some(0)).count(),
            300
        );
        // Among the first few, too.
        assert_eq!(
            classes[..4]
                .iter()
                .filter(|class| **class == Some(0))
                .count(),
            3
        );
    }
}
