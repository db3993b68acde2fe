//! The facts about a model.

use super::fields::Fields;
use crate::commands::shared::example::{Uses, command_for};
use crate::commands::shared::guidance::both_conventions;
use crate::numbers::{plural, thousands};
use crate::tasks::command_of;
use fewstep_data::amount;
use fewstep_diffusion::{
    BetaSchedule, DistilledFor, Guidance, PredictionKind, Role, SamplerRecipe, ScheduleConfig,
};
use fewstep_formats::{ComponentFacts, Model, WEIGHTS_FILE};
use fewstep_nn::{BackboneConfig, ExtraInput};
use serde::Serialize;
use std::path::Path;

/// The facts about a model; as JSON for scripts.
#[derive(Serialize)]
pub(super) struct Facts {
    kind: &'static str,
    model: String,
    weights_hash: String,
    /// Size of the weights on disk; none for embedded ones.
    file_bytes: Option<u64>,
    parameters: usize,
    network: BackboneConfig,
    recipe: SamplerRecipe,
    /// Of a latent diffusion model, what is next to the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    components: Option<ComponentFacts>,
}

impl Facts {
    pub(super) fn new(
        model: &Model,
        components: Option<ComponentFacts>,
        reference: String,
    ) -> Self {
        Self {
            kind: "model",
            weights_hash: model.weights_hash(),
            file_bytes: file_bytes(Path::new(&reference)),
            model: reference,
            parameters: model.parameters(),
            network: model.network.config(),
            recipe: model.recipe.clone(),
            components,
        }
    }

    pub(super) fn fields(&self) -> Fields {
        let recipe = &self.recipe;
        let provenance = &recipe.provenance;
        let mut fields = Fields::default();
        fields.add("Model", format!("{}{}", self.model, self.size()));
        fields.add("Role", role(&recipe.role));
        fields.add("Images", self.images());
        match self.reads_texts() {
            true => fields.add("Texts", "generates from prompts"),
            false => fields.add("Classes", classes(&recipe.classes)),
        }
        let sees_source = self.network.sees_source();
        fields.add_all("Guidance", guidance(recipe, sees_source));
        if let Some(control) = recipe.control {
            let [channels, height, width] = control.shape;
            fields.add(
                "Condition",
                format!(
                    "{width}x{height}, {}, for `fewstep {}`",
                    plural(channels, "channel"),
                    command_of(control.task)
                ),
            );
        }
        fields.add("Network", self.network());
        fields.add_all("Parts", self.components.iter().flat_map(parts));
        if recipe.clip_skip > 0 {
            let skipped = recipe.clip_skip;
            let layer = self.network.usual_clip_layer() + skipped;
            let text = format!("{skipped} (CLIP skip {layer} of web interfaces)");
            fields.add("CLIP skip", text);
        }
        fields.add("Predicts", prediction(recipe.prediction));
        fields.add("Schedule", schedule(&recipe.schedule));
        fields.add("Weights", format!("hash {}", self.weights_hash));
        fields.add_some("Method", &provenance.method);
        fields.add_some("Teacher", &provenance.teacher);
        fields.add_some("Teacher's LoRA", &provenance.teacher_lora.join(", "));
        fields.add_some("Data", &provenance.data);
        // Other programs say nothing of it.
        if !provenance.program.is_empty() || provenance.samples_seen > 0 {
            fields.add(
                "Training",
                format!(
                    "{} samples, seed {}",
                    thousands(provenance.samples_seen),
                    provenance.seed
                ),
            );
        }
        fields.add_some("Written by", &provenance.program);
        fields.add("Try", self.example());
        fields
    }

    fn reads_texts(&self) -> bool {
        let components = self.components.as_ref();
        components.is_some_and(|components| components.reads_texts)
    }

    /// Size and colours of images; those of latents besides, where the network works on latents.
    fn images(&self) -> String {
        let [channels, height, width] = self.recipe.resolution;
        let Some(components) = &self.components else {
            return images(self.recipe.resolution);
        };
        let factor = components.factor;
        let extra = match self.network.extra_input() {
            None => "",
            Some(ExtraInput::MaskedImage) => ", with a mask for `fewstep inpaint`",
            Some(ExtraInput::SourceImage) => ", with a source image for `fewstep instruct`",
        };
        format!(
            "{}x{} pixels, from latents of {width}x{height} with {}{extra}",
            width * factor,
            height * factor,
            plural(channels, "channel")
        )
    }

    fn size(&self) -> String {
        match self.file_bytes {
            Some(bytes) => format!(" ({})", amount(bytes)),
            None => String::new(),
        }
    }

    fn network(&self) -> String {
        format!(
            "{} of {} parameters, {}",
            self.network.kind(),
            thousands(self.parameters as u64),
            self.network.summary()
        )
    }

    fn example(&self) -> String {
        let uses = Uses {
            prompts: self.reads_texts(),
            extra: self.network.extra_input(),
        };
        command_for(&self.model, &self.recipe, uses)
    }
}

