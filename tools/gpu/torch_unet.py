"""fewstep's U-Net in plain PyTorch, under the same parameter names, for `torch_steps.py` to time.

The same layers as `crates/nn`: a residual block is normalised, convolved and told the time as
there, attention is PyTorch's own `scaled_dot_product_attention`. Weights start as PyTorch starts
them and not at zero: products with zeros draw less power and run faster than those of a network
in use.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass(frozen=True)
class Config:
    """The fields of fewstep's `UNetConfig`, and the size of the images or latents."""

    side: int
    channels: int
    widths: tuple
    blocks: int
    attention: tuple
    head: int = 32
    heads: int = 0  # of every level, in place of `head`
    groups: int = 16
    epsilon: float = 1e-5
    patch: int = 1
    classes: int = 0
    dropout: float = 0.0
    block_resampling: bool = False
    film: bool = True
    text_width: int = 0
    text_states: int = 0

    @property
    def embedding(self):
        return 4 * self.widths[0]

    def heads_of(self, width):
        return self.heads or width // self.head


SIZES = {
    # recipes/cifar10/teacher.toml
    "cifar10": Config(
        side=32, channels=3, widths=(256, 256, 256), blocks=3, attention=(False, True, True),
        head=256, groups=32, classes=10, dropout=0.2, block_resampling=True),
    "sd15": Config(
        side=64, channels=4, widths=(320, 640, 1280, 1280), blocks=2,
        attention=(True, True, True, False), heads=8, groups=32, film=False,
        text_width=768, text_states=77),
    "tiny": Config(
        side=16, channels=3, patch=2, widths=(16, 32), blocks=1, attention=(False, True), head=8,
        groups=8, classes=10, dropout=0.2, block_resampling=True),
    "tiny-text": Config(
        side=8, channels=4, widths=(16, 32), blocks=1, attention=(True, False), heads=2,
        groups=8, film=False, text_width=12, text_states=7),
}


def config_of(size, dropout=None):
    config = SIZES[size]
    return config if dropout is None else replace(config, dropout=dropout)


def double(x):
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def halve(x):
    return F.avg_pool2d(x, 2)


class ResnetBlock(nn.Module):
    def __init__(self, config, c_in, c_out, resample=None):
        super().__init__()
        self.film, self.resample = config.film, resample
        self.norm1 = nn.GroupNorm(config.groups, c_in, config.epsilon)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.time_emb_proj = nn.Linear(config.embedding, c_out * (2 if config.film else 1))
        self.norm2 = nn.GroupNorm(config.groups, c_out, config.epsilon)
        self.dropout = nn.Dropout(config.dropout)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else None

    def forward(self, x, embedding):
        h = F.silu(self.norm1(x))
        if self.resample is not None:
            x, h = self.resample(x), self.resample(h)
        h = self.conv1(h)
        embedding = self.time_emb_proj(F.silu(embedding))[:, :, None, None]
        if self.film:
            scale, shift = embedding.chunk(2, dim=1)
            h = self.norm2(h) * (1 + scale) + shift
        else:
            h = self.norm2(h + embedding)
        h = self.conv2(self.dropout(F.silu(h)))
        return (x if self.conv_shortcut is None else self.conv_shortcut(x)) + h


def attend(heads, q, k, v):
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def to_tokens(x):
    return x.flatten(2).transpose(1, 2)


def to_map(tokens, like):
    return tokens.transpose(1, 2).reshape(like.shape)


class Attention(nn.Module):
    """Of tokens to a context."""

    def __init__(self, width, context, heads, bias):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=bias)
        self.to_k = nn.Linear(context, width, bias=bias)
        self.to_v = nn.Linear(context, width, bias=bias)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x, context):
        h = attend(self.heads, self.to_q(x), self.to_k(context), self.to_v(context))
        return self.to_out[0](h)


class AttentionBlock(Attention):
    """Within a map."""

    def __init__(self, config, width):
        super().__init__(width, width, config.heads_of(width), bias=True)
        self.group_norm = nn.GroupNorm(config.groups, width, config.epsilon)

    def forward(self, x, text):
        tokens = to_tokens(self.group_norm(x))
        return x + to_map(super().forward(tokens, tokens), x)


class Gated(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.proj = nn.Linear(width, 8 * width)

    def forward(self, x):
        h, gate = self.proj(x).chunk(2, dim=2)
        return h * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.net = nn.ModuleList([Gated(width), nn.Identity(), nn.Linear(4 * width, width)])

    def forward(self, x):
        return self.net[2](self.net[0](x))


class TransformerBlock(nn.Module):
    def __init__(self, width, text_width, heads):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.attn1 = Attention(width, width, heads, bias=False)
        self.attn2 = Attention(width, text_width, heads, bias=False)
        self.ff = FeedForward(width)

    def forward(self, x, text):
        h = self.norm1(x)
        x = x + self.attn1(h, h)
        x = x + self.attn2(self.norm2(x), text)
        return x + self.ff(self.norm3(x))


class Transformer(nn.Module):
    """Within a map, and of it to text."""

    def __init__(self, config, width):
        super().__init__()
        self.norm = nn.GroupNorm(config.groups, width, 1e-6)
        self.proj_in = nn.Conv2d(width, width, 1)
        block = TransformerBlock(width, config.text_width, config.heads_of(width))
        self.transformer_blocks = nn.ModuleList([block])
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, x, text):
        h = self.transformer_blocks[0](to_tokens(self.proj_in(self.norm(x))), text)
        return x + self.proj_out(to_map(h, x))


