"""Golden values for crates/diffusion, from diffusers' schedulers.

    python tools/golden/diffusion_schedulers.py

writes crates/diffusion/tests/golden/{timesteps,alphas,trajectories}.json. Needs numpy, torch and diffusers;
the versions are stored in each file.
"""

import json
from pathlib import Path

import diffusers
import numpy
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    HeunDiscreteScheduler,
    UniPCMultistepScheduler,
)

OUT = Path(__file__).parents[2] / "crates/diffusion/tests/golden"
VERSIONS = {
    "diffusers": diffusers.__version__,
    "torch": torch.__version__,
    "numpy": numpy.__version__,
}
STABLE_DIFFUSION = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}


def timesteps():
    """What DDIMScheduler.set_timesteps returns, as it is, for N = 1..64 and each spacing."""
    result = {}
    for spacing in ["leading", "trailing", "linspace"]:
        scheduler = DDIMScheduler(**STABLE_DIFFUSION, timestep_spacing=spacing, steps_offset=0)
        result[spacing] = []
        for steps in range(1, 65):
            scheduler.set_timesteps(steps)
            result[spacing].append(scheduler.timesteps.tolist())
    return result


def alphas():
    """sqrt(alphas_cumprod) at every 27th timestep, both ends included."""
    betas = {
        "linear": {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"},
        "scaled-linear": STABLE_DIFFUSION,
        "squared-cosine": {"beta_schedule": "squaredcos_cap_v2"},
    }
    kept = list(range(0, 1000, 27))
    result = {"timesteps": kept}
    for name, config in betas.items():
        for zero_snr in [False, True]:
            scheduler = DDPMScheduler(**config, rescale_betas_zero_snr=zero_snr)
            values = scheduler.alphas_cumprod.double().sqrt()[kept].tolist()
            result[name + ("/zero-snr" if zero_snr else "")] = values
    return result


MU, S = 0.3, 0.5
START = [-2.5, -1.2, -0.5, 0.0, 0.4, 1.0, 1.9, 2.7]


def epsilon(z, alpha_cumprod):
    """The best noise prediction for data from N(MU, S^2)."""
    alpha, sigma = alpha_cumprod**0.5, (1 - alpha_cumprod) ** 0.5
    return sigma * (z - alpha * MU) / (alpha**2 * S**2 + sigma**2)


def trajectory(scheduler, steps):
    """z after every step, from START, with the analytic model."""
    scheduler.set_timesteps(steps)
    z = torch.tensor(START, dtype=torch.float64).reshape(1, 1, 1, -1)
    result = []
    for t in scheduler.timesteps:
        model_output = epsilon(z, scheduler.alphas_cumprod[t].double())
        z = scheduler.step(model_output, t, z).prev_sample
        result.append(z.flatten().tolist())
    return result


def heun_trajectory(steps):
    """The same for Heun's method, which diffusers runs on z / alpha and in two half steps."""
    scheduler = HeunDiscreteScheduler(**STABLE_DIFFUSION, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    sigmas = scheduler.sigmas.double()
    scale = (1 + sigmas**2) ** 0.5
    x = torch.tensor(START, dtype=torch.float64).reshape(1, 1, 1, -1) * scale[0]
    result = []
    for index, t in enumerate(scheduler.timesteps):
        z = x / scale[index]
        x = scheduler.step(epsilon(z, 1 / scale[index] ** 2), t, x).prev_sample
        end_of_step = index % 2 == 0 if index == 2 * steps - 2 else index % 2 == 1
        if end_of_step:
            result.append((x / scale[index + 1]).flatten().tolist())
    return result


def trajectories():
    """Final noise "zero" ends at a clean image, "sigma_min" at the table's first entry. UniPC's bh1 exists with
    the second alone: with the first, diffusers' last step is infinity times zero."""
    trailing = {**STABLE_DIFFUSION, "timestep_spacing": "trailing"}
    result = {"mu": MU, "s": S, "start": START}

    def add(name, make):
        result[name] = {str(steps): trajectory(make(), steps) for steps in [4, 10, 20]}

    add("ddim/zero", lambda: DDIMScheduler(**trailing, clip_sample=False, set_alpha_to_one=True))
    for end in ["zero", "sigma_min"]:
        config = {**trailing, "solver_order": 2, "final_sigmas_type": end}
        add(f"dpm-solver++/{end}", lambda: DPMSolverMultistepScheduler(**config))
        add(f"unipc-bh2/{end}", lambda: UniPCMultistepScheduler(**config, solver_type="bh2"))
    add("unipc-bh1/sigma_min", lambda: UniPCMultistepScheduler(**config, solver_type="bh1"))
    result["heun/zero"] = {str(steps): heun_trajectory(steps) for steps in [4, 10, 20]}
    return result


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for make in [timesteps, alphas, trajectories]:
        values = {"versions": VERSIONS, **make()}
        text = json.dumps(values, separators=(",", ":"), allow_nan=False)
        (OUT / f"{make.__name__}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
