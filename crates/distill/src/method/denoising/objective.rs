//! The loss of ordinary diffusion training.

use crate::method::{
    Batch, Cost, Draws, GuidanceWeights, Loss, LossWeighting, Objective, Student, diffuse,
    velocity_loss,
};
use fewstep_diffusion::per_sample;
use fewstep_diffusion::random::Purpose;

/// E ω(λ_t) ‖x − x̂(z_t, c or ∅)‖² over t ~ U\[0, 1\], with c replaced by ∅ with a fixed
/// probability (section 2 of 2210.03142; 2207.12598).
#[derive(Clone, Debug)]
pub struct Denoising {
    /// ω.
    pub weighting: LossWeighting,
    /// Probability that an example loses its label or its caption; 0.1 as a rule. For a model that
    /// sees a source image, p of losing only the caption, only the source image, or both each
    /// (2211.09800, with p = 0.05).
    pub label_dropout: f64,
    /// Whether the model sees a source image, which it must learn to do without.
    pub drops_source: bool,
    /// Which w a model is given that takes it as an input; `None` for others.
    pub weights: Option<GuidanceWeights>,
}

impl Objective for Denoising {
    fn loss(&self, student: Student<'_>, batch: &Batch, seed: u64) -> Loss {
        let draws = Draws::new(seed, batch);
        let times = draws.times(student.online.schedule());
        let levels = student.online.schedule().levels(&times);
        let noise = draws.noise(&batch.images);
        let z_t = diffuse(batch.images.clone(), noise.clone(), &levels);
        let mut inputs = batch.inputs.clone();
        inputs.w = self.weights.map(|weights| weights.draw(draws));
        let p = self.label_dropout;
        let without_label = if self.drops_source { 2.0 * p } else { p };
        let drawn = || draws.uniform(Purpose::LabelDropout);
        let keep = || drawn().map(|u| u >= without_label);
        if let Some(classes) = &mut inputs.classes {
            for (class, keep) in classes.iter_mut().zip(keep()) {
                *class = class.filter(|_| keep);
            }
        }
        inputs.prompt = inputs.prompt.map(|prompt| prompt.keep(keep()));
        if let (Some(source), true) = (&inputs.concat, self.drops_source) {
            // The caption goes below 2p, so that both go from p to 2p.
            let kept = drawn().map(|u| f64::from(!(p..3.0 * p).contains(&u)));
            inputs.concat = Some(source.clone() * per_sample(kept, &source.device()));
        }
        // v = α ε − σ x, which is diffusing (ε, x) at the quarter turn φ + π/2.
        let turned: Vec<_> = levels.iter().map(|level| level.turned()).collect();
        let target = diffuse(batch.images.clone(), noise, &turned);
        let predicted = student.online.predict(z_t, &times, &inputs).v();
        Loss {
            per_sample: velocity_loss(predicted, target, self.weighting, &levels),
            times,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            trained: 1,
            ..Cost::default()
        }
    }
}
