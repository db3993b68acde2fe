#!/usr/bin/env python3
"""A set of images in 64 shards in object storage, a third of which are killed and run again.

    pip install 'moto[server]'
    cargo build --release --features storage
    python3 tools/scale/shards_in_a_bucket.py --work /tmp/shards

moto's server speaks S3. The shards run several at a time, as a job array would. Every third one is killed at a
random moment; `fewstep merge` must then name exactly those whose file is not there, and after these have run again
the set must be, byte for byte, that of one process. The same for a measurement: its metrics must be those of one
process but for the last digits.
"""

import argparse
import concurrent.futures
import json
import pathlib
import random
import re
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from s3_server import Bucket, check  # noqa: E402

MODEL = "builtin:fashion-mnist"


class Set:
    """Shards of one command in one place."""

    def __init__(self, program, environment, words, place, shards):
        self.program, self.environment, self.words = program, environment, words
        self.place, self.shards = place, shards

    def run(self, shard, kill_after=None):
        words = [self.program, *self.words, "--shard", f"{shard}/{self.shards}", "--out", self.place, "--threads", "1"]
        child = subprocess.Popen(words, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            said, _ = child.communicate(timeout=kill_after)
            return child.returncode, said.decode()
        except subprocess.TimeoutExpired:
            child.kill()
            said, _ = child.communicate()
            return None, said.decode()

    def run_all(self, shards, at_once, kill_after=lambda shard: None):
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(lambda shard: self.run(shard, kill_after(shard)), shards))

    def merge(self, *more):
        words = [self.program, "merge", self.place, *more]
        return subprocess.run(words, env=self.environment, capture_output=True, text=True)


def numbers(text):
    """The numbers of `1-3,7`."""
    found = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def campaign(name, shards, at_once, seed):
    """Runs all shards, kills a third, runs what is missing again. The seconds that a whole shard takes."""
    draw = random.Random(seed)
    started = time.time()
    code, said = shards.run(0)
    alone = time.time() - started
    check(f"{name}: shard 0 ends with code 0", code == 0)
    if code != 0:
        sys.exit(said)
    # Several at a time are slower; a third is killed before most of them can be done.
    moments = {shard: draw.uniform(0.2, 1.0) * alone * at_once / 2 for shard in range(1, shards.shards, 3)}
    ends = shards.run_all(range(1, shards.shards), at_once, moments.get)
    killed = [shard for shard, (code, _) in zip(range(1, shards.shards), ends) if code is None]
    check(f"{name}: nothing failed by itself", all(code in (0, None) for code, _ in ends))
    check(f"{name}: {len(killed)} of {shards.shards} shards were killed", len(killed) >= shards.shards // 8)
    refused = shards.merge("--out", "unused")
    named = re.search(r"shards are missing: ([-0-9,]+)", refused.stderr)
    missing = numbers(named[1]) if named else []
    check(f"{name}: merge names {len(missing)} missing shards, all of them killed", set(missing) <= set(killed))
    check(f"{name}: merge refuses with code 2", refused.returncode == 2 or not missing)
    again = shards.run_all(missing, at_once)
    check(f"{name}: they run again", all(code == 0 for code, _ in again))
    secret = shards.environment["AWS_SECRET_ACCESS_KEY"]
    check(f"{name}: no secret is said", not any(secret in said for _, said in ends + again))
    print(f"      {time.time() - started:.0f} s for all shards, {at_once} at a time", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="target/release/fewstep")
    parser.add_argument("--server", default="moto_server")
    parser.add_argument("--work", required=True, type=pathlib.Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    program = str(pathlib.Path(args.program).resolve())
    with open(args.work / "server.log", "wb") as log:
        bucket = Bucket(args.server, log)
        try:
            images(args, program, bucket.environment())
            measurement(args, program, bucket.environment())
        finally:
            bucket.process.terminate()
    sys.exit(1 if check.failed else 0)


def images(args, program, environment):
    words = ["sample", "--model", MODEL, "--steps", "1", "--count", str(args.count)]
    shards = Set(program, environment, words, "s3://bucket/set", args.shards)
    campaign("images", shards, args.at_once, args.seed)
    one, merged = args.work / "one", args.work / "merged"
    subprocess.run([program, *words, "--out-dir", one], check=True, stdout=subprocess.DEVNULL)
    started = time.time()
    result = shards.merge("--out", str(merged))
    print(f"      {time.time() - started:.1f} s to merge: {(result.stdout or result.stderr).strip()}")
    check("images: merge ends with code 0", result.returncode == 0)
    files = sorted(file.name for file in one.iterdir())
    same = all((merged / name).read_bytes() == (one / name).read_bytes() for name in files)
    check(f"images: all {len(files)} are those of one process", len(files) == args.count and same)
    check("images: merging in place too", shards.merge().returncode == 0)


def measurement(args, program, environment):
    words = ["eval", "--model", MODEL, "--steps", "1", "--count", str(args.count), "--quiet"]
    shards = Set(program, environment, words, "s3://bucket/eval", args.shards)
    campaign("eval", shards, args.at_once, args.seed)
    one, merged = args.work / "one.json", args.work / "merged.json"
    subprocess.run([program, *words, "--out", one], check=True, stdout=subprocess.DEVNULL)
    result = shards.merge("--out", str(merged))
    check("eval: merge ends with code 0", result.returncode == 0)
    if result.returncode != 0:
        return print(result.stderr)
    [a], [b] = (json.loads(file.read_text()) for file in (one, merged))
    for metric in ("fid", "kid", "precision", "recall", "classifier_score"):
        if a.get(metric) is not None:
            difference = abs(a[metric] - b[metric]) / max(abs(a[metric]), 1e-12)
            check(f"eval: {metric} {a[metric]:.6f} and {b[metric]:.6f}", difference < 1e-4)


main()
