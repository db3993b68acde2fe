//! What is embedded in the program besides models: a sample of real images, and the classifier to
//! measure with.

use crate::error::{CliResult, IntoCliResult};
use crate::memory;
use crate::remote::copied;
use crate::report::Row;
use crate::storage::path_here;
use burn::tensor::Device;
use fewstep_data::{DataConfig, Dataset, FASHION_MNIST_CLASSES, parse_idx};
use fewstep_metrics::{Reference, SmallClassifier};

/// The bytes of a file of the `assets` folder.
macro_rules! asset {
    ($file:literal) => {
        include_bytes!(concat!("../../../assets/", $file))
    };
}

/// Results of the embedded teacher, in the format of `results.json`.
const TEACHER_ROWS: &str = include_str!("../../../assets/fashion-mnist-teacher.results.json");

/// The `data.path` that stands for the embedded sample.
const SAMPLE: &str = "builtin:fashion-mnist-sample";
const SAMPLE_IMAGES: &[u8] = asset!("fashion-mnist-sample-images-idx3-ubyte.gz");
const SAMPLE_LABELS: &[u8] = asset!("fashion-mnist-sample-labels-idx1-ubyte.gz");

const CLASSIFIER: &[u8] = asset!("fashion-mnist-classifier.safetensors");
const CLASSIFIER_REFERENCE: &[u8] = asset!("fashion-mnist-classifier-train.safetensors");

/// Whether a recipe names the embedded sample.
pub(crate) fn is_sample(config: &DataConfig) -> bool {
    config.path.as_os_str() == SAMPLE
}

/// The dataset that a recipe names: the embedded sample, or files. Those in object storage are copied
/// to this machine until they are read.
pub(crate) fn load_data(config: &DataConfig) -> CliResult<Dataset> {
    if !is_sample(config) {
        return match path_here(&config.path)? {
            Some(path) => {
                let here = DataConfig {
                    path,
                    ..in_memory(config)
                };
                fewstep_data::load(&here).input_error()
            }
            None => {
                let (_folder, here) = copied(config)?;
                let mut dataset = fewstep_data::load(&in_memory(&here)).input_error()?;
                dataset.name = config.path.display().to_string();
                Ok(dataset)
            }
        };
    }
    let names = FASHION_MNIST_CLASSES.map(String::from);
    let sample = parse_idx(SAMPLE_IMAGES, Some(SAMPLE_LABELS), SAMPLE).work_error()?;
    let sample = sample.with_class_names(&names).work_error()?;
    fewstep_data::fit(sample, &in_memory(config)).input_error()
}

/// The same data, whose images must fit into the memory of this machine.
pub(crate) fn in_memory(config: &DataConfig) -> DataConfig {
    DataConfig {
        max_bytes: memory::limit(),
        ..config.clone()
    }
}

/// The classifier of grey 32x32 images whose features the metrics use.
pub(crate) fn classifier(device: &Device) -> CliResult<SmallClassifier> {
    SmallClassifier::from_bytes(CLASSIFIER, device).work_error()
}

/// Statistics of the classifier's features on the 60,000 training images of Fashion-MNIST.
pub(crate) fn fashion_mnist_reference() -> CliResult<Reference> {
    Reference::from_bytes(CLASSIFIER_REFERENCE, "builtin:fashion-mnist").work_error()
}

/// Results of the embedded teacher.
pub(crate) fn teacher_rows() -> CliResult<Vec<Row>> {
    serde_json::from_str(TEACHER_ROWS).work_error()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep_generate::ModelSource;
    use fewstep_metrics::FeatureNetwork;

    fn config(path: &str) -> DataConfig {
        toml::from_str(&format!("kind = \"idx\"\npath = \"{path}\"\nsize = 32")).expect("valid")
    }

    #[test]
    fn the_sample_has_600_images_of_each_class() {
        let Ok(sample) = load_data(&config(SAMPLE)) else {
            panic!("the sample is embedded");
        };
        assert_eq!((sample.shape.height, sample.classes.len()), (32, 10));
        for class in 0..10 {
            let of_class = sample
                .labels()
                .into_iter()
                .flatten()
                .filter(|l| **l == class);
            assert_eq!(of_class.count(), 600);
        }
        assert!(load_data(&config("/nowhere")).is_err());
    }

    #[test]
    fn stored_results_are_of_the_embedded_teacher_and_classifier() {
        let device = Device::flex();
        let (Ok(classifier), Ok(teacher)) = (
            classifier(&device),
            ModelSource::find("builtin:fashion-mnist-teacher", None)
                .and_then(|source| source.model(&device)),
        ) else {
            panic!("both are embedded");
        };
        assert!(teacher_rows().is_ok());
        let rows: Vec<serde_json::Value> = serde_json::from_str(TEACHER_ROWS).expect("JSON");
        for row in rows {
            assert_eq!(row["features"], classifier.id().to_string());
            assert_eq!(row["weights_hash"], teacher.weights_hash());
        }
    }
}
