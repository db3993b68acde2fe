//! LoRA that change the U-Net and the text encoders: states of prompts, and images, against diffusers
//! (tools/golden/text_lora.py).

use crate::golden::Golden;
use burn::tensor::Device;
use fewstep_diffusion::sampler::{self, StepNoise, ignore};
use fewstep_diffusion::{CfgDenoiser, Inputs, Sampler, Spacing, TimeGrid, TimeIds};
use fewstep_formats::LoraFile;

/// As often as the script adds them.
const WEIGHT: f64 = 0.7;

fn follows_diffusers(model: &str, size: Option<[usize; 2]>) {
    let (lora, model_golden) = (Golden::new("lora"), Golden::new(model));
    for tool in ["peft", "kohya"] {
        let name = format!("{model}-{tool}");
        let file = lora.folder().join(format!("{name}.safetensors"));
        let file = LoraFile::read(&file).expect("a LoRA");
        let mut pipeline = model_golden.pipeline();
        let device = Device::flex();
        let network = file.merge(WEIGHT, pipeline.model.network, &device);
        pipeline.model.network = network.expect("its layers");
        let encoder = file.merge_text(WEIGHT, pipeline.text_encoder, &device);
        pipeline.text_encoder = encoder.expect("its layers");
        let texts = model_golden.texts();
        let prompts: Vec<String> = serde_json::from_value(texts["prompts"].clone()).expect("texts");
        let (embeds, _) = pipeline.text_encoder.encode(&prompts[..3], 0);
        lora.assert_equal(&format!("{name}.states"), embeds.states);
        if let Some(pooled) = embeds.pooled {
            lora.assert_equal(&format!("{name}.pooled"), pooled);
        }
        let said = |key: &str| texts[key].as_str().expect("a text").to_string();
        let scale = texts["guidance_scale"].as_f64().expect("a number");
        let (text, _) = pipeline.embed_prompts(&[said("prompt")], &said("negative"));
        let inputs = Inputs {
            prompt: Some(text),
            w: Some(vec![scale - 1.0]),
            time_ids: size.map(|size| vec![TimeIds::whole(size)]),
            ..Inputs::default()
        };
        let plain = pipeline.model.denoiser().expect("a schedule");
        let grid = TimeGrid::new(&plain.schedule, Spacing::LEADING_OFFSET_1, 5).expect("a grid");
        let start = lora.tensor(&format!("{name}.start"));
        let latents = sampler::sample(
            Sampler::DDIM,
            &CfgDenoiser::new(plain),
            start,
            &inputs,
            &grid,
            &StepNoise::new(0, vec![0]),
            &mut ignore,
        );
        let image = pipeline.vae.decode(latents.expect("not cancelled"), None) / 2.0 + 0.5;
        lora.assert_equal(&format!("{name}.image"), image.clamp(0.0, 1.0));
    }
}

#[test]
fn loras_of_the_text_encoder_of_stable_diffusion_1_follow_diffusers() {
    follows_diffusers("sd1", None);
}

#[test]
fn loras_of_both_text_encoders_of_sdxl_follow_diffusers() {
    follows_diffusers("sdxl", Some([16, 32]));
}
