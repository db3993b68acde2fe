//! Images made worse as cameras, networks and files make them worse: the second-order pipeline of
//! Real-ESRGAN.

mod kernel;
#[cfg(test)]
mod tests;

use super::random::{between, uniform};
use super::resize::{Filter, resize};
use crate::ImageShape;
use crate::image::{Image, decode, encode_jpeg, to_f32};
use fewstep_diffusion::limits::{OutOfRange, probability, within};
use kernel::Kernel;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal, Poisson};
use serde::{Deserialize, Serialize};

/// How images are made worse (2107.10833, with the numbers of its released training options as
/// defaults).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Degradation {
    /// The first round.
    pub first: Round,
    /// The second round, which ends at the final size.
    pub second: Round,
    /// Probability of a last sinc filter, which rings as sharpening does.
    pub final_sinc: f64,
}

/// Blur, change of size, noise, JPEG.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Round {
    /// Probability of a blur.
    pub blur: f64,
    /// Probability that the blur is a sinc filter.
    pub sinc: f64,
    /// Standard deviations of the blur, in pixels.
    pub sigma: [f64; 2],
    /// Probabilities of growing and of shrinking; else the size stays.
    pub resize: [f64; 2],
    /// Factors of shrinking and of growing.
    pub scale: [f64; 2],
    /// Probability that the noise is normal; else it is Poisson noise.
    pub normal: f64,
    /// Probability that the noise is the same in all channels.
    pub grey: f64,
    /// Standard deviations of normal noise, of 255.
    pub noise: [f64; 2],
    /// Strengths of Poisson noise; 1 is that of the grey values themselves.
    pub poisson: [f64; 2],
    /// Qualities of JPEG.
    pub jpeg: [f64; 2],
}

impl Default for Degradation {
    fn default() -> Self {
        let first = Round {
            blur: 1.0,
            sinc: 0.1,
            sigma: [0.2, 3.0],
            resize: [0.2, 0.7],
            scale: [0.15, 1.5],
            normal: 0.5,
            grey: 0.4,
            noise: [1.0, 30.0],
            poisson: [0.05, 3.0],
            jpeg: [30.0, 95.0],
        };
        Self {
            first,
            second: Round {
                blur: 0.8,
                sigma: [0.2, 1.5],
                resize: [0.3, 0.4],
                scale: [0.3, 1.2],
                noise: [1.0, 25.0],
                poisson: [0.05, 2.5],
                ..first
            },
            final_sinc: 0.8,
        }
    }
}

impl Degradation {
    /// Checks every number.
    ///
    /// # Errors
    /// Names the key, what it is, and what it may be.
    pub(crate) fn check(&self) -> Result<(), OutOfRange> {
        self.first.check("condition.degradation.first")?;
        self.second.check("condition.degradation.second")?;
        probability("condition.degradation.final_sinc", self.final_sinc)
    }
}

impl Round {
    fn check(&self, section: &str) -> Result<(), OutOfRange> {
        let name = |key: &str| format!("{section}.{key}");
        for (key, value) in [
            ("blur", self.blur),
            ("sinc", self.sinc),
            ("normal", self.normal),
            ("grey", self.grey),
        ] {
            probability(&name(key), value)?;
        }
        let [grow, shrink] = self.resize;
        probability(&name("resize"), grow)?;
        probability(&name("resize"), shrink)?;
        // From the least to the most, within these.
        for (key, [low, high], [least, most]) in [
            ("sigma", self.sigma, [0.01, 100.0]),
            ("noise", self.noise, [0.0, 255.0]),
            ("poisson", self.poisson, [0.0, 1000.0]),
            ("jpeg", self.jpeg, [1.0, 100.0]),
        ] {
            within(&name(key), low, least..=most)?;
            within(&name(key), high, low..=most)?;
        }
        let [low, high] = self.scale;
        within(&name("scale"), low, 0.01..=1.0)?;
        within(&name("scale"), high, 1.0..=16.0)
    }
}

/// An image under way: values in [0, 1].
struct State {
    values: Vec<f32>,
    shape: ImageShape,
}

impl Degradation {
    /// The image made worse and `height` x `width` large.
    ///
    /// # Shapes
    /// - `image`: `shape`, in [-1, 1]
    /// - output: `[channels, height, width]`, in [-1, 1]: multiples of 1/127.5, as a file holds
    ///   them
    pub(crate) fn apply(
        &self,
        image: &[f32],
        shape: ImageShape,
        [height, width]: [usize; 2],
        random: &mut ChaCha8Rng,
    ) -> Vec<f32> {
        let full = [shape.height, shape.width];
        let mut state = State {
            values: image.iter().map(|v| (v + 1.0) / 2.0).collect(),
            shape,
        };
        state.blur(&self.first, random);
        state.rescale(&self.first, full, random);
        state.add_noise(&self.first, random);
        state.compress(&self.first, random);
        state.blur(&self.second, random);
        state.rescale(&self.second, [height, width], random);
        state.add_noise(&self.second, random);
        let sinc = (uniform(random) < self.final_sinc).then(|| Kernel::sinc(random));
        let filter = any_filter(random);
        let compress_first = uniform(random) < 0.5;
        if compress_first {
            state.compress(&self.second, random);
        }
        state.resize_to([height, width], filter);
        if let Some(sinc) = sinc {
            sinc.apply(&mut state.values, state.shape);
        }
        if !compress_first {
            state.compress(&self.second, random);
        }
        state.values.iter().map(|&v| to_f32(byte(v))).collect()
    }
}

