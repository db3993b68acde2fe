//! Captioned pictures as examples of a latent model.

use crate::failure::{Blame, Outcome};
use crate::output::cache_folder;
use crate::progress;
use burn::tensor::Device;
use fewstep_data::{Captioned, DataConfig, Examples};
use fewstep_distill::Copies;
use fewstep_formats::Surroundings;
use std::sync::Arc;

/// The latents and states of the data, out of the user's cache folder or made now.
pub(crate) fn examples(
    data: &DataConfig,
    surroundings: &Surroundings,
    copies: Copies,
    device: &Device,
) -> Outcome<Examples> {
    let captioned = Captioned::open(data).blame_input()?;
    let folder = cache_folder().unwrap_or_else(std::env::temp_dir);
    let bar = progress::bar("encoding", 0, "pictures");
    let mut progress = |done: usize, total: usize| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let made = fewstep_distill::latents(
        &captioned,
        surroundings,
        copies,
        &folder,
        device,
        &mut progress,
    );
    bar.finish_and_clear();
    Ok(Examples::Latents(Arc::new(made.blame_input()?)))
}
