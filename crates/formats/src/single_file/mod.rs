//! A whole model in one safetensors file, under the names of the first latent diffusion code: what
//! the web interfaces and stable-diffusion.cpp read. And its U-Net as GGUF.

mod classes;
mod import;
pub(crate) mod marks;
pub(crate) mod names;

use crate::diffusers::part::Part;
use crate::gguf::{self, GgufPrecision};
use crate::pipeline::{Pipeline, part_tensors};
use crate::tensors::eight_bits;
use crate::tensors::file::{self, Entries};
use crate::tensors::precision::in_precision;
use crate::tensors::raw::RawTensor;
use crate::{
    FilePrecision, FormatError, Model, WeightPrecision, write_atomically, write_atomically_with,
};
use fewstep_diffusion::PredictionKind;
use fewstep_nn::{BackboneConfig, ExtraInput};
use names::{Names, OPEN_CLIP_LAYERS, UNetNames};
use safetensors::tensor::SafeTensors;
use std::collections::BTreeMap;
use std::path::Path;

impl Pipeline {
    /// Writes one file with another U-Net instead of this model's, and this model's autoencoder and
    /// text encoder, bit for bit unless a precision is given. The sampler recipe is in its metadata,
    /// with the fields of ModelSpec. Gives the names of the tensors in f32 because a value of theirs
    /// is too large for the precision.
    ///
    /// # Errors
    /// When the model has an input for w, which readers of these files ignore; when its parts have
    /// no form in a single file; when the file cannot be written.
    pub fn save_single(
        &self,
        model: &Model,
        precision: Option<WeightPrecision>,
        file: &Path,
    ) -> Result<Vec<String>, FormatError> {
        let BackboneConfig::UNet(network) = &model.network.config();
        let names = Names::new(self, network)?;
        let sources = self.sources(model, &names)?;
        let tensors = self.whole(model, &names, &sources)?;
        let (tensors, too_large) = match precision {
            Some(precision) => in_precision(tensors, precision),
            None => (tensors, vec![]),
        };
        let metadata = self.metadata(model)?;
        write_atomically_with(file, |out| file::write(tensors, &metadata, out))?;
        Ok(too_large)
    }

    /// The bytes of a file, or of several, for each part of a whole model.
    fn sources(&self, model: &Model, names: &Names<'_>) -> Result<Sources, FormatError> {
        let unet = model.to_bytes(FilePrecision::Full)?;
        let mut sources = vec![(Part::UNet, vec![unet])];
        for &part in &names.parts()[1..] {
            sources.push((part, part_tensors(self, part)?));
        }
        Ok(sources)
    }

