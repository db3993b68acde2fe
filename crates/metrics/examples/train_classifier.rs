//! Trains the small classifier on Fashion-MNIST, and measures the reference statistics with it.
//!
//! ```text
//! cargo run --release -p fewstep-metrics --example train_classifier -- DATA_FOLDER OUT_FOLDER
//! ```
//!
//! Writes three files: the weights, the reference statistics of the training images, and the log.

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Int, Tensor, TensorData};
use fewstep_data::{DataConfig, DataKind, Dataset, Split, load};
use fewstep_metrics::{
    ClassifierNet, FeatureNetwork, Features, Images, Reference, SmallClassifier, Statistics,
    frechet_distance,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

type CliResult<T> = Result<T, Box<dyn std::error::Error>>;

const NAME: &str = "fashion-mnist-classifier";
const SIDE: usize = 32;
const SEED: u64 = 0;
const EPOCHS: usize = 12;
const BATCH: usize = 128;
/// Annealed linearly to zero.
const LEARNING_RATE: f64 = 2e-3;
/// Images are shifted by up to this many pixels each way; the padding around them is as wide.
const SHIFT: i64 = 2;
const RECIPE: &str = "Fashion-MNIST train, zero-padded to 32x32; Adam, learning rate 2e-3 annealed \
    linearly to 0, batch 128, 12 epochs; random shift of up to 2 pixels, random horizontal flip";

fn main() -> CliResult<()> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(data), Some(out)) = (args.next(), args.next()) else {
        return Err("usage: train_classifier DATA_FOLDER OUT_FOLDER".into());
    };
    let (train, test) = (read(&data, Split::Train)?, read(&data, Split::Test)?);
    let mut log = Log::default();
    log.line(format!("{NAME}: {RECIPE}; seed {SEED}"));

    let net = fit(&train, &test, &mut log)?;
    let device = Device::flex();
    let draft = SmallClassifier::from_bytes(&net.to_bytes(HashMap::new())?, &device)?;
    let accuracy = accuracy(&features(&draft, &test)?, &test);
    let metadata = [
        ("name", NAME.to_owned()),
        ("recipe", RECIPE.to_owned()),
        ("seed", SEED.to_string()),
        ("test_accuracy", format!("{accuracy:.4}")),
        ("license", "MIT OR Apache-2.0".to_owned()),
    ];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value));
    let weights = net.to_bytes(HashMap::from(metadata))?;
    std::fs::write(out.join(format!("{NAME}.safetensors")), &weights)?;
    log.line(format!(
        "stored in half precision: test accuracy {accuracy:.4}"
    ));

    let classifier = SmallClassifier::from_bytes(&weights, &device)?;
    let reference = Reference {
        statistics: statistics(&classifier, &train)?,
        network: classifier.id().clone(),
        source: format!(
            "Fashion-MNIST train, {} images at {SIDE}x{SIDE}",
            train.len()
        ),
    };
    reference.save(&out.join(format!("{NAME}-train.safetensors")))?;
    let floor = frechet_distance(&reference.statistics, &statistics(&classifier, &test)?)?;
    log.line(format!(
        "{} of train and test: {floor:.4}",
        classifier.id().fid_label()
    ));
    log.line(format!("weights sha256 {}", classifier.id().hash));
    std::fs::write(out.join(format!("{NAME}.log")), log.text)?;
    Ok(())
}

