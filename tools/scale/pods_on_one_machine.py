#!/usr/bin/env python3
"""The pods of deploy/sample-job.yaml on one machine: each container with its arguments, variables, user, volumes and read-only root, but without
Kubernetes. Up to a third of them are killed and run again, as the job does it; the merged set must be that of one process.

    cargo build --release
    pip install pyyaml
    python3 tools/scale/pods_on_one_machine.py --work /tmp/pods        # as root

The root of a pod is that of this machine, with the program in it, under namespaces of its own for mounts and processes.
"""

import argparse
import concurrent.futures
import filecmp
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import yaml

# What the image sets (deploy/Containerfile), and a device whose bits are the same in every process.
IMAGE = {"PATH": "/usr/local/bin:/usr/bin:/bin", "XDG_CACHE_HOME": "/cache", "LANG": "C.UTF-8", "FEWSTEP_DEVICE": "cpu"}
INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"

# Arguments: root, program, user, group, then PATH=FOLDER of each volume up to --, then the command.
INSIDE = """
set -e
root=$1 program=$2 user=$3 group=$4; shift 4
mount --make-rprivate /
mount -t tmpfs none "$root"
mkdir "$root/upper" "$root/work" "$root/all"
mount -t overlay none -o "lowerdir=/,upperdir=$root/upper,workdir=$root/work" "$root/all"
cd "$root/all"
touch usr/local/bin/fewstep
mount --bind "$program" usr/local/bin/fewstep
while [ "$1" != -- ]; do
    mkdir -p "./${1%%=*}"
    mount --bind "${1#*=}" "./${1%%=*}"
    shift
done
shift
mount -t proc none proc
mount --rbind /dev dev
mount -o remount,ro "$root/all"
exec /usr/sbin/chroot . setpriv --reuid "$user" --regid "$user" --groups "$group" --no-new-privs --bounding-set=-all --inh-caps=-all -- "$@"
"""


def variables(container, index):
    known = dict(IMAGE)
    for variable in container.get("env", []):
        field = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        known[variable["name"]] = str(index) if field == INDEX else variable["value"]
    return known


class Pod:
    """One container of the job."""

    def __init__(self, args, template, index):
        spec = template["spec"]
        container, security = spec["containers"][0], spec["securityContext"]
        assert container["securityContext"]["readOnlyRootFilesystem"] and security["runAsNonRoot"]
        self.folder = args.work / "pods" / str(index)
        shutil.rmtree(self.folder, ignore_errors=True)
        user, group = security["runAsUser"], security["fsGroup"]
        claims = {volume["name"]: "persistentVolumeClaim" in volume for volume in spec["volumes"]}
        mounts = []
        for mount in container["volumeMounts"]:
            folder = args.work / "claim" if claims[mount["name"]] else self.folder / mount["name"]
            folder.mkdir(parents=True, exist_ok=True)
            # As Kubernetes does it for fsGroup: of root, and the group may write.
            os.chown(folder, 0, group)
            folder.chmod(0o2775)
            mounts.append(f"{mount['mountPath']}={folder}")
        root = self.folder / "root"
        root.mkdir(parents=True)
        known = variables(container, index)
        words = container["args"]
        for name, value in known.items():
            words = [word.replace(f"$({name})", value) for word in words]
        words = [f"--count={args.count}" if word.startswith("--count=") else word for word in words]
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", INSIDE, "pod"]
        command = [*unshare, root, args.program, str(user), str(group), *mounts, "--", "fewstep", *words]
        self.log = open(self.folder / "log", "w")
        self.process = subprocess.Popen(command, env=known, stdout=self.log, stderr=self.log)

    def end(self, after=None):
        try:
            return self.process.wait(after)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            return self.process.wait()

    def said(self):
        return (self.folder / "log").read_text()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=pathlib.Path, default="target/release/fewstep")
    parser.add_argument("--work", required=True, type=pathlib.Path)
    # Eight images for each shard: calls of fewer than six may round otherwise.
    parser.add_argument("--count", type=int, default=512)
    args = parser.parse_args()
    args.program, args.work = args.program.resolve(), args.work.resolve()
    shutil.rmtree(args.work, ignore_errors=True)
    job = yaml.safe_load(pathlib.Path("deploy/sample-job.yaml").read_text())["spec"]
    shards, tries = job["completions"], 1 + job["backoffLimitPerIndex"]

    def run(index):
        """How often the pod of an index was started."""
        for turn in range(1, tries + 1):
            pod = Pod(args, job["template"], index)
            is_killed = turn == 1 and index % 3 == 0
            if is_killed:
                time.sleep(0.05 * (index % 7))
            if pod.end(0 if is_killed else 600) == 0:
                return turn
        sys.exit(f"the pod {index} failed {tries} times:\n{pod.said()}")

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        turns = list(pool.map(run, range(shards)))
    print(f"{shards} shards, {sum(turns)} pods", flush=True)
    merged = args.work / "claim" / "set"
    subprocess.run([args.program, "merge", merged], check=True, stdout=subprocess.DEVNULL)
    words = job["template"]["spec"]["containers"][0]["args"]
    model = next(word for word in words if word.startswith("--model="))
    alone = args.work / "alone"
    command = [args.program, "sample", model, f"--count={args.count}", f"--out-dir={alone}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "FEWSTEP_DEVICE": "cpu"})
    names = sorted(path.name for path in alone.glob("*.png"))
    _, other, missing = filecmp.cmpfiles(alone, merged, names, shallow=False)
    is_equal = len(names) == args.count and not other and not missing
    print("ok    the images are those of one process" if is_equal else f"FAIL  {other} {missing}")
    sys.exit(not is_equal)


main()
