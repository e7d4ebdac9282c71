"""WikiText-2."""

from __future__ import annotations

from pathlib import Path

from raydarts.data.base import Size
from raydarts.data.text_files import DownloadedText

URL = "https://wikitext.smerity.com/wikitext-2-v1.zip"
MD5 = "542ccefacc6c27f945fb54453812b3cd"
FOLDER = "wikitext-2"


class WikiText2(DownloadedText):
    """WikiText-2: 2,088,628 training, 217,646 validation and 245,569 test tokens, `<eos>` counted. 33,278 are distinct.

    `root` is the folder of `wikitext-2` with wiki.train.tokens, wiki.valid.tokens and wiki.test.tokens: the set with
    `<unk>`, not the raw one.
    """

    NAME = "wikitext2"
    SOURCE = "Merity et al. 2017 (arXiv 1609.07843); the archive from its author's site, MD5 sum as torchtext names it"
    TITLE = "WikiText-2"
    UNPACKED = "unpack wikitext-2-v1.zip"

    def published(self) -> Size:
        return Size(2_088_628, 217_646, 245_569, vocabulary=33_278)

    @property
    def files(self) -> tuple[Path, Path, Path]:
        folder = Path(self.settings.root) / FOLDER
        return folder / "wiki.train.tokens", folder / "wiki.valid.tokens", folder / "wiki.test.tokens"

    def fetch(self, root: Path) -> None:
        from torchvision.datasets.utils import download_and_extract_archive  # noqa: PLC0415 - it takes seconds, as it loads torch's compiler

        download_and_extract_archive(URL, str(root), md5=MD5)
