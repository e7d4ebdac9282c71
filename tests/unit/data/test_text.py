"""Texts: what becomes of them as tokens, who learns from which stretch, and what is told of bad ones."""

from __future__ import annotations

import io
import zipfile
from http.client import IncompleteRead
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from torchvision.datasets import utils as torchvision_utils

from raydarts.data import ptb, wikitext2
from raydarts.data.ptb import PennTreebank
from raydarts.data.pydoc_topics import PydocTopics, parted
from raydarts.data.settings import DataSettings
from raydarts.data.splits import load_splits
from raydarts.data.text import TextTokens
from raydarts.data.text_files import TextDataset
from raydarts.data.text_folder import TextFolder
from raydarts.data.text_splits import TextSplits, split_text
from raydarts.data.wikitext2 import WikiText2
from raydarts.errors import DataError


def folder(root: Path, train: str = "a b\nb c\n", valid: str = "a c\n", test: str = "b b a\n") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, text in (("train.txt", train), ("valid.txt", valid), ("test.txt", test)):
        (root / name).write_text(text)
    return root


def load(cls: type[Any], **settings: Any) -> TextTokens:
    found: TextTokens = cls(cls.Settings.model_validate(settings)).load()
    return found


def words(tokens: TextTokens, part: str) -> list[str]:
    return [tokens.vocabulary[place] for place in getattr(tokens, part)]


def settings(**values: Any) -> DataSettings:
    return DataSettings.model_validate({"dataset": "pydoc_topics", **values})


def test_a_folder_is_read_token_by_token_with_the_end_of_each_line(tmp_path: Path) -> None:
    found = load(TextFolder, root=str(folder(tmp_path, test="b  b\ta \n\n")))
    assert found.vocabulary == ("a", "b", "<eos>", "c")  # in the order met, over all three parts
    assert words(found, "train") == ["a", "b", "<eos>", "b", "c", "<eos>"]
    assert words(found, "validation") == ["a", "c", "<eos>"]
    assert words(found, "test") == ["b", "b", "a", "<eos>", "<eos>"]
    assert found.train.dtype == np.int64


def test_one_file_is_cut_into_stretches_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "all.txt"
    path.write_text("".join(f"w{number}\n" for number in range(10)))
    found = load(TextFolder, root=str(path), validation_fraction=0.2, test_fraction=0.1)
    assert words(found, "train")[::2] == [f"w{number}" for number in range(7)]
    assert words(found, "validation")[::2] == ["w7", "w8"]
    assert words(found, "test")[::2] == ["w9"]


def test_the_most_frequent_tokens_of_the_training_text_are_kept(tmp_path: Path) -> None:
    root = folder(tmp_path, train="a a b b b c d\n", valid="e e e b\n", test="a c\n")
    found = load(TextFolder, root=str(root), vocabulary_size=4)
    assert found.vocabulary == ("<unk>", "<eos>", "b", "a")
    assert words(found, "train") == ["a", "a", "b", "b", "b", "<unk>", "<unk>", "<eos>"]
    assert words(found, "validation") == ["<unk>", "<unk>", "<unk>", "b", "<eos>"]


def test_a_fixed_vocabulary_numbers_the_tokens_and_refuses_others_with_file_and_line(tmp_path: Path) -> None:
    root = folder(tmp_path / "text", train="a b\nb x\n")
    vocabulary = tmp_path / "words.txt"
    vocabulary.write_text("<eos>\nb\na\nc\n")
    with pytest.raises(DataError, match=r"train\.txt:2: 'x' is not in the vocabulary.*<unk>"):
        load(TextFolder, root=str(root), vocabulary=str(vocabulary))
    vocabulary.write_text("<eos>\nb\na\nc\n<unk>\n")
    found = load(TextFolder, root=str(root), vocabulary=str(vocabulary))
    assert found.train.tolist() == [2, 1, 0, 1, 4, 0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\nb c\n<eos>\n", r"words\.txt:2: .*one token a line, here are 2"),
        ("a\n<eos>\na\n", r"words\.txt:3: 'a' stands already in line 1"),
        ("a\nb\nc\n", r"words\.txt: lacks <eos>"),
    ],
)
def test_a_bad_vocabulary_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "words.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        load(TextFolder, root=str(folder(tmp_path / "text")), vocabulary=str(path))


