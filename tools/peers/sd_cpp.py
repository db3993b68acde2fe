"""Times a model of the full size of Stable Diffusion 1.5 in our program and in stable-diffusion.cpp: one image of 512x512.

    cargo build --release
    python tools/peers/sd_cpp.py SD-CLI FOLDER [--rounds 3] [--threads 2] [--steps 2]

SD-CLI is stable-diffusion.cpp's program, FOLDER what tools/peers/full_size.py makes. Both sides keep the network's weights in 16 bits;
stable-diffusion.cpp reads them from the single file that ours exports, FOLDER.safetensors. It is timed with its flash attention too. The sides take
turns, and each says itself how long its steps and its decoder took: DDIM, without guidance. Peak memory is that of the process. The last
lines have the ratios, medians of those of the rounds.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
OURS = ROOT / "target/release/fewstep"
PROMPT = "a lighthouse by the sea"
UNITS = {"s": 1, "ms": 1e-3}


def seconds(pattern, said):
    found = re.search(pattern + r"([0-9.]+)(m?s)\b", said)
    if not found:
        sys.exit(f"no time in what was printed: {said[-500:]}")
    return float(found[1]) * UNITS[found[2]]


def run(side, program, folder, steps, threads, scratch):
    """Seconds of a step, of decoding, seconds of all processors together, and peak megabytes."""
    out = f"{scratch}/image.png"
    if side == "ours":
        command = [OURS, "--verbose", "sample", "--model", folder, "--prompt", PROMPT, "--sampler", "ddim", "--steps", str(steps), "--w", "0",
                   "--precision", "f16", "--out", out]
    else:
        command = [program, "-m", f"{folder}.safetensors", "-p", PROMPT, "--sampling-method", "ddim_trailing", "--steps", str(steps),
                   "--cfg-scale", "1", "-W", "512", "-H", "512", "-t", str(threads), "-o", out]
        command += ["--diffusion-fa"] if "flash" in side else []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                               env=os.environ | {"RAYON_NUM_THREADS": str(threads)})
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{side} failed: {said[-500:]}")
    sampling, decoding = ("steps took ", "decoding ") if side == "ours" else ("sampling completed, taking ", "decode_first_stage completed, taking ")
    return seconds(sampling, said) / steps, seconds(decoding, said), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2)
    arguments = parser.parse_args()
    file = pathlib.Path(f"{arguments.folder}.safetensors")
    if not file.exists():
        subprocess.run([OURS, "export", "--model", arguments.folder, "--form", "single-file", "--precision", "f16", "--out", file], check=True)
    results = {"ours": [], "stable-diffusion.cpp": [], "stable-diffusion.cpp, flash attention": []}
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(arguments.rounds):
            for side, rounds in results.items():
                rounds.append(run(side, arguments.program, arguments.folder, arguments.steps, arguments.threads, scratch))
                print(json.dumps([side, *rounds[-1]]), file=sys.stderr, flush=True)
    print("| | one network call, s | decoding, s | processor time of the run, s | peak MB |\n|---|---|---|---|---|")
    for side, rounds in results.items():
        call, decoding, busy, peak = map(statistics.median, zip(*rounds))
        print(f"| {side} | {call:.2f} | {decoding:.2f} | {busy:.1f} | {peak:.0f} |")
    for side, rounds in results.items():
        if side != "ours":
            ratios = [[a / b for a, b in zip(*pair)] for pair in zip(results["ours"], rounds)]
            print(f"| ours / {side} | " + " | ".join(f"{statistics.median(column):.2f}" for column in zip(*ratios)) + " |")


main()
