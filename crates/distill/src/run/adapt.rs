//! The phase of a recipe with a single phase: what its student, objective and sampler recipe are.

use super::RunError;
use super::phase::{Method, Phase};
use crate::method::{
    Codi, Consistency, Denoising, DistanceConfig, GuidanceWeights, Objective, OdeModel, Weighting,
};
use crate::recipe::{
    AdaptMethod, AdaptRecipe, CodiConfig, ConsistencyConfig, NewControlNet, Trained,
};
use burn::module::Module;
use fewstep_data::{ConditionConfig, Conditions};
use fewstep_diffusion::{
    CfgDenoiser, ControlSpec, Denoiser, DiffusionModel, DistilledFor, Guidance, Role,
    SamplerRecipe, Task,
};
use fewstep_formats::Model;
use fewstep_nn::{Backbone, WEmbedding};

/// One phase from a model to another, with or without control images.
#[derive(Clone, Debug)]
pub struct Adaptation {
    settings: Settings,
    control: Option<ControlSpec>,
    controlnet: NewControlNet,
    train: Trained,
    weights: Option<GuidanceWeights>,
    embedding: WEmbedding,
    seed: u64,
}

#[derive(Clone, Debug)]
enum Settings {
    Codi(CodiConfig),
    Consistency(ConsistencyConfig),
    Denoising { label_dropout: f64 },
}

/// The phase of a recipe.
pub fn adapt_phases(recipe: &AdaptRecipe, conditions: Option<&Conditions>) -> Vec<Phase> {
    let (name, settings) = match recipe.method {
        AdaptMethod::Codi => ("codi", Settings::Codi(recipe.codi.clone())),
        AdaptMethod::Consistency => (
            "consistency",
            Settings::Consistency(recipe.consistency.clone()),
        ),
        AdaptMethod::Denoising => {
            let label_dropout = recipe.label_dropout;
            ("conditioned", Settings::Denoising { label_dropout })
        }
    };
    vec![Phase {
        name: name.into(),
        method: Method::Adapted(Adaptation {
            settings,
            control: conditions.map(control),
            controlnet: recipe.controlnet,
            train: recipe.train,
            weights: recipe.w,
            embedding: recipe.w_embedding,
            seed: recipe.seed,
        }),
        lora: None,
        teacher_precision: recipe.teacher_precision,
        optim: recipe.optim.clone(),
        updates: recipe.updates,
        weighting: recipe.weighting,
    }]
}

/// What a model's recipe says about conditions.
pub fn control(conditions: &Conditions) -> ControlSpec {
    let task = match conditions.config() {
        ConditionConfig::Bicubic { .. } | ConditionConfig::Degraded { .. } => Task::Upscale,
        ConditionConfig::Inpaint { .. } => Task::Inpaint,
        ConditionConfig::Depth(_) => Task::Depth,
        ConditionConfig::Instruct(_) => Task::Instruct,
        ConditionConfig::Edges | ConditionConfig::Image(_) => Task::Image,
    };
    ControlSpec {
        task,
        shape: conditions.shape(),
    }
}

