//! Classes instead of texts: what class-conditional latent diffusion attends to.

use crate::train::init::Init;
use burn::module::Module;
use burn::nn::Embedding;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// A state for each class (latent diffusion's `ClassEmbedder`).
#[derive(Module, Debug)]
pub struct ClassEmbedder {
    embedding: Embedding,
}

impl ClassEmbedder {
    /// A new table of `rows` rows with weights drawn from the seed.
    pub fn new(rows: usize, width: usize, seed: u64, device: &Device) -> Self {
        Self {
            embedding: Init::new(seed, device).embedding(rows, width),
        }
    }

    /// # Shapes
    /// - output: `[rows.len(), 1, width]`, one state for each
    pub fn forward(&self, rows: &[u32]) -> Tensor<3> {
        let device = self.embedding.weight.val().device();
        let numbers: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
        let numbers = TensorData::new(numbers, [rows.len(), 1]);
        self.embedding
            .forward(Tensor::<2, Int>::from_data(numbers, &device))
    }
}
