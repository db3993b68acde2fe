#!/usr/bin/env python3
"""Makes the sample of real images that is embedded in the program.

From the official training files of Fashion-MNIST (MIT licence, assets/fashion-mnist-LICENSE) it takes the first 600
images of each class, in the order of the file, and writes them in the same IDX format:

    python3 tools/assets/fashion_mnist_sample.py FOLDER_WITH_THE_OFFICIAL_FILES assets

The same input always gives the same bytes. Nothing but Python itself is needed.
"""

import gzip
import struct
import sys
from pathlib import Path

PER_CLASS = 600
CLASSES = 10


def read(path: Path, header: str) -> tuple[tuple[int, ...], bytes]:
    data = gzip.decompress(path.read_bytes())
    size = struct.calcsize(header)
    return struct.unpack(header, data[:size]), data[size:]


def write(path: Path, data: bytes) -> None:
    path.write_bytes(gzip.compress(data, compresslevel=9, mtime=0))
    print(f"{path}: {path.stat().st_size} bytes")


def main(source: Path, target: Path) -> None:
    (magic, _, rows, columns), pixels = read(source / "train-images-idx3-ubyte.gz", ">4I")
    (label_magic, _), labels = read(source / "train-labels-idx1-ubyte.gz", ">2I")
    taken = [0] * CLASSES
    chosen = []
    for index, label in enumerate(labels):
        if taken[label] < PER_CLASS:
            taken[label] += 1
            chosen.append(index)
    area = rows * columns
    images = b"".join(pixels[i * area : (i + 1) * area] for i in chosen)
    header = struct.pack(">4I", magic, len(chosen), rows, columns)
    write(target / "fashion-mnist-sample-images-idx3-ubyte.gz", header + images)
    header = struct.pack(">2I", label_magic, len(chosen))
    write(target / "fashion-mnist-sample-labels-idx1-ubyte.gz", header + bytes(labels[i] for i in chosen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
