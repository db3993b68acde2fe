//! Small models, and methods with settings that say nothing.

use burn::tensor::Device;
use fewstep_diffusion::{
    ControlSpec, DistilledFor, Guidance, PredictionKind, Provenance, Role, SamplerRecipe,
    ScheduleConfig, Task,
};
use fewstep_distill::method::adapt::{AdaptConfig, AdaptMethod, AdaptedStudent};
use fewstep_distill::method::adversarial::{AdversarialConfig, AdversarialMethod};
use fewstep_distill::method::codi::{CodiConfig, CodiMethod};
use fewstep_distill::method::consistency::{ConsistencyConfig, ConsistencyMethod};
use fewstep_distill::method::denoising::{DenoisingMethod, DenoisingStart};
use fewstep_distill::method::guidance::GuidanceMethod;
use fewstep_distill::method::matching::{MatchingConfig, MatchingMethod};
use fewstep_distill::method::progressive::ProgressiveMethod;
use fewstep_distill::method::{
    Control, GuidanceWeights, Halving, NewControlNet, StudentPrediction, TargetForm, Trained,
};
use fewstep_distill::optim::OptimConfig;
use fewstep_formats::Model;
use fewstep_nn::{Backbone, UNetConfig, WEmbedding};

pub(crate) const RANGE: Option<GuidanceWeights> = Some(GuidanceWeights::Range([0.0, 2.0]));
pub(crate) const ONE: Option<GuidanceWeights> = Some(GuidanceWeights::Single(1.5));
pub(crate) const INPUT: Guidance = Guidance::Input {
    w_min: 0.0,
    w_max: 2.0,
    default: 1.0,
};
pub(crate) const FIXED: Guidance = Guidance::Fixed { w: 1.5 };
pub(crate) const FREE: Guidance = Guidance::ClassifierFree;
const W: WEmbedding = WEmbedding {
    dim: 8,
    scale: 250.0,
};

pub(crate) fn config() -> UNetConfig {
    UNetConfig {
        channels: 1,
        patch: 1,
        widths: vec![16],
        blocks: 1,
        attention: vec![false],
        middle_attention: false,
        head: 8,
        groups: 4,
        classes: 2,
        ..UNetConfig::default()
    }
}

pub(crate) fn network(config: UNetConfig) -> Backbone {
    Backbone::new(&config.into(), 3, &Device::flex()).expect("valid")
}

/// A teacher with this guidance.
pub(crate) fn teacher(guidance: Guidance) -> Model {
    let network = network(config());
    let network = match guidance {
        Guidance::Input { .. } => network.with_w_input(W),
        _ => network,
    };
    Model {
        network,
        recipe: SamplerRecipe {
            version: 1,
            role: Role::Teacher,
            prediction: PredictionKind::V,
            schedule: ScheduleConfig::default(),
            guidance,
            image_guidance: None,
            resolution: [1, 8, 8],
            classes: ["a", "b"].map(String::from).to_vec(),
            clip: true,
            clip_skip: 0,
            control: None,
            default_sampler: None,
            provenance: Provenance::default(),
        },
    }
}

/// The same, changed.
pub(crate) fn changed(guidance: Guidance, change: fn(&mut SamplerRecipe)) -> Model {
    let mut model = teacher(guidance);
    change(&mut model.recipe);
    model
}

/// A teacher that sees a source image.
pub(crate) fn editor() -> Model {
    let config = UNetConfig {
        concat: 1,
        ..config()
    };
    Model {
        network: network(config),
        ..teacher(Guidance::ClassifierFree)
    }
}

/// A student of four deterministic steps.
pub(crate) fn student(guidance: Guidance) -> Model {
    changed(guidance, |recipe| {
        recipe.role = Role::Student {
            sampler: DistilledFor::Deterministic,
            steps: Some(4),
        };
    })
}

/// A student of stage one.
pub(crate) fn of_any_steps(guidance: Guidance) -> Model {
    changed(guidance, |recipe| {
        recipe.role = Role::Student {
            sampler: DistilledFor::Any,
            steps: None,
        };
    })
}

pub(crate) fn guidance(weights: GuidanceWeights) -> GuidanceMethod {
    GuidanceMethod {
        weights,
        embedding: W,
        weighting: None,
        prediction: StudentPrediction::Auto,
        clip_targets: false,
        balance_w: false,
        trajectory_steps: None,
    }
}

pub(crate) fn progressive(weights: Option<GuidanceWeights>, is_first: bool) -> ProgressiveMethod {
    ProgressiveMethod {
        halving: Halving::Deterministic,
        steps: 8,
        weights,
        embedding: W,
        weighting: None,
        prediction: StudentPrediction::Auto,
        clip_targets: false,
        balance_w: false,
        target: TargetForm::default(),
        is_first,
    }
}

pub(crate) fn consistency(weights: Option<GuidanceWeights>) -> ConsistencyMethod {
    ConsistencyMethod {
        config: ConsistencyConfig::default(),
        control: Control::default(),
        weights,
        embedding: W,
        prediction: StudentPrediction::Auto,
    }
}

pub(crate) fn codi(weights: Option<GuidanceWeights>) -> CodiMethod {
    CodiMethod {
        config: CodiConfig::default(),
        control: Control::default(),
        weights,
        prediction: StudentPrediction::Auto,
    }
}

pub(crate) fn denoising(label_dropout: f64, start: DenoisingStart) -> DenoisingMethod {
    DenoisingMethod {
        weighting: None,
        label_dropout,
        start,
    }
}

pub(crate) fn matching(change: fn(&mut MatchingConfig), start: Option<Model>) -> MatchingMethod {
    let mut config = MatchingConfig::default();
    change(&mut config);
    MatchingMethod {
        config,
        start: start.map(Into::into),
        train: Trained::Full,
        weights: None,
        embedding: W,
        weighting: None,
        lr: 1e-4,
    }
}

pub(crate) fn adversarial(start: Option<Model>) -> AdversarialMethod {
    AdversarialMethod {
        config: AdversarialConfig {
            critic_updates: 3,
            head_start: 5,
            ..AdversarialConfig::default()
        },
        start: start.map(Into::into),
        train: Trained::Full,
        weights: None,
        embedding: W,
        lr: 1e-4,
    }
}

pub(crate) fn adapt(teacher_steps: Option<usize>, start: Option<Model>) -> AdaptMethod {
    AdaptMethod {
        config: AdaptConfig {
            updates: 1,
            teacher_steps,
            optim: OptimConfig::of(8, 1e-4),
        },
        start: start.map(AdaptedStudent::new),
        steps: None,
        weights: None,
    }
}

/// No change.
pub(crate) fn same(_: &mut MatchingConfig) {}

pub(crate) fn spec() -> ControlSpec {
    ControlSpec {
        task: Task::Image,
        shape: [1, 8, 8],
    }
}

pub(crate) fn control(train: Trained) -> Control {
    Control {
        spec: Some(spec()),
        new: NewControlNet::default(),
        train,
    }
}
