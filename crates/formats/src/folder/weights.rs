//! Weights of one part of a folder, in one file or in several.

use crate::{FormatError, pickle};
use burn::store::burn_pack::Tensor as PackTensor;
use burn::store::{
    ApplyError, ChainAdapter, FloatCastAdapter, ModuleSnapshot, ModuleStore, PyTorchToBurnAdapter,
    SafetensorsStore,
};
use burn::tensor::DType;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// A part of a model that has weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// `unet/`.
    UNet,
    /// `vae/`.
    Autoencoder,
    /// `text_encoder/`.
    TextEncoder,
    /// `class_embedder/`.
    ClassEmbedder,
}

impl Part {
    /// Those of a model that draws from texts.
    pub(crate) const OF_TEXTS: [Self; 3] = [Self::UNet, Self::Autoencoder, Self::TextEncoder];

    /// The folder inside that of the model.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::UNet => "unet",
            Self::Autoencoder => "vae",
            Self::TextEncoder => "text_encoder",
            Self::ClassEmbedder => "class_embedder",
        }
    }

    /// The file name of the weights without its ending.
    fn stem(self) -> &'static str {
        match self {
            Self::UNet | Self::Autoencoder => "diffusion_pytorch_model",
            Self::TextEncoder | Self::ClassEmbedder => "model",
        }
    }

    /// Where the weights lie when they are in one file.
    pub(crate) fn weights_file(self) -> PathBuf {
        Path::new(self.folder()).join(format!("{}.safetensors", self.stem()))
    }

    /// From a name in a file to the one of today; `None` for what is no weight. Attention within an image has names of
    /// its own in old files; transformers before 5 has everything of a text encoder inside `text_model`, and stored
    /// the numbers of the positions. A BERT has a pooler that is not used, and names that are none in Rust.
    pub(crate) fn today(self, name: &str) -> Option<String> {
        match self {
            Self::ClassEmbedder => Some(name.into()),
            Self::UNet | Self::Autoencoder => {
                let names = [
                    (".query.", ".to_q."),
                    (".key.", ".to_k."),
                    (".value.", ".to_v."),
                    (".proj_attn.", ".to_out.0."),
                ];
                let renamed = names.iter().find(|(old, _)| name.contains(old));
                Some(renamed.map_or(name.into(), |(old, new)| name.replace(old, new)))
            }
            Self::TextEncoder => {
                let name = name.strip_prefix("text_model.").unwrap_or(name);
                let unused = name == "embeddings.position_ids" || name.starts_with("pooler.");
                let ours = || {
                    name.replace(".attention.self.", ".attention.own.")
                        .replace(".LayerNorm.", ".layer_norm.")
                };
                (!unused).then(ours)
            }
        }
    }
}

/// Reads the weights of the part in this folder into a network.
pub(crate) fn load(
    network: &mut impl ModuleSnapshot,
    folder: &Path,
    part: Part,
) -> Result<(), FormatError> {
    let mut tensors = vec![];
    for file in files(folder, part)? {
        for mut tensor in read(&file)? {
            if let Some(name) = part.today(&tensor.name) {
                tensor.name = name;
                tensors.push(tensor);
            }
        }
    }
    apply(network, tensors, &folder.display().to_string())
}

/// Puts tensors under PyTorch's names into a network, in f32. All must fit, and none may be missing.
pub(crate) fn apply(
    network: &mut impl ModuleSnapshot,
    tensors: Vec<PackTensor>,
    origin: &str,
) -> Result<(), FormatError> {
    let cast = FloatCastAdapter::to(DType::F32);
    let controlnet = ChainAdapter::new(PyTorchToBurnAdapter, cast);
    let result = network.apply(tensors, None, Some(Box::new(controlnet)), true);
    let missing: Vec<String> = result
        .missing
        .iter()
        .map(|(name, _)| pytorch(name))
        .collect();
    let absent = missing.iter().map(|name| {
        let hint = nearest(name, &result.unused)
            .map(|other| format!(" (the file has `{other}`)"))
            .unwrap_or_default();
        format!("`{name}` is missing{hint}")
    });
    let unused = result.unused.iter().map(|name| {
        let hint = nearest(name, &missing)
            .map(|other| format!(" (the network has `{other}`)"))
            .unwrap_or_default();
        format!("`{name}` is not part of it{hint}")
    });
    let wrong = result.errors.iter().map(in_words);
    let problems: Vec<String> = wrong.chain(absent).chain(unused).collect();
    match problems.is_empty() {
        true => Ok(()),
        false => Err(FormatError::Mismatch {
            origin: origin.into(),
            problems,
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

fn nearest<'a>(name: &str, others: &'a [String]) -> Option<&'a String> {
    let likeness = |other: &&String| strsim::normalized_levenshtein(name, other);
    let best = others
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) > 0.7).then_some(best)
}

