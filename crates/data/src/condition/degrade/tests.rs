//! Degradations: what each does to an image, and that the same draws give the same one.

use super::*;
use rand_chacha::rand_core::SeedableRng;

const SHAPE: ImageShape = ImageShape {
    channels: 3,
    height: 32,
    width: 32,
};

fn random(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

fn image() -> Vec<f32> {
    (0..SHAPE.len())
        .map(|i| (i as f32 * 0.07).sin() * 0.9)
        .collect()
}

#[test]
fn a_degradation_is_a_function_of_its_generator() {
    let degradation = Degradation::default();
    let apply = |seed| degradation.apply(&image(), SHAPE, [8, 8], &mut random(seed));
    assert_eq!(apply(1), apply(1));
    assert_ne!(apply(1), apply(2));
    for seed in 0..50 {
        let worse = apply(seed);
        assert_eq!(worse.len(), 3 * 64);
        assert!(
            worse.iter().all(|v| (-1.0..=1.0).contains(v)),
            "seed {seed}"
        );
    }
}

/// Blur, changes of size and JPEG keep the mean of an image. Noise nearly does: it is cut off
/// more at white than at black.
#[test]
fn colours_stay_on_average() {
    let silent = |round: Round| Round {
        normal: 1.0,
        noise: [0.0; 2],
        ..round
    };
    let Degradation { first, second, .. } = Degradation::default();
    let degradation = Degradation {
        first: silent(first),
        second: silent(second),
        ..Degradation::default()
    };
    let mild: Vec<f32> = image().iter().map(|v| 0.2 + 0.4 * v).collect();
    let expected = mild.iter().sum::<f32>() / mild.len() as f32;
    let mean: f32 = (0..60)
        .map(|seed| {
            let worse = degradation.apply(&mild, SHAPE, [16, 16], &mut random(seed));
            worse.iter().sum::<f32>() / worse.len() as f32
        })
        .sum::<f32>()
        / 60.0;
    assert!((mean - expected).abs() < 0.02, "{mean} for {expected}");
}

#[test]
fn normal_noise_has_the_deviation_asked_for() {
    let noise = normal_noise(20_000, 0.1, &mut random(3));
    let variance = noise.iter().map(|n| n * n).sum::<f32>() / 20_000.0;
    assert!((variance.sqrt() - 0.1).abs() < 0.003, "{variance}");
}

/// The variance of counts is their mean: bright places are noisier.
#[test]
fn poisson_noise_grows_with_the_light() {
    // 256 levels, so that a grey value v counts 256 v.
    let clean: Vec<f32> = (0..256 * 200).map(|i| (i % 256) as f32 / 255.0).collect();
    let noise = poisson_noise(&clean, 1.0, &mut random(4));
    for level in [32, 128, 224] {
        let of_level = noise.iter().skip(level).step_by(256);
        let variance = of_level.map(|n| f64::from(n * n)).sum::<f64>() / 200.0;
        let expected = level as f64 / 255.0 / 256.0;
        assert!(
            (variance / expected - 1.0).abs() < 0.35,
            "{level}: {variance} for {expected}"
        );
    }
}

#[test]
fn worse_files_are_further_from_the_image() {
    let error = |quality: f64| {
        let mut state = State {
            values: image().iter().map(|v| (v + 1.0) / 2.0).collect(),
            shape: SHAPE,
        };
        let round = Round {
            jpeg: [quality; 2],
            ..Degradation::default().first
        };
        let before = state.values.clone();
        state.compress(&round, &mut random(0));
        let squares = state
            .values
            .iter()
            .zip(&before)
            .map(|(a, b)| (a - b).powi(2));
        squares.sum::<f32>()
    };
    assert!(error(30.0) > 1.5 * error(95.0));
}

#[test]
fn the_defaults_survive_a_file() {
    let text = toml::to_string(&Degradation::default()).unwrap();
    assert_eq!(
        toml::from_str::<Degradation>(&text),
        Ok(Degradation::default())
    );
    let some: Degradation = toml::from_str("final_sinc = 0.0").unwrap();
    assert_eq!(some.first, Degradation::default().first);
}
