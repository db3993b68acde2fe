"""Times one workload per line of standard input with PyTorch, and answers each with a line of its own.

The other side, which speaks the same protocol, is `crates/distill/examples/peers`.
"""

import json
import math
import resource
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

import steps

ROUND_SECONDS = 0.1
HEADS = 4
EMBEDDING = 256


class Residual(nn.Module):
    def __init__(self, c_in, c_out, groups):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(groups, c_in), nn.GroupNorm(groups, c_out)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.time = nn.Linear(EMBEDDING, c_out)
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x, time):
        h = self.conv1(F.silu(self.norm1(x))) + self.time(F.silu(time))[:, :, None, None]
        return self.conv2(F.silu(self.norm2(h))) + self.skip(x)


class SelfAttention(nn.Module):
    def __init__(self, channels, groups):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

    def forward(self, x):
        b, c, h, w = x.shape
        tokens = self.norm(x).reshape(b, c, h * w).transpose(1, 2)
        q, k, v = self.qkv(tokens).reshape(b, h * w, 3, HEADS, c // HEADS).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, h * w, c)
        return x + self.out(y).transpose(1, 2).reshape(b, c, h, w)


class Block(nn.Module):
    def __init__(self, c_in, c_out, groups, attends):
        super().__init__()
        self.residual = Residual(c_in, c_out, groups)
        self.attention = SelfAttention(c_out, groups) if attends else nn.Identity()

    def forward(self, x, time):
        return self.attention(self.residual(x, time))


class UNet(nn.Module):
    def __init__(self, channels, base, multiples, blocks, groups):
        super().__init__()
        self.base, last = base, len(multiples) - 1
        self.time1, self.time2 = nn.Linear(base, EMBEDDING), nn.Linear(EMBEDDING, EMBEDDING)
        self.enter = nn.Conv2d(channels, base, 3, padding=1)
        self.down, self.down_change = nn.ModuleList(), nn.ModuleList()
        self.up, self.up_change = nn.ModuleList(), nn.ModuleList()
        kept, c = [base], base
        for level, multiple in enumerate(multiples):
            stage = nn.ModuleList()
            for _ in range(blocks):
                stage.append(Block(c, base * multiple, groups, level == last))
                c = base * multiple
                kept.append(c)
            self.down.append(stage)
            if level < last:
                self.down_change.append(nn.Conv2d(c, c, 3, stride=2, padding=1))
                kept.append(c)
        self.middle1, self.middle2 = Block(c, c, groups, True), Block(c, c, groups, False)
        for level, multiple in reversed(list(enumerate(multiples))):
            stage = nn.ModuleList()
            for _ in range(blocks + 1):
                stage.append(Block(c + kept.pop(), base * multiple, groups, level == last))
                c = base * multiple
            self.up.append(stage)
            if level > 0:
                self.up_change.append(nn.Conv2d(c, c, 3, padding=1))
        self.norm, self.leave = nn.GroupNorm(groups, c), nn.Conv2d(c, channels, 3, padding=1)

    def forward(self, x, times):
        half = self.base // 2
        frequencies = torch.exp(-math.log(10000.0) * torch.arange(half) / half)
        angles = times[:, None] * frequencies[None]
        time = self.time2(F.silu(self.time1(torch.cat([angles.sin(), angles.cos()], 1))))
        h = self.enter(x)
        kept = [h]
        for level, stage in enumerate(self.down):
            for block in stage:
                h = block(h, time)
                kept.append(h)
            if level < len(self.down_change):
                h = self.down_change[level](h)
                kept.append(h)
        h = self.middle2(self.middle1(h, time), time)
        for level, stage in enumerate(self.up):
            for block in stage:
                h = block(torch.cat([h, kept.pop()], 1), time)
            if level < len(self.up_change):
                h = self.up_change[level](F.interpolate(h, scale_factor=2.0, mode="nearest"))
        return self.leave(F.silu(self.norm(h)))


def call_of(forward, leaves, backward):
    def call():
        if not backward:
            with torch.no_grad():
                forward(*leaves)
            return
        for leaf in leaves:
            leaf.grad = None
        forward(*leaves).sum().backward()

    return call


def network(batch, size, config, train):
    model = UNet(**config)
    shape = (batch, config["channels"], size, size)
    x, target, times = torch.randn(shape), torch.randn(shape), torch.arange(batch) * 10.0
    if not train:
        return call_of(model, [x, times], False)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, eps=1e-5)

    def step():
        optimiser.zero_grad(set_to_none=True)
        F.mse_loss(model(x, times), target).backward()
        optimiser.step()

    return step


def prepare(op, backward, **w):
    def leaf(*shape):
        return (torch.randn(shape) * 0.5).requires_grad_(backward)

    if op == "conv2d":
        x, k = w["x"], w["kernel"]
        leaves = [leaf(*x), leaf(w["channels_out"], x[1], k, k), leaf(w["channels_out"])]

        def forward(x, weight, bias):
            return F.conv2d(x, weight, bias, stride=w["stride"], padding=k // 2)

        return call_of(forward, leaves, backward)
    if op == "group_norm_silu":
        leaves = [leaf(*w["x"]), leaf(w["x"][1]), leaf(w["x"][1])]

        def forward(x, gamma, beta):
            return F.silu(F.group_norm(x, w["groups"], gamma, beta))

        return call_of(forward, leaves, backward)
    if op == "attention":
        leaves = [leaf(*w["q"]) for _ in range(3)]
        return call_of(F.scaled_dot_product_attention, leaves, backward)
    if op == "unet":
        return network(w["batch"], w["size"], w["config"], backward)
    if op == "step":
        return steps.step(**w)
    raise ValueError(f"unknown operation {op}")


def main():
    torch.set_num_threads(int(sys.argv[1]))
    prepared = {}
    for line in sys.stdin:
        if line not in prepared:
            prepared[line] = prepare(**json.loads(line))
        call, calls, start, processor = prepared[line], 0, time.perf_counter(), time.process_time()
        while calls == 0 or time.perf_counter() - start < ROUND_SECONDS:
            call()
            calls += 1
        wall = (time.perf_counter() - start) * 1e3 / calls
        processor = (time.process_time() - processor) * 1e3 / calls
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"wall": wall, "processor": processor, "peak_mb": peak}), flush=True)


main()