impl State {
    fn blur(&mut self, round: &Round, random: &mut ChaCha8Rng) {
        if uniform(random) >= round.blur {
            return;
        }
        let kernel = match uniform(random) < round.sinc {
            true => Kernel::sinc(random),
            false => Kernel::blur(round.sigma, random),
        };
        kernel.apply(&mut self.values, self.shape);
    }

    /// Resizes by a random factor of the given size.
    fn rescale(&mut self, round: &Round, [height, width]: [usize; 2], random: &mut ChaCha8Rng) {
        let [low, high] = round.scale;
        let [grow, shrink] = round.resize;
        let scale = match uniform(random) {
            u if u < grow => between([1.0, high], random),
            u if u < grow + shrink => between([low, 1.0], random),
            _ => 1.0,
        };
        let side = |side: usize| ((side as f64 * scale) as usize).max(1);
        self.resize_to([side(height), side(width)], any_filter(random));
    }

    fn resize_to(&mut self, [height, width]: [usize; 2], filter: Filter) {
        self.values = resize(&self.values, self.shape, height, width, filter);
        self.shape = ImageShape {
            height,
            width,
            ..self.shape
        };
        self.clamp();
    }

    fn add_noise(&mut self, round: &Round, random: &mut ChaCha8Rng) {
        let normal = uniform(random) < round.normal;
        let channels = self.shape.channels;
        let grey = channels > 1 && uniform(random) < round.grey;
        let area = self.shape.height * self.shape.width;
        // What the noise is drawn for: every value, or the mean of the channels.
        let clean: Vec<f32> = match grey {
            false => self.values.clone(),
            true => (0..area)
                .map(|i| self.values.iter().skip(i).step_by(area).sum::<f32>() / channels as f32)
                .collect(),
        };
        let noise: Vec<f32> = match normal {
            true => normal_noise(clean.len(), between(round.noise, random) / 255.0, random),
            false => poisson_noise(&clean, between(round.poisson, random), random),
        };
        let noise = noise.iter().cycle();
        self.values.iter_mut().zip(noise).for_each(|(v, n)| *v += n);
        self.clamp();
    }

    fn compress(&mut self, round: &Round, random: &mut ChaCha8Rng) {
        let quality = between(round.jpeg, random).round() as u8;
        let image = Image {
            shape: self.shape,
            pixels: self.values.iter().map(|&v| byte(v)).collect(),
        };
        // An image in memory can always be written and read back.
        let back = encode_jpeg(&image, quality)
            .and_then(|bytes| decode(&bytes, "JPEG in memory", None, self.shape.channels))
            .unwrap_or(image);
        self.values = back.pixels.iter().map(|&v| f32::from(v) / 255.0).collect();
    }

    fn clamp(&mut self) {
        self.values.iter_mut().for_each(|v| *v = v.clamp(0.0, 1.0));
    }
}

fn normal_noise(count: usize, sigma: f64, random: &mut ChaCha8Rng) -> Vec<f32> {
    match Normal::new(0.0, sigma) {
        Ok(normal) => (0..count).map(|_| normal.sample(random) as f32).collect(),
        Err(_) => vec![0.0; count],
    }
}

/// Noise of counting: grey values are counts of as many steps as the image has different ones,
/// rounded up to a power of two.
fn poisson_noise(clean: &[f32], strength: f64, random: &mut ChaCha8Rng) -> Vec<f32> {
    let mut levels: Vec<u8> = clean.iter().map(|&v| byte(v)).collect();
    levels.sort_unstable();
    levels.dedup();
    let steps = levels.len().next_power_of_two() as f64;
    clean
        .iter()
        .map(|&value| {
            let mean = f64::from(byte(value)) / 255.0 * steps;
            let count = Poisson::new(mean).map_or(mean, |poisson| poisson.sample(random));
            ((count - mean) / steps * strength) as f32
        })
        .collect()
}

fn any_filter(random: &mut ChaCha8Rng) -> Filter {
    match uniform(random) {
        u if u < 1.0 / 3.0 => Filter::Area,
        u if u < 2.0 / 3.0 => Filter::Bilinear,
        _ => Filter::Bicubic,
    }
}

/// 8 bit from [0, 1].
fn byte(value: f32) -> u8 {
    (value * 255.0).round().clamp(0.0, 255.0) as u8
}
