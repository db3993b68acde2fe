#!/usr/bin/env python3
"""What several processes cost: 2 of one thread against 1 of two threads, on the same cores.

    cargo build --release --features mpi
    python3 tools/scale/overhead.py --work /tmp/overhead

Short runs of both alternate, in another order in every round, so that both see the same load of the machine, and the first updates of each
are not counted. Printed are the medians of all updates, of the ratio of the rounds, and of the part of the time in which the first process
exchanged gradients or waited for the other.

Each of the two processes is bound to a core of its own (--bind-to core); with --bind none the system moves them about, as it does the two
threads. Nothing else has to be set: Open MPI looks without a pause for messages only while it starts and ends, where mpi_yield_when_idle
would matter. In an update the program itself looks, and sleeps after 0.2 ms, so a process that waits leaves its core to others.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess

RECIPE = """
seed = 1
updates = {updates}
[data]
kind = "idx"
path = "builtin:fashion-mnist-sample"
size = 32
[network]
patch = 2
widths = {widths}
blocks = 1
attention = [false, false]
head = 16
groups = 16
[optim]
batch = {batch}
lr = 1e-3
[run]
log_every = 1
checkpoint_every = 100000
"""
SKIPPED = 5


def seconds(args, words, out):
    """The seconds of each update of a run, without the first ones, and the part of them for the exchange."""
    shutil.rmtree(out, ignore_errors=True)
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    command = [*words, args.program, "train", args.work / "recipe.toml", "--out", out]
    command += ["--threads", "1" if words else "2"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **allowed})
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    records = records[SKIPPED:]
    shares = [record["exchange_share"] for record in records if "exchange_share" in record]
    return [args.batch / record["samples_per_second"] for record in records], shares


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="target/release/fewstep")
    parser.add_argument("--work", required=True, type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--bind", default="core", help="what each process is bound to: core or none")
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--widths", default="[32, 64]")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    recipe = RECIPE.format(updates=args.updates, batch=args.batch, widths=args.widths)
    (args.work / "recipe.toml").write_text(recipe)
    mpirun = ["mpirun", "-n", "2", "--bind-to", args.bind]
    one, two, ratios, shares = [], [], [], []
    for turn in range(args.rounds):
        kinds = [([], "one"), (mpirun, "two")]
        times = {}
        for words, name in kinds[:: -1 if turn % 2 else 1]:
            times[name], share = seconds(args, words, args.work / name)
            shares += share
        one += times["one"]
        two += times["two"]
        a, b = (statistics.median(times[name]) for name in ("one", "two"))
        ratios.append(b / a)
        load = os.getloadavg()[0]
        print(f"round {turn}: {1e3 * a:.1f} ms, {1e3 * b:.1f} ms, ratio {ratios[-1]:.3f}, load {load:.1f}", flush=True)
    print(f"one process of 2 threads: {1e3 * statistics.median(one):.1f} ms an update")
    print(f"two processes of 1 thread: {1e3 * statistics.median(two):.1f} ms")
    fastest = [1e3 * statistics.quantiles(times, n=10)[0] for times in (one, two)]
    print(f"a tenth of the updates is faster than {fastest[0]:.1f} ms and {fastest[1]:.1f} ms, ratio {fastest[1] / fastest[0]:.3f}")
    print(f"exchange and waiting: {100 * statistics.median(shares):.1f} % of the time of the first of the two")
    print(f"ratio: {statistics.median(ratios):.3f} (rounds from {min(ratios):.3f} to {max(ratios):.3f})")


main()
