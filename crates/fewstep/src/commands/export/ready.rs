//! Files for one tool, with what the tool must be told: `--for`.

use crate::commands::shared::example::steps_of;
use crate::error::{CliError, CliResult};
use fewstep_diffusion::{
    BetaSchedule, DistilledFor, Guidance, PredictionKind, Role, SamplerRecipe, ScheduleConfig,
};
use fewstep_formats::{
    FormatError, GgufPrecision, Model, Pipeline, WeightPrecision, convert_weights,
    write_atomically, write_json_atomically,
};
use fewstep_nn::BackboneConfig;
use serde_json::{Value, json};
use std::path::Path;

/// A tool that reads models.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Tool {
    /// ComfyUI: a checkpoint, and a workflow in API form.
    Comfyui,
    /// AUTOMATIC1111's web interface and Forge: a checkpoint, and its .yaml where they need one.
    A1111,
    /// diffusers: a folder.
    Diffusers,
    /// stable-diffusion.cpp: a whole model as GGUF.
    SdCpp,
}

/// How a tool that knows nothing of the sampler recipe generates with a model.
pub(super) struct Ready<'a> {
    tool: Tool,
    recipe: &'a SamplerRecipe,
    steps: usize,
    /// The guidance scale: 1 for what needs no second branch.
    cfg: f64,
    /// Height and width of images.
    size: [usize; 2],
    /// Whether the steps are those that a student was distilled for.
    few: bool,
    /// Whether its architecture is that of Stable Diffusion 2.
    second: bool,
    /// Which layer of its text encoders it takes if none is skipped, from the last one, which is 1.
    usual_clip_layer: usize,
}

/// The file of the weights.
const CHECKPOINT: &str = "model.safetensors";
const GGUF: &str = "model.gguf";
const PROMPT: &str = "a lighthouse at night";

impl<'a> Ready<'a> {
    /// # Errors
    /// When the tools have no way to generate with such a model.
    pub(super) fn new(tool: Tool, pipeline: &Pipeline, model: &'a Model) -> CliResult<Self> {
        let recipe = &model.recipe;
        let BackboneConfig::UNet(network) = model.network.config();
        let refused = match recipe.role {
            _ if recipe.control.is_some() => "it generates from control images",
            _ if network.concat > 0 => "it is for inpainting",
            _ if !recipe.classes.is_empty() => "it has classes instead of prompts",
            Role::Student {
                sampler: DistilledFor::Stochastic,
                ..
            } => "it was distilled for the stochastic sampler, which is only in fewstep",
            Role::Student {
                sampler: DistilledFor::Encoder,
                ..
            } => "it goes from images to noise",
            _ => "",
        };
        if !refused.is_empty() {
            return Err(CliError::input(format!(
                "--for writes text-to-image models, and this is none: {refused}. Use --form"
            )));
        }
        let [_, height, width] = recipe.resolution;
        let factor = pipeline.vae.factor();
        Ok(Self {
            tool,
            recipe,
            steps: steps_of(&recipe.role),
            cfg: match recipe.guidance {
                Guidance::ClassifierFree => 7.5,
                // Only diffusers gives a student its w.
                Guidance::Input { default, .. } => 1.0 + default,
                Guidance::None | Guidance::Fixed { .. } => 1.0,
            },
            size: [height * factor, width * factor],
            few: matches!(
                recipe.role,
                Role::Student {
                    sampler: DistilledFor::Deterministic | DistilledFor::Consistency,
                    ..
                }
            ),
            second: network.text.is_some_and(|text| text.linear),
            usual_clip_layer: model.network.config().usual_clip_layer(),
        })
    }

    /// What a user should know that no file can say.
    pub(super) fn warning(&self) -> Option<String> {
        const BETAS: [f64; 2] = [0.00085, 0.012];
        let known = match &self.recipe.schedule {
            ScheduleConfig::Discrete {
                betas: BetaSchedule::ScaledLinear,
                beta_start,
                beta_end,
                steps: 1000,
                ..
            } => [*beta_start, *beta_end] == BETAS,
            _ => false,
        };
        (self.tool != Tool::Diffusers && !known).then(|| {
            "this model has another noise schedule than Stable Diffusion, which this tool takes for granted: it will generate wrong images".into()
        })
    }

