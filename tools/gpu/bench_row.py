"""Prints the update of a file of `fewstep bench --json` as a row, with the most memory that `nvidia-smi` saw.

    python3 tools/gpu/bench_row.py NAME BENCH.jsonl USED
"""
import json
import pathlib
import sys

name, bench, used = sys.argv[1:]
rows = [json.loads(line) for line in pathlib.Path(bench).read_text().splitlines()]
updates = [row for row in rows if row["what"] == "update"]
if not updates:
    sys.exit(f"{name}: no update was measured")
row = updates[-1]
values = [f"{name:28}", f"{row['milliseconds']:9.1f} ms", f"{row['images_per_second']:8.2f} images/s"]
values.append(f"{row['launches']:6} launches")
if row["device_bytes"] is not None:
    values.append(f"{row['device_bytes'] / 1e9:6.2f} GB taken by the framework")
if pathlib.Path(used).exists():
    seen = [int(line) for line in pathlib.Path(used).read_text().split() if line.isdigit()]
    values.append(f"{max(seen, default=0) * 2**20 / 1e9:6.2f} GB by nvidia-smi")
print(", ".join(values))
