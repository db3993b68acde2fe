#!/usr/bin/env python3
"""Stops runs in every way and compares the resumed ones with uninterrupted ones, bit for bit.

    cargo build --release
    python3 tools/crash_campaign.py --kills 100

Tiny runs of `train` and of `distill` with three phases are killed at random moments, stopped by
signals, started twice, and run out of space (by a limit on the size of files; as root also on a
full and on a read-only disk). Every one is then resumed to its end: the files of its models must
be the same, byte for byte, and its log the same but for the speed. Prints a table, and exits with
1 if anything was not as it should be. Needs Python 3.9 on Linux and nothing else.
"""

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRAIN = """
seed = 3
updates = 120
flip = true
[data]
kind = "idx"
path = "data"
[network]
widths = [8, 16]
blocks = 1
attention = [false, true]
head = 8
groups = 4
dropout = 0.1
[optim]
batch = 8
micro_batch = 4
lr = 1e-3
warmup = 5
ema = { decay = 0.99 }
[run]
log_every = 7
checkpoint_every = 10
"""

DISTILL = """
seed = 4
teacher = "teacher/models/teacher"
w = [0.0, 2.0]
[data]
kind = "idx"
path = "data"
[guided]
updates = 40
optim = { batch = 8, lr = 1e-3 }
[progressive]
start_steps = 4
end_steps = 1
updates = 40
optim = { batch = 8, lr = 1e-3 }
[run]
log_every = 7
checkpoint_every = 10
"""


def write_data(folder):
    """Two classes of 8x8 images in MNIST's format."""
    folder.mkdir()
    images = bytes((i * 3 + n * 7) % 256 ^ (n % 2 * 255) for n in range(40) for i in range(64))
    header = struct.pack(">4I", 0x0803, 40, 8, 8)
    (folder / "train-images-idx3-ubyte").write_bytes(header + images)
    header = struct.pack(">2I", 0x0801, 40)
    (folder / "train-labels-idx1-ubyte").write_bytes(header + bytes(n % 2 for n in range(40)))


