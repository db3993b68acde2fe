"""Golden values for crates/metrics, from PyTorch: the resize in the FID definition.

    python tools/golden/metrics_resize.py

writes crates/metrics/tests/golden/resize.json. Needs torch. Images come from a formula that the test repeats: value = ((7 y + 13 x + x y) mod 256) / 255.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F

OUT = Path(__file__).parents[2] / "crates/metrics/tests/golden/resize.json"
SIZES = [(32, 32), (28, 41), (1, 3), (400, 350), (299, 64)]
PLACES = [(0, 0), (0, 298), (298, 0), (298, 298), (1, 1), (7, 150), (149, 149), (150, 148), (200, 33), (297, 5)]


def image(height, width):
    y = torch.arange(height).reshape(-1, 1)
    x = torch.arange(width).reshape(1, -1)
    return ((7 * y + 13 * x + x * y) % 256).to(torch.float32)[None, None] / 255


def main():
    cases = []
    for height, width in SIZES:
        out = F.interpolate(image(height, width), size=(299, 299), mode="bilinear", align_corners=False)[0, 0]
        values = [[y, x, out[y, x].item()] for y, x in PLACES]
        cases.append({"height": height, "width": width, "mean": out.double().mean().item(), "values": values})
    OUT.write_text(json.dumps({"torch": torch.__version__, "cases": cases}) + "\n")


if __name__ == "__main__":
    main()
