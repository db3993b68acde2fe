#!/bin/bash
# Runs every script here with tiny networks and a few images on any device, so that no time on a GPU is lost to a typo. Nothing
# that it prints is a measurement.
# Usage: FEWSTEP=path/to/fewstep FEWSTEP_DEVICE=vulkan OUT=folder tools/gpu/rehearse.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)
: "${OUT:=rehearsal}"
mkdir -p "$OUT"
export FEWSTEP FEWSTEP_DEVICE="${FEWSTEP_DEVICE:-vulkan}" PRECISION=f32 BENCH="--rounds 1 --warm-up 1"
expect() { [ -s "$OUT/$1" ] || { echo "$2 wrote no $1" >&2; exit 1; }; }
fails() { { echo "$1 failed" >&2; exit 1; } }
# 64 grey images in the files of Fashion-MNIST.
python3 - "$OUT/data" <<'P'
import pathlib, random, struct, sys
folder = pathlib.Path(sys.argv[1])
folder.mkdir(exist_ok=True)
pick = random.Random(0)
for part in ("train", "t10k"):
    images = bytes(pick.randrange(256) for _ in range(64 * 28 * 28))
    (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, 64, 28, 28) + images)
    (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, 64) + bytes(i % 10 for i in range(64)))
P
echo "== 1-start"
OUT="$OUT/1" ONLY=linear "$here/1-start.sh" >"$OUT/1.log" 2>&1 || fails 1-start
expect 1/gpu.png 1-start
expect 1/check.txt 1-start
echo "== 2-speed"
OUT="$OUT/2" SIZE=tiny BATCHES=2 F32_BATCH=2 SKIP_SD=1 SKIP_TORCH=1 "$here/2-speed.sh" >"$OUT/2.log" 2>&1 ||
    fails 2-speed
expect 2/bench.jsonl 2-speed
echo "== 3-lora"
model=$OUT/model
python3 "$here/random_sd.py" "$model" --tiny --images 4
OUT="$OUT/3" SIZE=tiny-text BATCHES=2 RANK=4 MODEL="$model" SETS="--set data.size=64 --set lora.rank=2 \
    --set guided.optim.batch=2 --set guided.optim.micro_batch=2 --set progressive.optim.batch=2 --set progressive.optim.micro_batch=2 \
    --set w_embedding.dim=8 --set prompts=['a','b']" "$here/3-lora.sh" >"$OUT/3.log" 2>&1 || fails 3-lora
grep -q "^lora-2-checkpointing .* ms" "$OUT/3.log" || fails 3-lora
expect 3/sd15-lora/models/steps-1/model_index.json 3-lora
echo "== 4-campaign"
small="--set data.size=32 --set run.precision=f32"
KIND=fashion-mnist DATA="$OUT/data" FEATURES="--features fashion-mnist-classifier" OUT="$OUT/4" TEACHER=2 GUIDED=2 START=4 HALVINGS=2 \
    TRAIN_SETS="$small --set optim.batch=4 --set network.widths=[8,16] --set network.attention=[false,true] --set network.head=8 \
        --set network.groups=4 --set network.blocks=1" \
    DISTILL_SETS="$small --set guided.optim.batch=4 --set progressive.optim.batch=4 --set w_embedding.dim=8" \
    COUNT=16 STEPS="2 1" TEACHER_STEPS=2 EVAL_BATCH=16 SHOWN=4 W=0 "$here/4-campaign.sh" >"$OUT/4.log" 2>&1 || fails 4-campaign
for file in students.md teacher.md steps-2.png steps-1.png teacher.png; do
    expect "4/$file" 4-campaign
done
echo "all scripts ran; their output is in $OUT"
