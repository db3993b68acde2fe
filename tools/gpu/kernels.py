"""Sums the time of kernels by name, from what ncu wrote: python3 kernels.py ncu.csv"""
import collections
import csv
import re
import sys

lines = [line for line in open(sys.argv[1]) if line.startswith('"')]
rows = list(csv.DictReader(lines))
unit = rows[0]["gpu__time_duration.sum"] if rows else "ns"
scale = {"ns": 1e-3, "nsecond": 1e-3, "us": 1.0, "usecond": 1.0, "ms": 1e3}.get(unit, 1e-3)
total, count = collections.Counter(), collections.Counter()
for row in rows[1:]:
    name = re.sub(r"\d{6,}|_[0-9a-f]{8,}", "", row["Kernel Name"])[:70]
    value = float(row["gpu__time_duration.sum"].replace(",", ""))
    total[name] += value * scale
    count[name] += 1
print(f"{sum(total.values()) / 1e3:.2f} ms in {sum(count.values())} kernels")
for name, time in total.most_common(45):
    print(f"{time / 1e3:9.3f} ms {count[name]:5d}  {name}")
