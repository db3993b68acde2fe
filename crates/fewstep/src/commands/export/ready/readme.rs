//! Where the file goes, and what to set.

use super::{CHECKPOINT, GGUF, PROMPT, Ready, Solver, Tool};
use fewstep_formats::WeightPrecision;

impl Ready<'_> {
    /// Where the file goes, and what to set: a line for each.
    pub(super) fn readme(&self, precision: Option<WeightPrecision>) -> String {
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
                "Put `{CHECKPOINT}`{} into `models/Stable-diffusion`, and paste the next two lines into the prompt; then use the button that reads parameters.\n{PROMPT}\nSteps: {steps}, {}, CFG scale: {cfg}, Size: {width}x{height}{}{}\n",
                match self.needs_yaml() {
                    true => " and its `.yaml`",
                    false => "",
                },
                match self.solver {
                    Solver::FewSteps => "Sampler: Euler, Schedule type: Simple",
                    Solver::Consistency => "Sampler: LCM, Schedule type: Simple",
                    Solver::Ordinary => "Sampler: DPM++ 2M",
                },
                match self.has_zero_snr() {
                    true => ", Noise Schedule: Zero Terminal SNR",
                    false => "",
                },
                match self.last_layer() {
                    None => String::new(),
                    Some(layer) => format!(", Clip skip: {layer}"),
                }
            ),
            Tool::Diffusers => format!(
                "pipe = diffusers.DiffusionPipeline.from_pretrained(\"THIS FOLDER\"{})\nimage = pipe({}, num_inference_steps={steps}, guidance_scale={cfg}{}{}).images[0]\n",
                match precision {
                    None | Some(WeightPrecision::F32) => "",
                    Some(WeightPrecision::F16) => ", torch_dtype=torch.float16",
                    Some(WeightPrecision::Bf16) => ", torch_dtype=torch.bfloat16",
                },
                match self.image_guidance {
                    None => format!("\"{PROMPT}\""),
                    Some(_) => "\"make it night\", image=PIL.Image.open(\"before.png\")".into(),
                },
                match self.image_guidance {
                    None => format!(", height={height}, width={width}"),
                    // Without guidance it looks at no scale.
                    Some(_) if cfg == 1.0 => String::new(),
                    Some(scale) => format!(", image_guidance_scale={scale}"),
                },
                match self.recipe.clip_skip {
                    0 => String::new(),
                    skipped => format!(", clip_skip={skipped}"),
                }
            ),
            Tool::SdCpp => format!(
                "Everything is in `{GGUF}`; the command:\nsd-cli -m {GGUF} -p \"{PROMPT}\" --steps {steps} --cfg-scale {cfg} --sampling-method {} -W {width} -H {height}{}{}\n",
                match self.solver {
                    Solver::FewSteps => "ddim_trailing",
                    Solver::Consistency => "lcm",
                    Solver::Ordinary => "dpm++2m",
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
}
