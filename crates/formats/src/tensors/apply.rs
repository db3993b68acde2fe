//! Tensors under PyTorch's names into a network, with messages that name what does not fit.

use super::finite::Finite;
use super::pytorch::FromPyTorch;
use super::stored::{Stored, Widened};
use crate::FormatError;
use crate::error::SHOWN_PROBLEMS;
use burn::store::burn_pack::Tensor as PackTensor;
use burn::store::{ApplyError, ChainAdapter, ModuleSnapshot};
use fewstep_nn::WeightFormat;

/// Puts tensors under PyTorch's names into a network, in f32. All must fit, none may be missing, and
/// their values must be finite.
pub(crate) fn apply(
    network: &mut impl ModuleSnapshot,
    tensors: Vec<PackTensor>,
    origin: &str,
) -> Result<(), FormatError> {
    apply_in(network, tensors, WeightFormat::default(), origin)
}

/// The same with the weights of a U-Net's blocks stored so.
pub(crate) fn apply_in(
    network: &mut impl ModuleSnapshot,
    tensors: Vec<PackTensor>,
    stored: WeightFormat,
    origin: &str,
) -> Result<(), FormatError> {
    let (stored, finite) = (Stored(stored), Finite::default());
    let wide = ChainAdapter::new(Widened(stored), FromPyTorch);
    let adapter = ChainAdapter::new(ChainAdapter::new(wide, finite.clone()), stored);
    let result = network.apply(tensors, None, Some(Box::new(adapter)), true);
    let missing: Vec<String> = result
        .missing
        .iter()
        .map(|(name, _)| pytorch(name))
        .collect();
    let absent = missing.iter().enumerate().map(|(number, name)| {
        let hint = hint(number, name, &result.unused, "the file has");
        format!("`{name}` is missing{hint}")
    });
    let unused = result.unused.iter().enumerate().map(|(number, name)| {
        let hint = hint(number, name, &missing, "the network has");
        format!("`{name}` is not part of it{hint}")
    });
    let wrong = result.errors.iter().map(in_words);
    let problems: Vec<String> = wrong.chain(absent).chain(unused).collect();
    if !problems.is_empty() {
        return Err(FormatError::Mismatch {
            origin: origin.into(),
            problems,
        });
    }
    let broken = finite.broken();
    match broken.is_empty() {
        true => Ok(()),
        false => Err(FormatError::NotFinite {
            origin: origin.into(),
            names: broken.iter().map(|name| pytorch(name)).collect(),
        }),
    }
}

fn in_words(error: &ApplyError) -> String {
    match error {
        ApplyError::ShapeMismatch {
            path,
            expected,
            found,
        } => {
            let sizes = |shape: &burn::tensor::Shape| format!("{:?}", shape.to_vec());
            format!(
                "`{}` must be {}, and is {} in the file",
                pytorch(path),
                sizes(expected),
                sizes(found)
            )
        }
        other => other.to_string(),
    }
}

/// The name of a parameter in PyTorch.
fn pytorch(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((layer, "gamma")) => format!("{layer}.weight"),
        Some((layer, "beta")) => format!("{layer}.bias"),
        _ => name.into(),
    }
}

/// The nearest of the `others`, where the problem is among those that are shown: comparing all names
/// with all others takes minutes for a file with thousands of each.
fn hint(number: usize, name: &str, others: &[String], has: &str) -> String {
    let nearest = (number < SHOWN_PROBLEMS).then(|| nearest(name, others));
    let nearest = nearest.flatten();
    nearest.map_or(String::new(), |other| format!(" ({has} `{other}`)"))
}

fn nearest<'a>(name: &str, others: &'a [String]) -> Option<&'a String> {
    let likeness = |other: &&String| strsim::normalized_levenshtein(name, other);
    let best = others
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) > 0.7).then_some(best)
}
