"""Golden numbers for changes of size: crates/data/tests/golden/resize.json.

Needs numpy and Pillow: python tools/golden/data_resize.py
"""

import json
import pathlib

import numpy as np
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parents[2]
FILTERS = {"area": Image.BOX, "bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}

image = np.sin(np.arange(48) * 0.9).astype(np.float32).reshape(6, 8)
rows = []
for name, kernel in FILTERS.items():
    for height, width in [(3, 4), (2, 2), (5, 3), (9, 16)]:
        out = np.asarray(Image.fromarray(image).resize((width, height), kernel))
        rows.append([name, height, width, [float(v) for v in out.ravel()]])
(HERE / "crates/data/tests/golden/resize.json").write_text(json.dumps(rows))
