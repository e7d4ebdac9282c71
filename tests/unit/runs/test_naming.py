"""Names that name folders: what is refused, and what is made of a file's name."""

from __future__ import annotations

from pathlib import Path

import pytest

from raydarts.config.loader import load_spec
from raydarts.config.spec import check_name
from raydarts.errors import InputError, SpecError
from raydarts.runs import naming


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("my sweep (1)", "my-sweep-1"),
        ("größe", "grosse"),
        ("été", "ete"),
        (".hidden", "hidden"),
        ("-x", "x"),
        ("плавание", "sweep"),
        ("a\nb", "a-b"),
        ("x" * 240, "x" * naming.MOST),
        ("v1.2_final", "v1.2_final"),
    ],
)
def test_a_run_is_named_by_its_specs_file_whatever_that_is_called(stem: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{stem}.yaml"
    path.write_text("search: {}\n")
    loaded = load_spec(path)
    assert loaded.name == name
    assert check_name(f"{loaded.name}-search-20260101-000000")


@pytest.mark.parametrize("text", ["name: {}\n", "transfer: [{{name: {}, top_k: 1}}]\nevaluate: {{top_k: 1}}\n"])
def test_a_name_that_no_folder_can_have_is_refused_before_the_start(text: str, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text.format("n" * 250))
    with pytest.raises(SpecError, match="is too long: 250 letters, and a name has at most 100"):
        load_spec(path)
    path.write_text(text.format("n" * naming.MOST))
    load_spec(path)


def test_the_longest_name_fits_with_all_that_is_added(tmp_path: Path) -> None:
    (tmp_path / f".{'n' * naming.MOST_OF_A_RUN}.{'0' * 8}.tmp").mkdir()
    with pytest.raises(InputError, match=r"--name n.*is too long: 129 letters"):
        check_name("n" * 129)


@pytest.mark.parametrize("name", ["a b", "../x", "", "a\n", "é", "-x", "a/b"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="is no name"):
        check_name(name)
