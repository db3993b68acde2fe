"""Whether diffusers reads students of SDXL, and makes the same of them, to 1e-4 of the largest value.

    pip install -r tools/peers/requirements.txt transformers peft pillow safetensors
    cargo build --release --bin fewstep --example network
    python3 tools/peers/diffusers_reads_sdxl.py

Distils a tiny student of the tiny SDXL of the tests, as a LoRA, and loads in diffusers: the student's folder, through
`StableDiffusionXLPipeline`, with its input for w; the folder of `export --bake-w`; its single file; both files of the LoRA,
for the teacher. `examples/network` says what ours are for the same inputs.
"""
import tempfile
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file

import diffusers_reads_students as peers

TEACHER = peers.ROOT / "crates/formats/tests/golden/latent/sdxl"
W = 6.5
LORA = "[lora]\nrank = 2\nalpha = 3.0"


def inputs():
    golden = load_file(TEACHER / "golden.safetensors")
    return {name: golden[f"unet.{name}"] for name in ("z", "time", "states", "pooled", "time_ids")}


def ours(place, model):
    given, out = place / "in.safetensors", place / "out.safetensors"
    save_file(inputs() | {"w": torch.full((2,), W)}, given)
    peers.subprocess.run([peers.NETWORK, model, given, out], check=True)
    return load_file(out)["output"]


@torch.no_grad()
def theirs(unet, w=None):
    unet = unet.float()
    given = inputs()
    cond = None if w is None else StableDiffusionXLPipeline.get_guidance_scale_embedding(None, torch.full((2,), w), 16)
    added = {"text_embeds": given["pooled"], "time_ids": given["time_ids"]}
    return unet(given["z"], given["time"], given["states"], timestep_cond=cond, added_cond_kwargs=added).sample


def main():
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        peers.write_images(place)
        recipe = place / "recipe.toml"
        recipe.write_text(peers.STUDENT.format(teacher=TEACHER, data=place / "captioned", more=LORA))
        peers.fewstep("distill", recipe, "--out", place / "run")
        student = place / "run/models/steps-2"
        export = ["export", "--model", place / "run", "--steps", 2]
        peers.fewstep(*export, "--bake-w", W, "--out", place / "fixed")
        peers.fewstep(*export, "--bake-w", W, "--form", "single-file", "--out", place / "one.safetensors")
        peers.fewstep(*export, "--form", "lora", "--out", place / "lora")

        pipe = StableDiffusionXLPipeline.from_pretrained(student)
        expected = ours(place, student)
        peers.compare("folder, with w", theirs(pipe.unet, W), expected)
        fixed = StableDiffusionXLPipeline.from_pretrained(place / "fixed")
        peers.compare("folder with w folded in", theirs(fixed.unet), expected)
        single = StableDiffusionXLPipeline.from_single_file(place / "one.safetensors", config=str(place / "fixed"))
        peers.compare("single file", theirs(single.unet), expected)

        w_input = load_file(place / "lora/w_embedding.safetensors")
        for file in ("pytorch_lora_weights.safetensors", "kohya.safetensors"):
            base = UNet2DConditionModel.from_pretrained(TEACHER / "unet", time_cond_proj_dim=16, low_cpu_mem_usage=False)
            base.load_state_dict(w_input, strict=False)
            pipe = StableDiffusionXLPipeline.from_pretrained(TEACHER, unet=base)
            pipe.load_lora_weights(place / "lora", weight_name=file)
            peers.compare(file, theirs(pipe.unet, W), expected)


if __name__ == "__main__":
    main()
