#!/usr/bin/env bash
# Makes the stored runs, models and images again: make.sh PROGRAM, with the path of a built `fewstep`.
set -euo pipefail
program=$(realpath "$1")
cd "$(dirname "$0")"
export XDG_CACHE_HOME=$PWD/cache
rm -rf begun whole drawn cache

# What every model of texts or labels has as it is, and the data has once.
parts() {
    local index part
    find whole begun data -name model_index.json | while read -r index; do
        for part in vae text_encoder tokenizer; do
            if grep -q "\"$part\"" "$index"; then echo "$(dirname "$index")/$part"; fi
        done
    done
}
fill() {
    local part
    parts | while read -r part; do
        [ -d "$part" ] || cp -r "data/parts/$(basename "$part")" "$part"
    done
}
empty() {
    parts | xargs rm -rf
}

# Runs a recipe and kills it after the checkpoint, before the next.
begin() {
    local command=$1 name=$2 checkpoint=$3 process
    for _ in $(seq 50); do
        rm -rf "begun/$name"
        "$program" "$command" "recipes/$name.toml" --out "begun/$name" >/dev/null 2>&1 &
        process=$!
        until [ -d "begun/$name/checkpoints/$checkpoint" ] || ! kill -0 $process 2>/dev/null; do :; done
        kill -9 $process 2>/dev/null || true
        wait $process 2>/dev/null || true
        if [ "$(ls "begun/$name/checkpoints" | grep -v tmp | tail -1)" = "$checkpoint" ]; then
            find "begun/$name/checkpoints" -mindepth 1 -maxdepth 1 ! -name "$checkpoint" -exec rm -r {} +
            return
        fi
    done
    echo "$name ends before it can be killed after checkpoint $checkpoint" >&2
    return 1
}

mkdir whole begun drawn
fill
while read -r command name checkpoint; do
    "$program" "$command" "recipes/$name.toml" --out "whole/$name"
    begin "$command" "$name" "$checkpoint"
done <runs.txt
while read -r name words; do
    # shellcheck disable=SC2086
    "$program" $words --out "drawn/$name.png"
done <drawn.txt

# What no run goes on from.
empty
rm -rf whole/*/{checkpoints,parts} {whole,begun}/*/{samples,events.out.tfevents.*}
for run in whole/* begun/*; do
    tar -c --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner "$run" | gzip -9n >"$run.tar.gz"
    rm -r "$run"
done
