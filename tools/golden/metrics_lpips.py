"""Golden values for LPIPS, from the lpips package: distances of images made by a formula, and their gradients.

    python tools/golden/metrics_lpips.py formula
    python tools/golden/metrics_lpips.py weights FOLDER

The first writes crates/metrics/tests/golden/lpips_formula.json, with weights from a formula that the test repeats. The
second writes lpips_weights.json beside it, with the trunks of lpips_alexnet.safetensors and lpips_vgg16.safetensors in
FOLDER (names of the port to JAX, kernels HWIO) and the package's own linear layers, which those in the files must equal.
Needs torch, torchvision, lpips and safetensors; the versions are stored in each file.
"""

import argparse
import json
from importlib.metadata import version
from pathlib import Path

import lpips
import numpy as np
import torch
from safetensors.torch import load_file

OUT = Path(__file__).parents[2] / "crates/metrics/tests/golden"
VERSIONS = {"torch": torch.__version__, "lpips": version("lpips")}
NETS = {"alex": ("alexnet", "AlexNet_0"), "vgg": ("vgg16", "VGG16_0")}
CASES = {"alex": [(3, 64, 48), (1, 32, 32)], "vgg": [(3, 32, 48), (1, 32, 32)]}


def noise(count, index):
    """Numbers in [-0.5, 0.5)."""
    i = np.arange(count, dtype=np.uint64)
    h = (i * np.uint64(2654435761) + np.uint64(index * 40503)) & np.uint64(0xFFFFFFFF)
    h = ((h ^ (h >> np.uint64(15))) * np.uint64(2246822519)) & np.uint64(0xFFFFFFFF)
    return (h ^ (h >> np.uint64(13))).astype(np.float64) / 2**32 - 0.5


def pixels(shape, restored):
    """Two images; the restored ones have another wave on them."""
    c, h, w = shape
    n, ch, y, x = np.ogrid[:2, :c, :h, :w]
    truth = ((3 + n) * y + (5 + 2 * ch) * x + y * x // 7 + 37 * n + 59 * ch) % 256
    return (truth + restored * ((x * y + 11 * ch) % (20 + 30 * n))) % 256


def measure(net, model):
    cases = []
    for shape in CASES[net]:
        a, b = (torch.tensor(pixels(shape, restored) / 127.5 - 1, dtype=torch.float32) for restored in (1, 0))
        a.requires_grad_()
        distance = model(a.expand(-1, 3, -1, -1), b.expand(-1, 3, -1, -1)).flatten()
        distance.sum().backward()
        gradient = a.grad.flatten()
        cases.append({"shape": shape, "distances": distance.tolist(), "gradient": gradient[::97].tolist(),
                      "gradient_norm": gradient.norm().item()})
    return cases


def formula(net):
    model = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)
    layers = []
    for name, value in model.state_dict().items():
        if not name.startswith(("net.", "lin")) or name.startswith("lins."):
            continue
        index, fan_in = len(layers), value[0].numel()
        values = noise(value.numel(), index)
        values = values * (24 / fan_in) ** 0.5 if value.dim() == 4 else values * 0.2
        values = values + 0.5 if name.startswith("lin") else values
        value.data.copy_(torch.tensor(values.reshape(value.shape), dtype=torch.float32))
        layers.append([name, list(value.shape)])
    return {"net": net, "layers": layers, "cases": measure(net, model)}


def real(net, folder):
    file, jax = NETS[net]
    weights = load_file(folder / f"lpips_{file}.safetensors")
    model = lpips.LPIPS(net=net, pretrained=True, pnet_rand=True, verbose=False)
    state = model.state_dict()
    convs = [name for name in state if name.startswith("net.") and name.endswith(".weight")]
    for i, name in enumerate(convs):
        state[name].copy_(weights[f"{jax}.Conv_{i}.kernel"].permute(3, 2, 0, 1))
        state[name.replace("weight", "bias")].copy_(weights[f"{jax}.Conv_{i}.bias"])
    for i in range(5):
        ours = weights[f"NetLinLayer_{i}.Conv_0.kernel"].flatten()
        assert torch.allclose(ours, state[f"lin{i}.model.1.weight"].flatten(), atol=1e-7), i
    return {"net": net, "cases": measure(net, model)}


parser = argparse.ArgumentParser()
parser.add_argument("what", choices=["formula", "weights"])
parser.add_argument("folder", type=Path, nargs="?")
args = parser.parse_args()
nets = [formula(net) if args.what == "formula" else real(net, args.folder) for net in NETS]
(OUT / f"lpips_{args.what}.json").write_text(json.dumps({"versions": VERSIONS, "nets": nets}))
for entry in nets:
    print(entry["net"], [case["distances"] for case in entry["cases"]], [case["gradient_norm"] for case in entry["cases"]])
