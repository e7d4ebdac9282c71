"""One file becomes one square: what torchvision makes of it, or an error that names the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from raydarts.data.files import View, read
from raydarts.data.windows import draws_of, windows
from raydarts.errors import DataError

pytestmark = pytest.mark.usefixtures("one_thread")


def pixels(height: int, width: int, *channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, *channels), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), [(50, 37), (20, 61), (32, 32), (300, 200)])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_the_middle_is_torchvisions_resize_and_centre_crop(
    tmp_path: Path, height: int, width: int, suffix: str
) -> None:
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(pixels(height, width, 3)).save(path)
    both = transforms.Compose([transforms.Resize(32), transforms.CenterCrop(28)])
    found = read(str(path), View(32, 28))
    assert found.shape == (28, 28, 3)
    assert np.array_equal(found, np.asarray(both(Image.open(path))))


def test_a_square_of_the_right_size_is_read_as_it_is(tmp_path: Path) -> None:
    Image.fromarray(pixels(8, 8, 3)).save(tmp_path / "image.png")
    assert np.array_equal(read(str(tmp_path / "image.png"), View(8, 8)), pixels(8, 8, 3))


def test_a_random_window_is_cut_out_of_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(pixels(40, 60, 3)).save(path)
    seen = set()
    for seed in range(20):
        top, left, rows, columns = windows(draws_of(1, torch.Generator().manual_seed(seed), "cpu"), 40, 60, (0.1, 0.6))[
            0
        ].tolist()
        found = read(str(path), View(256, 16), (0.1, 0.6), torch.Generator().manual_seed(seed))
        expected = transforms.functional.resized_crop(Image.open(path), top, left, rows, columns, [16, 16])
        assert np.array_equal(found, np.asarray(expected))
        seen.add(found.tobytes())
    assert len(seen) == 20


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    image = Image.fromarray(pixels(8, 8, 3)).convert(mode)
    image.save(path)
    assert np.array_equal(read(str(path), View(8, 8)), np.asarray(image.convert("RGB")))


def spoil(content: bytes, kind: str) -> bytes:
    return {"empty": b"", "text": b"hello", "truncated": content[: len(content) // 2], "header": content[:20]}[kind]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "header"])
def test_a_file_that_is_no_whole_image_is_named(tmp_path: Path, suffix: str, kind: str) -> None:
    path = tmp_path / f"broken.{suffix}"
    Image.fromarray(pixels(60, 60, 3)).save(path)
    path.write_bytes(spoil(path.read_bytes(), kind))
    with pytest.raises(DataError, match=rf"broken\.{suffix}: cannot be read"):
        read(str(path), View(8, 8))


def deep(path: Path) -> None:
    Image.fromarray(pixels(8, 8).astype(np.uint16) * 256).save(path)


@pytest.mark.parametrize(
    ("write", "words"),
    [(deep, "more than 8 bits"), (Path.mkdir, "cannot be read"), (lambda path: None, "No such file")],
)
def test_what_cannot_be_shown_truly_is_refused(tmp_path: Path, write: Callable[[Path], None], words: str) -> None:
    write(tmp_path / "odd.png")
    with pytest.raises(DataError, match=rf"odd\.png.*{words}"):
        read(str(tmp_path / "odd.png"), View(8, 8))
