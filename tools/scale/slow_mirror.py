#!/usr/bin/env python3
"""What a mirror behind a slow line costs: a short training without a mirror, and with one in an S3 bucket.

    pip install 'moto[server]'
    cargo build --release --features storage
    python3 tools/scale/slow_mirror.py --work /tmp/mirror --rate 20e6

moto's server speaks S3, and all that is sent to it goes through a line of so many bytes a second. Printed are the seconds until the run had
its last checkpoint and until it had ended, the mean of an update, and what was sent.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from s3_server import Bucket, check  # noqa: E402

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
batch = 32
lr = 1e-3
ema = {{ decay = 0.99 }}
[run]
log_every = 1
checkpoint_every = {every}
keep = 1
"""


class SlowLine:
    """Passes connections on; what clients send arrives at `rate` bytes a second, all of it together."""

    def __init__(self, port, rate):
        self.to, self.rate, self.sent, self.free_at = port, rate, 0, 0.0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", self.to))
            for ends in [(client, server, True), (server, client, False)]:
                threading.Thread(target=self.carry, args=ends, daemon=True).start()

    def carry(self, source, to, is_slow):
        try:
            while data := source.recv(1 << 16):
                if is_slow:
                    with self.lock:
                        self.sent += len(data)
                        self.free_at = max(self.free_at, time.time()) + len(data) / self.rate
                        wait = self.free_at - time.time()
                    time.sleep(max(wait, 0))
                to.sendall(data)
        except OSError:
            pass
        for end in (source, to):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def run(args, name, mirror, environment):
    out = args.work / name
    shutil.rmtree(out, ignore_errors=True)
    words = [args.program, "train", args.work / "recipe.toml", "--out", out, *mirror]
    begun = time.time()
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    trained = None
    for _ in iter(lambda: process.poll(), 0):
        assert process.returncode is None, process.stderr.read()
        if trained is None and (out / "models" / "teacher").exists():
            trained = time.time() - begun
        time.sleep(0.01)
    ended = time.time() - begun
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    updates = [32 / record["samples_per_second"] for record in records]
    print(f"{name}: trained after {trained or ended:.1f} s, ended after {ended:.1f} s, {1e3 * sum(updates) / len(updates):.1f} ms an update", flush=True)
    return process.stderr.read()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="target/release/fewstep")
    parser.add_argument("--server", default="moto_server")
    parser.add_argument("--work", required=True, type=pathlib.Path)
    parser.add_argument("--rate", type=float, default=20e6, help="bytes a second")
    parser.add_argument("--updates", type=int, default=60)
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--widths", default="[96, 192]")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    recipe = RECIPE.format(updates=args.updates, every=args.every, widths=args.widths)
    (args.work / "recipe.toml").write_text(recipe)
    bucket = Bucket(args.server, open(args.work / "server.log", "w"))
    try:
        for turn in range(args.rounds):
            run(args, "alone", [], os.environ)
            files = (args.work / "alone" / "checkpoints").rglob("*")
            print(f"a checkpoint has {sum(file.stat().st_size for file in files if file.is_file()) / 1e6:.1f} MB")
            port = int(re.search(r":(\d+)$", bucket.address).group(1))
            line = SlowLine(port, args.rate)
            environment = {**bucket.environment(), "AWS_ENDPOINT_URL": f"http://127.0.0.1:{line.port}"}
            said = run(args, "mirrored", ["--set", f"run.mirror=s3://bucket/run-{turn}"], environment)
            print(f"{line.sent / 1e6:.1f} MB were sent, of {args.updates // args.every} checkpoints and the end")
            check("nothing was said but that the end waits", "warning" not in said)
    finally:
        bucket.process.terminate()
    sys.exit(check.failed)


main()
