#!/usr/bin/env python3
"""Captioned images in an S3 bucket: encoded by one process, by two, and found by another machine.

    pip install 'moto[server]'
    cargo build --release --features storage,mpi
    python3 tools/scale/set_in_a_bucket.py --work /tmp/set

moto's server speaks S3. A tiny latent model is distilled on 12 tars of patterns, from a folder and from the bucket. All
runs must have the same weights, no tar may be fetched twice, and what is in `data.cache` must serve a machine that has
nothing.
"""

import argparse
import hashlib
import io
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import time
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from s3_server import Bucket, check  # noqa: E402

RECIPE = """
seed = 4
teacher = "{model}"
w_embedding = {{ dim = 16, scale = 100.0 }}
[data]
kind = "captioned"
path = "{path}"
size = 16
[guided]
updates = 20
optim = {{ batch = 8, micro_batch = 4, lr = 1e-3 }}
[progressive]
start_steps = 2
end_steps = 1
updates = 10
optim = {{ batch = 8, micro_batch = 4, lr = 1e-3 }}
"""


def png(number):
    """A pattern of 16x16 pixels."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    value = lambda x, y, c: (x * (number + 3) * (c + 1) + y * (number * 7 + 1)) % 256
    rows = b"".join(b"\0" + bytes(value(x, y, c) for x in range(16) for c in range(3)) for y in range(16))
    head = struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tar(file, numbers):
    with tarfile.open(file, "w") as archive:
        for number in numbers:
            for name, data in [(f"{number:04}.png", png(number)), (f"{number:04}.txt", f"pattern {number % 5}".encode())]:
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


def weights(run):
    """A digest of all weights. The header of a file also says where the data was."""
    digest = hashlib.sha256()
    for file in sorted((run / "models").rglob("*.safetensors")):
        data = file.read_bytes()
        digest.update(data[8 + struct.unpack("<Q", data[:8])[0] :])
    return digest.hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="target/release/fewstep", type=pathlib.Path)
    parser.add_argument("--server", default="moto_server")
    parser.add_argument("--model", default="crates/formats/tests/golden/latent/sd1", type=pathlib.Path)
    parser.add_argument("--work", required=True, type=pathlib.Path)
    args = parser.parse_args()
    work = args.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    (work / "tars").mkdir(parents=True)
    for shard in range(12):
        tar(work / f"tars/{shard:02}.tar", range(30 * shard, 30 * (shard + 1)))
    with open(work / "server.log", "wb") as log:
        bucket = Bucket(args.server, log)
        try:
            runs(args, work, bucket)
        finally:
            bucket.process.terminate()
    sys.exit(1 if check.failed else 0)


def runs(args, work, bucket):
    for file in sorted((work / "tars").iterdir()):
        bucket.put(f"bucket/set/{file.name}", file.read_bytes())
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}

    def run(name, path, machine, ranks=1, more=()):
        recipe = work / f"{name}.toml"
        recipe.write_text(RECIPE.format(model=args.model.resolve(), path=path))
        words = [args.program.resolve(), "distill", recipe, "--out", work / name, "--threads", "1", *more]
        if ranks > 1:
            words = ["mpirun", "-n", str(ranks), "--oversubscribe", "--bind-to", "none", *words]
        seen = len((work / "server.log").read_bytes())
        started = time.time()
        environment = {**bucket.environment(), **allowed, "XDG_CACHE_HOME": str(work / machine)}
        done = subprocess.run(words, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(done.stdout + done.stderr)
        asked = (work / "server.log").read_bytes()[seen:].decode()
        fetched = re.findall(r'"GET /bucket/set/(\d+)\.tar', asked)
        print(f"      {name}: {time.time() - started:.1f} s, {len(fetched)} tars fetched", flush=True)
        return weights(work / name), fetched

    here, _ = run("here", work / "tars", "a")
    one, fetched = run("one", "s3://bucket/set", "b")
    check("from the bucket, the weights are those from a folder", one == here)
    check("every tar was fetched once", sorted(fetched) == [f"{shard:02}" for shard in range(12)])
    shared = ["--set", "data.cache=s3://bucket/latents"]
    two, fetched = run("two", "s3://bucket/set", "c", 2, shared)
    check("two processes have the same weights", two == here)
    check("no tar was fetched by both", sorted(fetched) == [f"{shard:02}" for shard in range(12)])
    other, fetched = run("other", "s3://bucket/set", "d", 1, shared)
    check("another machine has the same weights", other == here)
    check("it fetched latents and no tar", not fetched)


main()
