"""Golden numbers for PSNR and SSIM: crates/metrics/tests/golden/restoration.json.

SSIM is scikit-image's structural_similarity with gaussian_weights=True, sigma=1.5, use_sample_covariance=False and
data_range=255, written out on scipy's filters. Needs numpy and scipy: python tools/golden/metrics_restoration.py
"""

import json
import pathlib

import numpy as np
from scipy.ndimage import gaussian_filter

HERE = pathlib.Path(__file__).resolve().parents[2]
SHAPE = (2, 3, 16, 14)

i = np.arange(np.prod(SHAPE), dtype=np.float64)
truth = 128 + 90 * np.sin(i * 0.11)
restored = truth + 12 * np.sin(i * 1.7)
truth = np.floor(truth + 0.5).reshape(SHAPE)
restored = np.floor(restored + 0.5).reshape(SHAPE)


def blur(x):
    return gaussian_filter(x, 1.5, truncate=3.5)


def ssim(a, b):
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ma, mb = blur(a), blur(b)
    va, vb = blur(a * a) - ma * ma, blur(b * b) - mb * mb
    cov = blur(a * b) - ma * mb
    s = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    return s[5:-5, 5:-5].mean()


psnr = [10 * np.log10(255**2 / np.mean((a - b) ** 2)) for a, b in zip(restored, truth)]
similar = [np.mean([ssim(x, y) for x, y in zip(a, b)]) for a, b in zip(restored, truth)]
(HERE / "crates/metrics/tests/golden/restoration.json").write_text(json.dumps([psnr, similar]))