impl Adaptation {
    /// Name of the method in a model's provenance.
    pub(super) fn name(&self) -> &'static str {
        match (&self.settings, self.train) {
            (Settings::Codi(_), Trained::Full) => "codi",
            (Settings::Codi(_), Trained::ControlNet) => "pe-codi",
            (Settings::Consistency(_), _) => "consistency",
            (Settings::Denoising { .. }, _) => "conditioned",
        }
    }

    /// Whether only the ControlNet is trained.
    pub(super) fn controlnet_only(&self) -> bool {
        self.train == Trained::ControlNet
    }

    /// Whether networks are asked while the student's graph is there.
    pub(super) fn asks_afterwards(&self) -> bool {
        matches!(self.settings, Settings::Codi(_))
    }

    /// Whether the model before is asked.
    pub(super) fn asks_teacher(&self) -> bool {
        match &self.settings {
            Settings::Codi(config) => config.ode_model == OdeModel::Base,
            Settings::Consistency(_) => true,
            Settings::Denoising { .. } => false,
        }
    }

    /// Branches of a call without graph: two where guidance is inside.
    pub(super) fn branches(&self) -> usize {
        1 + usize::from(self.weights.is_some())
    }

    /// What of the network is trained.
    pub(super) fn part(&self) -> fn(Backbone) -> Backbone {
        match self.train {
            Trained::Full => |network| network,
            Trained::ControlNet => Backbone::freeze_base,
        }
    }

    /// The model before, with a ControlNet and an input for w where it gets one.
    pub(super) fn student(&self, base: &Model) -> Result<Backbone, RunError> {
        let mut network = base.network.clone();
        if let (Some(control), None) = (self.control, network.controlnet()) {
            let NewControlNet { fusion, initial } = self.controlnet;
            let resolution = base.recipe.resolution;
            let config = network
                .config()
                .controlnet_for(control.shape, resolution, fusion);
            network = network
                .with_controlnet(&config, initial, self.seed)
                .map_err(|e| RunError::Teacher(e.to_string()))?;
        }
        if self.train == Trained::ControlNet && network.controlnet().is_none() {
            return Err(RunError::Teacher(
                "`train = \"controlnet\"` asks for a ControlNet to train, but there is no [condition] and the teacher has none: add [condition], or train all".into(),
            ));
        }
        let config = network.config();
        let no_null = config.classes() > 0 && !config.has_null_class();
        if matches!(self.settings, Settings::Denoising { label_dropout } if label_dropout > 0.0)
            && no_null
        {
            return Err(RunError::Teacher(
                "`label_dropout` needs a class that means \"no class\", which the teacher does not have: set `label_dropout = 0`".into(),
            ));
        }
        let takes_w = network.config().takes_w();
        let wants_w = matches!(self.settings, Settings::Consistency(_))
            && matches!(self.weights, Some(GuidanceWeights::Range(_)));
        Ok(match wants_w && !takes_w {
            true => network.with_w_input(self.embedding),
            false => network,
        })
    }

    pub(super) fn objective(
        &self,
        base: &Model,
        teacher: DiffusionModel<Backbone>,
        weighting: Weighting,
    ) -> Result<Box<dyn Objective>, RunError> {
        self.check_guidance(base)?;
        let device = teacher.network.devices().into_iter().next();
        let device = device.unwrap_or_default();
        let load = |distance: &DistanceConfig| distance.load(base.recipe.resolution, &device);
        Ok(match &self.settings {
            Settings::Codi(config) => Box::new(Codi {
                pairs: config.pairs(),
                consistent: config.consistency,
                boundary: config.boundary,
                ode_step: config.ode_model.with(teacher),
                ode_noise: config.ode_noise,
                distance: load(&config.distance)?,
                consistency: config.consistency_weight,
                error_weight: config.error_weight,
                guidance_distance: load(&config.guidance_distance)?,
                guidance: config.guidance_weight,
                weights: self.weights,
            }),
            Settings::Consistency(config) => {
                let pair = base.recipe.guidance == Guidance::ClassifierFree;
                let teacher: Box<dyn Denoiser> = match pair && self.weights.is_some() {
                    true => Box::new(CfgDenoiser::new(teacher)),
                    false => Box::new(teacher),
                };
                Box::new(Consistency {
                    teacher,
                    pairs: config.pairs(),
                    solver: config.solver,
                    boundary: config.boundary,
                    distance: load(&config.distance)?,
                    error_weight: config.error_weight,
                    weights: self.weights,
                })
            }
            Settings::Denoising { label_dropout } => Box::new(Denoising {
                weighting,
                label_dropout: *label_dropout,
                weights: match base.recipe.guidance {
                    Guidance::Input { w_min, w_max, .. } => {
                        Some(GuidanceWeights::Range([w_min, w_max]))
                    }
                    _ => None,
                },
            }),
        })
    }

    /// Refuses a w that the teacher cannot be guided with, and a teacher that needs one.
    fn check_guidance(&self, base: &Model) -> Result<(), RunError> {
        let codi = matches!(self.settings, Settings::Codi(_));
        let message = match (self.weights, base.recipe.guidance) {
            (Some(_), Guidance::None) => {
                "the teacher was trained without dropped labels, so it has no unconditional branch to guide with: leave `w` away"
            }
            (Some(_), Guidance::Input { .. } | Guidance::Fixed { .. }) if codi => {
                "`w` asks for guidance of two branches, but the teacher is a student with guidance folded in: leave `w` away"
            }
            (Some(_), Guidance::Fixed { .. })
            | (Some(GuidanceWeights::Single(_)), Guidance::Input { .. }) => {
                "the teacher has guidance folded in already: leave `w` away, or give a range where it takes w as an input"
            }
            (None, Guidance::Input { .. }) if codi => {
                "the teacher takes w as an input, which a model learning its condition at the same time does not: give the teacher from before guidance was folded in"
            }
            (None, Guidance::Input { .. }) if matches!(self.settings, Settings::Consistency(_)) => {
                "the teacher takes w as an input: give the range to learn, `w = [min, max]`"
            }
            _ => return Ok(()),
        };
        Err(RunError::Teacher(message.into()))
    }

    /// What changes in the sampler recipe of the model before.
    pub(super) fn complete(&self, recipe: &mut SamplerRecipe) {
        recipe.control = self.control.or(recipe.control);
        let few_steps = Role::Student {
            sampler: DistilledFor::Consistency,
            steps: None,
        };
        match self.settings {
            // Learning a condition changes nothing about how to sample.
            Settings::Denoising { .. } => {}
            Settings::Codi(_) => {
                recipe.role = few_steps;
                // Without guidance inside, the branch without classes was not trained.
                if self.weights.is_none() && recipe.guidance == Guidance::ClassifierFree {
                    recipe.guidance = Guidance::None;
                }
            }
            Settings::Consistency(_) => {
                recipe.role = few_steps;
                recipe.guidance = match (self.weights, recipe.guidance) {
                    (Some(weights), _) => weights.guidance(),
                    (None, Guidance::ClassifierFree) => Guidance::None,
                    (None, folded) => folded,
                };
            }
        }
    }
}
