"""CIFAR-100 through torchvision."""

from __future__ import annotations

from raydarts.data.base import Size
from raydarts.data.downloaded import Downloaded, Part, cifar

FOLDER = "cifar-100-python"


class Cifar100(Downloaded):
    """CIFAR-100: 50,000 training and 10,000 test colour images of 32x32 pixels, 100 (fine) classes.

    `root` is the folder of `cifar-100-python`. torchvision checks the files' MD5 sums before it reads them.
    """

    NAME = "cifar100"
    SOURCE = "Krizhevsky 2009, through torchvision.datasets.CIFAR100"
    TITLE = "CIFAR-100"
    UNPACKED = "unpack cifar-100-python.tar.gz"
    NUM_CLASSES = 100

    def published(self) -> Size:
        return Size(50_000, 0, 10_000, 32, 32, 3, 100)

    @property
    def needed(self) -> tuple[str, ...]:
        return (FOLDER,)

    def read(self, root: str, download: bool) -> tuple[Part, Part]:
        from torchvision.datasets import CIFAR100  # noqa: PLC0415 - it takes seconds, as it loads torch's compiler

        return cifar(CIFAR100, root, download)
