"""Golden values for crates/metrics, from pytorch-fid: the FID network.

    python tools/golden/metrics_inception.py formula
    python tools/golden/metrics_inception.py weights WEIGHTS.safetensors
    python tools/golden/metrics_inception.py folders WEIGHTS.safetensors A B

The first writes crates/metrics/tests/golden/inception_formula.json: the whole network with weights from a formula that
the test repeats. The second writes inception_weights.json beside it: the same with the real weights, which have the
names of the TensorFlow graph. The third prints pytorch-fid's own FID of two folders of images.
Needs torch, pytorch-fid and safetensors; the versions are stored in each file.
"""

import argparse
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytorch_fid.inception
import torch
from pytorch_fid import fid_score
from safetensors.torch import load_file

OUT = Path(__file__).parents[2] / "crates/metrics/tests/golden"
VERSIONS = {"torch": torch.__version__, "pytorch-fid": version("pytorch-fid")}
STEM = {"conv": "Conv2d_1a_3x3", "conv_1": "Conv2d_2a_3x3", "conv_2": "Conv2d_2b_3x3", "conv_3": "Conv2d_3b_1x1",
        "conv_4": "Conv2d_4a_3x3"}
BLOCKS = ["5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"]
A = {"conv": "branch1x1", "tower.conv": "branch5x5_1", "tower.conv_1": "branch5x5_2", "tower_1.conv": "branch3x3dbl_1",
     "tower_1.conv_1": "branch3x3dbl_2", "tower_1.conv_2": "branch3x3dbl_3", "tower_2.conv": "branch_pool"}
B = {"conv": "branch3x3", "tower.conv": "branch3x3dbl_1", "tower.conv_1": "branch3x3dbl_2",
     "tower.conv_2": "branch3x3dbl_3"}
C = {"conv": "branch1x1", "tower.conv": "branch7x7_1", "tower.conv_1": "branch7x7_2", "tower.conv_2": "branch7x7_3",
     "tower_1.conv": "branch7x7dbl_1", "tower_1.conv_1": "branch7x7dbl_2", "tower_1.conv_2": "branch7x7dbl_3",
     "tower_1.conv_3": "branch7x7dbl_4", "tower_1.conv_4": "branch7x7dbl_5", "tower_2.conv": "branch_pool"}
D = {"tower.conv": "branch3x3_1", "tower.conv_1": "branch3x3_2", "tower_1.conv": "branch7x7x3_1",
     "tower_1.conv_1": "branch7x7x3_2", "tower_1.conv_2": "branch7x7x3_3", "tower_1.conv_3": "branch7x7x3_4"}
E = {"conv": "branch1x1", "tower_conv": "branch3x3_1", "tower_mixed_conv": "branch3x3_2a",
     "tower_mixed_conv_1": "branch3x3_2b", "tower_1_conv": "branch3x3dbl_1", "tower_1_conv_1": "branch3x3dbl_2",
     "tower_1_mixed_conv": "branch3x3dbl_3a", "tower_1_mixed_conv_1": "branch3x3dbl_3b", "tower_2_conv": "branch_pool"}
KINDS = [A, A, A, B, C, C, C, C, D, E, E]
FEATURES = range(0, 2048, 171)  # a dozen


def names():
    """Pairs (name in the TensorFlow graph, name in pytorch-fid) of all convolutions."""
    yield from STEM.items()
    for i, (block, kind) in enumerate(zip(BLOCKS, KINDS)):
        ours = f"mixed_{i}" if i else "mixed"
        yield from ((f"{ours}.{graph}", f"Mixed_{block}.{torch_name}") for graph, torch_name in kind.items())


def state_dict(weights):
    """The checkpoint of pytorch-fid, its head from a formula."""
    state = {}
    for graph, name in names():
        state[f"{name}.conv.weight"] = weights[f"{graph}.weight"]
        state[f"{name}.bn.weight"] = torch.ones_like(weights[f"{graph}.beta"])
        state[f"{name}.bn.bias"] = weights[f"{graph}.beta"]
        state[f"{name}.bn.running_mean"] = weights[f"{graph}.mean"]
        state[f"{name}.bn.running_var"] = weights[f"{graph}.var"]
        state[f"{name}.bn.num_batches_tracked"] = torch.tensor(0)
    c, f = torch.arange(1008).reshape(-1, 1), torch.arange(2048).reshape(1, -1)
    state["fc.weight"] = ((c * 31 + f * 17) % 101).to(torch.float32) / 5050 - 0.01
    state["fc.bias"] = torch.full((1008,), 3.0)
    return state