class ConvDown(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x, embedding):
        return self.conv(x)


class ConvUp(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x, embedding):
        return self.conv(double(x))


class Level(nn.Module):
    """The blocks of a level on the way down, in the middle or on the way up."""

    def __init__(self, resnets, attentions):
        super().__init__()
        self.resnets, self.attentions = nn.ModuleList(resnets), nn.ModuleList(attentions)
        self.downsamplers, self.upsamplers = nn.ModuleList(), nn.ModuleList()

    def pairs(self):
        attentions = list(self.attentions) or [None] * len(self.resnets)
        return zip(self.resnets, attentions)


class TimestepEmbedding(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(c_in, c_out), nn.Linear(c_out, c_out)

    def forward(self, x):
        return self.linear_2(F.silu(self.linear_1(x)))


class UNet(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        widths, last = config.widths, len(config.widths) - 1
        folded = config.channels * config.patch**2
        self.conv_in = nn.Conv2d(folded, widths[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(widths[0], config.embedding)
        # The last row means no class.
        self.class_embedding = (
            nn.Embedding(config.classes + 1, config.embedding) if config.classes else None)

        def attention(width):
            return (Transformer if config.text_width else AttentionBlock)(config, width)

        def attentions(level, count):
            return [attention(widths[level]) for _ in range(count * config.attention[level])]

        def resampler(width, conv, resample):
            if config.block_resampling:
                return ResnetBlock(config, width, width, resample)
            return conv(width)

        kept, c = [widths[0]], widths[0]
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(widths):
            resnets = []
            for _ in range(config.blocks):
                resnets.append(ResnetBlock(config, c, width))
                c = width
                kept.append(c)
            block = Level(resnets, attentions(level, config.blocks))
            if level < last:
                block.downsamplers.append(resampler(c, ConvDown, halve))
                kept.append(c)
            self.down_blocks.append(block)
        self.mid_block = Level([ResnetBlock(config, c, c) for _ in range(2)], [attention(c)])
        for level in reversed(range(last + 1)):
            resnets = []
            for _ in range(config.blocks + 1):
                resnets.append(ResnetBlock(config, c + kept.pop(), widths[level]))
                c = widths[level]
            block = Level(resnets, attentions(level, config.blocks + 1))
            if level > 0:
                block.upsamplers.append(resampler(c, ConvUp, double))
            self.up_blocks.append(block)
        self.conv_norm_out = nn.GroupNorm(config.groups, c, config.epsilon)
        self.conv_out = nn.Conv2d(c, folded, 3, padding=1)

    def embed(self, time, classes):
        half = self.config.widths[0] // 2
        exponents = torch.arange(half, device=time.device) / half
        angles = time[:, None] * torch.exp(-math.log(1e4) * exponents)
        embedding = self.time_embedding(torch.cat([angles.cos(), angles.sin()], 1))
        if self.class_embedding is not None:
            embedding = embedding + self.class_embedding(classes)
        return embedding

    def forward(self, z, time, classes=None, text=None):
        embedding = self.embed(time, classes)
        h = self.conv_in(F.pixel_unshuffle(z, self.config.patch) if self.config.patch > 1 else z)
        kept = [h]
        for block in self.down_blocks:
            for resnet, attention in block.pairs():
                h = resnet(h, embedding)
                if attention is not None:
                    h = attention(h, text)
                kept.append(h)
            for down in block.downsamplers:
                h = down(h, embedding)
                kept.append(h)
        h = self.mid_block.resnets[0](h, embedding)
        h = self.mid_block.attentions[0](h, text)
        h = self.mid_block.resnets[1](h, embedding)
        for block in self.up_blocks:
            for resnet, attention in block.pairs():
                h = resnet(torch.cat([h, kept.pop()], 1), embedding)
                if attention is not None:
                    h = attention(h, text)
            for up in block.upsamplers:
                h = up(h, embedding)
        h = self.conv_out(F.silu(self.conv_norm_out(h)))
        return F.pixel_shuffle(h, self.config.patch) if self.config.patch > 1 else h


def inputs(config, batch, device):
    """Noisy images, times in [0, 1000), and classes or states of texts; at random."""
    shape = (batch, config.channels, config.side, config.side)
    given = {"z": torch.randn(shape, device=device), "time": torch.rand(batch, device=device) * 1e3}
    if config.classes:
        given["classes"] = torch.randint(config.classes + 1, (batch,), device=device)
    if config.text_width:
        states = (batch, config.text_states, config.text_width)
        given["text"] = torch.randn(states, device=device)
    return given
