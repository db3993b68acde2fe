"""Whether diffusers reads what `fewstep distill` and `fewstep export --form lora` write, and gives the same.

    pip install torch diffusers transformers peft safetensors
    python3 tools/peers/diffusers_reads_students.py TEACHER STUDENT [LORA]

TEACHER and STUDENT are folders of latent diffusion models (RUN/models/steps-1), LORA a folder with the student's low-rank
changes. The student's U-Net is read as it is, and put together from the teacher's U-Net, the changes through PEFT and the
input for w: both must give the same velocities.
"""
import sys
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.peft import PeftAdapterMixin  # noqa: F401  (says clearly when PEFT is missing)
from safetensors.torch import load_file


def w_sinusoid(w, dim, scale):
    """As fewstep's: sine first, base 10000 over half - 1, of scale times w."""
    half = dim // 2
    phase = scale * w[:, None] * torch.exp(-torch.log(torch.tensor(10000.0)) / (half - 1) * torch.arange(half))
    return torch.cat([phase.sin(), phase.cos()], 1)


@torch.no_grad()
def main(teacher, student, lora=None):
    whole = UNet2DConditionModel.from_pretrained(Path(student) / "unet").float().eval()
    config = whole.config
    generator = torch.Generator().manual_seed(0)
    side = config.sample_size
    z = torch.randn(2, config.in_channels, side, side, generator=generator)
    time, w = torch.tensor([980.0, 250.0]), torch.tensor([3.0, 7.5])
    states = torch.randn(2, 7, config.cross_attention_dim, generator=generator)
    embedding = w_sinusoid(w, config.time_cond_proj_dim, config.get("time_cond_proj_scale", 1000.0))
    expected = whole(z, time, states, timestep_cond=embedding).sample
    print(f"{student}: read by diffusers, velocities of deviation {expected.std():.4f}")
    if lora is None:
        return
    changes = load_file(Path(lora) / "pytorch_lora_weights.safetensors")
    parts = UNet2DConditionModel.from_config({**config, "time_cond_proj_dim": config.time_cond_proj_dim}).eval()
    base = UNet2DConditionModel.from_pretrained(Path(teacher) / "unet", variant=variant(teacher)).float()
    missing, unexpected = parts.load_state_dict(base.state_dict(), strict=False)
    assert missing == ["time_embedding.cond_proj.weight"] and not unexpected, (missing, unexpected)
    parts.load_state_dict(load_file(Path(lora) / "w_embedding.safetensors"), strict=False)
    before = parts(z, time, states, timestep_cond=embedding).sample
    parts.load_lora_adapter(changes, prefix="unet")
    after = parts(z, time, states, timestep_cond=embedding).sample
    error = ((after - expected).abs().max() / expected.abs().max()).item()
    changed = ((before - expected).abs().max() / expected.abs().max()).item()
    print(f"teacher, changes and input for w: {error:.2e} from the student, {changed:.2e} without the changes")
    assert error < 1e-5 < changed


def variant(folder):
    return "fp16" if list((Path(folder) / "unet").glob("*.fp16.*")) else None


if __name__ == "__main__":
    main(*sys.argv[1:])
