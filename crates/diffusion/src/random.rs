//! Randomness as a pure function of (seed, index, purpose): nothing is drawn from a global
//! generator, so a number does not depend on batch size, order, threads or devices.

use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use rand_distr::{Distribution, StandardNormal, StandardUniform};
use rayon::prelude::*;

/// From this many numbers on several threads are used.
const PARALLEL: usize = 1 << 17;

/// What a random number is for. Each purpose has its own stream, whose number never changes: stored
/// results depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The noise a sampler starts from.
    InitialNoise,
    /// Fresh noise at one step of a stochastic sampler.
    SamplerStep(u32),
    /// ε of a training example.
    TrainingNoise,
    /// t (or the step index) of a training example.
    TrainingTime,
    /// w of a training example.
    GuidanceWeight,
    /// Whether a training example loses its label.
    LabelDropout,
    /// Initial weights of a network.
    Initialisation,
    /// The sampling step whose image a student learns from.
    SimulatedStep,
    /// The small noise by which a discriminator's images are moved.
    Perturbation,
}

impl Purpose {
    fn stream(self) -> u64 {
        match self {
            Purpose::InitialNoise => 1,
            Purpose::TrainingNoise => 2,
            Purpose::TrainingTime => 3,
            Purpose::GuidanceWeight => 4,
            Purpose::LabelDropout => 5,
            Purpose::Initialisation => 6,
            Purpose::SimulatedStep => 7,
            Purpose::Perturbation => 8,
            Purpose::SamplerStep(step) => (1 << 32) + u64::from(step),
        }
    }
}

/// The generator of (seed, index, purpose).
pub fn generator(seed: u64, index: u64, purpose: Purpose) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&index.to_le_bytes());
    key[16..24].copy_from_slice(&purpose.stream().to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// A uniform number in [0, 1).
pub fn uniform(seed: u64, index: u64, purpose: Purpose) -> f64 {
    StandardUniform.sample(&mut generator(seed, index, purpose))
}

/// Standard normal numbers of one sample per index, as a tensor `[indices, channels, height,
/// width]`.
pub fn normal(
    seed: u64,
    indices: &[u64],
    purpose: Purpose,
    shape: [usize; 3],
    device: &Device,
) -> Tensor<4> {
    let keys: Vec<(u64, u64)> = indices.iter().map(|&index| (seed, index)).collect();
    normal_of(&keys, purpose, shape, device)
}

/// [`normal`] for samples that each have a seed and an index of their own.
pub fn normal_of(
    keys: &[(u64, u64)],
    purpose: Purpose,
    shape: [usize; 3],
    device: &Device,
) -> Tensor<4> {
    let size: usize = shape.iter().product();
    let mut values = vec![0f32; keys.len() * size];
    let draw = |(&(seed, index), values): (&(u64, u64), &mut [f32])| {
        let rng = generator(seed, index, purpose);
        let drawn = Distribution::<f32>::sample_iter(StandardNormal, rng);
        values
            .iter_mut()
            .zip(drawn)
            .for_each(|(value, drawn)| *value = drawn);
    };
    match size {
        0 => {}
        _ if values.len() < PARALLEL => keys.iter().zip(values.chunks_mut(size)).for_each(draw),
        _ => keys
            .par_iter()
            .zip(values.par_chunks_mut(size))
            .for_each(draw),
    }
    let [channels, height, width] = shape;
    Tensor::from_data(
        TensorData::new(values, [keys.len(), channels, height, width]),
        device,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_of_a_sample_does_not_depend_on_its_batch() {
        let device = Device::flex();
        let draw = |indices: &[u64]| {
            normal(7, indices, Purpose::InitialNoise, [1, 2, 2], &device)
                .into_data()
                .try_to_vec::<f32>()
                .expect("f32 data")
        };
        assert_eq!(draw(&[3, 4, 5])[4..8], draw(&[4])[..]);
        assert_ne!(draw(&[3]), draw(&[4]));
    }

    #[test]
    fn purposes_have_streams_of_their_own() {
        let draw = |purpose| uniform(1, 2, purpose);
        assert_ne!(draw(Purpose::TrainingTime), draw(Purpose::GuidanceWeight));
        assert_ne!(draw(Purpose::SamplerStep(0)), draw(Purpose::SamplerStep(1)));
    }

    /// Stored results depend on the numbers, and steps of a sampler are above all other purposes.
    #[test]
    fn streams_keep_their_numbers() {
        assert_eq!(Purpose::Perturbation.stream(), 8);
        assert_eq!(Purpose::SamplerStep(0).stream(), 0x1_0000_0000);
        assert_eq!(Purpose::SamplerStep(u32::MAX).stream(), 0x1_FFFF_FFFF);
    }
}
