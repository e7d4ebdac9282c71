"""Small folders of image files for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_images(
    root: Path, parts: dict[str, int], classes: str = "abc", size: tuple[int, int] | None = (8, 8)
) -> Path:
    """`parts` names each part's images of a class, PNG; `size` (height, width), None for all sorts of sizes."""
    random = np.random.default_rng(0)
    for part, count in parts.items():
        for name in classes:
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                shape = size or tuple(random.integers(9, 30, 2).tolist())
                Image.fromarray(random.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(folder / f"{number:02}.png")
    return root
