//! Distribution matching of an analytic mixture: the method, its players and their losses.

use burn::tensor::Tensor;
use fewstep_diffusion::analytic::{Component, Coupling, Gaussian, MixtureDenoiser};
use fewstep_diffusion::random::Purpose;
use fewstep_diffusion::{Denoiser, DistilledFor, Role, SamplerRecipe, Schedule};
use fewstep_distill::method::{
    Batch, Cost, DistributionMatching, Draws, FAKE_SCORE, FakeScore, Loss, LossWeighting, Method,
    MethodError, Objective, Player, STUDENT, Simulation, Student, Teacher, TrainedSteps, Turn,
    diffuse, velocity_loss,
};
use fewstep_distill::optim::{Ema, OptimConfig};
use fewstep_formats::Model;
use fewstep_nn::Backbone;

pub(crate) const SLOW_SCORE: &str = "slow-score";

/// The teacher of all tests: pixels are -0.6 ± 0.2 or, twice as often, 0.4 ± 0.3.
fn mixture() -> MixtureDenoiser {
    let component = |weight, mu, s| Component {
        weight,
        gaussian: Gaussian { mu, s },
    };
    let class = vec![component(1.0, -0.6, 0.2), component(2.0, 0.4, 0.3)];
    MixtureDenoiser::new(Schedule::default(), Coupling::Pixel, &[class])
}

pub(crate) const MEAN: f64 = (-0.6 + 2.0 * 0.4) / 3.0;
/// E x² − (E x)².
pub(crate) const VARIANCE: f64 = (0.36 + 0.04 + 2.0 * (0.16 + 0.09)) / 3.0 - MEAN * MEAN;

/// The generator's images.
const ONE_STEP: Simulation = Simulation {
    steps: 1,
    trained: TrainedSteps::All,
    weights: None,
    clip: false,
};

/// x̂ of pure noise in one step.
fn generate(generator: &dyn Denoiser, draws: Draws, batch: &Batch) -> Tensor<4> {
    let z = draws.normal(Purpose::InitialNoise, &batch.images);
    generator
        .predict(z, &vec![1.0; batch.len()], &batch.inputs)
        .x()
}

#[derive(Debug)]
pub(crate) struct MatchingOfMixture {
    /// Updates of the fake score for each of the generator.
    pub(crate) ratio: u64,
    pub(crate) fake_lr: f64,
    pub(crate) others: Others,
}

/// Which networks are trained with the generator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Others {
    /// None, for what the plan says of the generator alone: nothing can be run like this.
    None,
    FakeScore,
    /// A second score too, which moves in every second update and learns from the first.
    TwoScores,
}

/// The second score's loss: the answers of the first on the generator's images.
struct FollowScore;

impl Objective for FollowScore {
    fn loss(&self, score: Student<'_>, batch: &Batch, seed: u64) -> Loss {
        let draws = Draws::new(seed, batch);
        let times = draws.times(score.online.schedule());
        let levels = score.online.schedule().levels(&times);
        let x = generate(score.other(STUDENT), draws, batch);
        let noise = draws.noise(&x);
        let x_t = diffuse(x, noise, &levels);
        let first = score.other(FAKE_SCORE);
        let target = first.predict(x_t.clone(), &times, &batch.inputs).v();
        let predicted = score.online.predict(x_t, &times, &batch.inputs).v();
        Loss {
            per_sample: velocity_loss(predicted, target, LossWeighting::SnrPlusOne, &levels),
            times,
        }
    }

    fn cost(&self) -> Cost {
        Cost {
            frozen: 2,
            trained: 1,
            largest_frozen: 1,
            ..Cost::default()
        }
    }
}

impl Method for MatchingOfMixture {
    fn name(&self) -> &'static str {
        "distribution-matching"
    }

    fn calls_teacher(&self) -> bool {
        false
    }

    fn student(&self, base: &Model, _seed: u64) -> Result<Backbone, MethodError> {
        Ok(base.network.clone())
    }

    fn objective(&self, _teacher: &Teacher<'_>) -> Result<Box<dyn Objective>, MethodError> {
        Ok(Box::new(DistributionMatching {
            teacher: mixture(),
            simulation: ONE_STEP,
            times: [0.02, 0.98],
            gan: 0.0,
        }))
    }

    fn turn(&self) -> Turn {
        Turn::every(self.ratio)
    }

    fn others(&self, teacher: &Teacher<'_>, _seed: u64) -> Result<Vec<Player>, MethodError> {
        let optim = OptimConfig {
            ema: Some(Ema::Decay(0.9)),
            ..OptimConfig::of(1, self.fake_lr)
        };
        let score = || teacher.frozen();
        let mut players = vec![];
        if self.others != Others::None {
            let follow = Box::new(FakeScore {
                simulation: ONE_STEP,
                weighting: LossWeighting::SnrPlusOne,
                gan: None,
            });
            players.push(Player::new(FAKE_SCORE, score()?, optim.clone(), follow));
        }
        if self.others == Others::TwoScores {
            let slow = Player::new(SLOW_SCORE, score()?, optim, Box::new(FollowScore));
            players.push(slow.in_turn(Turn::every(2)));
        }
        Ok(players)
    }

    fn result(&self, recipe: &mut SamplerRecipe) {
        recipe.role = Role::Student {
            sampler: DistilledFor::Deterministic,
            steps: Some(1),
        };
    }
}
