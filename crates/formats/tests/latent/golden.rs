//! The stored models and numbers.

use burn::tensor::{Device, Tensor, TensorData};
use fewstep_diffusion::ScheduleConfig;
use fewstep_formats::Pipeline;
use std::path::{Path, PathBuf};

/// One of the folders that the script wrote.
pub(crate) struct Golden {
    folder: PathBuf,
    numbers: Vec<u8>,
    clean_end: bool,
}

impl Golden {
    pub(crate) fn new(name: &str) -> Self {
        Self::inside("latent", name)
    }

    /// One of those of pixel models.
    pub(crate) fn pixel(name: &str) -> Self {
        Self::inside("pixel", name)
    }

    fn inside(kind: &str, name: &str) -> Self {
        let all = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
        let all = Path::new(all).join(kind);
        let folder = all.join(name);
        let numbers = std::fs::read(folder.join("golden.safetensors"));
        Self {
            folder,
            numbers: numbers.expect("the golden file is committed"),
            clean_end: false,
        }
    }

    /// The same with a schedule that ends at a clean image.
    pub(crate) fn ending_clean(self) -> Self {
        Self {
            clean_end: true,
            ..self
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn pipeline(&self) -> Pipeline {
        let mut pipeline = Pipeline::load(&self.folder, &Device::flex()).expect("a whole model");
        if let ScheduleConfig::Discrete { clean_end, .. } = &mut pipeline.model.recipe.schedule {
            *clean_end |= self.clean_end;
        }
        pipeline
    }

    /// The tokens of the stored prompts.
    pub(crate) fn tokens(&self) -> Vec<Vec<u32>> {
        let tokens = self.texts()["tokens"].clone();
        serde_json::from_value(tokens).expect("lists of numbers")
    }

    /// Stored prompts, with their tokens.
    pub(crate) fn texts(&self) -> serde_json::Value {
        let text = std::fs::read(self.folder.join("golden.json")).expect("a committed file");
        serde_json::from_slice(&text).expect("JSON")
    }

    pub(crate) fn values(&self, name: &str) -> Vec<f32> {
        let (_, values) = self.read(name);
        values
    }

    pub(crate) fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        let (shape, values) = self.read(name);
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    fn read(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let file = safetensors::SafeTensors::deserialize(&self.numbers).expect("safetensors");
        let tensor = file.tensor(name).expect("a stored tensor");
        let bytes = tensor.data().chunks_exact(4);
        let values = bytes.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        (tensor.shape().to_vec(), values.collect())
    }

    /// Whether ours is the stored tensor to 1e-4 of its largest value.
    pub(crate) fn assert_equal<const D: usize>(&self, name: &str, ours: Tensor<D>) {
        let (shape, theirs) = self.read(name);
        assert_eq!(ours.dims().to_vec(), shape, "{name}");
        let ours = ours.into_data().try_to_vec::<f32>().expect("f32 data");
        assert_close(name, &ours, &theirs);
    }
}

/// Whether all values are the same to 1e-4 of the largest.
pub(crate) fn assert_close(name: &str, ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len(), "{name}");
    let scale = theirs.iter().fold(0f32, |max, v| max.max(v.abs()));
    for (index, (a, b)) in ours.iter().zip(theirs).enumerate() {
        let error = (a - b).abs() / scale;
        assert!(error < 1e-4, "{name}, value {index}: {a} for {b}");
    }
}