    /// Writes the files of the tool into a new folder. Gives the names of the tensors in f32 because
    /// a value of theirs is too large for the precision.
    pub(super) fn write(
        &self,
        pipeline: &Pipeline,
        model: &Model,
        precision: Option<WeightPrecision>,
        gguf: GgufPrecision,
        folder: &Path,
    ) -> Result<Vec<String>, FormatError> {
        let checkpoint = folder.join(CHECKPOINT);
        let too_large = match self.tool {
            Tool::Diffusers => {
                pipeline.components.save_pipeline(model, folder)?;
                // transformers keeps the type of a file, diffusers does not: all parts are of one.
                convert_weights(folder, precision.unwrap_or(WeightPrecision::F32))?
            }
            Tool::SdCpp => pipeline.save_whole_gguf(model, gguf, &folder.join(GGUF))?,
            Tool::Comfyui | Tool::A1111 => pipeline.save_single(model, precision, &checkpoint)?,
        };
        match self.tool {
            Tool::Comfyui => {
                write_json_atomically(&folder.join("workflow_api.json"), &self.workflow())?;
            }
            // Of Stable Diffusion 2 it is found out from the weights.
            Tool::A1111 if self.recipe.prediction == PredictionKind::V && !self.second => {
                let yaml = self.yaml(pipeline, model);
                write_atomically(&checkpoint.with_extension("yaml"), yaml.as_bytes())?;
            }
            _ => {}
        }
        write_atomically(&folder.join("README.md"), self.readme(precision).as_bytes())?;
        Ok(too_large)
    }

    /// Which layer of the text encoder web interfaces, ComfyUI and stable-diffusion.cpp stop at, from the last one, which
    /// is 1; none where it is the usual one.
    fn last_layer(&self) -> Option<usize> {
        let skipped = self.recipe.clip_skip;
        (skipped > 0).then_some(self.usual_clip_layer + skipped)
    }

    fn is_v(&self) -> bool {
        self.recipe.prediction == PredictionKind::V
    }

    fn has_zero_snr(&self) -> bool {
        matches!(
            self.recipe.schedule,
            ScheduleConfig::Discrete {
                zero_terminal_snr: true,
                ..
            }
        )
    }

    /// Where the file goes, and what to set: a line for each.
    fn readme(&self, precision: Option<WeightPrecision>) -> String {
        let ([height, width], steps, cfg) = (self.size, self.steps, self.cfg);
        match self.tool {
            Tool::Comfyui => format!(
                "Put `{CHECKPOINT}` into `models/checkpoints` and open `workflow_api.json`: everything is set in it.\nWith another workflow: {steps} steps, cfg {cfg}, {width}x{height}{}{}.\n",
                self.comfy_settings(),
                match self.last_layer() {
                    Some(layer) => format!(", node CLIPSetLastLayer with -{layer}"),
                    None => String::new(),
                }
            ),
            Tool::A1111 => format!(
                "Put `{CHECKPOINT}`{} into `models/Stable-diffusion`, and paste the next two lines into the prompt; then use the button that reads parameters.\n{PROMPT}\nSteps: {steps}, {}, CFG scale: {cfg}, Size: {width}x{height}{}\n",
                match self.is_v() && !self.second {
                    true => " and its `.yaml`",
                    false => "",
                },
                match self.few {
                    true => "Sampler: Euler, Schedule type: Simple",
                    false => "Sampler: DPM++ 2M",
                },
                match self.last_layer() {
                    None => String::new(),
                    Some(layer) => format!(", Clip skip: {layer}"),
                }
            ),
            Tool::Diffusers => format!(
                "pipe = diffusers.DiffusionPipeline.from_pretrained(\"THIS FOLDER\"{})\nimage = pipe(\"{PROMPT}\", num_inference_steps={steps}, guidance_scale={cfg}, height={height}, width={width}{}).images[0]\n",
                match precision {
                    None | Some(WeightPrecision::F32) => "",
                    Some(WeightPrecision::F16) => ", torch_dtype=torch.float16",
                    Some(WeightPrecision::Bf16) => ", torch_dtype=torch.bfloat16",
                },
                match self.recipe.clip_skip {
                    0 => String::new(),
                    skipped => format!(", clip_skip={skipped}"),
                }
            ),
            Tool::SdCpp => format!(
                "Everything is in `{GGUF}`; the command:\nsd-cli -m {GGUF} -p \"{PROMPT}\" --steps {steps} --cfg-scale {cfg} --sampling-method {} -W {width} -H {height}{}{}\n",
                match self.few {
                    true => "ddim_trailing",
                    false => "dpm++2m",
                },
                match self.is_v() {
                    true => " --prediction v",
                    false => "",
                },
                match self.last_layer() {
                    Some(layer) => format!(" --clip-skip {layer}"),
                    None => String::new(),
                }
            ),
        }
    }

