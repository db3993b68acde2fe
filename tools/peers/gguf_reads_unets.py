"""Whether the `gguf` package reads what `fewstep export --form gguf` writes, and finds the same weights.

    pip install gguf safetensors torch
    fewstep export --model FOLDER --form single-file --out MODEL.safetensors
    for p in f32 f16 q8_0; do fewstep export --model FOLDER --form gguf --precision $p --out MODEL-$p.gguf; done
    python3 tools/peers/gguf_reads_unets.py MODEL.safetensors MODEL-f32.gguf MODEL-f16.gguf MODEL-q8_0.gguf

The U-Net of the single file goes through the package's own conversion to the type of each tensor of the GGUF file: the
bytes must be the same.
"""
import sys

import gguf
import numpy as np
from safetensors.torch import load_file

PREFIX = "model.diffusion_model."


def check(weights, path):
    reader = gguf.GGUFReader(path)
    assert {tensor.name for tensor in reader.tensors} == weights.keys()
    kinds = {}
    for tensor in reader.tensors:
        expected = weights[tensor.name]
        assert list(reversed(tensor.shape.tolist())) == list(expected.shape), tensor.name
        theirs = gguf.quants.quantize(expected, tensor.tensor_type)
        assert theirs.tobytes() == np.ascontiguousarray(tensor.data).tobytes(), tensor.name
        kinds[tensor.tensor_type.name] = kinds.get(tensor.tensor_type.name, 0) + 1
    about = {key: reader.fields[key].contents() for key in ("general.architecture", "modelspec.architecture")}
    assert "recipe" in reader.fields["fewstep"].contents()
    print(path, kinds, about)


if __name__ == "__main__":
    single = load_file(sys.argv[1])
    unet = {name.removeprefix(PREFIX): tensor.float().numpy() for name, tensor in single.items() if name.startswith(PREFIX)}
    for file in sys.argv[2:]:
        check(unet, file)
