//! Pictures with captions, or with classes, as examples of a latent model.

use crate::failure::{Blame, Failure, Outcome};
use crate::output::cache_folder;
use crate::progress;
use burn::tensor::Device;
use fewstep_data::{
    Captioned, ConditionConfig, Conditions, DataConfig, DataKind, Examples, LatentsHeader, Source,
};
use fewstep_distill::{Copies, Encoding};
use fewstep_formats::Surroundings;
use std::path::Path;
use std::sync::Arc;

/// The latents and states of the data, and what its conditions are made from, out of the user's cache folder or made
/// now, if `fits` finds them of use; where they are only `planned`, not made.
pub(crate) fn examples(
    data: &DataConfig,
    condition: Option<&ConditionConfig>,
    surroundings: &Surroundings,
    copies: Copies,
    fits: &dyn Fn(&LatentsHeader) -> Result<(), String>,
    device: &Device,
    planned: bool,
) -> Outcome<Examples> {
    let folder = cache_folder().unwrap_or_else(std::env::temp_dir);
    let (source, conditions) = source(data, condition, surroundings, &folder)?;
    let found = Encoding::find(&source, surroundings, copies, &folder, device, fits);
    let encoding = found.blame_input()?;
    if let (true, Some(bytes)) = (planned, encoding.bytes()) {
        return Ok(Examples::Planned {
            header: encoding.header().clone(),
            conditions,
            bytes,
        });
    }
    let bar = progress::bar("encoding", 0, "pictures");
    let mut progress = |done: usize, total: usize| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let made = encoding.latents(&mut progress);
    bar.finish_and_clear();
    Ok(Examples::Latents {
        latents: Arc::new(made.blame_input()?),
        conditions,
    })
}

/// The pictures, with captions or with classes, whichever the model draws from; and what makes their condition images.
fn source(
    data: &DataConfig,
    condition: Option<&ConditionConfig>,
    surroundings: &Surroundings,
    folder: &Path,
) -> Outcome<(Source, Option<Arc<Conditions>>)> {
    let classes = surroundings.classes().blame_input()?;
    Ok(match (condition, classes.is_empty()) {
        (None, true) => {
            let captioned = Captioned::open(data).blame_input()?;
            (Source::Captioned(captioned), None)
        }
        (Some(rule), true) => {
            let captioned = Captioned::paired(data, rule).blame_input()?;
            let conditions = Conditions::of_captioned(rule, &captioned, folder).blame_input()?;
            (Source::Captioned(captioned), Some(Arc::new(conditions)))
        }
        (None, false) if data.kind != DataKind::Captioned => {
            (Source::labelled(data, classes).blame_input()?, None)
        }
        (None, false) => {
            return Err(Failure::input(
                "this model draws classes: `data.kind` must be one with labels, such as \"folder\" with a folder for each class",
            ));
        }
        (Some(_), false) => {
            return Err(Failure::input(
                "[condition] is for models that draw pixels or from texts: this one draws latents of classes",
            ));
        }
    })
}
