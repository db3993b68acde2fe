"""Trains a small autoencoder of diffusers' class `AutoencoderTiny` on a folder of images: for latent diffusion on a few
cores, where the autoencoders that people share are too big or do not fit.

    pip install torch diffusers safetensors pillow
    python3 tools/train_tiny_autoencoder.py IMAGES OUT --minutes 25

The loss is the distance between an image and decode(encode(image)), with a small pull of the latents towards 0,
which keeps them where the decoder's soft clamp is almost straight. A tenth of the images is held out for the PSNR
that is printed. `scaling_factor` and `shift_factor` make the latents of the held out images have mean 0 and variance
1. OUT/resume.pt lets a second call go on.

`--decoder taef2_decoder.safetensors` (the decoder of a shared tiny autoencoder under the names of github.com/madebyollin/taesd)
keeps that decoder as it is, and trains only an encoder for it.
"""
import argparse
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny
from diffusers.models.autoencoders.vae import AutoencoderTinyBlock
from PIL import Image
from safetensors.torch import load_file
from torch import nn


class PoolingBlock(AutoencoderTinyBlock):
    """A block of TAEF2 at the lowest resolution, which group normalisation shows the whole map."""

    def __init__(self, width):
        super().__init__(width, width, "relu")
        self.pool = nn.Sequential(
            nn.Conv2d(width, 4 * width, 1, bias=False), nn.GroupNorm(4, 4 * width), nn.ReLU(),
            nn.Conv2d(4 * width, width, 1, bias=False))

    def forward(self, x):
        return super().forward(x + self.pool(x))


def shared_decoder(path):
    """An autoencoder with this decoder, frozen, and a new encoder, which has fewer blocks than shared ones."""
    weights = load_file(path)
    width, latent = weights["1.weight"].shape[:2]
    pooled = sorted({int(name.split(".")[0]) for name in weights if ".pool." in name})
    model = AutoencoderTiny(
        encoder_block_out_channels=[width] * 4, decoder_block_out_channels=[width] * 4, latent_channels=latent,
        num_encoder_blocks=[0, 1, 2, 2], num_decoder_blocks=[3, 3, 3, 1])
    # Its first layer, the clamp, has no number in diffusers.
    for number in pooled:
        model.decoder.layers[number - 1] = PoolingBlock(width)
    if pooled:
        model.encoder.layers[-3], model.encoder.layers[-2] = PoolingBlock(width), PoolingBlock(width)
        model.register_to_config(use_midblock_gn=True)
    names = {name: name.split(".", 1) for name in weights}
    model.decoder.load_state_dict({f"layers.{int(n) - 1}.{rest}": weights[name].float() for name, (n, rest) in names.items()})
    model.decoder.requires_grad_(False)
    return model


def images(folder, side):
    """All images on white, 8 bit, in an order that is always the same."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".png", ".jpg", ".jpeg", ".webp"})
    stack = np.empty([len(paths), side, side, 3], np.uint8)
    for i, path in enumerate(paths):
        image = Image.open(path).convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image)
        stack[i] = white.convert("RGB").resize([side, side], Image.LANCZOS)
    stack = stack[np.random.default_rng(0).permutation(len(stack))]
    return torch.from_numpy(stack).permute(0, 3, 1, 2)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("images", type=Path)
    p.add_argument("out", type=Path)
    p.add_argument("--side", type=int, default=64)
    p.add_argument("--minutes", type=float, default=25)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--lr", type=float, default=2e-3)
    p.add_argument("--width", type=int, default=32)
    p.add_argument("--latent", type=int, default=16)
    p.add_argument("--levels", type=int, default=4, choices=[2, 3, 4], help="latents are half as wide for each level after the first")
    p.add_argument("--decoder", type=Path, help="a decoder to keep; --width and --latent are its own")
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = shared_decoder(a.decoder) if a.decoder else AutoencoderTiny(
        encoder_block_out_channels=[a.width] * a.levels, decoder_block_out_channels=[a.width] * a.levels, latent_channels=a.latent,
        num_encoder_blocks=[0, 1, 2, 2][:a.levels], num_decoder_blocks=[2, 2, 1, 0][-a.levels:])
    model = model.to(memory_format=torch.channels_last)
    data = images(a.images, a.side)
    held, train = data[: len(data) // 10].float() / 127.5 - 1, data[len(data) // 10:]
    optimiser = torch.optim.Adam(model.parameters(), a.lr)
    state, done, spent = a.out / "resume.pt", 0, 0.0
    if state.exists():
        saved = torch.load(state, weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        done, spent = saved["done"], saved["spent"]

    def check():
        with torch.no_grad():
            z = model.encode(held).latents
            error = ((model.decode(z).sample.clamp(-1, 1) - held) / 2).square().mean((1, 2, 3))
        return (-10 * error.log10()).mean().item(), z

    start, last, draw = time.time(), 0, random.Random(done)
    while spent + time.time() - start < 60 * a.minutes:
        share = (spent + time.time() - start) / (60 * a.minutes)
        optimiser.param_groups[0]["lr"] = a.lr * min(1, (done + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * share))
        x = train[[draw.randrange(len(train)) for _ in range(a.batch)]].float() / 127.5 - 1
        x = (x.flip(3) if draw.random() < 0.5 else x).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            z = model.encode(x).latents
            y = model.decode(z).sample
        error = y.float() - x
        loss = error.square().mean() + 0.1 * error.abs().mean() + 1e-4 * z.float().square().mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        done += 1
        if time.time() - last > 120:
            last = time.time()
            psnr, z = check()
            print(f"{done} updates, {spent + time.time() - start:.0f} s, loss {loss.item():.5f}, "
                  f"PSNR {psnr:.2f} dB, latents {z.mean():.3f} +- {z.std():.3f}", flush=True)
            torch.save(dict(model=model.state_dict(), optimiser=optimiser.state_dict(), done=done,
                            spent=spent + time.time() - start), state)
    psnr, z = check()
    print(f"{done} updates of {a.batch} in all: PSNR {psnr:.2f} dB on {len(held)} held out images")
    model.register_to_config(scaling_factor=1 / z.std().item(), shift_factor=z.mean().item())
    model.save_pretrained(a.out)


if __name__ == "__main__":
    main()
