//! Measurements in shards: the features of each shard in a file, and the metrics of all of them.

use super::inputs::{EvalInputs, InputKind};
use super::pairs::PairValues;
use super::real::Real;
use super::results::{Row, Setting};
use super::rows::{print_rows, write_rows};
use super::table;
use crate::commands::shared::measure::{Measured, metrics_error};
use crate::commands::shared::shard::{Shard, check_whole};
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::storage::Storage;
use fewstep_metrics::{FeatureId, Features, Probabilities, Statistics};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// The metadata of a shard's file.
const KEY: &str = "fewstep.shard";

/// What a shard's file says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Header {
    shard: Shard,
    set: Set,
    seconds_per_image: Vec<f64>,
}

/// What is the same in all shards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Set {
    count: usize,
    rows: Vec<Setting>,
    inputs: InputKind,
    features: FeatureId,
    reference: String,
    reference_samples: usize,
}

/// The arrays of a file, by name.
struct Arrays(Vec<(String, Dtype, Vec<usize>, Vec<u8>)>);

impl Arrays {
    fn floats(&mut self, name: &str, columns: usize, values: &[f32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        let shape = vec![values.len() / columns.max(1), columns];
        self.0
            .push((name.into(), Dtype::F32, shape, bytes.collect()));
    }

    fn doubles(&mut self, name: &str, values: &[f64]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        let entry = (name.into(), Dtype::F64, vec![values.len()], bytes.collect());
        self.0.push(entry);
    }

    fn features(&mut self, name: &str, features: &Features) {
        self.floats(name, features.dim, &features.values);
        if let Some(of) = &features.probabilities {
            self.floats(&format!("{name}.probabilities"), of.classes, &of.values);
        }
    }
}

/// Writes what was measured on a shard; the first one also has what all are measured against.
/// Returns the file, for messages.
pub(super) fn write(
    shard: Shard,
    rows: &[(Setting, Measured, Option<PairValues>)],
    (real, inputs): (&Real, &EvalInputs),
    features: &FeatureId,
    place: &Storage,
) -> CliResult<String> {
    let header = Header {
        shard,
        set: Set {
            count: inputs.len(),
            rows: rows.iter().map(|(setting, ..)| setting.clone()).collect(),
            inputs: inputs.kind(),
            features: features.clone(),
            reference: real.source.clone(),
            reference_samples: real.statistics.count,
        },
        seconds_per_image: rows.iter().map(|row| row.1.seconds_per_image).collect(),
    };
    let mut arrays = Arrays(vec![]);
    for (index, (_, measured, values)) in rows.iter().enumerate() {
        arrays.features(&format!("row.{index}"), &measured.features);
        if let Some(values) = values {
            for (name, values) in named(values) {
                arrays.doubles(&format!("row.{index}.{name}"), values);
            }
        }
    }
    if shard.index == 0 {
        arrays.doubles("real.mean", &real.statistics.mean);
        arrays.doubles("real.covariance", &real.statistics.covariance);
        if let Some(features) = &real.features {
            arrays.features("real", features);
        }
    }
    let views = arrays.0.iter().map(|(name, dtype, shape, bytes)| {
        let view = TensorView::new(*dtype, shape.clone(), bytes);
        (
            name.as_str(),
            view.expect("as many bytes as its shape says"),
        )
    });
    let metadata = HashMap::from([(KEY.into(), serde_json::json!(header).to_string())]);
    let bytes = safetensors::serialize(views, Some(metadata)).work_error()?;
    let name = shard.file("safetensors");
    place.put(&name, bytes)?;
    Ok(place.shown(&name))
}

fn named(values: &PairValues) -> [(&'static str, &Vec<f64>); 3] {
    [
        ("psnr", &values.psnr),
        ("ssim", &values.ssim),
        ("lpips", &values.lpips),
    ]
}

/// A shard's file.
pub(in super::super) struct MeasuredShard<'a> {
    header: Header,
    place: &'a Storage,
    name: String,
}

impl<'a> MeasuredShard<'a> {
    /// All shards in these places.
    pub(in super::super) fn find(places: &'a [Storage]) -> CliResult<Vec<Self>> {
        let mut found = vec![];
        for place in places {
            for name in place.list("shard-", ".safetensors")? {
                let header = read(place, &name, |_, header| Ok(header))?;
                found.push(Self {
                    header,
                    place,
                    name,
                });
            }
        }
        Ok(found)
    }

    fn file(&self) -> String {
        self.place.shown(&self.name)
    }
}

/// Reads a shard's file.
fn read<T>(
    place: &Storage,
    name: &str,
    take: impl FnOnce(&File<'_>, Header) -> CliResult<T>,
) -> CliResult<T> {
    let origin = place.shown(name);
    let foreign = |reason: String| {
        CliError::input(format!(
            "{origin} is no shard of `fewstep eval`, or damaged: {reason}. Run the shard again"
        ))
    };
    let bytes = place.get(name)?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| foreign(e.to_string()))?;
    let header = metadata.metadata().as_ref().and_then(|map| map.get(KEY));
    let header = header.ok_or_else(|| foreign("it does not say what it is".into()))?;
    let header = serde_json::from_str(header).map_err(|e| foreign(e.to_string()))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| foreign(e.to_string()))?;
    let file = File {
        origin: &origin,
        tensors,
    };
    take(&file, header)
}

/// The arrays of a shard's file.
struct File<'a> {
    origin: &'a str,
    tensors: SafeTensors<'a>,
}

