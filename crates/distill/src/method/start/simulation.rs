//! The images that a student generates in training.

use crate::method::{Batch, Draws, GuidanceWeights};
use burn::tensor::Tensor;
use fewstep_diffusion::random::Purpose;
use fewstep_diffusion::{Clipped, Denoiser, Inputs};
use serde::{Deserialize, Serialize};

/// Which steps of a student of several steps learn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainedSteps {
    /// Every step, one in each update: the images of all steps are to be the teacher's. The paper.
    #[default]
    All,
    /// The last step, whose images are the student's: only these are to be the teacher's.
    Last,
}

impl TrainedSteps {
    /// Whether it is the default.
    pub(in crate::method) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Backward simulation (section 4.5 of 2405.14867): the student's image at one of its steps, which
/// it reaches from noise by its own steps before, as in sampling.
#[derive(Clone, Copy, Debug)]
pub struct Simulation {
    /// Steps N of the student, on the grid i / N.
    pub steps: usize,
    /// Which of them learn.
    pub trained: TrainedSteps,
    /// Which w; none for a student without guidance.
    pub weights: Option<GuidanceWeights>,
    /// Whether images are clipped to [-1, 1] between steps, as they are in sampling.
    pub clip: bool,
}

impl Simulation {
    /// What all networks are given with the images of a batch.
    pub(in crate::method) fn inputs(&self, draws: Draws, batch: &Batch) -> Inputs {
        Inputs {
            w: self.weights.map(|weights| weights.draw(draws)),
            ..batch.inputs.clone()
        }
    }

    /// x̂ of the student at one of its steps, which all samples of an update share. Only that call
    /// has a graph, where the student has one.
    pub(in crate::method) fn images(
        &self,
        student: &dyn Denoiser,
        draws: Draws,
        batch: &Batch,
        inputs: &Inputs,
    ) -> Tensor<4> {
        let time = |step: usize| vec![step as f64 / self.steps as f64; batch.len()];
        let drawn = self.step(draws);
        let mut z = draws.normal(Purpose::InitialNoise, &batch.images);
        for step in (drawn + 1..=self.steps).rev() {
            let levels = student.schedule().levels(&time(step - 1));
            let prediction = match self.clip {
                true => Clipped::to_images(student).predict(z, &time(step), inputs),
                false => student.predict(z, &time(step), inputs),
            };
            z = prediction.ddim(&levels).inner();
        }
        student.predict(z, &time(drawn), inputs).x()
    }

    /// The step of an update, N for the first and 1 for the last.
    pub(in crate::method) fn step(&self, draws: Draws) -> usize {
        if self.trained == TrainedSteps::Last {
            return 1;
        }
        let drawn = draws.uniform_of_update(Purpose::SimulatedStep).next();
        let drawn = drawn.map_or(0, |u| (u * self.steps as f64) as usize);
        self.steps - drawn.min(self.steps - 1)
    }

    /// The most network calls before the one that counts.
    pub(in crate::method) fn calls(&self) -> usize {
        self.steps - 1
    }
}
