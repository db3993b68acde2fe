#!/usr/bin/env bash
# The whole comparison, row by row, with the same number of samples seen in each: UPDATES of 64 in all, in one run or in
# two.
#
#   recipes/conditional/compare.sh upscale|inpaint DATA LPIPS [ROW...]
#
# DATA is the folder with the four files of Fashion-MNIST, LPIPS the weights of LPIPS. A row that is done already
# (OUT/TASK/ROW.json) is skipped, and a run that was stopped continues, so the script can be called again and again.
set -euo pipefail

task=$1 data=$2 lpips=$3
shift 3
here=$(dirname "$0")
updates=${UPDATES:-1000}
out=${OUT:-runs/compare}/$task
count=${COUNT:-2000} seeds=${SEEDS:-0,1}
fewstep=${FEWSTEP:-fewstep}
half=$((updates / 2)) eighth=$((updates / 8))
whole=("updates=$updates" "optim.warmup=$((updates / 10))")
first=("updates=$half" "optim.warmup=$((half / 10))")
halvings=("guided.updates=$eighth" "progressive.updates=$eighth"
    "guided.optim.warmup=$((eighth / 5))" "progressive.optim.warmup=$((eighth / 10))")
# Consistency models are sampled as their paper does.
multistep=(--sampler multistep-consistency)
mkdir -p "$out"

case $task in
upscale) condition='condition={kind="bicubic",factor=4}' ;;
inpaint) condition='condition={kind="inpaint",mask="mixed"}' ;;
*) echo "the task is upscale or inpaint, not $task" >&2 && exit 2 ;;
esac

# distil NAME RECIPE SETTING...: a run, unless it is done already.
distil() {
    local name=$1 recipe=$2
    shift 2
    local settings=() resume=()
    for setting in "data.path=$data" "$@"; do settings+=(--set "$setting"); done
    [[ -e $out/$name/done ]] && return
    [[ -e $out/$name/recipe.toml ]] && resume=(--resume)
    "$fewstep" distill "$here/$recipe.toml" --out "$out/$name" "${settings[@]}" "${resume[@]}"
    touch "$out/$name/done"
}

# measure ROW RUN STEPS ARGUMENT...: metrics of held-out images.
measure() {
    local row=$1 run=$2 steps=$3
    shift 3
    "$fewstep" eval --model "$out/$run" --data "fashion-mnist:$data" --lpips "$lpips" --count "$count" --steps "$steps" \
        --out "$out/$row.part.json" "$@" | tee "$out/$row.txt"
    mv "$out/$row.part.json" "$out/$row.json"
}

# codi ROW STEPS SETTING...: conditional distillation in one stage.
codi() {
    local row=$1 steps=$2
    shift 2
    distil "$row" codi "$condition" "${whole[@]}" "$@"
    measure "$row" "$row" "$steps" --seeds "$seeds"
}

# The first stage of II.
conditioned() { distil conditioned condition "$condition" "${first[@]}"; }

row() {
    case $1 in
    base)
        distil base condition "$condition" "${whole[@]}"
        measure base-ddim base 1,2,4,50 --sampler ddim --w 0
        measure base base 4,50 --sampler dpm-solver++ --w 0
        ;;
    codi) codi codi 1,2,4 ;;
    pe-codi) codi pe-codi 1,2,4 train=controlnet ;;
    guided-1)
        distil guided guided "${halvings[@]}"
        distil guided-1 condition "$condition" "${first[@]}" "teacher=$out/guided"
        measure guided-1 guided-1 4 --seeds "$seeds" --w 0
        ;;
    guided-2)
        conditioned
        distil guided-2 guided-after "$condition" "${halvings[@]}" "teacher=$out/conditioned"
        measure guided-2 guided-2 4 --seeds "$seeds" --w 0
        ;;
    consistency-1)
        distil consistency consistency "${first[@]}"
        distil consistency-1 condition "$condition" "${first[@]}" "teacher=$out/consistency"
        measure consistency-1 consistency-1 4 --seeds "$seeds" --w 0 "${multistep[@]}"
        ;;
    consistency-2 | consistency-2-frozen)
        conditioned
        local train=full
        [[ $1 == *frozen ]] && train=controlnet
        distil "$1" consistency-after "$condition" "${first[@]}" "teacher=$out/conditioned" "train=$train"
        measure "$1" "$1" 4 --seeds "$seeds" "${multistep[@]}"
        ;;
    frozen-ode) codi frozen-ode 1,2,4 codi.ode_model=base ;;
    no-consistency) codi no-consistency 1,2,4 codi.consistency_weight=0 ;;
    no-guidance) codi no-guidance 1,2,4 codi.guidance_weight=0 ;;
    random-encoder) codi random-encoder 1,2,4 controlnet.initial=random ;;
    random-prior)
        [[ -e $out/random ]] || "$fewstep" train "$here/../fashion-mnist/teacher.toml" --out "$out/random" \
            --set "data.path=$data" --set updates=1
        codi random-prior 1,2,4 "teacher=$out/random"
        ;;
    image) codi image 1,2,4 codi.consistency=image ;;
    own-times) codi own-times 1,2,4 codi.shared_t=false ;;
    predicted-noise) codi predicted-noise 1,2,4 codi.ode_noise=predicted ;;
    as-printed) codi as-printed 1,2,4 codi.error_weight=uniform ;;
    mix) codi mix 1,2,4 controlnet.fusion=mix ;;
    l1) codi l1 1,2,4 codi.guidance_distance=l1 ;;
    huber) codi huber 1,2,4 'codi.guidance_distance={pseudo-huber=0.001}' ;;
    lpips) codi lpips 1,2,4 "codi.guidance_distance={lpips=\"$lpips\"}" ;;
    *) echo "there is no row $1" >&2 && exit 2 ;;
    esac
}

if (($# == 0)); then
    set -- codi pe-codi guided-2 consistency-2 base consistency-1 guided-1 consistency-2-frozen frozen-ode no-consistency \
        no-guidance as-printed random-prior random-encoder image predicted-noise own-times mix l1 huber lpips
fi
for name in "$@"; do
    [[ -e $out/$name.json ]] || row "$name"
done
