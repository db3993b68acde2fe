//! Captioned pictures as examples of a latent model.

use crate::failure::{Blame, Outcome};
use crate::output::cache_folder;
use crate::progress;
use burn::tensor::Device;
use fewstep_data::{Captioned, ConditionConfig, Conditions, DataConfig, Examples, LatentsHeader};
use fewstep_formats::Surroundings;
use std::sync::Arc;

/// The latents and states of the data, and what its conditions are made from, out of the user's cache folder or made
/// now, if `fits` finds them of use.
pub(crate) fn examples(
    data: &DataConfig,
    condition: Option<&ConditionConfig>,
    surroundings: &Surroundings,
    mirrored: bool,
    fits: &dyn Fn(&LatentsHeader) -> Result<(), String>,
    device: &Device,
) -> Outcome<Examples> {
    let folder = cache_folder().unwrap_or_else(std::env::temp_dir);
    let (captioned, conditions) = match condition {
        None => (Captioned::open(data).blame_input()?, None),
        Some(rule) => {
            let captioned = Captioned::paired(data, rule).blame_input()?;
            let conditions = Conditions::of_captioned(rule, &captioned, &folder).blame_input()?;
            (captioned, Some(Arc::new(conditions)))
        }
    };
    let bar = progress::bar("encoding", 0, "pictures");
    let mut progress = |done: usize, total: usize| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let made = fewstep_distill::latents(
        &captioned,
        surroundings,
        mirrored,
        &folder,
        device,
        fits,
        &mut progress,
    );
    bar.finish_and_clear();
    Ok(Examples::Latents {
        latents: Arc::new(made.blame_input()?),
        conditions,
    })
}
