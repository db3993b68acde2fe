#!/usr/bin/env bash
# Fuzzes targets, one after another, for so many seconds each, however often one fails:
#
#     fuzz/campaign.sh SECONDS TARGET...
#
# Builds nothing: first `cargo fuzz build -O -s none`. What is found is in fuzz/artifacts/TARGET, the
# log in fuzz/artifacts/TARGET.log.
set -euo pipefail
cd "$(dirname "$0")"
seconds=$1
shift
built=target/x86_64-unknown-linux-gnu/release
# Readers that need a file get one in memory; those that take several threads take one.
export TMPDIR=${TMPDIR:-/dev/shm} RAYON_NUM_THREADS=1 TIMEFORMAT="processor time: %U user, %S system"
for target; do
    mkdir -p "corpus/$target" "artifacts/$target"
    end=$(($(date +%s) + seconds))
    while left=$((end - $(date +%s))) && [ "$left" -gt 0 ]; do
        time "$built/$target" "corpus/$target" "seeds/$target" -dict="dictionaries/$target.dict" \
            -artifact_prefix="artifacts/$target/" -max_total_time="$left" -print_final_stats=1 \
            -timeout=${TIMEOUT:-10} -rss_limit_mb=2048 -max_len=65536 || true
    done >>"artifacts/$target.log" 2>&1
done
