#!/bin/bash
# Memory and speed of an update at the size of Stable Diffusion 1.5: LoRA in all attention, stage one with a frozen teacher,
# random weights. Usage: FEWSTEP=path/to/fewstep OUT=folder tools/gpu/3-lora.sh
set -u
here=$(dirname "$0")
. "$here/env.sh"
SIZE=${SIZE:-stable-diffusion}
measure() {
    local name=$1
    shift
    # What the driver says is in use, as often as it can be asked.
    local poll=
    if command -v nvidia-smi >/dev/null; then
        nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -lms 200 >"$OUT/$name.used" 2>/dev/null &
        poll=$!
    fi
    timeout "${LIMIT:-120}" "$FEWSTEP" bench "$SIZE" --lora "${RANK:-64}" --precision "${PRECISION:-bf16}" \
        --launches --json ${BENCH:---rounds 10} "$@" >"$OUT/$name.jsonl" 2>>"$OUT/lora.err" || tail -1 "$OUT/lora.err"
    if [ -n "$poll" ]; then
        kill "$poll"
        wait "$poll" 2>/dev/null
    fi
    python3 "$here/bench_row.py" "$name" "$OUT/$name.jsonl" "$OUT/$name.used"
}
: >"$OUT/lora.err"
for batch in ${BATCHES:-1 4 8}; do
    measure "lora-$batch" --batch "$batch"
    measure "lora-$batch-checkpointing" --batch "$batch" --gradient-checkpointing
done
[ -n "${MODEL:-}" ] || exit 0
# The whole way: images and captions encoded, stage one, a model saved.
"$FEWSTEP" distill "$here/../../recipes/stable-diffusion/sd15-lora.toml" --out "$OUT/sd15-lora" --set teacher="$MODEL" \
    --set data.path="$MODEL-images" --set run.precision="${PRECISION:-bf16}" --set run.log_every=1 --set guided.updates=3 \
    --set progressive.start_steps=2 --set progressive.updates=1 ${SETS:-} 2>&1 | tail -n 8
