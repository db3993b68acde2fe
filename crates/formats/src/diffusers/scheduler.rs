//! `scheduler/scheduler_config.json`.

use crate::FormatError;
use crate::fields::Fields;
use fewstep_diffusion::{
    BetaSchedule, Guidance, PredictionKind, Provenance, Role, Sampler, SamplerConfig,
    SamplerRecipe, ScheduleConfig, Spacing,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// What a scheduler's configuration says of its model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scheduler {
    pub(crate) schedule: ScheduleConfig,
    pub(crate) prediction: PredictionKind,
    pub(crate) clip: bool,
    pub(crate) default_sampler: SamplerConfig,
}

impl Scheduler {
    /// The recipe of a teacher without guidance that is sampled this way.
    pub(crate) fn teacher(self, resolution: [usize; 3]) -> SamplerRecipe {
        SamplerRecipe {
            version: 1,
            role: Role::Teacher,
            prediction: self.prediction,
            schedule: self.schedule,
            guidance: Guidance::None,
            resolution,
            classes: vec![],
            clip: self.clip,
            control: None,
            default_sampler: Some(self.default_sampler),
            provenance: Provenance::default(),
        }
    }
}

/// The schedulers of diffusers that are known here, with our sampler for each. PNDM's multistep
/// method is not ours: DDIM on its grid replaces it, and also DDPM with a variance that is not that
/// of the posterior. Euler's method on z / α is DDIM under another name.
const KNOWN: [(&str, Sampler); 8] = [
    ("DDIMScheduler", Sampler::DDIM),
    ("DDPMScheduler", Sampler::Ancestral),
    ("PNDMScheduler", Sampler::DDIM),
    ("EulerDiscreteScheduler", Sampler::DDIM),
    ("EulerAncestralDiscreteScheduler", Sampler::Ancestral),
    ("HeunDiscreteScheduler", Sampler::HEUN),
    ("DPMSolverMultistepScheduler", Sampler::DpmSolverPp),
    ("UniPCMultistepScheduler", Sampler::UNIPC),
];

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Betas {
    Linear,
    ScaledLinear,
    #[serde(rename = "squaredcos_cap_v2")]
    SquaredCosine,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Epsilon,
    Sample,
    VPrediction,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TimestepSpacing {
    Leading,
    Trailing,
    Linspace,
}

/// B(h) of UniPC.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Basis {
    Bh1,
    Bh2,
}

#[derive(PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LastSigma {
    Zero,
    SigmaMin,
}

/// Reads the configuration.
pub(crate) fn read(mut fields: Fields) -> Result<Scheduler, FormatError> {
    let class: String = fields.needed("_class_name")?;
    let Some(&(_, sampler)) = KNOWN.iter().find(|(name, _)| *name == class) else {
        let names: Vec<&str> = KNOWN.iter().map(|(name, _)| *name).collect();
        return Err(fields.bad(format!(
            "scheduler `{class}` is not supported: known are {}",
            names.join(", ")
        )));
    };
    refuse(&mut fields)?;
    let variance: String = fields.or("variance_type", "fixed_small".into())?;
    let sampler = match (sampler, variance.as_str()) {
        (_, "learned" | "learned_range") => {
            return Err(fields.bad(format!(
                "field `variance_type` is `{variance}`: networks that give variances are not supported"
            )));
        }
        (sampler, "fixed_small") => sampler,
        // Other variances are not ours; DDIM has none.
        (_, _) => Sampler::DDIM,
    };
    let sampler = match sampler {
        Sampler::DpmSolverPp => {
            fields.only(&[("solver_type", json!("midpoint"))])?;
            sampler
        }
        Sampler::UniPc { .. } => match fields.or("solver_type", Basis::Bh2)? {
            Basis::Bh1 => Sampler::UNIPC_BH1,
            Basis::Bh2 => Sampler::UNIPC,
        },
        _ => sampler,
    };
    let multistep = matches!(sampler, Sampler::DpmSolverPp | Sampler::UniPc { .. });
    let spacing = match (sampler, multistep) {
        (_, true) => TimestepSpacing::Linspace,
        (Sampler::Heun { .. }, _) => TimestepSpacing::Linspace,
        _ if class.starts_with("Euler") => TimestepSpacing::Linspace,
        _ => TimestepSpacing::Leading,
    };
    let spacing = fields.or("timestep_spacing", spacing)?;
    let offset: usize = fields.or("steps_offset", 0)?;
    let spacing = match (spacing, multistep, offset) {
        (TimestepSpacing::Trailing, _, _) => Spacing::Trailing,
        (TimestepSpacing::Linspace, drop_last, _) => Spacing::Linspace { drop_last },
        (TimestepSpacing::Leading, false, offset @ 0..=1)
        | (TimestepSpacing::Leading, true, offset @ 1) => Spacing::Leading {
            offset,
            drop_last: multistep,
        },
        (TimestepSpacing::Leading, _, _) => {
            return Err(fields.bad(format!(
                "field `steps_offset` is {offset}, and with `leading` spacing this version supports only 1 (for DDIM and PNDM also 0)"
            )));
        }
    };
    // DDIM says where it ends in one way, the solvers in another; those that say nothing end at a
    // clean image.
    let clean = fields.or("set_alpha_to_one", class != "PNDMScheduler")?;
    let last = fields.or("final_sigmas_type", LastSigma::Zero)?;
    let clip = matches!(class.as_str(), "DDIMScheduler" | "DDPMScheduler");
    let read = Scheduler {
        schedule: ScheduleConfig::Discrete {
            betas: match fields.or("beta_schedule", Betas::Linear)? {
                Betas::Linear => BetaSchedule::Linear,
                Betas::ScaledLinear => BetaSchedule::ScaledLinear,
                Betas::SquaredCosine => BetaSchedule::SquaredCosine,
            },
            beta_start: fields.or("beta_start", 1e-4)?,
            beta_end: fields.or("beta_end", 0.02)?,
            steps: fields.or("num_train_timesteps", 1000)?,
            zero_terminal_snr: fields.or("rescale_betas_zero_snr", false)?,
            clean_end: clean && last == LastSigma::Zero,
        },
        prediction: match fields.or("prediction_type", Kind::Epsilon)? {
            Kind::Epsilon => PredictionKind::Eps,
            Kind::Sample => PredictionKind::X,
            Kind::VPrediction => PredictionKind::V,
        },
        clip: fields.or("clip_sample", clip)?,
        default_sampler: SamplerConfig { sampler, spacing },
    };
    fields.finish()?;
    Ok(read)
}