/// Trains a network from scratch.
fn fit(train: &Dataset, test: &Dataset, log: &mut Log) -> CliResult<ClassifierNet> {
    let device = Device::flex().autodiff();
    device.seed(SEED);
    let mut net = ClassifierNet::init(&device);
    let mut optimizer = AdamConfig::new().with_epsilon(1e-8).init();
    let criterion = CrossEntropyLossConfig::new().init(&device);
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut order: Vec<usize> = (0..train.len()).collect();
    let steps_per_epoch = train.len() / BATCH;
    let steps = EPOCHS * steps_per_epoch;
    let start = Instant::now();

    for epoch in 0..EPOCHS {
        shuffle(&mut order, &mut rng);
        let mut losses = Tensor::<1>::zeros([1], &Device::flex());
        for (i, indices) in order.chunks_exact(BATCH).enumerate() {
            let (x, y) = batch(train, indices, &mut rng, &device);
            let (_, logits) = net.forward(x);
            let loss = criterion.forward(logits, y);
            losses = losses + loss.clone().inner();
            let gradients = GradientsParams::from_grads(loss.backward(), &net);
            let done = (epoch * steps_per_epoch + i) as f64 / steps as f64;
            net = optimizer.step(LEARNING_RATE * (1.0 - done), net, gradients);
        }
        let loss = losses.into_scalar::<f32>() / steps_per_epoch as f32;
        let draft = net.valid().to_bytes(HashMap::new())?;
        let draft = SmallClassifier::from_bytes(&draft, &Device::flex())?;
        let accuracy = accuracy(&features(&draft, test)?, test);
        let seconds = start.elapsed().as_secs_f64();
        let epoch = epoch + 1;
        log.line(format!(
            "epoch {epoch:2}: loss {loss:.4}, test accuracy {accuracy:.4}, {seconds:.0} s"
        ));
    }
    Ok(net.valid())
}

/// Augmented images in [0, 1] and their labels.
fn batch(
    data: &Dataset,
    indices: &[usize],
    rng: &mut ChaCha8Rng,
    device: &Device,
) -> (Tensor<4>, Tensor<1, Int>) {
    let mut pixels = Vec::with_capacity(indices.len() * SIDE * SIDE);
    for &index in indices {
        augment(data.pixels(index), &mut pixels, rng);
    }
    let labels: Vec<i64> = indices
        .iter()
        .filter_map(|&i| data.label(i))
        .map(i64::from)
        .collect();
    let count = indices.len();
    (
        Tensor::from_data(TensorData::new(pixels, [count, 1, SIDE, SIDE]), device),
        Tensor::from_data(TensorData::new(labels, [count]), device),
    )
}

/// Appends the image, shifted and perhaps mirrored.
fn augment(image: &[u8], out: &mut Vec<f32>, rng: &mut ChaCha8Rng) {
    let side = SIDE as i64;
    let mut shift = || below(rng, 2 * SHIFT as usize + 1) as i64 - SHIFT;
    let (down, right) = (shift(), shift());
    let mirrored = below(rng, 2) == 1;
    for y in 0..side {
        for x in 0..side {
            let (from_y, from_x) = (y - down, if mirrored { side - 1 - x } else { x } - right);
            let inside = (0..side).contains(&from_y) && (0..side).contains(&from_x);
            let value = if inside {
                image[(from_y * side + from_x) as usize]
            } else {
                0
            };
            out.push(f32::from(value) / 255.0);
        }
    }
}

/// Fisher-Yates.
fn shuffle(order: &mut [usize], rng: &mut ChaCha8Rng) {
    for i in (1..order.len()).rev() {
        order.swap(i, below(rng, i + 1));
    }
}

/// Uniform in `0..range`.
fn below(rng: &mut ChaCha8Rng, range: usize) -> usize {
    ((u128::from(rng.next_u64()) * range as u128) >> 64) as usize
}

fn accuracy(features: &Features, data: &Dataset) -> f64 {
    let found = features.probabilities.as_ref().map(|p| p.classes_of_rows());
    let found = found
        .unwrap_or_default()
        .into_iter()
        .zip(data.labels().unwrap_or_default());
    found
        .filter(|(class, label)| *class == **label as usize)
        .count() as f64
        / data.len() as f64
}

fn statistics(classifier: &SmallClassifier, data: &Dataset) -> CliResult<Statistics> {
    Ok(Statistics::of(&features(classifier, data)?)?)
}

fn features(classifier: &SmallClassifier, data: &Dataset) -> CliResult<Features> {
    let pixels: Vec<u8> = (0..data.len())
        .flat_map(|i| data.pixels(i))
        .copied()
        .collect();
    Ok(classifier.features(&Images::new(1, SIDE, SIDE, &pixels)?)?)
}

fn read(folder: &Path, split: Split) -> CliResult<Dataset> {
    Ok(load(&DataConfig {
        split,
        size: Some(SIDE),
        ..DataConfig::new(DataKind::FashionMnist, folder)
    })?)
}

/// What is shown and kept.
#[derive(Default)]
struct Log {
    text: String,
}

impl Log {
    fn line(&mut self, line: String) {
        println!("{line}");
        self.text += &line;
        self.text.push('\n');
    }
}
