//! What a method asks of a network on a batch: a loss for each sample.

use burn::tensor::Tensor;
use fewstep_diffusion::{Denoiser, Inputs};
use serde::Serialize;

/// Training examples on the device.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Images in [-1, 1], or latents, `[batch, channels, height, width]`.
    pub images: Tensor<4>,
    /// What the network is given with each: class, caption, control image; no w.
    pub inputs: Inputs,
    /// Samples that the run had seen before the first of these: with the seed, all that random
    /// draws depend on.
    pub clock: u64,
    /// The same of the first batch of the update: what the micro-batches of one update share.
    pub update: u64,
}

impl Batch {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.images.dims()[0]
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batch in parts of at most so many images.
    pub(crate) fn split(&self, most: usize) -> impl Iterator<Item = Batch> {
        (0..self.len()).step_by(most).map(move |start| {
            let count = most.min(self.len() - start);
            Batch {
                images: self.images.clone().narrow(0, start, count),
                inputs: self.inputs.narrow(start, count),
                clock: self.clock + start as u64,
                update: self.update,
            }
        })
    }
}

/// The loss of a batch.
pub struct Loss {
    /// Weighted loss of each sample, `[batch]`, with its graph.
    pub per_sample: Tensor<1>,
    /// Time of each sample, for the log.
    pub times: Vec<f64>,
}

/// The network in training, as its objective sees it.
#[derive(Clone, Copy)]
pub struct Student<'a> {
    /// θ: with its graph.
    pub online: &'a dyn Denoiser,
    /// θ⁻: its moving average, or the network as it is where there is none. Without graph.
    pub target: &'a dyn Denoiser,
    /// The other players of the update, where the method has several.
    pub others: &'a [Peer<'a>],
}

/// Another player of the update, as it is now. Without graph.
#[derive(Clone, Copy)]
pub struct Peer<'a> {
    /// Its name; the student's is [`STUDENT`].
    pub name: &'a str,
    /// Its raw network.
    pub model: &'a dyn Denoiser,
}

/// The name under which other players see the student.
pub const STUDENT: &str = "student";

impl<'a> Student<'a> {
    /// Another player.
    ///
    /// # Panics
    /// When the method has no player of this name.
    pub fn other(&self, name: &str) -> &'a dyn Denoiser {
        let peer = self.others.iter().find(|peer| peer.name == name);
        let Some(peer) = peer else {
            panic!("the method has no other player named `{name}`");
        };
        peer.model
    }
}

/// What a network is trained to do: from a batch and its random draws to a loss.
pub trait Objective: Sync {
    /// The loss of the network on a batch. All randomness comes from the seed and the batch's
    /// clock.
    fn loss(&self, student: Student<'_>, batch: &Batch, seed: u64) -> Loss;

    /// Network evaluations that one sample costs.
    fn cost(&self) -> Cost;
}

/// Network evaluations of one training sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Forward passes without gradient (teachers, targets).
    pub frozen: usize,
    /// Forward passes with a backward pass (the network in training).
    pub trained: usize,
    /// Branches in the largest of the calls without gradient: two where guidance is applied in it.
    pub largest_frozen: usize,
    /// Passes through the encoder of a frozen discriminator that have a backward pass too.
    pub judged: usize,
    /// Whether calls without gradient happen while the graph of the network in training is in
    /// memory.
    pub frozen_during_graph: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    /// Every part has its own images, labels and clock.
    #[test]
    fn parts_follow_one_another() {
        let values = TensorData::new(vec![0.0f32, 1.0, 2.0, 3.0, 4.0], [5, 1, 1, 1]);
        let batch = Batch {
            images: Tensor::from_data(values, &Device::flex()),
            inputs: Inputs::classes(0..5),
            clock: 40,
            update: 36,
        };
        let parts: Vec<Batch> = batch.split(2).collect();
        let clocks: Vec<u64> = parts.iter().map(|part| part.clock).collect();
        assert_eq!(clocks, [40, 42, 44]);
        assert!(
            parts
                .iter()
                .all(|part| part.update == 36 && !part.is_empty())
        );
        let classes = parts.iter().flat_map(|part| part.inputs.classes.clone());
        let classes: Vec<Option<u32>> = classes.flatten().collect();
        assert_eq!(classes, [0, 1, 2, 3, 4].map(Some));
        let images = Tensor::cat(parts.into_iter().map(|part| part.images).collect(), 0);
        assert_eq!(images.into_data(), batch.images.into_data());
    }
}