/// Fields that change what is sampled, of which this version supports one value.
fn refuse(fields: &mut Fields) -> Result<(), FormatError> {
    fields.only(&[
        ("algorithm_type", json!("dpmsolver++")),
        ("clip_sample_range", json!(1)),
        ("disable_corrector", json!([])),
        ("euler_at_final", json!(false)),
        ("interpolation_type", json!("linear")),
        ("lower_order_final", json!(true)),
        ("predict_x0", json!(true)),
        ("solver_order", json!(2)),
        ("thresholding", json!(false)),
        ("timestep_type", json!("discrete")),
        ("trained_betas", json!(null)),
        ("use_beta_sigmas", json!(false)),
        ("use_dynamic_shifting", json!(false)),
        ("use_exponential_sigmas", json!(false)),
        ("use_flow_sigmas", json!(false)),
        ("use_karras_sigmas", json!(false)),
        ("use_lu_lambdas", json!(false)),
    ])?;
    // Settings of thresholding and flows, which are refused above, and of PNDM's first steps.
    fields.ignore(&[
        "dynamic_thresholding_ratio",
        "flow_shift",
        "sample_max_value",
        "skip_prk_steps",
        "time_shift_type",
    ]);
    Ok(())
}

/// Writes the configuration of a DDIM scheduler for a recipe.
pub(crate) fn write(recipe: &SamplerRecipe) -> Value {
    let prediction_type = match recipe.prediction {
        PredictionKind::X => "sample",
        PredictionKind::Eps => "epsilon",
        PredictionKind::V => "v_prediction",
    };
    let mut config = json!({
        "_class_name": "DDIMScheduler",
        "prediction_type": prediction_type,
        "clip_sample": recipe.clip,
        "timestep_spacing": "trailing",
    });
    match &recipe.schedule {
        // diffusers has no continuous schedule: its squared cosine is the nearest. Our own tools
        // read fewstep.json.
        ScheduleConfig::Cosine { .. } => {
            config["beta_schedule"] = json!("squaredcos_cap_v2");
            config["num_train_timesteps"] = json!(1000);
            config["rescale_betas_zero_snr"] = json!(true);
        }
        ScheduleConfig::Discrete {
            betas,
            beta_start,
            beta_end,
            steps,
            zero_terminal_snr,
            clean_end,
        } => {
            config["beta_schedule"] = json!(match betas {
                BetaSchedule::Linear => "linear",
                BetaSchedule::ScaledLinear => "scaled_linear",
                BetaSchedule::SquaredCosine => "squaredcos_cap_v2",
            });
            config["beta_start"] = json!(beta_start);
            config["beta_end"] = json!(beta_end);
            config["num_train_timesteps"] = json!(steps);
            config["rescale_betas_zero_snr"] = json!(zero_terminal_snr);
            // The last step of a student ends at x̂ itself, even where its schedule has noise at t
            // = 0.
            let student = matches!(recipe.role, Role::Student { .. });
            config["set_alpha_to_one"] = json!(*clean_end || student);
        }
    }
    config
}
