# Sourced by the scripts here: finds NVIDIA's libraries, in the toolkit's folder or in Python's packages.
: "${CUDA_PATH:=/usr/local/cuda}"
export CUDA_PATH
packages=$(python3 -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])' 2>/dev/null)
for folder in "$CUDA_PATH/lib64" "$packages"/nvidia/*/lib; do
    [ -d "$folder" ] && LD_LIBRARY_PATH="$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
done
export LD_LIBRARY_PATH
export FEWSTEP_DEVICE="${FEWSTEP_DEVICE:-cuda}"
: "${OUT:=out}"
mkdir -p "$OUT"