    /// Sampler and scheduler of ComfyUI. Its Euler is DDIM, and its scheduler `simple` has the steps
    /// of few-step students.
    fn comfy_sampler(&self) -> [&'static str; 2] {
        match self.few {
            true => ["euler", "simple"],
            false => ["dpmpp_2m", "normal"],
        }
    }

    fn comfy_settings(&self) -> String {
        let [sampler, scheduler] = self.comfy_sampler();
        let discrete = self.model_sampling().map(|sampling| {
            let zero = self.has_zero_snr();
            format!(", node ModelSamplingDiscrete with {sampling} and zsnr {zero}")
        });
        let discrete = discrete.unwrap_or_default();
        format!(", sampler {sampler}, scheduler {scheduler}{discrete}")
    }

    /// What ComfyUI must be told of the prediction: it takes Stable Diffusion 1 to predict noise,
    /// and guesses that of 2.
    fn model_sampling(&self) -> Option<&'static str> {
        match self.recipe.prediction {
            PredictionKind::Eps if !self.second && !self.has_zero_snr() => None,
            PredictionKind::Eps => Some("eps"),
            PredictionKind::V => Some("v_prediction"),
            PredictionKind::X => Some("x0"),
        }
    }

    /// The workflow in API form.
    fn workflow(&self) -> Value {
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

    /// The configuration of the first latent diffusion code, for a U-Net of Stable Diffusion 1 that
    /// predicts v.
    fn yaml(&self, pipeline: &Pipeline, model: &Model) -> String {
        let BackboneConfig::UNet(unet) = model.network.config();
        let [_, side, _] = self.recipe.resolution;
        let first = unet.widths[0];
        let multiples: Vec<usize> = unet.widths.iter().map(|width| width / first).collect();
        let at = (0..unet.widths.len()).filter(|level| unet.attention[*level]);
        let attention: Vec<usize> = at.map(|level| 1 << level).collect();
        let (beta_start, beta_end) = match self.recipe.schedule {
            ScheduleConfig::Discrete {
                beta_start,
                beta_end,
                ..
            } => (beta_start, beta_end),
            ScheduleConfig::Cosine { .. } => (0.00085, 0.012),
        };
        let target = |class: &str, params: Value| json!({ "target": class, "params": params });
        let unet = target(
            "ldm.modules.diffusionmodules.openaimodel.UNetModel",
            json!({
                "image_size": 32,
                "in_channels": unet.channels,
                "out_channels": unet.channels,
                "model_channels": first,
                "attention_resolutions": attention,
                "num_res_blocks": unet.blocks,
                "channel_mult": multiples,
                "num_heads": unet.heads_of(0),
                "use_spatial_transformer": true,
                "transformer_depth": 1,
                "context_dim": unet.text.map(|text| text.width),
                "use_checkpoint": false,
                "legacy": false,
            }),
        );
        let vae = target(
            "ldm.models.autoencoder.AutoencoderKL",
            json!({
                "embed_dim": pipeline.vae.latent_channels(),
                "monitor": "val/rec_loss",
                "ddconfig": {
                    "double_z": true,
                    "z_channels": pipeline.vae.latent_channels(),
                    "resolution": 256,
                    "in_channels": 3,
                    "out_ch": 3,
                    "ch": 128,
                    "ch_mult": [1, 2, 4, 4],
                    "num_res_blocks": 2,
                    "attn_resolutions": [],
                    "dropout": 0.0,
                },
                "lossconfig": { "target": "torch.nn.Identity" },
            }),
        );
        let text = json!({ "target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder" });
        let model = target(
            "ldm.models.diffusion.ddpm.LatentDiffusion",
            json!({
                "parameterization": "v",
                "linear_start": beta_start,
                "linear_end": beta_end,
                "num_timesteps_cond": 1,
                "timesteps": 1000,
                "first_stage_key": "jpg",
                "cond_stage_key": "txt",
                "image_size": side,
                "channels": pipeline.vae.latent_channels(),
                "cond_stage_trainable": false,
                "conditioning_key": "crossattn",
                "monitor": "val/loss_simple_ema",
                "scale_factor": 0.18215,
                "use_ema": false,
                "unet_config": unet,
                "first_stage_config": vae,
                "cond_stage_config": text,
            }),
        );
        // Every JSON is YAML.
        format!("{:#}\n", json!({ "model": model }))
    }
}
