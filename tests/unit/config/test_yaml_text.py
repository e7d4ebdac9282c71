"""What a YAML text may ask of the reader, and how odd but legal texts are read."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from raydarts.config.loader import load_spec, override_budget
from raydarts.config.source import read_file
from raydarts.errors import Problem, SpecError


def read(text: str, tmp_path: Path) -> object:
    path = tmp_path / "s.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return read_file(path)[0].plain()


def refused(text: str, tmp_path: Path) -> Problem:
    with pytest.raises(SpecError) as caught:
        read(text, tmp_path)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a: 3\t\nb:\n  c: x\n", id="after a value"),
        pytest.param("a: 3\t# three\nb:\n  c: x\t \t# x\n", id="before a comment"),
        pytest.param("a:\t3\nb:\t\n  c:\tx\n", id="after a colon"),
        pytest.param("a: 3\n\t\nb:\n \t \n  c: x\n\t# end\n", id="blank lines and comments"),
        pytest.param('"a"\t: 3\nb: {c:\tx\t}\t\n', id="quoted and flow"),
        pytest.param("a: 3\t\r\nb:\t\r\n  c: x\r\n", id="carriage returns"),
        pytest.param("a: 3\nb:\n  c: |-\t\n    x\n", id="after a block's sign"),
    ],
)
def test_tabs_where_yaml_allows_them(text: str, tmp_path: Path) -> None:
    assert read(text, tmp_path) == {"a": 3, "b": {"c": "x"}}


def test_tabs_in_lists_and_within_a_text(tmp_path: Path) -> None:
    assert read("a:\n  -\t1\n  - 2\t\nb: does it\tpay\t\n", tmp_path) == {"a": [1, 2], "b": "does it\tpay"}


def test_a_tab_as_indentation_is_named(tmp_path: Path) -> None:
    problem = refused("a:\n\tb: 1\n", tmp_path)
    assert problem.line == 2
    assert "a tab stands where only spaces may" in problem.message


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        pytest.param("x: 1\na: " + "[" * 3000 + "]" * 3000, 2, "nested more than 60 deep", id="flow"),
        pytest.param("x: 1\na: " + "{b: " * 3000, 2, "nested more than 60 deep", id="mappings"),
        pytest.param("\n".join(" " * depth + "a:" for depth in range(500)), 60, "nested more than 60", id="block"),
        pytest.param("x: 1\n" + "- " * 3000, 2, "not readable as YAML", id="dashes"),
        pytest.param("a:\n" + "- " * 3000, 2, "nested more than 60 deep", id="nested dashes"),
        pytest.param("a: 1\nb: [" + "1," * 90_000 + "]", 2, "holds more than 5,000 values", id="values"),
        pytest.param("a: " + "x" * 300_000, 0, "has 300,003 characters; at most 200,000", id="scalar"),
        pytest.param("a: " + "x" * 3_000_000, 0, "at most 200,000", id="file"),
        pytest.param("a: 1\nb: " + "9" * 5000, 2, "cannot be read as a value: '999", id="digits"),
        pytest.param("a: 1\nb: 0x" + "f" * 5000, 2, "a whole number too large", id="hexadecimal"),
        pytest.param("a: 1\nb: 2024-13-45", 2, "cannot be read as a value: '2024-13-45'", id="date"),
        pytest.param('a: 1\nb: "x\\0y"', 2, "holds a NUL character", id="nul"),
        pytest.param('a: 1\nb: "\\ud800"', 2, "half a surrogate pair", id="surrogate"),
        pytest.param('a: 1\n"\\ud800": 2', 2, "half a surrogate pair", id="surrogate key"),
        pytest.param("a: 1\nb: \x9b2J", 2, "the control character U+009B", id="C1"),
        pytest.param("a: 1\n---\nb: 2", 2, "a second document begins here", id="documents"),
        pytest.param("a: 1\nb: !!python/object:os.system x", 2, "a value with a tag", id="tag"),
    ],
)
def test_yaml_beyond_a_limit_is_refused_at_once_with_its_line(text: str, line: int, words: str, tmp_path: Path) -> None:
    began = time.process_time()
    problem = refused(text, tmp_path)
    assert time.process_time() - began < 4
    assert problem.line == line
    assert words in problem.message
    assert len(problem.message) < 300


def test_merge_keys_that_multiply_are_refused(tmp_path: Path) -> None:
    keys = ", ".join(f"k{number}: 1" for number in range(1000))
    began = time.process_time()
    assert "values" in refused(f"a: &a {{{keys}}}\nb: {{<<: [{', '.join(['*a'] * 3000)}]}}", tmp_path).message
    assert time.process_time() - began < 4


def test_a_file_without_an_end_is_read_in_part() -> None:
    with pytest.raises(SpecError, match=r"at most 200,000 are read|more than 200,000|control character"):
        read_file(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("search.regularizers.²=true", "a list of 1 items has no item '²' (allowed: 0 to 0)"),
        ("search.regularizers.٣=true", "has no item '٣'"),
        (f"search.regularizers.{'9' * 5000}=true", "5,000 characters in all"),
        ("search.regularizers.-1=true", "has no item '-1'"),
        ("search.probes.0=entropy", "it is empty: set the whole list"),
        ("rungs.0.²=1", "no item"),
        (f"{'a.' * 500}b=1", "names a key 501 levels deep"),
        ("search. .lr=1", "must be path.to.key=value"),
        (f"search.lr={'[' * 3000}", "nested more than 60 deep"),
        ("search=" + "[&a [1], " + "*a, " * 9000 + "]", "values"),
        ("search.lr=\ud800", "the control character U+D800"),
        ("search.\ud800=1", "half a surrogate pair"),
        ("search.lr=" + "x" * 30_000, "30,002 characters in all"),
    ],
)
def test_an_odd_set_ends_in_words(assignment: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text("search:\n  regularizers: [beta_decay]\n  probes: []\nrungs: []\n")
    with pytest.raises(SpecError) as caught:
        load_spec(path, [assignment])
    assert words in str(caught.value)
    assert len(str(caught.value)) < 2500


def test_an_odd_set_of_a_budget_ends_in_words() -> None:
    with pytest.raises(SpecError, match="must be a number"):
        override_budget({}, ["budget.gpu_hours=²"])


def test_long_values_are_cut_in_messages_with_their_length(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    long, key = "x" * 15_000, "k" * 900
    path.write_text(
        f"{key}: 1\nname: '{long}'\nquestion: [{long}]\nsearch:\n  preset: {long}\n  lr: {long}\n"
        f"  estimator: {long}\n  {key}: 1\n  epochs: {{unifrm: [{long}]}}\n"
        f"track: {{wandb: {{project: {long}, entity: {long}, tags: [{long}]}}}}\n"
    )
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    lines = str(caught.value).splitlines()
    assert len(lines) >= 9
    assert max(map(len, lines)) < 2200
    assert sum("characters in all" in line for line in lines) >= 8
