//! Compares two folders of images with one of the feature networks.
//!
//! ```text
//! cargo run --release -p fewstep-metrics --example compare_folders -- inception WEIGHTS REAL FAKE
//! cargo run --release -p fewstep-metrics --example compare_folders -- resnet WEIGHTS REAL FAKE
//! ```

use burn::tensor::Device;
use fewstep_data::{DataConfig, DataKind, load};
use fewstep_metrics::{
    CifarResNet, FeatureNetwork, Features, Images, InceptionFid, Statistics, classifier_score,
    frechet_distance, kid, precision_recall,
};
use std::path::{Path, PathBuf};
use std::time::Instant;

type CliResult<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> CliResult<()> {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [kind, weights, real, fake] = args.as_slice() else {
        return Err("usage: compare_folders inception|resnet WEIGHTS REAL FAKE".into());
    };
    let device = Device::flex();
    let network: Box<dyn FeatureNetwork> = match kind.to_str() {
        Some("inception") => Box::new(InceptionFid::load(weights, &device)?),
        Some("resnet") => Box::new(CifarResNet::load(weights, &device)?),
        _ => return Err("the network is `inception` or `resnet`".into()),
    };
    let id = network.id();
    println!("network          {id}");
    let (real, fake) = (features(&*network, real)?, features(&*network, fake)?);

    let start = Instant::now();
    let fid = frechet_distance(&Statistics::of(&real)?, &Statistics::of(&fake)?)?;
    println!(
        "{:16} {fid:.4} ({:.1} s)",
        id.fid_label(),
        start.elapsed().as_secs_f64()
    );
    let subset = (real.count().min(fake.count()) / 2).min(1000);
    let start = Instant::now();
    let distance = kid(&real, &fake, 100, subset, 0)?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{:16} {:.6} +- {:.6} ({seconds:.1} s)",
        id.kid_label(),
        distance.mean,
        distance.std
    );
    let (precision, recall) = precision_recall(&real, &fake, 3)?;
    println!("precision        {precision:.4}\nrecall           {recall:.4}");
    if let Some(probabilities) = &fake.probabilities {
        let score = classifier_score(probabilities, 1)?;
        println!("{:16} {:.4}", id.score_label(), score.mean);
    }
    Ok(())
}

fn features(network: &dyn FeatureNetwork, folder: &Path) -> CliResult<Features> {
    let data = load(&DataConfig::new(DataKind::Folder, folder))?;
    let pixels: Vec<u8> = (0..data.len())
        .flat_map(|i| data.pixels(i))
        .copied()
        .collect();
    let shape = data.shape;
    let start = Instant::now();
    let images = Images::new(shape.channels, shape.height, shape.width, &pixels)?;
    let features = network.features(&images)?;
    let rate = features.count() as f64 / start.elapsed().as_secs_f64();
    println!(
        "{}: {} images, {rate:.1} a second",
        folder.display(),
        features.count()
    );
    Ok(features)
}
