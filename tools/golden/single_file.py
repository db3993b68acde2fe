"""Names of a single-file Stable Diffusion model, checked by diffusers' own reader of such files.

    pip install torch diffusers safetensors
    python3 tools/golden/single_file.py     # writes crates/formats/tests/golden/latent/sd1/single_file.json

The names are made here from those of the stored folder `sd1`; diffusers must convert them back to the same tensors.
"""
import json
import re
from pathlib import Path

import torch
from diffusers.loaders import single_file_utils as reader
from safetensors.torch import load_file

FOLDER = Path(__file__).parents[2] / "crates/formats/tests/golden/latent/sd1"
PER_LEVEL, LEVELS = 2, 2                             # one residual block and the change of resolution
RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
          "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}
WHOLE = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
         "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
         "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
         "mid_block.resnets.1": "middle_block.2"}


def unet(name):
    for old, new in RESNET.items():
        name = re.sub(rf"(resnets\.\d+)\.{old}\b", rf"\1.{new}", name)
    for old, new in WHOLE.items():
        name = re.sub(rf"^{old}\b", new, name)
    name = re.sub(r"^down_blocks\.(\d+)\.(resnets|attentions)\.(\d+)",
                  lambda m: f"input_blocks.{1 + int(m[1]) * PER_LEVEL + int(m[3])}.{int(m[2] == 'attentions')}", name)
    name = re.sub(r"^down_blocks\.(\d+)\.downsamplers\.0\.conv",
                  lambda m: f"input_blocks.{(int(m[1]) + 1) * PER_LEVEL}.0.op", name)
    name = re.sub(r"^up_blocks\.(\d+)\.(resnets|attentions)\.(\d+)",
                  lambda m: f"output_blocks.{int(m[1]) * PER_LEVEL + int(m[3])}.{int(m[2] == 'attentions')}", name)
    # The first level up has no attention, so its change of resolution is second in its block.
    name = re.sub(r"^up_blocks\.(\d+)\.upsamplers\.0",
                  lambda m: f"output_blocks.{int(m[1]) * PER_LEVEL + PER_LEVEL - 1}.1", name)
    return "model.diffusion_model." + name


def vae(name):
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    if "mid_block.attentions.0" in name:
        for old, new in {"mid_block.attentions.0": "mid.attn_1", "group_norm": "norm", "to_out.0": "proj_out",
                         "to_q": "q", "to_k": "k", "to_v": "v"}.items():
            name = name.replace(old, new)
    name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{LEVELS - 1 - int(m[1])}.block.{m[2]}", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{LEVELS - 1 - int(m[1])}.upsample", name)
    return "first_stage_model." + name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")


def text_encoder(name):
    return "cond_stage_model.transformer.text_model." + name


def main():
    names, single, parts = {}, {}, {}
    for part, rename in (("unet", unet), ("vae", vae), ("text_encoder", text_encoder)):
        file, = (FOLDER / part).glob("*.safetensors")
        parts[part] = load_file(file)
        for name, tensor in parts[part].items():
            names[f"{part}/{name}"] = rename(name)
            projection = part == "vae" and ".attentions." in name and tensor.dim() == 2
            single[rename(name)] = tensor[:, :, None, None] if projection else tensor
    config = {part: json.loads((FOLDER / part / "config.json").read_text()) for part in ("unet", "vae")}
    text = {f"text_model.{name}": tensor for name, tensor in parts["text_encoder"].items()}
    for theirs, ours in (
        (reader.convert_ldm_unet_checkpoint(single, config["unet"]), parts["unet"]),
        (reader.convert_ldm_vae_checkpoint(single, config["vae"]), parts["vae"]),
        (reader.convert_ldm_clip_checkpoint(single), text),
    ):
        assert theirs.keys() == ours.keys(), theirs.keys() ^ ours.keys()
        for name, tensor in ours.items():
            assert torch.equal(theirs[name].reshape(tensor.shape), tensor), name
    (FOLDER / "single_file.json").write_text(json.dumps(names, indent=0) + "\n")
    print(len(names), "names")


if __name__ == "__main__":
    main()