def test_an_empty_part_and_a_missing_file_are_refused_by_name(tmp_path: Path) -> None:
    root = folder(tmp_path, valid="")
    with pytest.raises(DataError, match=r"valid\.txt: holds no word"):
        load(TextFolder, root=str(root))
    (root / "valid.txt").unlink()
    with pytest.raises(DataError, match=r"valid\.txt: there is no such file"):
        load(TextFolder, root=str(root))
    with pytest.raises(DataError, match=r"nowhere: there is neither a folder"):
        load(TextFolder, root=str(tmp_path / "nowhere"))
    (root / "valid.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"valid\.txt: is UTF-16, not UTF-8"):
        load(TextFolder, root=str(root))


def test_fractions_are_for_one_file_alone(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="parted already: leave validation_fraction of"):
        load(TextFolder, root=str(folder(tmp_path)), validation_fraction=0.1)
    with pytest.raises(DataError, match="say how much of it is held out"):
        load(TextFolder, root=str(tmp_path / "train.txt"))
    with pytest.raises(ValidationError, match="leave no line to learn from"):
        TextFolder.Settings(root="x", validation_fraction=0.5, test_fraction=0.5)
    with pytest.raises(ValidationError, match="leave one of the two out"):
        TextFolder.Settings(root="x", vocabulary="words.txt", vocabulary_size=10)


def test_alpha_has_the_end_of_the_training_text_and_the_validation_text_is_nobodys() -> None:
    source = TextTokens("t", np.arange(100), np.arange(100, 110), np.arange(110, 120), tuple(map(str, range(120))))
    found = split_text(source, settings(alpha_fraction=0.3, limit=50))
    assert found.weight.tolist() == list(range(35))
    assert found.alpha.tolist() == list(range(35, 50))
    assert found.search.tolist() == list(range(50))
    assert (found.validation is source.validation, found.test is source.test) == (True, True)


def test_alpha_may_learn_from_the_validation_text_as_in_the_authors_code() -> None:
    source = TextTokens("t", np.arange(100), np.arange(100, 110), np.arange(110, 120), tuple(map(str, range(120))))
    found = split_text(source, settings(alpha_from="validation"))
    assert found.weight.tolist() == found.search.tolist() == list(range(100))
    assert found.alpha.tolist() == list(range(100, 110))


def test_a_training_text_too_short_to_be_halved_is_refused() -> None:
    source = TextTokens("t", np.arange(10), np.arange(2), np.arange(2), tuple(map(str, range(10))))
    with pytest.raises(DataError, match=r"alpha part of the split has 1 of 10 training tokens.*data\.alpha_fraction"):
        split_text(source, settings(alpha_fraction=0.1))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"validation_fraction": 0.1}, "validation text of its own"),
        ({"split_seed": 3}, "validation text of its own"),
        ({"mean": [0.5]}, "validation text of its own"),
        ({"alpha_from": "validation", "alpha_fraction": 0.5}, "no effect where alpha_from is validation"),
        ({"dataset": "digits", "alpha_from": "training"}, "is for text"),
    ],
)
def test_a_key_of_the_other_kind_of_data_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        settings(**values)


def test_the_defaults_of_a_kind_are_written_out_and_read_back() -> None:
    for given in ({"dataset": "digits"}, {"dataset": "pydoc_topics"}, {"alpha_from": "validation"}):
        found = settings(**given)
        assert DataSettings.model_validate(found.model_dump(mode="json")) == found
    images = DataSettings()
    assert (images.validation_fraction, images.alpha_fraction, images.split_seed) == (0.1, 0.5, 0)
    assert (settings().alpha_from, settings().alpha_fraction, settings().validation_fraction) == ("training", 0.5, None)