/// The tensors of one safetensors file; their values are read when they are used.
fn read(file: &Path) -> Result<Vec<PackTensor>, FormatError> {
    let mut store = SafetensorsStore::from_file(file);
    let tensors = store.get_all_tensors();
    let tensors = tensors.map_err(|error| FormatError::NotSafetensors {
        origin: file.display().to_string(),
        reason: error.to_string(),
    })?;
    Ok(tensors.values().cloned().collect())
}

/// Endings of files that hold the same weights: the precise ones first.
const VARIANTS: [&str; 4] = ["", ".fp16", ".non_ema", ".bf16"];

/// Where weights lie.
pub(super) enum Place {
    /// In one file.
    Whole(String),
    /// In the files that an index names.
    Sharded(String),
}

/// Where a part's weights lie in a folder that has the files for which `there` says so.
///
/// # Errors
/// What would have been expected.
pub(super) fn place(part: Part, there: impl Fn(&str) -> bool) -> Result<Place, &'static str> {
    let stem = part.stem();
    for variant in VARIANTS {
        let whole = format!("{stem}{variant}.safetensors");
        if there(&whole) {
            return Ok(Place::Whole(whole));
        }
        for index in [
            format!("{stem}{variant}.safetensors.index.json"),
            format!("{stem}.safetensors.index{variant}.json"),
        ] {
            if there(&index) {
                return Ok(Place::Sharded(index));
            }
        }
    }
    Err(match pickled(part, there) {
        Some(_) => {
            "weights as .safetensors; a pickled file (.bin) can run code in other programs, so it is read by `fewstep import --allow-pickle` alone, which makes safetensors of it"
        }
        None => "weights as .safetensors, in one file or in parts with an index",
    })
}

/// The pickled file of a part's weights.
pub(super) fn pickled(part: Part, there: impl Fn(&str) -> bool) -> Option<String> {
    let names = pickle::ENDINGS.map(|ending| format!("{}.{ending}", part.stem()));
    let names = names.into_iter().chain(["pytorch_model.bin".into()]);
    names.into_iter().find(|name| there(name))
}

/// The files in a folder that hold a part's weights.
pub(crate) fn files(folder: &Path, part: Part) -> Result<Vec<PathBuf>, FormatError> {
    match place(part, |name| folder.join(name).is_file()) {
        Ok(Place::Whole(file)) => Ok(vec![folder.join(file)]),
        Ok(Place::Sharded(index)) => shards(folder, &folder.join(index)),
        Err(expected) => Err(FormatError::NoModel {
            path: folder.into(),
            expected,
        }),
    }
}

/// The files that an index names, which must be there.
fn shards(folder: &Path, index: &Path) -> Result<Vec<PathBuf>, FormatError> {
    let names = shard_names(index)?;
    for name in &names {
        if !folder.join(name).is_file() {
            return Err(bad_index(
                index,
                format!(
                    "it names the part `{name}`, which is not in the folder: copy or download it again"
                ),
            ));
        }
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// The names in an index, which are those of files beside it.
pub(super) fn shard_names(index: &Path) -> Result<BTreeSet<String>, FormatError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = std::fs::read_to_string(index).map_err(|source| FormatError::Read {
        path: index.into(),
        source,
    })?;
    let parsed: Result<Index, _> = serde_json::from_str(&text);
    let parsed = parsed.map_err(|error| bad_index(index, error.to_string()))?;
    let names: BTreeSet<String> = parsed.weight_map.into_values().collect();
    match names.iter().find(|name| !is_file_name(name)) {
        Some(name) => Err(bad_index(
            index,
            format!("it names the part `{name}`, which is not in the folder: a name alone is one"),
        )),
        None => Ok(names),
    }
}

fn is_file_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!(components.next(), Some(Component::Normal(_))) && components.next().is_none()
}

fn bad_index(index: &Path, reason: String) -> FormatError {
    FormatError::BadDescription {
        origin: index.display().to_string(),
        reason,
    }
}
