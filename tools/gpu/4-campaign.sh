#!/bin/bash
# A CIFAR-10 teacher, stage one, halvings down to one step, and their FID with the Inception network.
# Usage: FEWSTEP=... DATA=folder with cifar-10-batches-bin INCEPTION=file.safetensors OUT=folder tools/gpu/4-campaign.sh
# TEACHER, GUIDED and HALVINGS are numbers of updates; COUNT the images for each FID; TRAIN_SETS and DISTILL_SETS more settings.
# KIND is another kind of data, FEATURES another network for `eval`: rehearse.sh takes both.
# What is interrupted goes on when it is called again with the same OUT.
set -u
here=$(cd "$(dirname "$0")" && pwd)
. "$here/env.sh"
recipes=$here/../../recipes/cifar10
runs=${RUNS:-$OUT/runs}
kind=${KIND:-cifar10}
features=${FEATURES:---features inception --weights ${INCEPTION:-}}
started=$(date +%s)
stamp() { echo "== $(($(date +%s) - started)) s: $*"; }
go() {
    local command=$1 name=$2
    shift 2
    local resume=
    [ -f "$runs/$name/recipe.toml" ] && resume=--resume
    "$FEWSTEP" "$command" "$recipes/$name.toml" --out "$runs/$name" $resume --set data.kind="$kind" --set data.path="$DATA" "$@" 2>&1 |
        tail -n 4
}
stamp teacher
go train gpu-teacher --set updates="${TEACHER:-9000}" ${TRAIN_SETS:-}
stamp "stage one and halvings"
go distill gpu-distill --set teacher="$runs/gpu-teacher/models/teacher" --set guided.updates="${GUIDED:-1200}" \
    --set progressive.start_steps="${START:-32}" --set progressive.updates="${HALVINGS:-[400, 400, 400, 600, 600]}" ${DISTILL_SETS:-}
measure() {
    local name=$1
    shift
    stamp "$name"
    "$FEWSTEP" eval --data "$kind:$DATA" $features --count "${COUNT:-5000}" --batch "${EVAL_BATCH:-512}" \
        ${PRECISION:+--precision "$PRECISION"} --out "$OUT/$name.md" "$@" 2>&1 | tail -n 12
}
steps=${STEPS:-8 4 2 1}
measure students --model "$runs/gpu-distill" --steps "${steps// /,}" --w "${W:-0,1}"
measure teacher --model "$runs/gpu-teacher/models/teacher" --steps "${TEACHER_STEPS:-32}" --w "${W:-0,1}"
stamp images
for number in $steps; do
    "$FEWSTEP" sample --model "$runs/gpu-distill" --steps "$number" --w 1 --count "${SHOWN:-100}" --columns 10 \
        --out "$OUT/steps-$number.png"
done
"$FEWSTEP" sample --model "$runs/gpu-teacher/models/teacher" --steps "${TEACHER_STEPS:-32}" --w 1 --count "${SHOWN:-100}" --columns 10 \
    --out "$OUT/teacher.png"
stamp done
