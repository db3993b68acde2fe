"""Golden numbers of a class-conditional latent model (LDM on ImageNet): a tiny random one, with its outputs.

    pip install torch diffusers safetensors
    python3 tools/golden/latent_classes.py      # writes crates/formats/tests/golden/latent/classes/

The U-Net attends to one state, a row of a table of classes whose last row means "no class"; the autoencoder is diffusers'
`VQModel`. diffusers has no pipeline for it: the steps are written out here. `single_file.json` has the names of the first
latent diffusion code, which diffusers' own readers must convert back to the same tensors.
"""
import json
import re
import shutil

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel, VQModel
from diffusers.loaders import single_file_utils as reader
from safetensors.torch import save_file

import single_file
from latent import OUT, VERSIONS, randomise

FOLDER = OUT / "classes"
CLASSES, WIDTH, SCALE = ["tench", "goldfish", "shark", "ray"], 6, 4.0


@torch.no_grad()
def numbers(unet, vae, table, scheduler):
    generator = torch.Generator().manual_seed(1)
    z, time = torch.randn(2, 3, 8, 8, generator=generator), torch.tensor([981.0, 20.0])
    image = torch.randn(1, 3, 16, 16, generator=generator).clamp(-1, 1)
    states, empty = table[[3, 0], None], table[[-1, -1], None]
    golden = {"z": z, "time": time, "unet.output": unet(z, time, states).sample, "vae.image": image,
              "vae.latents": vae.encode(image).latents, "vae.decoded": vae.decode(z).sample}
    scheduler.set_timesteps(5)
    seen = []
    for t in scheduler.timesteps:
        given, none = unet(torch.cat([z, z]), t, torch.cat([states, empty])).sample.chunk(2)
        z = scheduler.step(none + SCALE * (given - none), t, z).prev_sample
        seen.append(z)
    decoded = vae.decode(z / vae.config.scaling_factor).sample
    return golden | {"ddim": torch.cat(seen), "image": decoded}


def main():
    torch.manual_seed(0)
    unet = randomise(UNet2DConditionModel(
        sample_size=8, in_channels=3, out_channels=3, block_out_channels=[8, 16], layers_per_block=1, norm_num_groups=4,
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D"], up_block_types=["CrossAttnUpBlock2D", "UpBlock2D"],
        attention_head_dim=1, cross_attention_dim=WIDTH), torch.float32)
    vae = randomise(VQModel(
        block_out_channels=[8, 8], layers_per_block=1, norm_num_groups=4, sample_size=16, latent_channels=3, vq_embed_dim=3,
        num_vq_embeddings=32, down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
        scaling_factor=1.0), torch.float32)
    torch.nn.init.normal_(vae.quantize.embedding.weight)
    table = torch.randn(len(CLASSES) + 1, WIDTH)
    scheduler = DDIMScheduler(beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False,
                              set_alpha_to_one=False, steps_offset=1)
    shutil.rmtree(FOLDER, ignore_errors=True)
    for part, name in ((unet, "unet"), (vae, "vae"), (scheduler, "scheduler")):
        part.save_pretrained(FOLDER / name)
    (FOLDER / "class_embedder").mkdir()
    config = {"_class_name": "ClassEmbedder", "n_classes": len(table), "embed_dim": WIDTH, "classes": CLASSES}
    (FOLDER / "class_embedder/config.json").write_text(json.dumps(config) + "\n")
    save_file({"embedding.weight": table}, FOLDER / "class_embedder/model.safetensors")
    index = {"_class_name": "DiffusionPipeline", "class_embedder": ["fewstep", "ClassEmbedder"],
             "scheduler": ["diffusers", "DDIMScheduler"], "unet": ["diffusers", "UNet2DConditionModel"],
             "vae": ["diffusers", "VQModel"]}
    (FOLDER / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    golden = numbers(unet, vae, table, scheduler)
    save_file({k: v.contiguous() for k, v in golden.items()}, FOLDER / "golden.safetensors", {"made_by": VERSIONS})
    text = {"guidance_scale": SCALE, "classes": [CLASSES[3], CLASSES[0]]}
    (FOLDER / "golden.json").write_text(json.dumps(text) + "\n")

    names, single = {"class_embedder/embedding.weight": "cond_stage_model.embedding.weight"}, {}
    for part, model, rename in (("unet", unet, single_file.unet), ("vae", vae, single_file.vae)):
        for name, tensor in model.state_dict().items():
            # The lowest level has attention here, so that on the way up the change of resolution is third in its block.
            new = re.sub(r"(output_blocks\.1)\.1\.conv", r"\1.2.conv", rename(name))
            names[f"{part}/{name}"] = new
            projection = part == "vae" and ".attentions." in name and tensor.dim() == 2
            single[new] = tensor[:, :, None, None] if projection else tensor
    for theirs, model in ((reader.convert_ldm_unet_checkpoint(single, dict(unet.config)), unet),
                          (reader.convert_ldm_vae_checkpoint(single, dict(vae.config)), vae)):
        # diffusers' reader of autoencoders passes over the codebook.
        ours = {k: v for k, v in model.state_dict().items() if not k.startswith("quantize.")}
        assert theirs.keys() == ours.keys(), theirs.keys() ^ ours.keys()
        for name, tensor in ours.items():
            assert torch.equal(theirs[name].reshape(tensor.shape), tensor), name
    (FOLDER / "single_file.json").write_text(json.dumps(names, indent=0) + "\n")
    size = sum(f.stat().st_size for f in FOLDER.rglob("*") if f.is_file())
    print(size, {k: round(float(v.std()), 3) for k, v in golden.items()})


if __name__ == "__main__":
    main()
