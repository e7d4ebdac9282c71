"""Turn a file of CIFAR-10's training images kept as JPEG into the .npz that `data.dataset: npz` reads.

    python benchmarks/cifar10_jpeg.py cifar10_jpeg_train.npz cifar10_jpeg.npz [--size 16]

The input holds `blob` (all JPEG files one after another, uint8), `lengths` (uint32) and `labels` (uint8).
JPEG loses detail, so no figure measured on these images equals one published on CIFAR-10. There are no
test images in it: ours are 10,000 of the 50,000 training images, drawn by a fixed seed, stratified by class.
"""

from __future__ import annotations

import argparse
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track
from sklearn.model_selection import train_test_split

TEST_IMAGES = 10_000
SEED = 20180624


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--size", type=int, choices=(32, 16, 8), default=32, help="side in pixels; blocks are averaged")
    arguments = parser.parse_args()
    with np.load(arguments.source, allow_pickle=False) as found:
        blob, lengths, labels = found["blob"], found["lengths"].astype(np.int64), found["labels"].astype(np.int64)
    ends = np.cumsum(lengths)
    pairs = zip(ends - lengths, ends, strict=True)
    images = np.stack(
        [
            np.asarray(Image.open(BytesIO(blob[start:end].tobytes())).convert("RGB"))
            for start, end in track(pairs, "decoding", total=len(ends))
        ]
    )
    blocks = 32 // arguments.size
    if blocks > 1:
        shape = (len(images), arguments.size, blocks, arguments.size, blocks, 3)
        images = images.reshape(shape).mean((2, 4)).round().astype(np.uint8)
    train, test, train_labels, test_labels = train_test_split(
        images, labels, test_size=TEST_IMAGES, random_state=SEED, stratify=labels
    )
    np.savez(arguments.target, train_images=train, train_labels=train_labels, test_images=test, test_labels=test_labels)


if __name__ == "__main__":
    main()
