//! What ComfyUI gets: a workflow in API form.

use super::{Architecture, CHECKPOINT, PROMPT, Ready, Solver};
use fewstep_diffusion::PredictionKind;
use serde_json::{Value, json};

impl Ready<'_> {
    /// Sampler and scheduler of ComfyUI. Its Euler is DDIM, and its scheduler `simple` has the steps
    /// of few-step students.
    fn comfy_sampler(&self) -> [&'static str; 2] {
        match self.solver {
            Solver::FewSteps => ["euler", "simple"],
            Solver::Consistency => ["lcm", "simple"],
            Solver::Ordinary => ["dpmpp_2m", "normal"],
        }
    }

    pub(super) fn comfy_settings(&self) -> String {
        let [sampler, scheduler] = self.comfy_sampler();
        let discrete = self.model_sampling().map(|sampling| {
            let zero = self.has_zero_snr();
            format!(", node ModelSamplingDiscrete with {sampling} and zsnr {zero}")
        });
        let discrete = discrete.unwrap_or_default();
        format!(", sampler {sampler}, scheduler {scheduler}{discrete}")
    }

    /// What ComfyUI must be told of the prediction: it takes Stable Diffusion 1 to predict noise,
    /// guesses that of 2, and reads it from files of SDXL, which are marked.
    fn model_sampling(&self) -> Option<&'static str> {
        let guesses = self.architecture == Architecture::Second;
        match self.recipe.prediction {
            _ if self.solver == Solver::Consistency => Some("lcm"),
            PredictionKind::Eps if !guesses && !self.has_zero_snr() => None,
            PredictionKind::Eps => Some("eps"),
            PredictionKind::V if self.architecture == Architecture::Sdxl => None,
            PredictionKind::V => Some("v_prediction"),
            PredictionKind::X => Some("x0"),
        }
    }

    /// The workflow in API form.
    pub(super) fn workflow(&self) -> Value {
        let [sampler, scheduler] = self.comfy_sampler();
        let ([height, width], steps, cfg) = (self.size, self.steps, self.cfg);
        let node = |class: &str, inputs: Value| json!({ "class_type": class, "inputs": inputs });
        let mut model = json!(["loader", 0]);
        let mut nodes = json!({
            "loader": node("CheckpointLoaderSimple", json!({ "ckpt_name": CHECKPOINT })),
            "prompt": node("CLIPTextEncode", json!({ "text": PROMPT, "clip": ["loader", 1] })),
            "negative": node("CLIPTextEncode", json!({ "text": "", "clip": ["loader", 1] })),
            "latent": node(
                "EmptyLatentImage",
                json!({ "width": width, "height": height, "batch_size": 1 })
            ),
        });
        if let Some(layer) = self.last_layer() {
            nodes["clip"] = node(
                "CLIPSetLastLayer",
                json!({ "stop_at_clip_layer": -(layer as i64), "clip": ["loader", 1] }),
            );
            for prompt in ["prompt", "negative"] {
                nodes[prompt]["inputs"]["clip"] = json!(["clip", 0]);
            }
        }
        if let Some(sampling) = self.model_sampling() {
            let zsnr = self.has_zero_snr();
            nodes["sampling"] = node(
                "ModelSamplingDiscrete",
                json!({ "model": model, "sampling": sampling, "zsnr": zsnr }),
            );
            model = json!(["sampling", 0]);
        }
        nodes["sampler"] = node(
            "KSampler",
            json!({
                "model": model,
                "positive": ["prompt", 0],
                "negative": ["negative", 0],
                "latent_image": ["latent", 0],
                "seed": 0,
                "steps": steps,
                "cfg": cfg,
                "sampler_name": sampler,
                "scheduler": scheduler,
                "denoise": 1.0,
            }),
        );
        let decode = json!({ "samples": ["sampler", 0], "vae": ["loader", 2] });
        nodes["decode"] = node("VAEDecode", decode);
        let save = json!({ "images": ["decode", 0], "filename_prefix": "fewstep" });
        nodes["save"] = node("SaveImage", save);
        nodes
    }
}