def network(weights):
    pytorch_fid.inception.load_state_dict_from_url = lambda *_, **__: state_dict(weights)
    return pytorch_fid.inception.InceptionV3([3]).eval()


def images(channels, height, width, count):
    """8-bit images from a formula that the test repeats."""
    n, c, y, x = np.ogrid[:count, :channels, :height, :width]
    wave = (3 + n) * y + (5 + 2 * c) * x + (y * x * (1 + n % 3)) // 7 + 37 * n + 59 * c
    return (wave % 256).astype(np.uint8)


def features(net, pixels):
    x = torch.from_numpy(pixels).float() / 255
    x = x.expand(-1, 3, -1, -1)
    with torch.no_grad():
        return net(x)[0][:, :, 0, 0]


def frechet_distance(a, b):
    """From the features themselves: tr (S1 S2)^1/2 is the nuclear norm of the product of the centred features."""
    a, b = a.double(), b.double()
    centred = [(v - v.mean(0)) / (len(v) - 1) ** 0.5 for v in (a, b)]
    traces = sum((v**2).sum() for v in centred)
    cross = torch.linalg.svdvals(centred[0] @ centred[1].T).sum()
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + traces - 2 * cross


def noise(count, index):
    """Numbers in [-0.5, 0.5) from the position in a tensor and the index of the layer."""
    mask = 0xFFFFFFFF
    h = (np.arange(count, dtype=np.uint64) * 2654435761 + index * 40503) & mask
    h = ((h ^ (h >> 15)) * 2246822519) & mask
    return torch.from_numpy(((h ^ (h >> 13)) / 2**32 - 0.5).astype(np.float32))


def formula_weights():
    """Weights for every convolution, their names and shapes as the network has them."""
    shapes = pytorch_fid.inception._inception_v3(num_classes=1008, aux_logits=False, weights=None).state_dict()
    weights, layers = {}, []
    for index, (graph, name) in enumerate(names()):
        shape = shapes[f"{name}.conv.weight"].shape
        size, fan_in = shape.numel(), shape[1:].numel()
        weights[f"{graph}.weight"] = (noise(size, index) * (24 / fan_in) ** 0.5).reshape(shape)
        weights[f"{graph}.beta"] = noise(shape[0], index + 100) * 0.2
        weights[f"{graph}.mean"] = noise(shape[0], index + 200) * 0.2
        weights[f"{graph}.var"] = 1 + noise(shape[0], index + 300)
        layers.append([graph, name, list(shape)])
    return weights, layers


def golden(weights, counts):
    """One case per image size."""
    net = network(weights)
    head = state_dict(weights)["fc.weight"].double()
    cases = []
    for (channels, height, width), count in counts.items():
        values = features(net, images(channels, height, width, count)).double()
        case = {
            "shape": [channels, height, width],
            "count": count,
            "features": values[:, list(FEATURES)].tolist(),
            "sums": values.sum(1).tolist(),
            "probabilities": torch.softmax(values @ head.T, 1)[:, :4].tolist(),
        }
        if count >= 4:
            case["frechet_distance_of_halves"] = frechet_distance(values[: count // 2], values[count // 2 :]).item()
        cases.append(case)
    return cases


def write(name, content):
    (OUT / name).write_text(json.dumps({"versions": VERSIONS} | content) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["formula", "weights", "folders"])
    parser.add_argument("paths", nargs="*")
    args = parser.parse_args()
    if args.task == "formula":
        weights, layers = formula_weights()
        write("inception_formula.json", {"layers": layers, "cases": golden(weights, {(3, 32, 32): 1, (1, 28, 28): 1})})
        return
    weights = load_file(args.paths[0])
    if args.task == "weights":
        counts = {(3, 32, 32): 8, (1, 28, 28): 2, (3, 330, 310): 2}
        write("inception_weights.json", {"cases": golden(weights, counts)})
    else:
        network(weights)
        print("FID", fid_score.calculate_fid_given_paths(args.paths[1:], 50, "cpu", 2048, num_workers=0))


if __name__ == "__main__":
    main()
