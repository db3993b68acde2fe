"""Times PyTorch on one CUDA GPU: forward passes and whole training steps of fewstep's U-Net.

    python3 tools/gpu/torch_steps.py --out torch.jsonl [--batch 128 512] [--budget 480]
    python3 tools/gpu/torch_steps.py --size tiny tiny-text --device cpu --out /tmp/t.jsonl

Needs torch and nothing else. Measures, the most important first:

- `forward`: without gradient, in evaluation mode.
- `train`: forward pass, mean squared error, backward pass, gradients clipped to norm 1, Adam
  (fused, then foreach) and a moving average of the weights.

Weights, Adam's state and the average are f32 throughout. `f32` is without TF32, `tf32` with it, and
`bf16` is `torch.autocast`. `compile` is `torch.compile` of the network; clipping, Adam and the
average stay as they are.

A step's time is the median of `--steps` steps between CUDA events; `wall_ms` in the file is their
mean by the clock, from one synchronisation to another. TFLOP/s count the products of convolutions,
linear layers and attention, an addition and a multiplication as two, from the shapes alone: nothing
that is computed a second time counts. Memory is the most that PyTorch's allocator had in use.
GB are 10^9 bytes. Kernel launches are those of one eager step, counted when all times are taken,
for the profiler slows what comes after it.

Every measurement is a line of JSON in `--out`; one that fails says why, and the next begins. No new
one begins after nine tenths of `--budget` seconds; the rest is for counting launches.
"""

import argparse
import functools
import gc
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from dataclasses import asdict, dataclass, fields

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from torch_unet import SIZES, AttentionBlock, ResnetBlock, Transformer, UNet, config_of, inputs

WORKS, PRECISIONS, ENGINES = ["train", "forward"], ["bf16", "tf32", "f32"], ["compile", "eager"]
OPTIMISERS = ["fused", "foreach"]
PARTS = ["forward", "backward", "clip", "adam", "average"]
DECAY = 0.9999


@dataclass(frozen=True)
class Case:
    size: str
    work: str
    precision: str
    engine: str
    batch: int

    def rank(self, sizes):
        """Pixels train before they generate, texts the other way round. Plain f32 comes last."""
        precision, engine = PRECISIONS.index(self.precision), ENGINES.index(self.engine)
        order = [WORKS.index(self.work), precision]
        if SIZES[self.size].text_width:
            order = [precision, -WORKS.index(self.work)]
        return (self.precision == "f32", sizes.index(self.size), *order, engine)


def case_of(row):
    return Case(*(row[field.name] for field in fields(Case)))


class Device:
    """A GPU and its events; or a processor and the clock."""

    def __init__(self, name):
        self.device = torch.device(name)
        self.cuda = self.device.type == "cuda"

    def header(self):
        if not self.cuda:
            return f"{self.device} | torch {torch.__version__}"
        about = torch.cuda.get_device_properties(self.device)
        return (
            f"{about.name}, {about.total_memory / 1e9:.0f} GB, {about.multi_processor_count} SMs | "
            f"torch {torch.__version__} | CUDA {torch.version.cuda} | "
            f"cuDNN {torch.backends.cudnn.version()}")

    def sync(self):
        if self.cuda:
            torch.cuda.synchronize()

    def mark(self):
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def ms(self, start, end):
        return start.elapsed_time(end) if self.cuda else (end - start) * 1e3

    def reset_peak(self):
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()

    def peak(self):
        if not self.cuda:
            return {}
        stats = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
        return dict(zip(["peak_gb", "reserved_gb"], (round(b / 1e9, 3) for b in stats)))

    def clear(self):
        torch._dynamo.reset()
        gc.collect()
        try:
            if self.cuda:
                torch.cuda.empty_cache()
        except RuntimeError as error:  # a GPU in a bad state: every further row will say so
            print(reason(error), file=sys.stderr, flush=True)


