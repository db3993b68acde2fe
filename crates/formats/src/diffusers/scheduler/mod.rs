//! `scheduler/scheduler_config.json`.

mod class;
mod write;

pub(crate) use write::write;

use crate::FormatError;
use crate::fields::{Fields, same};
use class::{Class, End, TimestepSpacing};
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
    /// Whether the model is a student of consistency distillation, by its scheduler.
    pub(crate) consistency: bool,
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
            image_guidance: None,
            resolution,
            classes: vec![],
            clip: self.clip,
            clip_skip: 0,
            control: None,
            default_sampler: Some(self.default_sampler),
            provenance: Provenance::default(),
        }
    }
}

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

#[derive(PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LastSigma {
    Zero,
    SigmaMin,
}

/// Settings of solvers that are not ours, with the value that is: another is passed over, with a
/// warning, since it says nothing of the model.
fn of_solvers() -> [(&'static str, Value); 13] {
    [
        ("algorithm_type", json!("dpmsolver++")),
        ("disable_corrector", json!([])),
        ("euler_at_final", json!(false)),
        ("interpolation_type", json!("linear")),
        ("lower_order_final", json!(true)),
        ("predict_x0", json!(true)),
        ("solver_order", json!(2)),
        ("thresholding", json!(false)),
        ("use_beta_sigmas", json!(false)),
        ("use_exponential_sigmas", json!(false)),
        ("use_karras_sigmas", json!(false)),
        ("use_lu_lambdas", json!(false)),
        ("timestep_scaling", json!(10)),
    ]
}

/// Which of these a class has, beyond its name. diffusers ignores the rest, which other schedulers
/// have left in the file.
fn has(class: &str, field: &str) -> bool {
    let dpm = class.starts_with("DPMSolver") && class != "DPMSolverSDEScheduler";
    let unipc = class == "UniPCMultistepScheduler";
    let deis = class == "DEISMultistepScheduler";
    let on_sigmas = class.contains("Discrete") || dpm || unipc || deis || class.starts_with("SA");
    match field {
        "algorithm_type" | "lower_order_final" if class == "DPMSolverMultistepScheduler" => true,
        "algorithm_type" | "euler_at_final" | "use_lu_lambdas" => dpm && !class.contains("Single"),
        "solver_order" => dpm || unipc || deis,
        "lower_order_final" | "disable_corrector" | "predict_x0" => unipc,
        "interpolation_type" => class == "EulerDiscreteScheduler",
        "use_beta_sigmas" | "use_exponential_sigmas" | "use_karras_sigmas" => {
            on_sigmas || class == "DPMSolverSDEScheduler"
        }
        "thresholding" => {
            let on_alphas = ["DD", "LCM", "TCD"];
            dpm || unipc || deis || on_alphas.iter().any(|start| class.starts_with(start))
        }
        "solver_type" => dpm || unipc || deis,
        "timestep_scaling" => class == "LCMScheduler",
        _ => true,
    }
}

/// Reads the configuration. A model needs of it schedule and prediction; a solver that is not ours
/// is replaced, with a warning.
pub(crate) fn read(mut fields: Fields) -> Result<Scheduler, FormatError> {
    let name: String = fields.needed("_class_name")?;
    let has_betas = ["beta_start", "beta_end", "beta_schedule"]
        .iter()
        .any(|field| fields.has(field));
    let class = Class::named(&name, has_betas).map_err(|reason| fields.bad(reason))?;
    refuse(&mut fields, &name)?;
    let mut replaced = vec![];
    if !class.same {
        replaced.push(format!("`{name}`"));
    }
    for (field, ours) in of_solvers() {
        let given = fields.take(field);
        if let Some(given) = given.filter(|given| has(&name, field) && !same(given, &ours)) {
            replaced.push(format!("`{field}` = {given}"));
        }
    }
    let sampler = solver(&mut fields, &name, class.sampler, &mut replaced)?;
    let default_sampler = SamplerConfig {
        sampler,
        spacing: spacing(&mut fields, class, sampler, &mut replaced)?,
    };
    let read = Scheduler {
        schedule: schedule(&mut fields, class)?,
        prediction: match fields.or("prediction_type", Kind::Epsilon)? {
            Kind::Epsilon => PredictionKind::Eps,
            Kind::Sample => PredictionKind::X,
            Kind::VPrediction => PredictionKind::V,
        },
        clip: clip(&mut fields, class)?,
        default_sampler,
        consistency: class.consistency,
    };
    if !replaced.is_empty() {
        tracing::warn!(
            "{}: {} not supported, and {} with its own settings stands in as the default sampler; schedule and prediction of the model are as the file says",
            fields.origin(),
            match &replaced[..] {
                [one] => format!("{one} is"),
                many => format!("{} are", many.join(", ")),
            },
            read.default_sampler.name()
        );
    }
    for field in fields.names() {
        tracing::warn!(
            "{}: field `{field}` is not known, and is ignored",
            fields.origin()
        );
    }
    Ok(read)
}

/// The sampler, where a field of the class chooses one.
fn solver(
    fields: &mut Fields,
    class: &str,
    sampler: Sampler,
    replaced: &mut Vec<String>,
) -> Result<Sampler, FormatError> {
    let kind: Option<String> = fields.optional("solver_type")?;
    let variance: Option<String> = fields.optional("variance_type")?;
    if let Some(variance @ ("learned" | "learned_range")) = variance.as_deref() {
        return Err(fields.bad(format!(
            "field `variance_type` is `{variance}`: networks that give variances are not supported"
        )));
    }
    Ok(match (sampler, kind.as_deref()) {
        // Other variances are not ours; DDIM has none.
        (Sampler::Ancestral, _)
            if class.starts_with("DDPM") && variance.is_some_and(|kind| kind != "fixed_small") =>
        {
            Sampler::DDIM
        }
        (Sampler::UniPc { .. }, Some("bh1")) => Sampler::UNIPC_BH1,
        (Sampler::UniPc { .. }, Some("bh2")) => sampler,
        (Sampler::DpmSolverPp, Some("midpoint" | "logrho")) => sampler,
        (Sampler::UniPc { .. } | Sampler::DpmSolverPp, Some(other))
            if has(class, "solver_type") =>
        {
            replaced.push(format!("`solver_type` = \"{other}\""));
            sampler
        }
        _ => sampler,
    })
}

/// How steps are spread over time.
fn spacing(
    fields: &mut Fields,
    class: Class,
    sampler: Sampler,
    replaced: &mut Vec<String>,
) -> Result<Spacing, FormatError> {
    let spacing = fields.or("timestep_spacing", class.spacing)?;
    let offset: usize = fields.or("steps_offset", 0)?;
    if sampler.is_few_step() {
        return Ok(Spacing::Uniform);
    }
    let multistep = matches!(sampler, Sampler::DpmSolverPp | Sampler::UniPc { .. });
    Ok(match (spacing, multistep, offset) {
        (TimestepSpacing::Trailing, ..) => Spacing::Trailing,
        (TimestepSpacing::Linspace, drop_last, _) => Spacing::Linspace { drop_last },
        (TimestepSpacing::Leading, false, offset @ 0..=1)
        | (TimestepSpacing::Leading, true, offset @ 1) => Spacing::Leading {
            offset,
            drop_last: multistep,
        },
        (TimestepSpacing::Leading, drop_last, _) => {
            replaced.push(format!("`steps_offset` = {offset} with `leading` spacing"));
            Spacing::Leading {
                offset: 1,
                drop_last,
            }
        }
    })
}

fn schedule(fields: &mut Fields, class: Class) -> Result<ScheduleConfig, FormatError> {
    let alpha: Option<bool> = fields.optional("set_alpha_to_one")?;
    let sigma: Option<LastSigma> = fields.optional("final_sigmas_type")?;
    let (betas, start, end) = class.betas;
    let rescaled: bool = fields.or("rescale_betas_zero_snr", false)?;
    Ok(ScheduleConfig::Discrete {
        betas: match fields.optional("beta_schedule")? {
            None => betas,
            Some(Betas::Linear) => BetaSchedule::Linear,
            Some(Betas::ScaledLinear) => BetaSchedule::ScaledLinear,
            Some(Betas::SquaredCosine) => BetaSchedule::SquaredCosine,
        },
        beta_start: fields.or("beta_start", start)?,
        beta_end: fields.or("beta_end", end)?,
        steps: fields.or("num_train_timesteps", 1000)?,
        zero_terminal_snr: class.rescales && rescaled,
        clean_end: match class.end {
            End::Clean => true,
            End::Alpha(default) => alpha.unwrap_or(default),
            End::Sigma => sigma != Some(LastSigma::SigmaMin),
        },
    })
}

/// Whether x̂ is clipped, and where.
fn clip(fields: &mut Fields, class: Class) -> Result<bool, FormatError> {
    let said: Option<bool> = fields.optional("clip_sample")?;
    let clip = class.clip.is_some_and(|default| said.unwrap_or(default));
    match clip {
        true => fields.only(&[("clip_sample_range", json!(1))])?,
        false => fields.ignore(&["clip_sample_range"]),
    }
    Ok(clip)
}

/// Fields that change what the model is, of which this version supports one value.
fn refuse(fields: &mut Fields, class: &str) -> Result<(), FormatError> {
    fields.only(&[
        ("trained_betas", json!(null)),
        ("use_flow_sigmas", json!(false)),
    ])?;
    match class {
        "EulerDiscreteScheduler" => fields.only(&[("timestep_type", json!("discrete"))])?,
        _ => fields.ignore(&["timestep_type"]),
    }
    // Settings of thresholding, flows and solvers, and of PNDM's first steps.
    fields.ignore(&[
        "corrector_order",
        "dynamic_thresholding_ratio",
        "flow_shift",
        "lambda_min_clipped",
        "noise_sampler_seed",
        "original_inference_steps",
        "predictor_order",
        "sample_max_value",
        "sigma_max",
        "sigma_min",
        "skip_prk_steps",
        "time_shift_type",
        "use_dynamic_shifting",
        "variance_schedule",
    ]);
    Ok(())
}
