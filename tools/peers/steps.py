"""Updates of a teacher and of both stages of guided distillation in PyTorch, over diffusers' U-Net: the loop that its
users would write. The Rust side is `crates/distill/examples/peers/steps.rs`."""

import copy
import math

import diffusers
import torch
import torch.nn as nn
import torch.nn.functional as F

W_DIM, W_SCALE, W_RANGE, STEPS = 64, 250.0, 4.0, 4
B = math.atan(math.exp(-10))
A = math.atan(math.exp(10)) - B


class Network(nn.Module):
    """The U-Net on folded patches, with inputs for the class (the last one means none) and for w."""

    def __init__(self, channels, widths, blocks, attention, head, groups, classes, patch):
        super().__init__()
        self.patch, folded = patch, channels * patch**2
        down = ["AttnDownBlock2D" if a else "DownBlock2D" for a in attention]
        up = ["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)]
        self.unet = diffusers.UNet2DModel(
            in_channels=folded, out_channels=folded, block_out_channels=widths, layers_per_block=blocks,
            down_block_types=down, up_block_types=up, attention_head_dim=head, norm_num_groups=groups,
            attn_norm_num_groups=groups, norm_eps=1e-5, resnet_time_scale_shift="scale_shift",
            class_embed_type="identity")
        self.classes = nn.Embedding(classes + 1, 4 * widths[0])
        self.w = nn.Linear(W_DIM, 4 * widths[0], bias=False)
        nn.init.zeros_(self.w.weight)

    def forward(self, z, t, y, w=None):
        embedding = self.classes(y)
        if w is not None:
            half = W_DIM // 2
            angles = w[:, None] * W_SCALE * torch.exp(-math.log(1e4) * torch.arange(half) / half)
            embedding = embedding + self.w(torch.cat([angles.sin(), angles.cos()], 1))
        v = self.unet(F.pixel_unshuffle(z, self.patch), t * 1000, class_labels=embedding).sample
        return F.pixel_shuffle(v, self.patch)


def angle(t):
    return (A * t + B)[:, None, None, None]


def diffuse(x, noise, t):
    return angle(t).cos() * x + angle(t).sin() * noise


def ddim(z, v, t, s):
    delta = angle(s) - angle(t)
    return delta.cos() * z + delta.sin() * v


def error(v, target, t):
    """Truncated SNR."""
    weight = torch.maximum(angle(t).cos() ** 2, angle(t).sin() ** 2)
    return (weight * (v - target) ** 2).mean()


def step(method, batch, side, config):
    student = Network(**config).train()
    null = config["classes"]
    x = torch.randn(batch, config["channels"], side, side)
    y = torch.arange(batch) % null

    def denoising():
        t, noise = torch.rand(batch), torch.randn_like(x)
        labels = torch.where(torch.rand(batch) < 0.1, null, y)
        v = student(diffuse(x, noise, t), t, labels)
        return error(v, angle(t).cos() * noise - angle(t).sin() * x, t)

    teacher = copy.deepcopy(student).eval().requires_grad_(False)

    def stage_one():
        t, w = torch.rand(batch), torch.rand(batch) * W_RANGE
        z = diffuse(x, torch.randn_like(x), t)
        with torch.no_grad():
            both = teacher(torch.cat([z, z]), torch.cat([t, t]), torch.cat([y, torch.full_like(y, null)]))
            cond, uncond = both.chunk(2)
            target = cond + w[:, None, None, None] * (cond - uncond)
        return error(student(z, t, y, w), target, t)

    def stage_two():
        t, w = torch.randint(1, STEPS + 1, (batch,)) / STEPS, torch.rand(batch) * W_RANGE
        z, middle, end = diffuse(x, torch.randn_like(x), t), t - 0.5 / STEPS, t - 1 / STEPS
        with torch.no_grad():
            z1 = ddim(z, teacher(z, t, y, w), t, middle)
            z2 = ddim(z1, teacher(z1, middle, y, w), middle, end)
            delta = angle(end) - angle(t)
            target = (z2 - delta.cos() * z) / delta.sin()
        return error(student(z, t, y, w), target, t)

    loss_of = {"teacher": denoising, "stage-one": stage_one, "stage-two": stage_two}[method]
    if method == "teacher":
        average = copy.deepcopy(student).requires_grad_(False)
        optimiser = torch.optim.AdamW(student.parameters(), lr=1e-4, weight_decay=0.0)
    else:
        average, optimiser = None, torch.optim.Adam(student.parameters(), lr=1e-4)

    def update():
        optimiser.zero_grad(set_to_none=True)
        loss_of().backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        if average is not None:
            with torch.no_grad():
                torch._foreach_lerp_(list(average.parameters()), list(student.parameters()), 1e-3)

    return update
