//! Pictures with captions, or with classes, as examples of a latent model.

use crate::builtin;
use crate::failure::{Blame, Failure, Outcome};
use crate::output::cache_folder;
use crate::progress;
use burn::tensor::Device;
use fewstep_data::{Captioned, DataConfig, DataKind, Examples, Labelled, Source};
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
    let classes = surroundings.classes().blame_input()?;
    let source = match classes.is_empty() {
        true => Source::Captioned(Captioned::open(data).blame_input()?),
        false if data.kind == DataKind::Captioned => {
            return Err(Failure::input(
                "this model draws classes: `data.kind` must be one with labels, such as \"folder\" with a folder for each class",
            ));
        }
        false => {
            let dataset = builtin::load_data(data)?;
            Source::Labelled(Labelled::new(dataset, classes).blame_input()?)
        }
    };
    let folder = cache_folder().unwrap_or_else(std::env::temp_dir);
    let bar = progress::bar("encoding", 0, "pictures");
    let mut progress = |done: usize, total: usize| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let made = fewstep_distill::latents(
        &source,
        surroundings,
        copies,
        &folder,
        device,
        &mut progress,
    );
    bar.finish_and_clear();
    Ok(Examples::Latents(Arc::new(made.blame_input()?)))
}