def set_precision(precision):
    # Under autocast too, for the little that stays f32.
    torch.set_float32_matmul_precision("highest" if precision == "f32" else "high")
    torch.backends.cudnn.allow_tf32 = precision != "f32"


def network(case, options, device):
    set_precision(case.precision)
    torch.manual_seed(0)
    config = config_of(case.size, options.dropout)
    with device.device:
        net = UNet(config).train(case.work == "train")
    given = inputs(config, case.batch, device.device)
    if options.channels_last:
        net = net.to(memory_format=torch.channels_last)
        given["z"] = given["z"].contiguous(memory_format=torch.channels_last)
    call = net
    if case.engine == "compile" and options.regions:
        for module in net.modules():
            if isinstance(module, (AttentionBlock, ResnetBlock, Transformer)):
                module.compile(dynamic=False, mode=options.mode)
    elif case.engine == "compile":
        call = torch.compile(net, dynamic=False, fullgraph=True, mode=options.mode)
    return net, call, given


def steps(case, options, device):
    """Yields the name of each optimiser, and a function that does a step and marks its parts."""
    net, call, given = network(case, options, device)
    kind = device.device.type
    autocast = functools.partial(
        torch.autocast, kind, dtype=torch.bfloat16, enabled=case.precision == "bf16")
    if case.work == "forward":

        def forward(mark):
            if case.engine == "compile":
                torch.compiler.cudagraph_mark_step_begin()
            with torch.no_grad(), autocast():
                call(**given)
            mark()

        yield None, forward
        return
    parameters = list(net.parameters())
    average = [p.detach().clone() for p in parameters]
    target = torch.randn_like(given["z"])
    for name in options.optimiser:
        adam = torch.optim.Adam(parameters, lr=1e-4, **{name: True})

        def train(mark):
            if case.engine == "compile":
                torch.compiler.cudagraph_mark_step_begin()
            adam.zero_grad(set_to_none=True)
            with autocast():
                loss = F.mse_loss(call(**given), target)
            mark()
            loss.backward()
            mark()
            nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
            mark()
            adam.step()
            mark()
            with torch.no_grad():
                torch._foreach_lerp_(average, parameters, 1 - DECAY)
            mark()

        yield name, train
        # Its state makes room for that of the next one.
        adam.zero_grad(set_to_none=True)
        del adam, train


def timed(step, options, device):
    """What a step costs, after a few that do not count."""
    marks = []
    device.sync()
    start = time.perf_counter()
    for done in range(options.warm_up):
        step(lambda: None)
        if done == 0:
            device.sync()
            first = time.perf_counter() - start
    device.sync()
    device.reset_peak()
    start = time.perf_counter()
    ends = [device.mark()]
    for _ in range(options.steps):
        marks.append([ends[-1]])
        step(lambda: marks[-1].append(device.mark()))
        ends.append(marks[-1][-1])
    device.sync()
    wall = (time.perf_counter() - start) * 1e3 / options.steps
    times = [device.ms(*pair) for pair in itertools.pairwise(ends)]
    parts = {}
    if len(marks[0]) > 2:
        lasted = ([device.ms(*pair) for pair in itertools.pairwise(step)] for step in marks)
        parts = dict(zip(PARTS, zip(*lasted)))
    return {
        "ms": round(statistics.median(times), 4),
        "min_ms": round(min(times), 4),
        "max_ms": round(max(times), 4),
        "wall_ms": round(wall, 4),
        "parts_ms": {part: round(statistics.median(of), 4) for part, of in parts.items()},
        "first_s": round(first, 2),
        **device.peak(),
    }


@functools.cache
def work_of(size, train):
    """Floating-point operations for one sample, and the number of parameters."""
    config = config_of(size)
    with torch.device("meta"):
        net = UNet(config)
    given, target = inputs(config, 1, "meta"), torch.empty([], device="meta")
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        out = net(**given)
        if train:
            (out - target).square().mean().backward()
    return counter.get_total_flops(), sum(p.numel() for p in net.parameters())


