//! Both losses by hand in 64 bits, and a student of Gaussian classes that ends at the data's
//! distribution, guided by w.

mod by_hand;
mod distribution;

use super::*;
use crate::method::start::testing::*;
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use fewstep_diffusion::{Inputs, Network, per_sample};

/// Numbers of a row of [`Quadratic`]: D = c + w c' + w² c'' + Σ (b + w b') z + (a + w a') z².
const COLUMNS: usize = 7;

/// A discriminator that the log of the ratio of two Gaussians fits exactly, with coefficients of its
/// own for every head, timestep and class.
#[derive(Module, Debug)]
struct Quadratic {
    table: Param<Tensor<2>>,
    #[module(skip)]
    heads: usize,
}

impl Quadratic {
    /// With a function of their numbers as coefficients.
    fn of(heads: usize, coefficient: impl Fn(usize) -> f64) -> Self {
        let rows = heads * TIMESTEPS * CLASSES;
        let values = (0..rows * COLUMNS).map(|index| coefficient(index) as f32);
        let values: Vec<f32> = values.collect();
        let table = Tensor::from_data(TensorData::new(values, [rows, COLUMNS]), &Device::flex());
        Self {
            table: Param::from_tensor(table),
            heads,
        }
    }

    /// Arbitrary coefficients.
    fn shaken(heads: usize) -> Self {
        Self::of(heads, |index| (2.3 * index as f64 + 0.4).sin() * 0.3)
    }

    fn row(head: usize, timestep: usize, class: usize) -> usize {
        head * TIMESTEPS * CLASSES + Lines::row(timestep, class)
    }
}

impl Tabled for Quadratic {
    fn table(&self) -> Tensor<2> {
        self.table.val()
    }
}

impl Network for Quadratic {
    fn forward(&self, z: Tensor<4>, _time: &[f64], _inputs: &Inputs) -> Tensor<4> {
        z
    }

    fn logits(&self, z: Tensor<4>, time: &[f64], inputs: &Inputs) -> Option<Tensor<2>> {
        let device = z.device();
        let classes = inputs.classes.as_ref().expect("classes");
        let batch = time.len();
        let w: Tensor<2> = per_sample(inputs.w.clone().expect("w"), &device).flatten(1, 3);
        let sums = [z.clone(), z.square()].map(|z| z.flatten::<2>(1, 3).sum_dim(1));
        let ones = w.ones_like();
        let features = [
            ones,
            w.clone(),
            w.clone().square(),
            sums[0].clone(),
            w.clone() * sums[0].clone(),
            sums[1].clone(),
            w * sums[1].clone(),
        ];
        let features = Tensor::cat(features.to_vec(), 1);
        let logits = (0..self.heads).map(|head| {
            let rows = time.iter().zip(classes).map(|(&time, class)| {
                let class = class.expect("a class") as usize;
                Self::row(head, time.round() as usize + 1, class) as i32
            });
            let rows: Vec<i32> = rows.collect();
            let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [batch]), &device);
            (self.table.val().select(0, rows) * features.clone()).sum_dim(1)
        });
        Some(Tensor::cat(logits.collect(), 1))
    }
}