impl File<'_> {
    fn array(&self, name: &str, dtype: Dtype) -> CliResult<(Vec<usize>, &[u8])> {
        let view = self.tensors.tensor(name).ok();
        let view = view.filter(|view| view.dtype() == dtype && !view.shape().is_empty());
        match view {
            Some(view) => Ok((view.shape().to_vec(), view.data())),
            None => Err(CliError::input(format!(
                "{} is damaged: it has no `{name}`. Run the shard again",
                self.origin
            ))),
        }
    }

    fn floats(&self, name: &str) -> CliResult<(usize, Vec<f32>)> {
        let (shape, bytes) = self.array(name, Dtype::F32)?;
        let words = bytes.as_chunks::<4>().0.iter();
        let values = words.map(|word| f32::from_le_bytes(*word)).collect();
        Ok((shape[shape.len() - 1], values))
    }

    fn doubles(&self, name: &str) -> CliResult<Vec<f64>> {
        let (_, bytes) = self.array(name, Dtype::F64)?;
        let words = bytes.as_chunks::<8>().0.iter();
        Ok(words.map(|word| f64::from_le_bytes(*word)).collect())
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.tensor(name).is_ok()
    }

    fn features(&self, name: &str) -> CliResult<Features> {
        let (dim, values) = self.floats(name)?;
        let mut features = Features::new(dim, values).map_err(metrics_error)?;
        let probabilities = format!("{name}.probabilities");
        if self.has(&probabilities) {
            let (classes, values) = self.floats(&probabilities)?;
            let probabilities = Probabilities::new(classes, values).map_err(metrics_error)?;
            features.probabilities = Some(probabilities);
        }
        Ok(features)
    }

    /// What all shards are measured against.
    fn real(&self, set: &Set) -> CliResult<Real> {
        let statistics = Statistics {
            count: set.reference_samples,
            mean: self.doubles("real.mean")?,
            covariance: self.doubles("real.covariance")?,
        };
        Ok(Real {
            features: match self.has("real") {
                true => Some(self.features("real")?),
                false => None,
            },
            statistics,
            source: set.reference.clone(),
            class_counts: None,
        })
    }

    /// Features of a row, and how near its images are to the originals.
    fn row(&self, index: usize, inputs: &InputKind) -> CliResult<(Features, Option<PairValues>)> {
        let of = |name: &str| self.doubles(&format!("row.{index}.{name}"));
        let values = match inputs {
            InputKind::Pairs(_) => Some(PairValues {
                psnr: of("psnr")?,
                ssim: of("ssim")?,
                lpips: of("lpips")?,
            }),
            InputKind::Classes | InputKind::Prompts => None,
        };
        Ok((self.features(&format!("row.{index}"))?, values))
    }
}

/// Checks that shards make one measurement, and computes its metrics: from the features of all
/// images in their order, so that they are those of one process.
pub(in super::super) fn merge(
    mut shards: Vec<MeasuredShard<'_>>,
    json: bool,
    out: Option<&Path>,
) -> CliResult {
    shards.sort_by_key(|shard| shard.header.shard.index);
    let files = shards.iter().map(|s| (s.header.shard, s.file()));
    check_whole(&files.collect::<Vec<_>>())?;
    let first = &shards[0];
    let set = &first.header.set;
    for shard in &shards {
        if let Some(what) = set.difference(&shard.header.set) {
            return Err(CliError::input(format!(
                "{} is of another measurement than {}: {what} differ. Run the shards of one with the same flags",
                shard.file(),
                first.file()
            )));
        }
    }
    let real = read(first.place, &first.name, |file, _| file.real(set))?;
    let mut rows = vec![];
    for (index, setting) in set.rows.iter().enumerate() {
        let (mut features, mut values) = (Features::empty(real.statistics.dim()), None);
        let mut seconds = 0.0;
        for shard in &shards {
            let (some, of_pairs) = read(shard.place, &shard.name, |file, _| {
                file.row(index, &set.inputs)
            })?;
            let expected = shard.header.shard.share(set.count).len();
            if some.count() != expected {
                return Err(CliError::input(format!(
                    "{} is damaged: it has features of {} images, and the shard has {expected}. Run the shard again",
                    shard.file(),
                    some.count()
                )));
            }
            let each = shard.header.seconds_per_image.get(index);
            seconds += each.unwrap_or(&0.0) * expected as f64;
            features.append(some).map_err(metrics_error)?;
            if let Some(more) = of_pairs {
                values.get_or_insert_with(PairValues::default).append(more);
            }
        }
        let measured = Measured {
            features,
            seconds_per_image: seconds / set.count.max(1) as f64,
        };
        let (setting, kind) = (setting.clone(), &set.inputs);
        rows.push(Row::new(
            setting,
            &measured,
            values,
            kind,
            &real,
            &set.features,
        )?);
    }
    if let Some(file) = out {
        write_rows(file, &rows)?;
    }
    print_rows(json, &rows, || {
        table::of_model(&rows, &set.inputs, &real, &set.features)
    })
}

impl Set {
    /// What of two sets is different.
    fn difference(&self, other: &Self) -> Option<&'static str> {
        let different = [
            (self.count != other.count, "the numbers of images"),
            (
                self.rows != other.rows,
                "the models or how they are sampled",
            ),
            (
                self.inputs != other.inputs,
                "what the images are generated from",
            ),
            (self.features != other.features, "the feature networks"),
            (
                (&self.reference, self.reference_samples)
                    != (&other.reference, other.reference_samples),
                "the real images",
            ),
        ];
        different.iter().find(|(is, _)| *is).map(|(_, what)| *what)
    }
}