class Campaign:
    def __init__(self, program, work, seed):
        self.program, self.work = str(Path(program).resolve()), work
        self.random = random.Random(seed)
        self.whole, self.seconds = {}, {}
        self.rows = []
        write_data(work / "data")
        (work / "train.toml").write_text(TRAIN)
        (work / "distill.toml").write_text(DISTILL)

    def start(self, command, out, *words, limit=None):
        def limited():
            if limit:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        return subprocess.Popen(
            [self.program, command, f"{command}.toml", "--out", str(out), *words],
            cwd=self.work, env={**os.environ, "XDG_CACHE_HOME": str(self.work / "cache")},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=limited)

    def end(self, process):
        """Exit code and messages."""
        _, said = process.communicate()
        return process.returncode, said

    def reference(self, command, out):
        """An uninterrupted run."""
        began = time.monotonic()
        code, said = self.end(self.start(command, out))
        if code != 0:
            sys.exit(f"{command} fails without being stopped: {said}")
        self.seconds[command] = time.monotonic() - began
        self.whole[command] = self.digest(out)

    def digest(self, out):
        """Digests of the models, and the log without speed."""
        folder = self.work / out
        files = sorted(folder.glob("models/**/*"))
        models = {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
                  for file in files if file.is_file()}
        log = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return models, [{**line, "samples_per_second": None} for line in log]

    def finish(self, command, out):
        """Resumes a run, or starts one that was ended before it began; whether it is exact."""
        begun = (self.work / out / "recipe.toml").exists()
        code, said = self.end(self.start(command, out, *["--resume"] * begun))
        if code != 0:
            print(f"{out}: exit code {code}\n{said}", file=sys.stderr)
            return False
        different = self.differences(out, command)
        if different:
            print(f"{out} differs: {different}", file=sys.stderr)
        return not different

    def differences(self, out, command):
        """Names of the files that are not those of the uninterrupted run."""
        (models, log), (whole, whole_log) = self.digest(out), self.whole[command]
        names = sorted(models.keys() | whole.keys())
        different = [name for name in names if models.get(name) != whole.get(name)]
        return different + ["metrics.jsonl"] * (log != whole_log)

    def row(self, what, tries, good):
        self.rows.append((what, tries, good))
        print(f"| {what} | {tries} | {good} |", flush=True)

    def kills(self, command, count):
        good = 0
        for number in range(count):
            out = f"{command}-kill-{number}"
            process = self.start(command, out)
            time.sleep(self.random.uniform(0.01, self.seconds[command]))
            process.kill()
            self.end(process)
            good += self.finish(command, out)
            shutil.rmtree(self.work / out)
        self.row(f"`{command}`: killed at a random moment, resumed, the same bits", count, good)

    def kills_in_a_row(self, command, count):
        """One run that is killed again and again."""
        out = f"{command}-again"
        for _ in range(count):
            begun = (self.work / out / "recipe.toml").exists()
            process = self.start(command, out, *["--resume"] * begun)
            time.sleep(self.random.uniform(0.01, 0.4 * self.seconds[command]))
            process.kill()
            self.end(process)
        what = f"`{command}`: one run killed again and again, then the same bits"
        self.row(what, count, count * self.finish(command, out))

    def signals(self, command, number, count):
        good = 0
        for trial in range(count):
            out = f"{command}-{number.name}-{trial}"
            process = self.start(command, out)
            log = self.work / out / "metrics.jsonl"
            while not log.exists() and process.poll() is None:
                time.sleep(0.001)
            time.sleep(self.random.uniform(0.05, 0.6 * self.seconds[command]))
            process.send_signal(number)
            code, said = self.end(process)
            stopped = code == 128 + number and "--resume" in said
            # It may have been at its end.
            good += (stopped or code == 0) and self.finish(command, out)
        self.row(f"`{command}`: {number.name}, a checkpoint, exit code {128 + number}, the same bits", count, good)

    def second_run(self, command):
        out = f"{command}-twice"
        first = self.start(command, out, "--set", "updates=100000")
        while not (self.work / out / "recipe.toml").exists():
            time.sleep(0.001)
        code, said = self.end(self.start(command, out, "--set", "updates=100000", "--resume"))
        first.kill()
        self.end(first)
        self.row("a second run in the folder of a live one: refused with its process", 1,
                 int(code == 2 and f"process {first.pid}" in said))

    def size_limits(self, command, count):
        """The disk is full in the middle of a file, at another place each time."""
        good = 0
        for trial in range(count):
            out = f"{command}-limit-{trial}"
            limit = self.random.randrange(2_000, 120_000)
            code, said = self.end(self.start(command, out, limit=limit))
            told = code == 1 and "cannot write" in said or code == 0
            left = list((self.work / out).glob("checkpoints/*.tmp"))
            good += told and not left and self.finish(command, out)
        self.row(f"`{command}`: files cut short (`ulimit -f`), exit code 1, resumed, the same bits", count, good)

    def disks(self, command):
        """Disks of our own, where we may mount some."""
        disk = self.work / "disk"
        disk.mkdir()

        def mount(*options):
            words = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(disk)]
            return subprocess.run(words, stderr=subprocess.DEVNULL).returncode == 0

        if not mount("size=700k"):
            print("| a full disk, a read-only disk | skipped: needs root | |")
            return
        try:
            code, said = self.end(self.start(command, "disk/run"))
            told = code == 1 and "No space left" in said
            mount("remount", "size=64m")
            self.row("a full disk: exit code 1, resumed with more space, the same bits", 1,
                     int(told and self.finish(command, "disk/run")))
            mount("remount", "ro")
            code, said = self.end(self.start(command, "disk/other"))
            self.row("a read-only disk: exit code 2", 1, int(code == 2 and "cannot write" in said))
            mount("remount", "rw")
            process = self.start(command, "disk/late")
            while not list(disk.glob("late/checkpoints/*-000")):
                time.sleep(0.001)
            # Open files keep the whole disk from becoming read-only; its folder of checkpoints is
            # replaced by a file instead.
            os.rename(disk / "late/checkpoints", disk / "late/kept")
            (disk / "late/checkpoints").write_text("")
            code, said = self.end(process)
            os.remove(disk / "late/checkpoints")
            os.rename(disk / "late/kept", disk / "late/checkpoints")
            told = code == 1 and "cannot write" in said
            self.row("checkpoints that cannot be written any more: exit code 1, resumed, the same bits", 1,
                     int(told and self.finish(command, "disk/late")))
        finally:
            subprocess.run(["umount", str(disk)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="target/release/fewstep")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        campaign = Campaign(args.program, Path(work), args.seed)
        campaign.reference("train", "teacher")
        campaign.reference("distill", "students")
        print("| what | tries | as it should be |\n|---|---|---|")
        half, few = (args.kills + 1) // 2, max(1, args.kills // 10)
        for command in ["train", "distill"]:
            campaign.kills(command, half - few)
            campaign.kills_in_a_row(command, few)
            for number in [signal.SIGTERM, signal.SIGINT]:
                campaign.signals(command, number, few)
            campaign.size_limits(command, few)
        campaign.second_run("train")
        campaign.disks("train")
    wrong = sum(tries - good for _, tries, good in campaign.rows)
    print(f"{wrong} of {sum(tries for _, tries, _ in campaign.rows)} were not as they should be")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
