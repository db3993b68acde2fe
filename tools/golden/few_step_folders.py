"""Golden numbers of models of few steps in the folders of SDXL-Turbo and SDXL-Lightning: their schedulers on the tiny SDXL.

    pip install torch diffusers transformers safetensors
    python3 tools/golden/few_step_folders.py     # writes crates/formats/tests/golden/latent/few_steps/

`euler` and `ancestral` are the configurations of the schedulers of the two, as their folders have them. diffusers generates latents with 1 to
4 steps without guidance. Euler's ancestral method has fresh noise in all steps but the last, so only one step of it is here; the method
itself is among diffusion_schedulers.py. With trailing steps these schedulers start from noise times the first sigma, which is in
`NAME.start` in the scale of the network: noise times the sigma of variance-preserving noise.
"""
import json
import shutil

import torch
from diffusers import EulerAncestralDiscreteScheduler, EulerDiscreteScheduler
from safetensors.torch import save_file

from latent import OUT, PROMPT, VERSIONS
from text_lora import load

FOLDER = OUT / "few_steps"
LIGHTNING = {
    "_class_name": "EulerDiscreteScheduler", "_diffusers_version": "0.26.0", "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "beta_start": 0.00085, "clip_sample": False, "interpolation_type": "linear", "num_train_timesteps": 1000,
    "prediction_type": "epsilon", "rescale_betas_zero_snr": False, "sample_max_value": 1.0, "set_alpha_to_one": False,
    "sigma_max": None, "sigma_min": None, "skip_prk_steps": True, "steps_offset": 1, "timestep_spacing": "trailing",
    "timestep_type": "discrete", "trained_betas": None, "use_karras_sigmas": False}
TURBO = {
    "_class_name": "EulerAncestralDiscreteScheduler", "_diffusers_version": "0.24.0.dev0", "beta_end": 0.012,
    "beta_schedule": "scaled_linear", "beta_start": 0.00085, "clip_sample": False, "interpolation_type": "linear",
    "num_train_timesteps": 1000, "prediction_type": "epsilon", "sample_max_value": 1.0, "set_alpha_to_one": False,
    "skip_prk_steps": True, "steps_offset": 1, "timestep_spacing": "trailing", "trained_betas": None}
KINDS = {"euler": (EulerDiscreteScheduler, LIGHTNING, [1, 2, 3, 4]), "ancestral": (EulerAncestralDiscreteScheduler, TURBO, [1])}


@torch.no_grad()
def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    noise = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(6))
    golden = {}
    for name, (kind, config, all_steps) in KINDS.items():
        (FOLDER / f"{name}.json").write_text(json.dumps(config, indent=2) + "\n")
        for steps in all_steps:
            pipe, _ = load("sdxl")
            pipe.scheduler = kind.from_config(config)
            made = pipe(PROMPT, guidance_scale=0.0, num_inference_steps=steps, output_type="latent", latents=noise, height=16,
                        width=16).images
            sigma = pipe.scheduler.sigmas.max()
            golden[f"{name}.start"] = noise * sigma / (sigma**2 + 1).sqrt()
            golden[f"{name}-{steps}.latents"] = made
            print(name, steps, pipe.scheduler.timesteps.tolist(), float(made.std()))
    save_file({key: value.float().contiguous() for key, value in golden.items()}, FOLDER / "golden.safetensors",
              {"made_by": VERSIONS})


if __name__ == "__main__":
    main()
