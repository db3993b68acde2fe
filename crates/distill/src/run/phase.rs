//! What a run does, phase by phase.

use super::{Adaptation, Run, RunError};
use crate::method::{
    Denoising, GuidanceWeights, Guided, Halving, Objective, Progressive, Weighting,
};
use crate::optim::OptimConfig;
use crate::recipe::{DistillRecipe, TrainRecipe};
use burn::module::Module;
use fewstep_diffusion::{
    CfgDenoiser, Denoiser, DiffusionModel, DistilledFor, Guidance, PredictionKind, Role,
    SamplerRecipe, Schedule,
};
use fewstep_formats::Model;
use fewstep_nn::{Backbone, LoraConfig, Precision, WEmbedding};

/// One phase: one method, from the model before it to the next.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Name of the phase and of the model that comes out.
    pub name: String,
    /// What is learnt.
    pub method: Method,
    /// What of the student is trained: LoRA, or where there are none all of it.
    pub lora: Option<LoraConfig>,
    /// How the teacher lies in memory.
    pub teacher_precision: Precision,
    /// How.
    pub optim: OptimConfig,
    /// For how long.
    pub updates: u64,
    /// ω.
    pub weighting: Weighting,
}

/// What a phase learns.
#[derive(Clone, Debug)]
pub enum Method {
    /// A teacher.
    Denoising {
        /// Probability that an example loses its label.
        label_dropout: f64,
    },
    /// Stage one.
    Guided {
        /// Which w.
        weights: GuidanceWeights,
        /// How w enters the network.
        embedding: WEmbedding,
    },
    /// One halving of stage two.
    Progressive {
        /// The sampler to prepare for.
        halving: Halving,
        /// Steps of the student.
        steps: usize,
        /// Which w; none where the teacher knows no guidance.
        weights: Option<GuidanceWeights>,
        /// How w enters the network.
        embedding: WEmbedding,
        /// Whether the teacher is the guided pair itself.
        from_pair: bool,
    },
    /// Conditional distillation, consistency distillation, or learning a condition.
    Adapted(Adaptation),
}

/// The single phase of a teacher.
pub fn train_phases(recipe: &TrainRecipe) -> Vec<Phase> {
    vec![Phase {
        name: "teacher".into(),
        method: Method::Denoising {
            label_dropout: recipe.label_dropout,
        },
        lora: None,
        teacher_precision: Precision::default(),
        optim: recipe.optim.clone(),
        updates: recipe.updates,
        weighting: recipe.weighting,
    }]
}

/// Stage one and the halvings of stage two.
///
/// # Errors
/// When the steps cannot be halved as asked.
pub fn distill_phases(recipe: &DistillRecipe) -> Result<Vec<Phase>, String> {
    let mut phases = vec![];
    let weights = recipe.w;
    if let Some((guided, weights)) = recipe.guided.as_ref().zip(weights) {
        phases.push(Phase {
            name: "guided".into(),
            method: Method::Guided {
                weights,
                embedding: recipe.w_embedding,
            },
            lora: recipe.lora.clone(),
            teacher_precision: recipe.teacher_precision,
            optim: guided.optim.clone(),
            updates: guided.updates,
            weighting: recipe.weighting,
        });
    }
    if let Some(progressive) = &recipe.progressive {
        for (steps, updates) in progressive.rounds()? {
            phases.push(Phase {
                name: match progressive.halving {
                    Halving::Deterministic => format!("steps-{steps}"),
                    Halving::Stochastic => format!("stochastic-steps-{steps}"),
                    Halving::Encoder => format!("encoder-steps-{steps}"),
                },
                method: Method::Progressive {
                    halving: progressive.halving,
                    steps,
                    weights,
                    embedding: recipe.w_embedding,
                    from_pair: phases.is_empty(),
                },
                lora: recipe.lora.clone(),
                teacher_precision: recipe.teacher_precision,
                optim: progressive.optim.clone(),
                updates,
                weighting: recipe.weighting,
            });
        }
    }
    Ok(phases)
}

impl Phase {
    /// Samples that the phase sees.
    pub fn samples(&self) -> u64 {
        self.updates * self.optim.batch as u64
    }

    /// Whether the model before the phase is its teacher.
    pub(super) fn has_teacher(&self) -> bool {
        !matches!(self.method, Method::Denoising { .. })
    }

    /// Whether that teacher is asked, and stays in memory.
    pub(super) fn asks_teacher(&self) -> bool {
        match &self.method {
            Method::Denoising { .. } => false,
            Method::Guided { .. } | Method::Progressive { .. } => true,
            Method::Adapted(adaptation) => adaptation.asks_teacher(),
        }
    }

    /// What of the network is trained.
    pub(super) fn part(&self) -> fn(Backbone) -> Backbone {
        match &self.method {
            Method::Adapted(adaptation) => adaptation.part(),
            _ if self.lora.is_some() => Backbone::freeze_all_but_lora,
            _ => |network| network,
        }
    }

