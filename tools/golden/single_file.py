"""Names of a single-file Stable Diffusion model, checked by diffusers' own reader of such files.

    pip install torch diffusers safetensors
    python3 tools/golden/single_file.py     # writes crates/formats/tests/golden/latent/{sd1,sd2}/single_file.json

The names are made here from those of the stored folders; diffusers must convert them back to the same tensors. A name
ends with `:0`, `:1` or `:2` where three tensors of the folder are one in the file (queries, keys and values of OpenCLIP).
"""
import json
import re
from pathlib import Path
from types import SimpleNamespace

import torch
from diffusers.loaders import single_file_utils as reader
from safetensors.torch import load_file

FOLDERS = Path(__file__).parents[2] / "crates/formats/tests/golden/latent"
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


def clip(name):
    return "cond_stage_model.transformer.text_model." + name


def open_clip(name):
    whole = {"embeddings.token_embedding.weight": "token_embedding.weight",
             "embeddings.position_embedding.weight": "positional_embedding",
             "final_layer_norm.weight": "ln_final.weight", "final_layer_norm.bias": "ln_final.bias"}
    if name in whole:
        return "cond_stage_model.model." + whole[name]
    layer, leaf = re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)", name).groups()
    if found := re.fullmatch(r"self_attn\.([qkv])_proj\.(\w+)", leaf):
        leaf = f"attn.in_proj_{found[2]}:{'qkv'.index(found[1])}"
    else:
        for old, new in {"self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2",
                         "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}.items():
            leaf = leaf.replace(old, new)
    return f"cond_stage_model.model.transformer.resblocks.{layer}.{leaf}"


def load(folder):
    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(file)
    return tensors


def write(folder, text_encoder, read_text_encoder):
    names, thirds, single, parts = {}, {}, {}, {}
    for part, rename in (("unet", unet), ("vae", vae), ("text_encoder", text_encoder)):
        parts[part] = load(folder / part)
        for name, tensor in parts[part].items():
            place = names[f"{part}/{name}"] = rename(name)
            projection = part == "vae" and ".attentions." in name and tensor.dim() == 2
            if ":" in place:
                whole, third = place.split(":")
                thirds.setdefault(whole, {})[third] = tensor
            else:
                single[place] = tensor[:, :, None, None] if projection else tensor
    for whole, tensors in thirds.items():
        single[whole] = torch.cat([tensors[third] for third in "012"])
    config = {part: json.loads((folder / part / "config.json").read_text()) for part in parts}
    text = {f"text_model.{name}": tensor for name, tensor in parts["text_encoder"].items()}
    for theirs, ours in (
        (reader.convert_ldm_unet_checkpoint(dict(single), config["unet"]), parts["unet"]),
        (reader.convert_ldm_vae_checkpoint(dict(single), config["vae"]), parts["vae"]),
        (read_text_encoder(dict(single), config["text_encoder"]), text),
    ):
        assert theirs.keys() == ours.keys(), theirs.keys() ^ ours.keys()
        for name, tensor in ours.items():
            assert torch.equal(theirs[name].reshape(tensor.shape), tensor), name
    (folder / "single_file.json").write_text(json.dumps(names, indent=0) + "\n")
    print(folder.name, len(names), "names")


def read_open_clip(single, config):
    return reader.convert_open_clip_checkpoint(SimpleNamespace(config=SimpleNamespace(**config)), single)


if __name__ == "__main__":
    write(FOLDERS / "sd1", clip, lambda single, _: reader.convert_ldm_clip_checkpoint(single))
    write(FOLDERS / "sd2", open_clip, read_open_clip)
