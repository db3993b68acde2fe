#!/bin/bash
# Where the time of one update goes, kernel by kernel. Usage: FEWSTEP=... OUT=... tools/gpu/profile.sh cifar10 --batch 128 ...
set -u
here=$(dirname "$0")
. "$here/env.sh"
timeout "${LIMIT:-200}" ncu --profile-from-start off --clock-control none --metrics gpu__time_duration.sum --csv --page raw \
    --log-file "$OUT/ncu.csv" "$FEWSTEP" bench "$@" --profile --rounds 1 --warm-up 3 2>&1 | tail -5
python3 "$here/kernels.py" "$OUT/ncu.csv" | tee "$OUT/kernels.txt"
xz -f "$OUT/ncu.csv"
