"""Golden outputs of diffusers' UNet2DModel for the pixel U-Net: random models with the weights, an input and the output
in one safetensors file each, described as our files are.

    pip install torch diffusers safetensors
    python3 tools/golden/formats_unet.py        # writes crates/formats/tests/golden/unet_*.safetensors
"""
import json
import os

import diffusers
import torch
from safetensors.torch import save_file

OUT = os.path.join(os.path.dirname(__file__), "../../crates/formats/tests/golden")
WIDTHS, GROUPS, HEAD, CLASSES, SIZE = [8, 16], 4, 8, 3, 8


def description(resampling):
    network = {"channels": 2, "patch": 1, "widths": WIDTHS, "blocks": 1, "attention": [False, True], "head": HEAD,
               "groups": GROUPS, "resampling": {"conv": "conv", "resnet": "block"}[resampling], "classes": CLASSES}
    recipe = {"version": 1, "role": {"kind": "teacher"}, "prediction": "v", "schedule": {"kind": "cosine"},
              "guidance": {"kind": "classifier-free"}, "resolution": [2, SIZE, SIZE], "classes": ["a", "b", "c"],
              "clip": True}
    return json.dumps({"network": network, "recipe": recipe})


for resampling in ("conv", "resnet"):
    torch.manual_seed(0)
    plain = {"conv": ["DownBlock2D", "UpBlock2D"], "resnet": ["ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D"]}[resampling]
    model = diffusers.UNet2DModel(
        sample_size=SIZE, in_channels=2, out_channels=2, block_out_channels=WIDTHS, layers_per_block=1,
        down_block_types=[plain[0], "AttnDownBlock2D"], up_block_types=["AttnUpBlock2D", plain[1]],
        attention_head_dim=HEAD, norm_num_groups=GROUPS, attn_norm_num_groups=GROUPS, norm_eps=1e-5, downsample_type=resampling,
        upsample_type=resampling, resnet_time_scale_shift="scale_shift", num_class_embeds=CLASSES + 1).eval()
    for p in model.parameters():                     # nothing at its special initial value
        torch.nn.init.normal_(p, std=0.2)
    z = torch.randn(3, 2, SIZE, SIZE)
    time, classes = torch.tensor([0.0, 437.25, 999.0]), torch.tensor([0, 2, CLASSES])
    with torch.no_grad():
        out = model(z, time, class_labels=classes).sample
    tensors = {k: v.contiguous() for k, v in model.state_dict().items()}
    name = os.path.join(OUT, f"unet_{resampling}.safetensors")
    save_file(tensors, name, metadata={
        "fewstep": description(resampling),
        "made_by": f"diffusers {diffusers.__version__}, torch {torch.__version__}",
        "golden": json.dumps({"z": z.flatten().tolist(), "time": time.tolist(), "classes": [0, 2, None],
                              "output": out.flatten().tolist()})})
    print(name, os.path.getsize(name), float(out.std()))
