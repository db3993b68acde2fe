"""Times a model of the full size of Stable Diffusion 1.5 in our program and in diffusers: one image of 512x512. With --xl, of SDXL, 1024x1024.

    pip install -r tools/peers/requirements.txt
    cargo build --release
    python tools/peers/full_size.py FOLDER [--xl [--f32]] [--bf16-products] [--rounds 3] [--threads 2]

FOLDER is made where it does not exist: random weights in half precision, 2.1 GB (6.9 GB), in diffusers' layout. Both sides compute in
single precision; with --xl ours keeps the network's weights in f16 (--precision f16), and diffusers, which has no way to compute in more
bits than its weights have, is timed in bf16 throughout, and with --f32 in f32 too (16 GB of memory). A run loads the model and generates one image from a prompt with
DDIM, without guidance; one network call is a quarter of how much longer generating takes with five steps than with one (with --xl
the whole of how much longer two steps take), without loading and decoding; its processor time is the same part of the difference with them. The start is what a run takes besides generating: loading, and for ours writing
the image. Peak memory is that of the process. --bf16-products times ours with this flag too. The last lines have the ratios, medians of those
of the rounds.
"""
import argparse
import itertools
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROMPT = "a lighthouse by the sea"
ROUNDED = "ours, bf16 products"
WIDE = "diffusers, f32"
DIFFUSERS = """
import sys, time, torch
from diffusers import DDIMScheduler, DiffusionPipeline
folder, steps, threads, dtype, out = sys.argv[1:]
torch.set_num_threads(int(threads))
pipe = DiffusionPipeline.from_pretrained(folder, torch_dtype=getattr(torch, dtype))
pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
pipe.set_progress_bar_config(disable=True)
decode = pipe.vae.decode
def timed(*arguments, **named):
    start = time.perf_counter()
    decoded = decode(*arguments, **named)
    print(f"decoding {time.perf_counter() - start}s")
    return decoded
pipe.vae.decode = timed
start = time.perf_counter()
pipe(sys.stdin.read(), num_inference_steps=int(steps), guidance_scale=1.0).images[0].save(out)
print(f"{time.perf_counter() - start} s per image")
"""


def make_xl(folder):
    subprocess.run([sys.executable, ROOT / "tools/gpu/random_sd.py", folder, "--xl"], check=True)


def make(folder):
    import torch
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    letters = [chr(c) for c in range(33, 127)]
    words = letters + [letter + "</w>" for letter in letters] + ["<|startoftext|>", "<|endoftext|>"]
    tokens = CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=77)
    text = CLIPTextConfig(
        vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
        bos_token_id=len(words) - 2, eos_token_id=len(words) - 1, pad_token_id=len(words) - 1)
    down, up = ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"], ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3
    StableDiffusionPipeline(
        unet=UNet2DConditionModel(
            sample_size=64, in_channels=4, out_channels=4, block_out_channels=[320, 640, 1280, 1280], layers_per_block=2,
            down_block_types=down, up_block_types=up, attention_head_dim=8, cross_attention_dim=768),
        vae=AutoencoderKL(
            block_out_channels=[128, 256, 512, 512], layers_per_block=2, latent_channels=4, sample_size=512,
            down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4),
        text_encoder=CLIPTextModel(text),
        tokenizer=tokens,
        scheduler=PNDMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).to(torch.float16).save_pretrained(folder)


def run(side, folder, xl, steps, threads, scratch):
    """Seconds of a run, of generating only, of decoding, peak megabytes, and seconds of all processors together."""
    out = f"{scratch}/image.png"
    if side.startswith("ours"):
        command = [ROOT / "target/release/fewstep", "--verbose", "sample", "--model", folder, "--prompt", PROMPT, "--sampler", "ddim",
                   "--steps", str(steps), "--w", "0", "--precision", "f16" if xl else "f32", "--out", out]
        command += ["--bf16-products"] if side == ROUNDED else []
    else:
        dtype = "bfloat16" if xl and side != WIDE else "float32"
        command = [sys.executable, "-c", DIFFUSERS, folder, str(steps), str(threads), dtype, out]
    environment = os.environ | {"RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    start = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT if side.startswith("ours") else subprocess.DEVNULL, env=environment, text=True)
    process.stdin.write(PROMPT)
    process.stdin.close()
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    generating, decoding = re.search(r"([0-9.]+) s per image", said), re.search(r"decoding ([0-9.]+)(m?)s", said)
    if status != 0 or not generating or not decoding:
        sys.exit(f"{side} failed: {said[-500:]}")
    decoding = float(decoding[1]) / (1000 if decoding[2] else 1)
    return time.perf_counter() - start, float(generating[1]), decoding, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--xl", action="store_true")
    parser.add_argument("--f32", action="store_true")
    parser.add_argument("--bf16-products", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if not pathlib.Path(arguments.folder, "model_index.json").exists():
        (make_xl if arguments.xl else make)(arguments.folder)
    fewest, most = (1, 2) if arguments.xl else (1, 5)
    ours = ["ours", ROUNDED] if arguments.bf16_products else ["ours"]
    theirs = ["diffusers", WIDE] if arguments.f32 and arguments.xl else ["diffusers"]
    sides = ours + theirs
    results = {(side, steps): [] for side in sides for steps in (fewest, most)}
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(arguments.rounds):
            for (side, steps), rounds in results.items():
                rounds.append(run(side, arguments.folder, arguments.xl, steps, arguments.threads, scratch))
                print(json.dumps([side, steps, *rounds[-1]]), file=sys.stderr, flush=True)
    print("| | one network call, s | its processor time, s | decoding, s | generating with one step, s | start, s | whole run with one step, s "
          "| peak MB |\n|---|---|---|---|---|---|---|---|")
    figures = {}
    for side in sides:
        rounds = zip(results[side, fewest], results[side, most])
        figures[side] = [
            ((many[1] - many[2] - one[1] + one[2]) / (most - fewest), (many[4] - one[4]) / (most - fewest), one[2], one[1], one[0] - one[1], one[0],
             max(one[3], many[3])) for one, many in rounds]
        call, busy, decoding, generating, start, whole, peak = map(statistics.median, zip(*figures[side]))
        print(f"| {side} | {call:.2f} | {busy:.2f} | {decoding:.2f} | {generating:.1f} | {start:.1f} | {whole:.1f} | {peak:.0f} |")
    for side, other in itertools.product(ours, theirs):
        ratios = [[a / b for a, b in zip(*pair)] for pair in zip(figures[side], figures[other])]
        print(f"| {side} / {other} | " + " | ".join(f"{statistics.median(column):.2f}" for column in zip(*ratios)) + " |")


main()