fn file_bytes(path: &Path) -> Option<u64> {
    let file = match path.is_dir() {
        true => path.join(WEIGHTS_FILE),
        false => path.to_path_buf(),
    };
    std::fs::metadata(file).ok().map(|metadata| metadata.len())
}

/// Teacher or student, in words.
pub(super) fn role(role: &Role) -> String {
    match role {
        Role::Teacher => "teacher: any sampler, any number of steps".into(),
        Role::Student { sampler, steps } => {
            let steps = match steps {
                Some(1) => " in 1 step".into(),
                Some(steps) => format!(" in {steps} steps"),
                None => ", any number of steps".into(),
            };
            match sampler {
                DistilledFor::Any => format!("student of stage one: any sampler{steps}"),
                DistilledFor::Deterministic => format!("student: deterministic sampler{steps}"),
                DistilledFor::Stochastic => format!("student: stochastic sampler{steps}"),
                DistilledFor::Encoder => format!("student: from an image to noise{steps}"),
                DistilledFor::Consistency => {
                    "student: deterministic or multistep-consistency sampler, 1 to 4 steps".into()
                }
            }
        }
    }
}

fn images([channels, height, width]: [usize; 3]) -> String {
    let colour = match channels {
        1 => "grey".into(),
        3 => "RGB".into(),
        _ => plural(channels, "channel"),
    };
    format!("{width}x{height} pixels, {colour}")
}

fn classes(names: &[String]) -> String {
    const SHOWN: usize = 12;
    match names.len() {
        0 => "none: unconditional".into(),
        count if count > SHOWN => format!("{count}: {}, ...", names[..SHOWN].join(", ")),
        count => format!("{count}: {}", names.join(", ")),
    }
}

/// `sees_source` is whether the network sees a source image, which guides too.
pub(super) fn guidance(recipe: &SamplerRecipe, sees_source: bool) -> Vec<String> {
    let mut lines = of_w(recipe.guidance, sees_source);
    let scale = recipe.default_image_guidance();
    match recipe.guidance {
        Guidance::None => {}
        _ if !sees_source => {}
        Guidance::ClassifierFree => lines.push(format!("default image guidance scale {scale}")),
        Guidance::Input { .. } | Guidance::Fixed { .. } => lines.push(format!(
            "image guidance scale {scale} folded into the weights"
        )),
    }
    lines
}

fn of_w(guidance: Guidance, sees_source: bool) -> Vec<String> {
    match guidance {
        Guidance::None => vec!["none: trained without an unconditional branch".into()],
        Guidance::ClassifierFree => vec![
            match sees_source {
                false => "classifier-free: any w, 2 network calls a step".into(),
                true => {
                    "classifier-free, towards the source image too: any w, 3 network calls a step"
                        .into()
                }
            },
            format!("default {}", both_conventions(0.0)),
        ],
        Guidance::Input {
            w_min,
            w_max,
            default,
        } => vec![
            format!(
                "w is an input: {w_min} to {w_max} (guidance scale {} to {}), 1 network call a step",
                fewstep_generate::scale_of(w_min),
                fewstep_generate::scale_of(w_max)
            ),
            format!("default {}", both_conventions(default)),
        ],
        Guidance::Fixed { w } => vec![format!(
            "folded into the weights: {}, 1 network call a step",
            both_conventions(w)
        )],
    }
}

pub(super) fn prediction(kind: PredictionKind) -> &'static str {
    match kind {
        PredictionKind::X => "x, the clean image",
        PredictionKind::Eps => "eps, the noise",
        PredictionKind::V => "v, the velocity",
    }
}

pub(super) fn schedule(config: &ScheduleConfig) -> String {
    match config {
        ScheduleConfig::Cosine {
            log_snr_min,
            log_snr_max,
        } => format!("cosine, continuous, log-SNR {log_snr_max} to {log_snr_min}"),
        ScheduleConfig::Discrete {
            betas,
            beta_start,
            beta_end,
            steps,
            zero_terminal_snr,
            ..
        } => {
            let end = match zero_terminal_snr {
                true => ", zero terminal SNR",
                false => "",
            };
            let growth = match betas {
                BetaSchedule::Linear => "linear",
                BetaSchedule::ScaledLinear => "scaled linear",
                BetaSchedule::SquaredCosine => "squared cosine",
            };
            format!("{growth} betas {beta_start} to {beta_end}, {steps} timesteps{end}")
        }
    }
}

/// The parts next to the network, with the numbers of their parameters.
fn parts(components: &ComponentFacts) -> Vec<String> {
    let line = |(part, kind): &(String, String)| match components.parameters.get(part) {
        Some(count) => format!("{part}: {kind} of {} parameters", thousands(*count)),
        None => format!("{part}: {kind}"),
    };
    components.parts.iter().map(line).collect()
}
