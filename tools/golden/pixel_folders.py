"""Golden numbers of others' pixel models: tiny random `UNet2DModel`s in diffusers' folders, with their outputs.

    pip install torch diffusers safetensors
    python3 tools/golden/pixel_folders.py       # writes crates/formats/tests/golden/pixel/

`ddpm` is what the oldest shared models are (google/ddpm-cifar10-32): every file in one folder, old names of attention,
sine first, one head. `classes` is what diffusers' newer defaults make of it, with classes. `blocks` changes resolution in
residual blocks. `golden.safetensors` holds inputs and outputs.
"""
import json
import shutil
from pathlib import Path

import diffusers
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from safetensors.torch import load_file, save_file

OUT = Path(__file__).parents[2] / "crates/formats/tests/golden/pixel"
VERSIONS = f"diffusers {diffusers.__version__}, torch {torch.__version__}"
OLD = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}


def unet(**changes):
    net = UNet2DModel(**dict(in_channels=3, out_channels=3, norm_num_groups=2) | changes).eval()
    for p in net.parameters():                       # nothing at its special initial value
        torch.nn.init.normal_(p, std=0.3)
    return net


@torch.no_grad()
def numbers(net, scheduler):
    """The network on its own, and DDIM step by step."""
    generator = torch.Generator().manual_seed(1)
    height, width = (net.config.sample_size,) * 2 if isinstance(net.config.sample_size, int) else net.config.sample_size
    z = torch.randn(2, 3, height, width, generator=generator)
    time, classes = torch.tensor([981.0, 20.0]), torch.tensor([2, 0])
    labels = classes if net.config.num_class_embeds else None
    golden = {"z": z, "time": time, "output": net(z, time, class_labels=labels).sample}
    scheduler = DDIMScheduler.from_config(scheduler.config, clip_sample=False)
    scheduler.set_timesteps(5)
    seen = []
    for t in scheduler.timesteps:
        z = scheduler.step(net(z, t, class_labels=labels).sample, t, z).prev_sample
        seen.append(z)
    return golden | {"ddim": torch.cat(seen)}


def write(name, pipe):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    golden = numbers(pipe.unet, pipe.scheduler)
    pipe.save_pretrained(folder)
    if name == "ddpm":                               # as older folders have it
        for part in ("unet", "scheduler"):
            for file in (folder / part).iterdir():
                file.rename(folder / file.name)
            (folder / part).rmdir()
        weights = folder / "diffusion_pytorch_model.safetensors"
        tensors = load_file(weights)
        for new, old in OLD.items():
            tensors = {k.replace(new, old): v for k, v in tensors.items()}
        save_file(tensors, weights)
        config = json.loads((folder / "config.json").read_text())
        for late in ("add_attention", "class_embed_type", "num_class_embeds", "num_train_timesteps", "dropout",
                     "attn_norm_num_groups", "resnet_time_scale_shift", "downsample_type", "upsample_type"):
            config.pop(late)
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file({k: v.contiguous() for k, v in golden.items()}, folder / "golden.safetensors", {"made_by": VERSIONS})
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    print(name, size, {k: round(float(v.std()), 3) for k, v in golden.items()})


def main():
    torch.manual_seed(0)
    old = unet(sample_size=8, block_out_channels=[4, 8, 8], layers_per_block=2, attention_head_dim=None, norm_eps=1e-6,
               down_block_types=["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"], downsample_padding=0,
               up_block_types=["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"], flip_sin_to_cos=False, freq_shift=1)
    write("ddpm", DDPMPipeline(old, DDPMScheduler(variance_type="fixed_large")))
    classes = unet(sample_size=[8, 4], block_out_channels=[4, 8], layers_per_block=1, attention_head_dim=4,
                   down_block_types=["DownBlock2D", "AttnDownBlock2D"], up_block_types=["AttnUpBlock2D", "UpBlock2D"],
                   num_class_embeds=3, add_attention=False)
    write("classes", DDIMPipeline(classes, DDIMScheduler(prediction_type="v_prediction", beta_schedule="squaredcos_cap_v2",
                                                         timestep_spacing="trailing", clip_sample=False)))
    blocks = unet(sample_size=8, block_out_channels=[4, 8], layers_per_block=1, attention_head_dim=2, attn_norm_num_groups=2,
                  down_block_types=["AttnDownBlock2D", "ResnetDownsampleBlock2D"], freq_shift=1,
                  up_block_types=["ResnetUpsampleBlock2D", "AttnUpBlock2D"], downsample_type="resnet",
                  upsample_type="resnet", resnet_time_scale_shift="scale_shift")
    write("blocks", DDPMPipeline(blocks, DDPMScheduler(prediction_type="sample")))


if __name__ == "__main__":
    main()
