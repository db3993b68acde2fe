#!/bin/bash
# Does it start, and is it right: the device, an image of the builtin model beside the CPU's, and every operation and
# update against the CPU. Usage: FEWSTEP=path/to/fewstep OUT=folder tools/gpu/1-start.sh
set -u
. "$(dirname "$0")/env.sh"
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null
echo "CUDA_PATH=$CUDA_PATH"
ls "$CUDA_PATH/include/cuda_fp16.h" 2>&1
for library in libcudnn.so libcublas.so libnvrtc.so; do
    find $(echo "$LD_LIBRARY_PATH" | tr : ' ') -maxdepth 1 -name "$library*" 2>/dev/null | head -1
done
time timeout 100 "$FEWSTEP" sample --model builtin:fashion-mnist --steps 4 --count 8 --device cpu --out "$OUT/cpu.png"
time timeout 100 "$FEWSTEP" sample --model builtin:fashion-mnist --steps 4 --count 8 --out "$OUT/gpu.png"
python3 - "$OUT/cpu.png" "$OUT/gpu.png" <<'P'
import sys, numpy as np
from PIL import Image
a, b = (np.asarray(Image.open(f)).astype(int) for f in sys.argv[1:])
print("largest difference of a pixel:", abs(a - b).max(), "of 255")
P
time timeout 240 "$FEWSTEP" check ${ONLY:+--only "$ONLY"} 2>&1 | tee "$OUT/check.txt"