    /// All tensors of a whole model, under their names in a single file.
    fn whole<'a>(
        &self,
        model: &Model,
        names: &Names<'_>,
        sources: &'a Sources,
    ) -> Result<BTreeMap<String, RawTensor<'a>>, FormatError> {
        // Several tensors of a folder may be one here.
        let mut pieces: BTreeMap<String, BTreeMap<usize, RawTensor>> = BTreeMap::new();
        for (part, files) in sources {
            for bytes in files {
                for (name, view) in read(bytes, self.folder())?.tensors() {
                    let Some(location) = names.locate(*part, &name) else {
                        continue;
                    };
                    let tensor = RawTensor::from(view);
                    let tensor = match (location.convolution, location.transposed) {
                        (true, _) => tensor.into_convolution(),
                        (_, true) => tensor.transposed(),
                        _ => tensor,
                    };
                    let all = pieces.entry(location.name).or_default();
                    all.insert(location.qkv_chunk.unwrap_or(0), tensor);
                }
            }
        }
        let mut tensors = BTreeMap::new();
        for (name, parts) in pieces {
            let whole = RawTensor::stacked(parts.into_values().collect()).ok_or_else(|| {
                let reason = format!("its parts of `{name}` differ in precision or shape");
                bad(self.folder(), reason)
            })?;
            // Readers have a tokenizer of their own, and a table of its size.
            let known = self.text_encoder.vocabulary_without_added();
            let whole = match known.filter(|_| name.ends_with("token_embedding.weight")) {
                Some(known) => whole.first_rows(known),
                None => whole,
            };
            tensors.insert(name, whole);
        }
        add_unused_layer(&mut tensors);
        if model.network.config().pooled_width().is_some() {
            marks::add(&mut tensors, &model.recipe);
        }
        Ok(tensors)
    }

    /// Writes a U-Net as GGUF, as stable-diffusion.cpp (`--diffusion-model`) and ComfyUI-GGUF read
    /// it: without the prefix that its tensors have in a file of the whole model. The sampler
    /// recipe is among the entries. Gives the names of the tensors in f32 because a value of theirs
    /// is too large for the precision.
    ///
    /// # Errors
    /// As [`Pipeline::save_single`].
    pub fn save_gguf(
        &self,
        model: &Model,
        precision: GgufPrecision,
        file: &Path,
    ) -> Result<Vec<String>, FormatError> {
        let BackboneConfig::UNet(network) = &model.network.config();
        let names = UNetNames::new(network, self.folder())?;
        let bytes = model.to_bytes(FilePrecision::Full)?;
        let tensors = read(&bytes, self.folder())?.tensors().into_iter();
        let tensors = tensors.map(|(name, view)| (names.of(&name), RawTensor::from(view)));
        self.write_gguf(model, &tensors.collect(), &|_| precision, precision, file)
    }

    /// Writes a whole model as GGUF, under the names of a single file, as stable-diffusion.cpp
    /// reads it (`-m`). Gives what [`Pipeline::save_gguf`] does. Bytes with a scale are for the
    /// U-Net only; the other parts are in 16-bit floats then.
    ///
    /// # Errors
    /// As [`Pipeline::save_single`].
    pub fn save_whole_gguf(
        &self,
        model: &Model,
        precision: GgufPrecision,
        file: &Path,
    ) -> Result<Vec<String>, FormatError> {
        let BackboneConfig::UNet(network) = &model.network.config();
        let names = Names::new(self, network)?;
        let sources = self.sources(model, &names)?;
        let mut tensors = self.whole(model, &names, &sources)?;
        tensors.retain(|_, tensor| tensor.is_float());
        let of = |name: &str| match precision {
            GgufPrecision::Q8 if !name.starts_with(UNET_PREFIX) => GgufPrecision::F16,
            precision => precision,
        };
        self.write_gguf(model, &tensors, &of, precision, file)
    }

    fn write_gguf(
        &self,
        model: &Model,
        tensors: &BTreeMap<String, RawTensor<'_>>,
        of: &dyn Fn(&str) -> GgufPrecision,
        most: GgufPrecision,
        file: &Path,
    ) -> Result<Vec<String>, FormatError> {
        let metadata = self.metadata(model)?;
        let texts = metadata.into_iter().map(|(k, v)| (k, gguf::Entry::Text(v)));
        let BackboneConfig::UNet(network) = &model.network.config();
        let sdxl = network.text_time.is_some();
        let architecture = gguf::Entry::Text(if sdxl { "sdxl" } else { "sd1" }.into());
        let more = [
            // ComfyUI-GGUF has one name for U-Nets of Stable Diffusion 1 and 2; shapes tell them
            // apart.
            ("general.architecture", architecture),
            ("general.file_type", gguf::Entry::Number(most.file_type())),
            ("general.quantization_version", gguf::Entry::Number(2)),
        ];
        let more = more
            .into_iter()
            .map(|(key, entry)| (key.to_string(), entry));
        let entries = texts.chain(more).collect();
        let (bytes, too_large) = gguf::to_bytes(&entries, tensors, of);
        write_atomically(file, &bytes)?;
        Ok(too_large)
    }

    /// The sampler recipe of a U-Net in this model, and the fields of ModelSpec.
    fn metadata(&self, model: &Model) -> Result<Entries, FormatError> {
        let recipe = &model.recipe;
        let BackboneConfig::UNet(config) = &model.network.config();
        let [_, height, width] = recipe.resolution.map(|side| side * self.vae.factor());
        let velocity = recipe.prediction == PredictionKind::V;
        let architecture = match (config.text.is_some_and(|text| text.linear), velocity) {
            _ if !recipe.classes.is_empty() => "latent-diffusion/class-conditional",
            _ if config.text_time.is_some() => SDXL,
            (false, _) => "stable-diffusion-v1",
            (true, false) => "stable-diffusion-v2-512",
            (true, true) => "stable-diffusion-v2-768-v",
        };
        let extra = match config.extra_input() {
            None => "",
            Some(ExtraInput::MaskedImage) => "/inpainting",
            Some(ExtraInput::SourceImage) => "/instruct-pix2pix",
        };
        let fields = [
            ("fewstep", model.description()?),
            ("modelspec.sai_model_spec", "1.0.0".into()),
            ("modelspec.architecture", format!("{architecture}{extra}")),
            (
                "modelspec.implementation",
                match config.text_time {
                    Some(_) => "https://github.com/Stability-AI/generative-models",
                    None => "https://github.com/CompVis/latent-diffusion",
                }
                .into(),
            ),
            ("modelspec.title", recipe.provenance.method.clone()),
            ("modelspec.resolution", format!("{width}x{height}")),
            (
                "modelspec.prediction_type",
                if velocity { "v" } else { "epsilon" }.into(),
            ),
        ];
        Ok(fields.map(|(name, value)| (name.to_string(), value)).into())
    }
}

/// ModelSpec's name of the architecture of SDXL.
pub(crate) const SDXL: &str = "stable-diffusion-xl-v1-base";

/// Stable Diffusion 2 uses all layers of its text encoder except the last, and folders omit that
/// one. Readers such as stable-diffusion.cpp need it in the file nevertheless. Here it is zeros,
/// and a layer of zeros passes on its input.
fn add_unused_layer(tensors: &mut BTreeMap<String, RawTensor<'_>>) {
    let layer = |name: &str| {
        let (number, rest) = name.strip_prefix(OPEN_CLIP_LAYERS)?.split_once('.')?;
        Some((number.parse::<usize>().ok()?, rest.to_string()))
    };
    let last = tensors.keys().filter_map(|name| layer(name)).max();
    let Some((last, _)) = last else { return };
    let zeros = tensors.iter().filter_map(|(name, tensor)| {
        let (number, rest) = layer(name)?;
        let name = format!("{OPEN_CLIP_LAYERS}{}.{rest}", last + 1);
        (number == last).then(|| (name, tensor.zeros()))
    });
    let zeros: Vec<_> = zeros.collect();
    tensors.extend(zeros);
}

/// The bytes of the files of each part.
type Sources = Vec<(Part, Vec<Vec<u8>>)>;

/// What the names of a U-Net's tensors start with in a file of the whole model.
const UNET_PREFIX: &str = "model.diffusion_model.";

fn read<'a>(bytes: &'a [u8], origin: &Path) -> Result<SafeTensors<'a>, FormatError> {
    let origin = || origin.display().to_string();
    let file = SafeTensors::deserialize(bytes).map_err(|error| FormatError::NotSafetensors {
        origin: origin(),
        reason: error.to_string(),
    })?;
    eight_bits::refuse(&file, origin)?;
    Ok(file)
}

fn bad(file: &Path, reason: String) -> FormatError {
    FormatError::BadDescription {
        origin: file.display().to_string(),
        reason,
    }
}