    /// The student at the start of the phase: the model before it, with an input for w and LoRA where it gets
    /// them.
    pub(super) fn student(&self, base: &Model, seed: u64) -> Result<Backbone, RunError> {
        let (weights, embedding) = match self.method {
            Method::Denoising { .. } => return Ok(base.network.clone()),
            Method::Adapted(ref adaptation) => return adaptation.student(base),
            Method::Progressive { weights: None, .. } => {
                return self.with_lora(base.network.clone(), seed);
            }
            Method::Guided {
                weights, embedding, ..
            }
            | Method::Progressive {
                weights: Some(weights),
                embedding,
                ..
            } => (weights, embedding),
        };
        let has_input = base.network.config().takes_w();
        let network = match (weights, has_input) {
            (GuidanceWeights::Range(_), false) => base.network.clone().with_w_input(embedding),
            (GuidanceWeights::Single(_), true) => return Err(RunError::Teacher(
                "the teacher takes w as an input, but the recipe asks for a single w: give a range `w = [min, max]`".into(),
            )),
            _ => base.network.clone(),
        };
        self.with_lora(network, seed)
    }

    /// The network with the LoRA that the phase trains, where there are such.
    fn with_lora(&self, network: Backbone, seed: u64) -> Result<Backbone, RunError> {
        match &self.lora {
            Some(lora) if network.lora().is_none() => {
                let made = network.with_lora(lora, seed);
                made.map_err(|error| RunError::Teacher(error.to_string()))
            }
            _ => Ok(network),
        }
    }

    /// The objective, with the model before this phase as its frozen teacher.
    pub(super) fn objective(&self, base: &Model) -> Result<Box<dyn Objective>, RunError> {
        let weighting = self.weighting;
        if let Method::Denoising { label_dropout } = self.method {
            return Ok(Box::new(Denoising {
                weighting,
                label_dropout,
                weights: None,
            }));
        }
        let teacher = DiffusionModel {
            // LoRA are added once, not at every call.
            network: base
                .network
                .valid()
                .merged()
                .with_weight_dtype(self.teacher_precision),
            schedule: Schedule::new(base.recipe.schedule.clone())
                .map_err(|e| RunError::Teacher(e.to_string()))?,
            prediction: base.recipe.prediction,
        };
        Ok(match self.method {
            Method::Adapted(ref adaptation) => adaptation.objective(base, teacher, weighting)?,
            Method::Progressive {
                halving,
                steps,
                weights,
                from_pair,
                ..
            } => {
                let teacher: Box<dyn Denoiser> =
                    match self.needs_pair(base, from_pair && weights.is_some())? {
                        true => Box::new(CfgDenoiser::new(teacher)),
                        false => Box::new(teacher),
                    };
                Box::new(Progressive {
                    teacher,
                    steps,
                    halving,
                    weights,
                    weighting,
                })
            }
            Method::Guided { weights, .. } => {
                self.needs_pair(base, true)?;
                Box::new(Guided {
                    teacher: CfgDenoiser::new(teacher),
                    weights,
                    weighting,
                })
            }
            Method::Denoising { .. } => unreachable!("returned above"),
        })
    }

    /// Whether the teacher is to be guided by its two branches; refuses one that has no second branch.
    fn needs_pair(&self, base: &Model, asked: bool) -> Result<bool, RunError> {
        match base.recipe.guidance {
            Guidance::ClassifierFree => Ok(asked),
            Guidance::None if asked => Err(RunError::Teacher(
                "the teacher was trained without dropped labels, so it has no unconditional branch to guide with: train it with `label_dropout` above 0".into(),
            )),
            Guidance::Input { .. } | Guidance::Fixed { .. } if matches!(self.method, Method::Guided { .. }) => Err(RunError::Teacher(
                "the teacher is already a student of stage one: leave [guided] away".into(),
            )),
            _ => Ok(false),
        }
    }

    /// The sampler recipe of the model that comes out.
    pub(super) fn recipe(&self, base: &Model, run: &Run, clock: u64) -> SamplerRecipe {
        let mut recipe = base.recipe.clone();
        recipe.provenance.samples_seen = clock;
        recipe.provenance.seed = run.seed;
        recipe.provenance.data = format!("{} {}", run.examples.name(), run.examples.fingerprint());
        recipe.provenance.program = concat!("fewstep ", env!("CARGO_PKG_VERSION")).into();
        let (weights, role, method) = match self.method {
            Method::Denoising { .. } => return recipe,
            Method::Adapted(ref adaptation) => {
                adaptation.complete(&mut recipe);
                recipe.provenance.method = adaptation.name().into();
                return recipe;
            }
            Method::Guided { weights, .. } => {
                let role = Role::Student {
                    sampler: DistilledFor::Any,
                    steps: None,
                };
                (Some(weights), role, "guided")
            }
            Method::Progressive {
                halving,
                steps,
                weights,
                ..
            } => {
                let sampler = match halving {
                    Halving::Deterministic => DistilledFor::Deterministic,
                    Halving::Stochastic => DistilledFor::Stochastic,
                    Halving::Encoder => DistilledFor::Encoder,
                };
                let steps = Some(steps);
                (weights, Role::Student { sampler, steps }, "progressive")
            }
        };
        recipe.role = role;
        recipe.prediction = prediction_of_students(recipe.prediction);
        recipe.provenance.method = method.into();
        if let Some(weights) = weights {
            recipe.guidance = weights.guidance();
        }
        recipe
    }
}

/// What a student of a teacher emits. At low signal-to-noise ratios x̂ cannot be told from ε̂, and few steps start there:
/// so the student of a teacher of ε̂ learns v, which follows from the teacher's ε̂ by formula.
fn prediction_of_students(teacher: PredictionKind) -> PredictionKind {
    match teacher {
        PredictionKind::Eps => PredictionKind::V,
        kind @ (PredictionKind::X | PredictionKind::V) => kind,
    }
}