def test_pythons_topics_repeat_no_paragraph_and_no_part_holds_anothers_text() -> None:
    body = "\n\n".join(f"Word{number} is said of number 7." for number in range(20))
    parts = parted({"one": f"Title\n*****\n\n{body}", "two": body + "\n\nOnly here."})
    assert [len(part) for part in parts] == [16, 2, 4]
    assert parts[0][0].tokens == ("title", "<eos>")
    assert parts[0][1].tokens == ("word0", "is", "said", "of", "number", "N", ".", "<eos>")
    lines = [line.tokens for part in parts for line in part]
    assert len(lines) == len(set(lines))


def test_the_embedded_text_is_large_enough_and_the_same_each_time() -> None:
    found, again = (load(PydocTopics, vocabulary_size=500) for _ in range(2))
    assert found.vocabulary[:2] == ("<unk>", "<eos>")
    assert len(found.vocabulary) == 500
    assert len(found.train) > 40_000
    assert min(len(found.validation), len(found.test)) > 4_000
    assert np.array_equal(found.train, again.train)
    splits = load_splits(settings())
    assert isinstance(splits, TextSplits)
    assert len(splits.weight) + len(splits.alpha) == len(splits.search) == len(splits.source.train)


NAMES = {
    PennTreebank: [*ptb.MD5],
    WikiText2: [f"wikitext-2/wiki.{part}.tokens" for part in ("train", "valid", "test")],
}


@pytest.mark.parametrize("cls", [PennTreebank, WikiText2])
def test_files_that_are_there_are_read_without_a_download(
    cls: type[TextDataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cls, "fetch", lambda *_: pytest.fail("downloads"))
    (tmp_path / "wikitext-2").mkdir()
    for name, text in zip(NAMES[cls], ("a b\n", "b\n", "a\n"), strict=True):
        (tmp_path / name).write_text(text)
    assert words(load(cls, root=str(tmp_path)), "train") == ["a", "b", "<eos>"]


@pytest.mark.parametrize("cls", [PennTreebank, WikiText2])
@pytest.mark.parametrize("error", [RuntimeError("not the sum"), OSError("no route to host"), IncompleteRead(b"")])
def test_what_cannot_be_had_is_an_error_that_says_how_to_do_without(
    cls: type[TextDataset], error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise error

    monkeypatch.setattr(cls, "fetch", fails)
    with pytest.raises(DataError, match=r"cannot be downloaded to .*set download: false.*pydoc_topics"):
        load(cls, root=str(tmp_path))
    data = cls(cls.Settings.model_validate({"root": str(tmp_path), "download": False}))
    with pytest.raises(DataError, match=rf"{NAMES[cls][0]}.*not there.*or set download: true"):
        data.check()
    data = cls(cls.Settings.model_validate({"root": str(tmp_path)}))
    data.check()  # will be downloaded


def test_ptb_downloads_what_is_missing_by_its_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(url: str, root: str, name: str, md5: str) -> None:
        asked.append((url, md5))
        (Path(root) / name).write_text("a b\n")

    monkeypatch.setattr(torchvision_utils, "download_url", download)
    (tmp_path / "ptb.valid.txt").write_text("a\n")
    load(PennTreebank, root=str(tmp_path))
    assert [url.rsplit("/", 1)[-1] for url, _ in asked] == ["ptb.train.txt", "ptb.test.txt"]
    assert [md5 for _, md5 in asked] == [ptb.MD5["ptb.train.txt"], ptb.MD5["ptb.test.txt"]]


def test_wikitext2_is_unpacked_where_its_files_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(url: str, root: str, md5: str) -> None:
        assert (url, md5) == (wikitext2.URL, wikitext2.MD5)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name in NAMES[WikiText2]:
                archive.writestr(name, "a b\n")
        with zipfile.ZipFile(buffer) as archive:
            archive.extractall(root)

    monkeypatch.setattr(torchvision_utils, "download_and_extract_archive", download)
    assert len(load(WikiText2, root=str(tmp_path)).test) == 3
