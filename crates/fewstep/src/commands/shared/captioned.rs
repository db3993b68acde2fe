//! Captioned or labelled images as training examples of a latent model.

use super::plan::check_encoding;
use super::run_folder::RunFolder;
use super::stored_set::{self, Remote};
use crate::builtin::in_memory;
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::output::cache_folder;
use crate::progress;
use crate::storage::path_here;
use burn::tensor::Device;
use fewstep_data::{
    Captioned, ConditionConfig, Conditions, DataConfig, DataKind, Examples, Latents, Source,
};
use fewstep_distill::{Copies, Encoding, World};
use fewstep_formats::PipelineComponents;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which examples a run needs.
pub(crate) struct Wanted<'a> {
    pub(crate) data: &'a DataConfig,
    pub(crate) condition: Option<&'a ConditionConfig>,
    pub(crate) components: &'a PipelineComponents,
    pub(crate) copies: Copies,
    /// Whether a model can be trained on such examples.
    pub(crate) fits: &'a dyn Fn(&Examples) -> CliResult,
    /// The folder of the run, none for a dry run.
    pub(crate) run: Option<&'a RunFolder>,
    pub(crate) device: &'a Device,
    pub(crate) world: &'a World,
    /// Whether nothing is to be encoded.
    pub(crate) planned: bool,
}

impl Wanted<'_> {
    /// Refuses examples that do not fit, or on which the run was not started.
    pub(super) fn check(&self, examples: &Examples) -> CliResult {
        (self.fits)(examples)?;
        let run = self.run;
        run.map_or(Ok(()), |folder| folder.check_examples(examples))
    }

    /// The folder of this machine with the latents.
    pub(super) fn folder(&self) -> CliResult<PathBuf> {
        match self.data.cache.as_deref() {
            Some(place) => match (path_here(Path::new(place))?, path_here(&self.data.path)?) {
                (Some(folder), _) => Ok(folder),
                (None, None) => Ok(user_folder()),
                (None, Some(_)) => Err(CliError::input(format!(
                    "data.cache = {place}: the latents of images on this machine are in a folder"
                ))),
            },
            None => Ok(user_folder()),
        }
    }
}

fn user_folder() -> PathBuf {
    cache_folder().unwrap_or_else(std::env::temp_dir)
}

/// The latents and prompt embeddings of the data, and what its control images are made from: from
/// the user's cache folder, else encoded now. The check sees first what they will be.
pub(crate) fn examples(wanted: &Wanted) -> CliResult<Examples> {
    match path_here(&wanted.data.path)? {
        // One rank encodes what the others then find in the cache.
        Some(path) => wanted
            .world
            .first_at_rank_0(|| of_this_machine(wanted, path))?,
        None => stored_set::examples(wanted, &Remote::open(wanted)?),
    }
}

fn of_this_machine(wanted: &Wanted, path: PathBuf) -> CliResult<Examples> {
    let Wanted {
        condition,
        components,
        copies,
        device,
        ..
    } = *wanted;
    let folder = wanted.folder()?;
    let data = DataConfig {
        path,
        ..in_memory(wanted.data)
    };
    let (source, conditions) = source(&data, (condition, copies), components, &folder)?;
    let found = Encoding::find(&source, components, copies, &folder, device);
    let encoding = found.input_error()?;
    let examples = images(&encoding, conditions.clone());
    wanted.check(&examples)?;
    if wanted.planned && encoding.bytes().is_some() {
        return Ok(examples);
    }
    match encoding.bytes() {
        Some(_) => tracing::debug!("latents go to {}", folder.display()),
        None => tracing::debug!("latents are in {} already", folder.display()),
    }
    Ok(Examples::Latents {
        latents: Arc::new(encode(encoding, device)?),
        conditions,
    })
}

/// What the latents will be.
pub(super) fn images(encoding: &Encoding, conditions: Option<Arc<Conditions>>) -> Examples {
    Examples::Planned {
        header: encoding.header().clone(),
        conditions,
        bytes: encoding.bytes().unwrap_or_default(),
    }
}

/// The latents, made now if they are not there.
pub(super) fn encode(encoding: Encoding, device: &Device) -> CliResult<Latents> {
    check_encoding(device, encoding.bytes().unwrap_or(0))?;
    let bar = progress::bar("encoding", 0, "images");
    let mut progress = |done: usize, total: usize| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let latents = encoding.latents(&mut progress);
    bar.finish_and_clear();
    latents.input_error()
}

/// The images with their captions or classes, and what makes their control images.
fn source(
    data: &DataConfig,
    (condition, copies): (Option<&ConditionConfig>, Copies),
    components: &PipelineComponents,
    folder: &Path,
) -> CliResult<(Source, Option<Arc<Conditions>>)> {
    let classes = components.classes().input_error()?;
    check_kind(data, &classes)?;
    Ok(match (condition, classes.is_empty()) {
        (None, true) => {
            let captioned = Captioned::open(data).input_error()?;
            (Source::Captioned(Box::new(captioned)), None)
        }
        (Some(rule), true) => {
            let captioned = Captioned::paired(data, rule.given()).input_error()?;
            // What a network sees next to its latents is encoded with these.
            let conditions = match copies.has_sources() {
                true => None,
                false => Some(Conditions::of_captioned(rule, &captioned, folder).input_error()?),
            };
            (
                Source::Captioned(Box::new(captioned)),
                conditions.map(Arc::new),
            )
        }
        (None, false) => (Source::labelled(data, &classes).input_error()?, None),
        (Some(_), false) => {
            return Err(CliError::input(
                "[condition] is for pixel models and for models that generate from prompts: this is a latent model of classes",
            ));
        }
    })
}

/// Refuses captions for a model of classes. Sets without captions are refused when they are opened.
pub(super) fn check_kind(data: &DataConfig, classes: &[String]) -> CliResult {
    match data.kind {
        DataKind::Captioned if !classes.is_empty() => Err(CliError::input(
            "this model generates classes: `data.kind` must be one with labels, such as \"folder\" with a folder for each class",
        )),
        _ => Ok(()),
    }
}
