#!/bin/bash
# How fast it is, beside PyTorch on the same machine. Usage: FEWSTEP=path/to/fewstep OUT=folder tools/gpu/2-speed.sh
set -u
here=$(dirname "$0")
. "$here/env.sh"
bench() { timeout "${LIMIT:-120}" "$FEWSTEP" bench "$@" ${BENCH:-} --json 2>>"$OUT/bench.err" | tee -a "$OUT/bench.jsonl"; }
SIZE=${SIZE:-cifar10}
for batch in ${BATCHES:-128 512}; do
    bench "$SIZE" --batch "$batch" --precision "${PRECISION:-bf16}"
done
bench "$SIZE" --batch "${F32_BATCH:-128}" --tf32
bench "$SIZE" --batch "${F32_BATCH:-128}"
[ -n "${SKIP_SD:-}" ] || bench stable-diffusion --batch 4 --precision bf16
[ -n "${SKIP_TORCH:-}" ] || python3 "$here/torch_steps.py" --out "$OUT/torch.jsonl" --budget "${BUDGET:-240}" ${TORCH:-}
tail -3 "$OUT/bench.err"
