//! Captioned or labelled images as training examples of a latent model.

use super::plan::check_encoding;
use crate::builtin::in_memory;
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::output::cache_folder;
use crate::progress;
use burn::tensor::Device;
use fewstep_data::{
    Captioned, ConditionConfig, Conditions, DataConfig, DataKind, Examples, Source,
};
use fewstep_distill::{Copies, Encoding};
use fewstep_formats::PipelineComponents;
use std::path::Path;
use std::sync::Arc;

/// The latents and prompt embeddings of the data, and what its control images are made from: from
/// the user's cache folder, else encoded now. `check` sees first what they will be. With `planned`,
/// nothing is encoded.
pub(crate) fn examples(
    data: &DataConfig,
    condition: Option<&ConditionConfig>,
    components: &PipelineComponents,
    copies: Copies,
    check: &dyn Fn(&Examples) -> CliResult,
    device: &Device,
    planned: bool,
) -> CliResult<Examples> {
    let folder = cache_folder().unwrap_or_else(std::env::temp_dir);
    let (source, conditions) = source(&in_memory(data), condition, components, &folder)?;
    let found = Encoding::find(&source, components, copies, &folder, device);
    let encoding = found.input_error()?;
    let examples = Examples::Planned {
        header: encoding.header().clone(),
        conditions: conditions.clone(),
        bytes: encoding.bytes().unwrap_or_default(),
    };
    check(&examples)?;
    if planned && encoding.bytes().is_some() {
        return Ok(examples);
    }
    match encoding.bytes() {
        Some(_) => tracing::debug!("latents go to {}", folder.display()),
        None => tracing::debug!("latents are in {} already", folder.display()),
    }
    check_encoding(device, encoding.bytes().unwrap_or(0))?;
    let bar = progress::bar("encoding", 0, "images");
    let mut progress = |done: usize, total: usize| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let latents = encoding.latents(&mut progress);
    bar.finish_and_clear();
    Ok(Examples::Latents {
        latents: Arc::new(latents.input_error()?),
        conditions,
    })
}

/// The images with their captions or classes, and what makes their control images.
fn source(
    data: &DataConfig,
    condition: Option<&ConditionConfig>,
    components: &PipelineComponents,
    folder: &Path,
) -> CliResult<(Source, Option<Arc<Conditions>>)> {
    let classes = components.classes().input_error()?;
    Ok(match (condition, classes.is_empty()) {
        (None, true) => {
            let captioned = Captioned::open(data).input_error()?;
            (Source::Captioned(Box::new(captioned)), None)
        }
        (Some(rule), true) => {
            let captioned = Captioned::paired(data, rule.given()).input_error()?;
            let conditions = Conditions::of_captioned(rule, &captioned, folder).input_error()?;
            (
                Source::Captioned(Box::new(captioned)),
                Some(Arc::new(conditions)),
            )
        }
        (None, false) if data.kind != DataKind::Captioned => {
            (Source::labelled(data, &classes).input_error()?, None)
        }
        (None, false) => {
            return Err(CliError::input(
                "this model generates classes: `data.kind` must be one with labels, such as \"folder\" with a folder for each class",
            ));
        }
        (Some(_), false) => {
            return Err(CliError::input(
                "[condition] is for pixel models and for models that generate from prompts: this is a latent model of classes",
            ));
        }
    })
}