def launches(step):
    """Kernels that one step starts on the GPU: those of its trace, without copies and clearing."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=activities) as profile:
        step(lambda: None)
        torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "trace.json")
        profile.export_chrome_trace(path)
        with open(path) as file:
            events = json.load(file)["traceEvents"]
    return sum(event.get("cat") == "kernel" for event in events)


def ceilings(device):
    """The most that this machine moves and multiplies."""
    set_precision("tf32")
    side, numbers = (8192, 2**28) if device.cuda else (256, 2**20)
    source = torch.randn(numbers, device=device.device)
    target = torch.empty_like(source)
    a, b = (torch.randn(side, side, device=device.device).bfloat16() for _ in range(2))
    out = torch.empty_like(a)

    def median_ms(call):
        for _ in range(5):
            call()
        device.sync()
        marks = [device.mark()]
        for _ in range(20):
            call()
            marks.append(device.mark())
        device.sync()
        return statistics.median(device.ms(*pair) for pair in itertools.pairwise(marks))

    copy = median_ms(lambda: target.copy_(source))
    product = median_ms(lambda: torch.mm(a, b, out=out))
    return {
        "kind": "ceilings",
        "copy_gb_s": round(2 * 4 * numbers / copy / 1e6, 1),
        "matmul_side": side,
        "matmul_bf16_tflops": round(2 * side**3 / product / 1e9, 1),
    }


def reason(error):
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:160]


class Report:
    def __init__(self, path, about):
        self.file = open(path, "w") if path else None
        self.about, self.rows = about, []

    def line(self, row):
        if self.file:
            self.file.write(json.dumps(row | self.about) + "\n")
            self.file.flush()

    def add(self, row):
        self.rows.append(row)
        self.line(row)
        name = " ".join(map(str, asdict(case_of(row)).values()))
        said = f"{row['ms']:.2f} ms" if "ms" in row else row["note"]
        print(f"{name} {row['optimiser'] or ''}: {said}", file=sys.stderr, flush=True)

    def table(self):
        columns = {
            "size": "size", "work": "work", "precision": "precision", "engine": "engine",
            "batch": "batch", "optimiser": "Adam", "ms": "ms/step", "images_s": "images/s",
            "peak_gb": "peak GB", "tflops": "TFLOP/s", "launches": "launches", "note": "note"}

        def cell(value):
            if value is None:
                return "-"
            return f"{value:.2f}" if isinstance(value, float) else str(value)

        empty = {"note": ""}
        lines = [list(columns.values())]
        lines += [[cell((empty | row).get(key)) for key in columns] for row in self.rows]
        widths = [max(map(len, column)) for column in zip(*lines)]
        for line in lines:
            left = [text.ljust(width) for text, width in zip(line[:4], widths)]
            right = [text.rjust(width) for text, width in zip(line[4:-1], widths[4:])]
            print("  ".join([*left, *right, line[-1]]).rstrip())


def measure(case, options, device, report):
    row = {"kind": "step"} | asdict(case) | {"optimiser": None}
    if case.work == "train":
        row["optimiser"] = options.optimiser[0]
        row["dropout"] = config_of(case.size, options.dropout).dropout
    try:
        flops, parameters = work_of(case.size, case.work == "train")
        for optimiser, step in steps(case, options, device):
            row["optimiser"] = optimiser
            cost = timed(step, options, device)
            del step
            rates = {
                "images_s": round(case.batch / cost["ms"] * 1e3, 2),
                "tflops": round(flops * case.batch / cost["ms"] / 1e9, 3),
                "gflop_per_image": round(flops / 1e9, 3),
                "parameters": parameters,
            }
            report.add(row | cost | rates)
    except Exception as error:  # whatever it is, the next one may work
        report.add(row | {"note": reason(error)})


def count(case, options, device, report):
    """Tells the rows of this case how many kernels a step starts."""
    rows = [row for row in report.rows if case_of(row) == case]
    try:
        for optimiser, step in steps(case, options, device):
            for _ in range(2):
                step(lambda: None)
            number = launches(step)
            del step
            more = {"optimiser": optimiser, "launches": number}
            report.line({"kind": "launches"} | asdict(case) | more)
            for row in rows:
                if row["optimiser"] == optimiser:
                    row["launches"] = number
    except Exception as error:
        print(f"launches of {case}: {reason(error)}", file=sys.stderr, flush=True)


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--size", nargs="+", choices=SIZES, default=["cifar10", "sd15"])
    add("--batch", nargs="+", type=int, default=[128, 512], help="of all sizes but sd15")
    add("--sd15-batch", nargs="+", type=int, default=[4])
    add("--work", nargs="+", choices=WORKS, default=WORKS)
    add("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    add("--engine", nargs="+", choices=ENGINES, default=ENGINES)
    add("--optimiser", nargs="+", choices=OPTIMISERS, default=OPTIMISERS)
    add("--channels-last", action="store_true")
    add("--dropout", type=float, help="in place of the size's own")
    add("--regions", action="store_true", help="compile block by block, which is sooner ready")
    add("--mode", help="of torch.compile, such as reduce-overhead or max-autotune")
    add("--steps", type=int, default=20)
    add("--warm-up", type=int, default=5)
    add("--budget", type=float, default=float("inf"), help="seconds")
    add("--no-cudnn-benchmark", action="store_true", help="take cuDNN's first choice")
    add("--device", default="cuda")
    add("--out", help="file of JSON lines")
    options = parser.parse_args()
    if options.steps < 1 or options.warm_up < 1:
        parser.error("--steps and --warm-up must be at least 1")
    return options


def main():
    start = time.perf_counter()
    options = arguments()
    warnings.filterwarnings("ignore")
    device = Device(options.device)
    torch.backends.cudnn.benchmark = not options.no_cudnn_benchmark
    # Blocks share their code; each shape of them is a compilation of its own.
    torch._dynamo.config.recompile_limit = 256
    told = ["channels_last", "regions", "mode", "steps", "no_cudnn_benchmark"]
    about = {"device": device.header()} | {key: getattr(options, key) for key in told}
    report = Report(options.out, about)
    print(device.header(), flush=True)
    try:
        most = ceilings(device)
        report.line(most)
        copy, product = most["copy_gb_s"], most["matmul_bf16_tflops"]
        print(f"copy {copy} GB/s read and written | ", end="")
        print(f"bf16 product of {most['matmul_side']}^3 {product} TFLOP/s", flush=True)
    except Exception as error:
        print(f"ceilings: {reason(error)}", flush=True)
    device.clear()
    for size in options.size:
        print(f"{size}: {work_of(size, False)[1]:,} parameters", flush=True)

    cases = [
        Case(size, work, precision, engine, batch)
        for size in options.size
        for work, precision, engine in itertools.product(
            options.work, options.precision, options.engine)
        for batch in (options.sd15_batch if size == "sd15" else options.batch)]
    cases.sort(key=lambda case: case.rank(options.size))
    spent = lambda: time.perf_counter() - start  # noqa: E731
    left_out = 0
    for case in cases:
        if spent() < 0.9 * options.budget:
            measure(case, options, device, report)
            # Here, where nothing of a case that failed is held any more.
            device.clear()
        else:
            left_out += 1
    if device.cuda:
        done = {case_of(row) for row in report.rows if "ms" in row}
        for case in cases:
            if case.engine == "eager" and case in done and spent() < options.budget:
                count(case, options, device, report)
                device.clear()
    print()
    report.table()
    if left_out:
        print(f"{left_out} of {len(cases)} not begun: the budget of {options.budget:g} s was spent")


if __name__ == "__main__":
    main()
