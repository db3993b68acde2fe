"""Pickled weights as PyTorch writes them, and the same tensors as safetensors; and pickles that would run code.

    pip install torch safetensors
    python3 tools/golden/pickles.py         # writes crates/formats/tests/golden/pickles/

`sd1.ckpt` is the stored model `sd1` as one file, `pytorch_model.bin` its text encoder.
"""
import argparse
import collections
import json
import os
import pathlib
from pathlib import Path

import numpy
import torch
from safetensors.torch import load_file, save_file

GOLDEN = Path(__file__).parents[2] / "crates/formats/tests/golden"
OUT = GOLDEN / "pickles"


class Runs:
    """Unpickling it calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Callback:
    """Of a class that no reader knows, as training programs have them."""

    def __init__(self):
        self.best, self.every = numpy.float64(0.5), 3


class Settings(dict):
    """A dictionary of a class of its own."""


def tensors():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, generator=generator)
    return {
        "plain": x, "transposed": x.t(), "rows": x[1:], "column": x[:, 2], "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4), "parameter": torch.nn.Parameter(x * 2), "flipped": x.t()[1:, ::2],
        "double": x.double(), "half": x.half(), "bfloat": x.bfloat16(), "long": torch.tensor([1, -2, 2**40]),
        "int": torch.tensor([1, -2], dtype=torch.int32), "short": torch.tensor([1, -2], dtype=torch.int16),
        "char": torch.tensor([1, -2], dtype=torch.int8), "byte": torch.tensor([1, 255], dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
    }


def main():
    OUT.mkdir(exist_ok=True)
    torch.manual_seed(0)
    values = tensors()
    save_file({name: value.detach().clone().contiguous() for name, value in values.items()}, OUT / "tensors.safetensors")
    torch.save(values, OUT / "tensors.pt")
    module = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 3)})
    around = {"epoch": 3, "lr": 1e-3, "none": None, "sizes": [1, 2.5, (True,)], "text": "é", "big": 2**80}
    torch.save({**around, "state_dict": module.state_dict()}, OUT / "checkpoint.pt", pickle_protocol=4)
    save_file(module.state_dict(), OUT / "checkpoint.safetensors")
    torch.save({"plain": values["plain"], "x": Runs(os.system, "touch executed")}, OUT / "system.pt")
    torch.save({"x": Runs(eval, "open('executed', 'w')")}, OUT / "eval.pt", pickle_protocol=4)
    torch.save(values, OUT / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(module.state_dict(), OUT / "short_legacy.pt", _use_new_zipfile_serialization=False)
    torch.save({
        "epoch": numpy.int64(3), "loss": numpy.float32(0.25), "scores": numpy.arange(3.0), "data": b"bytes",
        "callbacks": {Callback: {"best": numpy.float64(1.5)}, "one": Callback()},
        "settings": Settings(a=1, path=pathlib.PurePosixPath("a/b"), set={1, 2}, frozen=frozenset({3})),
        "options": argparse.Namespace(lr=1e-3, device=torch.device("cpu"), size=torch.Size([1, 2])),
        "counts": collections.defaultdict(int, {"a": 1}), "seen": collections.Counter("ab"), "type": torch.float16,
        "state_dict": collections.defaultdict(dict, module.state_dict()),
    }, OUT / "training.pt")
    names = json.loads((GOLDEN / "latent/sd1/single_file.json").read_text())
    parts = {part: load_file(*(GOLDEN / "latent/sd1" / part).glob("*.safetensors")) for part in ("unet", "vae", "text_encoder")}
    single = {}
    for own, name in names.items():
        part, own = own.split("/")
        tensor = parts[part][own]
        projection = part == "vae" and ".attentions." in own and tensor.dim() == 2
        single[name] = tensor[:, :, None, None] if projection else tensor
    torch.save({"state_dict": single, "global_step": 470000}, OUT / "sd1.ckpt")
    torch.save(parts["text_encoder"], OUT / "pytorch_model.bin")


if __name__ == "__main__":
    main()
