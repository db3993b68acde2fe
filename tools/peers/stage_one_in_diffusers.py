"""How near a LoRA of stage one, used in diffusers at guidance scale 1, comes to its guided teacher.

    pip install -r tools/peers/requirements.txt transformers peft pillow safetensors
    cargo build --release --bin fewstep
    python3 tools/peers/stage_one_in_diffusers.py [--updates 1000]

Distils a LoRA with `[guided]` only and one w from the tiny Stable Diffusion of the tests, exports it, and loads
`pytorch_lora_weights.safetensors` on the teacher in diffusers with `load_lora_weights`. For each scheduler both generate latents from the
same noise and prompts: the LoRA at scale 1, the teacher at 1 + w and at 1. The error is the mean squared difference of the latents to
those of the guided teacher: before distillation, when the LoRA changes nothing (the teacher at scale 1), and after it.
"""
import argparse
import subprocess
import tempfile
import warnings
from pathlib import Path

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, StableDiffusionPipeline
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
FEWSTEP = ROOT / "target/release/fewstep"
TEACHER = ROOT / "crates/formats/tests/golden/latent/sd1"
W, IMAGES = 6.5, 32
RECIPE = """
seed = 4
teacher = "{teacher}"
w = {w}
weighting = "snr-plus-one"
[lora]
rank = {rank}
alpha = {rank}.0
[data]
kind = "captioned"
path = "{data}"
size = 16
[guided]
updates = {updates}
optim = {{ batch = 8, lr = 2e-3, warmup = 50, ema = {{ decay = 0.99 }} }}
[run]
log_every = 500
"""


def fewstep(*words):
    subprocess.run([FEWSTEP, *map(str, words)], check=True, capture_output=True)


def captions():
    return [f"{thing} {number}" for thing in ["a cat", "two dogs", "a house", "rain"] for number in range(4)]


def write_images(folder):
    folder.mkdir()
    for number, caption in enumerate(captions()):
        values = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(number))
        Image.fromarray((values.permute(1, 2, 0) * 255).to(torch.uint8).numpy()).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(caption)


def latents(pipeline, scale, steps):
    """Latents of all images, each from noise of its own."""
    shape = (IMAGES, pipeline.unet.config.in_channels, pipeline.unet.config.sample_size, pipeline.unet.config.sample_size)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(7))
    prompts = [captions()[number % len(captions())] for number in range(IMAGES)]
    return pipeline(prompts, latents=noise, guidance_scale=scale, num_inference_steps=steps, output_type="latent").images


def pipeline_with(scheduler):
    pipeline = StableDiffusionPipeline.from_pretrained(TEACHER, variant="fp16", safety_checker=None).to(torch.float32)
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, timestep_spacing="leading")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--rank", type=int, default=4)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_images(folder / "data")
        recipe = RECIPE.format(teacher=TEACHER, w=W, data=folder / "data", updates=args.updates, rank=args.rank)
        (folder / "recipe.toml").write_text(recipe)
        fewstep("distill", folder / "recipe.toml", "--out", folder / "run", "--threads", 1)
        fewstep("export", "--model", folder / "run", "--form", "lora", "--out", folder / "lora")
        print("| scheduler | steps | before | after | after / before |")
        print("|---|---|---|---|---|")
        for scheduler in [DDIMScheduler, EulerDiscreteScheduler, DPMSolverMultistepScheduler]:
            for steps in [20, 50]:
                teacher = pipeline_with(scheduler)
                guided, plain = (latents(teacher, scale, steps) for scale in [1 + W, 1])
                teacher.load_lora_weights(folder / "lora", weight_name="pytorch_lora_weights.safetensors")
                student = latents(teacher, 1, steps)
                before, after = ((found - guided).square().mean() for found in [plain, student])
                print(f"| {scheduler.__name__} | {steps} | {before:.1e} | {after:.1e} | {after / before:.2f} |")


if __name__ == "__main__":
    main()
