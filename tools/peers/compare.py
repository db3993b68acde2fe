"""Times our operations, the framework's stock ones and PyTorch's side by side, and prints a table of ratios.

    cargo build --release --example peers
    python tools/peers/compare.py [--threads 2] [--clock wall] [--rounds 9] [workload name prefixes]

Each side is a process that waits for its turn: for each workload, the sides take turns round by round, so
that whatever else the machine does slows all of them alike. A workload is one line of JSON, and so is
the answer; `worker.py` and `crates/distill/examples/peers` are the two implementations.

On a machine that others use too, `--threads 1 --clock processor` counts only the time that each side ran.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
RUST = HERE.parent.parent / "target/release/examples/peers"
SMALL = {"channels": 4, "base": 32, "multiples": [1, 2], "blocks": 2, "groups": 8}
LARGE = {"channels": 3, "base": 64, "multiples": [1, 2, 2], "blocks": 2, "groups": 32}


def conv(batch, c_in, c_out, size, kernel=3, stride=1):
    name = f"conv {kernel}x{kernel}{f' stride {stride}' if stride > 1 else ''}, {batch}x{c_in}→{c_out}, {size}x{size}"
    return name, {
        "op": "conv2d",
        "x": [batch, c_in, size, size],
        "channels_out": c_out,
        "kernel": kernel,
        "stride": stride,
    }


def norm(batch, channels, size, groups):
    name = f"group norm + SiLU, {batch}x{channels}, {size}x{size}"
    return name, {"op": "group_norm_silu", "x": [batch, channels, size, size], "groups": groups}


def attention(batch, heads, tokens, dim):
    return f"attention, {batch}x{heads} heads, {tokens} tokens of {dim}", {
        "op": "attention",
        "q": [batch, heads, tokens, dim],
    }


FASHION = {"channels": 1, "patch": 2, "widths": [32, 64], "blocks": 1, "attention": [False, False], "head": 16, "groups": 16, "classes": 10}
CIFAR = {"channels": 3, "patch": 2, "widths": [64, 96], "blocks": 1, "attention": [False, True], "head": 32, "groups": 16, "classes": 10}


def step(method, name, batch, config):
    return f"{method} update, {name}, batch {batch}", {
        "op": "step",
        "method": method,
        "batch": batch,
        "side": 32,
        "config": config,
    }


WORKLOADS = [
    conv(64, 4, 32, 16),
    conv(64, 32, 32, 16),
    conv(64, 64, 32, 16),
    conv(64, 32, 64, 16, stride=2),
    conv(64, 64, 64, 8),
    conv(64, 64, 32, 16, kernel=1),
    conv(64, 32, 4, 16),
    conv(16, 64, 64, 32),
    conv(16, 128, 128, 16),
    conv(16, 256, 256, 8),
    norm(64, 32, 16, 8),
    norm(16, 128, 16, 32),
    norm(16, 64, 32, 32),
    attention(64, 4, 64, 16),
    attention(16, 4, 256, 32),
    attention(4, 8, 1024, 40),
    ("U-Net 32-64, batch 64, 16x16x4", {"op": "unet", "batch": 64, "size": 16, "config": SMALL}),
    ("U-Net 64-128-128, batch 16, 32x32x3", {"op": "unet", "batch": 16, "size": 32, "config": LARGE}),
    *[step(method, "Fashion-MNIST", 64, FASHION) for method in ("teacher", "stage-one", "stage-two")],
    *[step(method, "CIFAR-10", 64, CIFAR) for method in ("teacher", "stage-one", "stage-two")],
]


class Side:
    def __init__(self, name, command, environment):
        self.name = name
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)

    def round(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"{self.name} ended early")
        return json.loads(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def passes(workload):
    """What is timed of a workload: its name, and whether it goes backward."""
    if workload["op"] == "step":
        return [("whole", True)]
    return [("forward", False), ("training step" if workload["op"] == "unet" else "forward + backward", True)]


def sides(threads, workload):
    environment = os.environ | {
        "RAYON_NUM_THREADS": str(threads),
        "OMP_NUM_THREADS": str(threads),
        # As in a process that has run for a while: memory that was freed is used again, not mapped anew.
        "MALLOC_MMAP_THRESHOLD_": "1000000000",
        "MALLOC_TRIM_THRESHOLD_": "1000000000",
    }
    commands = {
        "ours": [str(RUST), "ours"],
        "stock": [str(RUST), "stock"],
        "torch": [sys.executable, str(HERE / "worker.py"), str(threads)],
    }
    if workload["op"] == "step":
        # The networks of the product know only our operations.
        del commands["stock"]
    return [Side(name, command, environment) for name, command in commands.items()]


def measure(workload, backward, rounds, threads, clock):
    """The rounds' times of each side. Every workload gets processes of its own."""
    line = json.dumps(workload | {"backward": backward})
    all_sides = sides(threads, workload)
    for side in all_sides:
        side.round(line)
    times = {side.name: [] for side in all_sides}
    for _ in range(rounds):
        for side in all_sides:
            times[side.name].append(side.round(line)[clock])
            # Threads that still spin for more work would take the next side's time.
            time.sleep(0.02)
    peaks = {side.name: side.round(line)["peak_mb"] for side in all_sides}
    for side in all_sides:
        side.close()
    return times, peaks


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=["wall", "processor"], default="wall")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("prefixes", nargs="*")
    arguments = parser.parse_args()
    if arguments.rounds < 7:
        parser.error("at least 7 rounds")
    print(f"{arguments.threads} threads, {arguments.clock} time, {arguments.rounds} rounds; median of the rounds' ratios (fastest to fastest)\n")
    print("| workload | ours, ms | torch, ms | ours / torch | ours / stock | peak MB: ours, torch |")
    print("|---|---|---|---|---|---|")
    for name, workload in WORKLOADS:
        if arguments.prefixes and not any(name.startswith(p) for p in arguments.prefixes):
            continue
        for what, backward in passes(workload):
            times, peaks = measure(workload, backward, arguments.rounds, arguments.threads, arguments.clock)
            middle = {side: statistics.median(t) for side, t in times.items()}

            def ratio(other):
                if other not in times:
                    return ""
                of_rounds = statistics.median(a / b for a, b in zip(times["ours"], times[other]))
                return f"{of_rounds:.2f} ({min(times['ours']) / min(times[other]):.2f})"

            print(
                f"| {name}, {what} | {middle['ours']:.2f} | {middle['torch']:.2f} | {ratio('torch')} | {ratio('stock')} "
                f"| {peaks['ours']:.0f}, {peaks['torch']:.0f} |",
                flush=True,
            )


main()
