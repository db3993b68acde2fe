//! A single file as a folder.

use super::names::Names;
use super::{marks, read};
use crate::diffusers::part::Part;
use crate::diffusers::scheduler;
use crate::gguf;
use crate::model::RECIPE_FILE;
use crate::pickle::{self, Pickles};
use crate::pipeline::{Pipeline, part_tensors};
use crate::tensors::file::{self, Entries};
use crate::tensors::module;
use crate::tensors::raw::RawTensor;
use crate::{FormatError, write_atomically, write_json_atomically};
use fewstep_diffusion::SamplerRecipe;
use fewstep_nn::BackboneConfig;
use safetensors::tensor::TensorView;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

impl Pipeline {
    /// Writes a folder with the weights of one file instead of this model's, which must be of the
    /// same shape: a fine-tune next to its base. The tokenizer and all configurations are this
    /// model's, and so are the parts that the file lacks, whose folders are given back. A file of
    /// ours says how it is sampled, and then so does the folder; one of SDXL may be marked as
    /// predicting v.
    ///
    /// # Errors
    /// When the file cannot be read, or lacks the U-Net or a tensor of a part that it has, or the
    /// folder cannot be written.
    pub fn import_single(
        &self,
        file: &Path,
        pickles: Pickles,
        folder: &Path,
    ) -> Result<Vec<&'static str>, FormatError> {
        let bytes = gguf::in_safetensors(pickle::read_weights(file, pickles)?, file)?;
        let BackboneConfig::UNet(network) = &self.model.network.config();
        let names = Names::new(self, network)?;
        let mut like = vec![];
        for &part in names.parts() {
            let mut shapes = vec![];
            for bytes in part_tensors(self, part)? {
                let tensors = read(&bytes, self.folder())?.tensors().into_iter();
                shapes.extend(tensors.map(|(name, view)| (name, view.shape().to_vec())));
            }
            like.push((part, shapes));
        }
        let Found { files, absent } = parts_of(file, &bytes, &names, like)?;
        if absent.contains(&Part::UNet) {
            return Err(FormatError::NoUNet {
                origin: file.display().to_string(),
            });
        }
        self.components.copy_all_but_weights(folder)?;
        let stated = stated_recipe(&bytes, &file.display().to_string())?;
        let is_ours = stated.is_some();
        let sdxl = network.text_time.is_some();
        let marked = match sdxl && !is_ours {
            true => marks::read(&read(&bytes, file)?, &self.model.recipe),
            false => None,
        };
        if let Some(recipe) = stated.or(marked) {
            let scheduler_config = scheduler::write(&recipe);
            write_json_atomically(
                &folder.join("scheduler/scheduler_config.json"),
                &scheduler_config,
            )?;
            let place = folder.join(RECIPE_FILE);
            if is_ours || place.is_file() {
                write_json_atomically(&place, &recipe)?;
            }
        }
        let absent: Vec<_> = absent.into_iter().map(Part::folder).collect();
        for part in &absent {
            self.components.copy_weights(part, folder)?;
        }
        for (place, bytes) in files {
            write_atomically(&folder.join(place), &bytes)?;
        }
        Ok(absent)
    }
}

/// The sampler recipe in the metadata of a file of ours, without the control image, since a single
/// file has no ControlNet. `None` for files of other tools.
fn stated_recipe(bytes: &[u8], origin: &str) -> Result<Option<SamplerRecipe>, FormatError> {
    #[derive(Deserialize)]
    struct Stated {
        recipe: SamplerRecipe,
    }
    match module::read_description::<Stated>(bytes, origin) {
        Ok(Stated { recipe }) => Ok(Some(SamplerRecipe {
            control: None,
            ..recipe
        })),
        Err(FormatError::NoDescription { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Names and shapes of the tensors of a part.
pub(super) type Shapes = (Part, Vec<(String, Vec<usize>)>);

/// What a single file has of a model.
pub(super) struct Found {
    /// The weights of each part as the file that a folder has, and its place there.
    pub(super) files: Vec<(PathBuf, Vec<u8>)>,
    /// The parts of which it has nothing.
    pub(super) absent: Vec<Part>,
}

/// The weights of each part of a folder, of these names and shapes, out of a single file.
pub(super) fn parts_of(
    file: &Path,
    bytes: &[u8],
    names: &Names<'_>,
    like: Vec<Shapes>,
) -> Result<Found, FormatError> {
    let single = read(bytes, file)?;
    let found: HashMap<String, TensorView<'_>> = single.tensors().into_iter().collect();
    let mut parts: HashMap<PathBuf, BTreeMap<String, RawTensor<'_>>> = HashMap::new();
    let (mut problems, mut absent) = (vec![], vec![]);
    for (part, shapes) in like {
        let mut tensors = BTreeMap::new();
        let mut of_part = vec![];
        let beginnings = Names::beginnings(part);
        let of_it = |name: &&String| beginnings.iter().any(|start| name.starts_with(start));
        let mut is_there = found.keys().find(of_it).is_some();
        for (name, shape) in shapes {
            let Some(location) = names.locate(part, &name) else {
                continue;
            };
            let known = names.known_names(part, &name, &location);
            let Some(view) = known.iter().find_map(|name| found.get(name)) else {
                of_part.push(format!("`{}` is missing", location.name));
                continue;
            };
            is_there = true;
            let whole = RawTensor::from(view.clone());
            let tensor = match (location.convolution, location.qkv_chunk) {
                (true, _) => Some(whole.into_linear()),
                (false, None) if location.transposed => Some(whole.transposed()),
                (false, Some(chunk)) => whole.chunk(chunk, 3),
                (false, None) => Some(whole),
            };
            match tensor.filter(|tensor| tensor.shape() == shape) {
                Some(tensor) => drop(tensors.insert(name, tensor)),
                None => of_part.push(format!(
                    "`{}` is {:?} in the file, and does not hold `{name}` of {shape:?}",
                    location.name,
                    view.shape()
                )),
            }
        }
        match is_there {
            true => {
                problems.extend(of_part);
                parts.insert(part.weights_file(), tensors);
            }
            false => absent.push(part),
        }
    }
    if !problems.is_empty() {
        return Err(FormatError::Mismatch {
            origin: file.display().to_string(),
            problems,
        });
    }
    let broken = parts.values().flatten();
    let broken = broken.filter(|(_, tensor)| !tensor.is_finite());
    let names: Vec<String> = broken.map(|(name, _)| name.clone()).collect();
    if !names.is_empty() {
        return Err(FormatError::NotFinite {
            origin: file.display().to_string(),
            names,
        });
    }
    let entries = Entries::from([("format".into(), "pt".into())]);
    let parts = parts.into_iter();
    let parts = parts.map(|(place, tensors)| Ok((place, file::to_bytes(tensors, &entries)?)));
    let files = parts.collect::<Result<_, FormatError>>()?;
    Ok(Found { files, absent })
}
