"""Genotypes of other papers in their authors' Python text: read without running anything, and counted by hand."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from raydarts.errors import GenotypeError
from raydarts.evaluation.settings import NetworkSettings
from raydarts.spaces import Genotype, space_of
from raydarts.tasks import Classification

RUNS = Path(__file__).parents[3].parent / "shared/data/nas/robustdarts_s1_cifar10_runs.json.gz"

NASNET = """
NASNet = Genotype(
  normal = [('sep_conv_5x5', 1), ('sep_conv_3x3', 0), ('sep_conv_5x5', 0), ('sep_conv_3x3', 0), ('avg_pool_3x3', 1),
            ('skip_connect', 0), ('avg_pool_3x3', 0), ('avg_pool_3x3', 0), ('sep_conv_3x3', 1), ('skip_connect', 1)],
  normal_concat = [2, 3, 4, 5, 6],
  reduce = [('sep_conv_5x5', 1), ('sep_conv_7x7', 0), ('max_pool_3x3', 1), ('sep_conv_7x7', 0), ('avg_pool_3x3', 1),
            ('sep_conv_5x5', 0), ('skip_connect', 3), ('avg_pool_3x3', 2), ('sep_conv_3x3', 2), ('max_pool_3x3', 1)],
  reduce_concat = [4, 5, 6],
)
"""
AMOEBANET = """
Genotype(
  normal=[('avg_pool_3x3', 0), ('max_pool_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_5x5', 2), ('sep_conv_3x3', 0),
          ('avg_pool_3x3', 3), ('sep_conv_3x3', 1), ('skip_connect', 1), ('skip_connect', 0), ('avg_pool_3x3', 1)],
  normal_concat=[4, 5, 6],
  reduce=[('avg_pool_3x3', 0), ('sep_conv_3x3', 1), ('max_pool_3x3', 0), ('sep_conv_7x7', 2), ('sep_conv_7x7', 0),
          ('avg_pool_3x3', 1), ('max_pool_3x3', 0), ('max_pool_3x3', 1), ('conv_7x1_1x7', 0), ('sep_conv_3x3', 5)],
  reduce_concat=[3, 4, 6]
)
"""
ENAS = """
Genotype(
  normal=[('sep_conv_3x3', 1), ('skip_connect', 1), ('sep_conv_5x5', 1), ('skip_connect', 0), ('avg_pool_3x3', 0),
          ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('avg_pool_3x3', 1), ('sep_conv_5x5', 1), ('avg_pool_3x3', 0)],
  normal_concat=[2, 3, 4, 5, 6],
  reduce=[('sep_conv_5x5', 0), ('sep_conv_3x3', 1),  # 2
          ('sep_conv_3x3', 1), ('avg_pool_3x3', 1), ('sep_conv_3x3', 1), ('avg_pool_3x3', 1), ('avg_pool_3x3', 1),
          ('sep_conv_5x5', 4), ('sep_conv_3x3', 5), ('sep_conv_5x5', 0)],
  reduce_concat=[2, 3, 4, 5, 6])
"""
SNAS = """
Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('skip_connect', 0), ('dil_conv_3x3', 1),
  ('skip_connect', 1), ('skip_connect', 0), ('skip_connect', 0), ('sep_conv_3x3', 1)], normal_concat=range(2, 6),
  reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('max_pool_3x3', 1), ('skip_connect', 2), ('skip_connect', 2),
  ('max_pool_3x3', 1), ('max_pool_3x3', 0), ('dil_conv_5x5', 2)], reduce_concat=range(2, 6))
"""
GDAS_WITH_STRENGTHS = """
GDAS_V1 = Genotype(
  normal=[('skip_connect', 0, 0.130), ('skip_connect', 1, 0.129), ('skip_connect', 0, 0.131), ('sep_conv_5x5', 2, 0.13),
          ('sep_conv_3x3', 3, 0.129), ('skip_connect', 0, 0.129), ('sep_conv_5x5', 4, 0.129), ('sep_conv_3x3', 3, 1.0)],
  normal_concat=range(2, 6),
  reduce=[('sep_conv_5x5', 0, 0.129), ('sep_conv_3x3', 1, 0.128), ('sep_conv_5x5', 2, 0.127), ('sep_conv_5x5', 1, 0.1),
          ('dil_conv_5x5', 2, 0.128), ('sep_conv_3x3', 1, 0.127), ('sep_conv_5x5', 0, 0.128), ('sep_conv_5x5', 1, 0.1)],
  reduce_concat=range(2, 6)
)
"""
GDAS_NESTED = """
Genotype(
  normal=[(('skip_connect', 0), ('skip_connect', 1)), (('skip_connect', 0), ('sep_conv_5x5', 2)),
          (('sep_conv_3x3', 3), ('skip_connect', 0)), (('sep_conv_5x5', 4), ('sep_conv_3x3', 3))],
  normal_concat=[2, 3, 4, 5],
  reduce=[(('sep_conv_5x5', 0), ('sep_conv_3x3', 1)), (('sep_conv_5x5', 2), ('sep_conv_5x5', 1)),
          (('dil_conv_5x5', 2), ('sep_conv_3x3', 1)), (('sep_conv_5x5', 0), ('sep_conv_5x5', 1))],
  reduce_concat=[2, 3, 4, 5],
  connectN=None, connects=None)
"""
FAIRDARTS_A = """
Genotype(normal=[('sep_conv_3x3', 2, 0), ('sep_conv_5x5', 2, 1), ('max_pool_3x3', 4, 0), ('sep_conv_3x3', 5, 0)],
  normal_concat=range(2, 6), reduce=[('max_pool_3x3', 2, 0), ('avg_pool_3x3', 2, 1), ('avg_pool_3x3', 3, 0),
  ('dil_conv_5x5', 3, 1), ('avg_pool_3x3', 4, 0), ('sep_conv_5x5', 4, 1), ('skip_connect', 5, 0),
  ('skip_connect', 5, 1)], reduce_concat=range(2, 6))
"""
FAIRDARTS_F = """
Genotype(normal=[('max_pool_3x3', 2, 0), ('sep_conv_3x3', 2, 1), ('dil_conv_3x3', 3, 1), ('sep_conv_5x5', 4, 1),
  ('sep_conv_3x3', 5, 0), ('sep_conv_3x3', 5, 1)], normal_concat=range(2, 6), reduce=[('max_pool_3x3', 2, 0),
  ('max_pool_3x3', 2, 1), ('max_pool_3x3', 3, 0), ('dil_conv_3x3', 3, 1), ('dil_conv_3x3', 4, 2),
  ('max_pool_3x3', 4, 0), ('max_pool_3x3', 5, 0), ('sep_conv_3x3', 5, 1)], reduce_concat=range(2, 6))
"""
FAIRDARTS_G = """
Genotype(normal=[('sep_conv_3x3', 2, 0), ('sep_conv_3x3', 2, 1), ('skip_connect', 4, 3), ('sep_conv_5x5', 4, 1),
  ('dil_conv_3x3', 5, 0), ('sep_conv_3x3', 5, 1)], normal_concat=range(2, 6), reduce=[('avg_pool_3x3', 2, 1),
  ('skip_connect', 2, 0), ('skip_connect', 3, 2), ('max_pool_3x3', 3, 1), ('sep_conv_5x5', 4, 3),
  ('max_pool_3x3', 4, 0), ('dil_conv_3x3', 5, 1), ('dil_conv_3x3', 5, 4)], reduce_concat=range(2, 6))
"""
NONE_INSIDE = """
Genotype(normal=[('none', 0), ('sep_conv_3x3', 1), ('none', 0), ('none', 1)], normal_concat=[2, 3],
  reduce=[('none', 0), ('skip_connect', 1), ('conv_7x1_1x7', 0), ('skip_connect', 2)], reduce_concat=range(2, 4))
"""

# (text, millions of parameters as published, whether those count the auxiliary head's 0.48)
PUBLISHED = [
    # quark0/darts, cnn/genotypes.py; counts of these networks in xiaomi-automl/FairDARTS, fairdarts/genotypes.py
    pytest.param(NASNET, 3.83, False, id="NASNet-A"),
    pytest.param(AMOEBANET, 3.15, False, id="AmoebaNet-A"),  # 3.2 in its paper's table and in DARTS'
    # the same file; D-X-Y/GDAS has the strengths, D-X-Y/AutoDL-Projects the nested form
    pytest.param(ENAS, 4.02, False, id="ENAS"),
    pytest.param(SNAS, 2.66, False, id="SNAS"),
    pytest.param(GDAS_WITH_STRENGTHS, 3.37, False, id="GDAS"),  # "3.36M", cut off
    pytest.param(GDAS_NESTED, 3.37, False, id="GDAS-nested"),
    pytest.param(FAIRDARTS_A, 2.84, True, id="FairDARTS-A"),  # "2.83", cut off
    pytest.param(FAIRDARTS_F, 3.63, True, id="FairDARTS-F"),  # "3.62M", cut off
    pytest.param(FAIRDARTS_G, 3.38, True, id="FairDARTS-G"),  # "3.375M"
]


def operation(name: str, c: int, reduces: bool) -> int:
    """Parameters of one operation on c channels; batch norms have 2c."""
    kind, _, kernel = name.rpartition("_")
    k = int(kernel[0]) if kernel[0].isdigit() else 0
    if name == "skip_connect":
        return c * c + 2 * c if reduces else 0
    if name == "conv_7x1_1x7":
        return 14 * c * c + 2 * c
    return {"sep_conv": 2 * (k * k * c + c * c + 2 * c), "dil_conv": k * k * c + c * c + 2 * c}.get(kind, 0)


def by_hand(cells: dict[str, list[tuple[str, int]]], width: dict[str, int]) -> int:
    """36 channels, 20 cells, reductions at the 7th and 14th; `cells` lists (primitive, source), `width` the outputs."""
    c, before, last = 36, 108, 108
    total = 27 * 108 + 2 * 108
    for layer in range(20):
        kind = "reduce" if layer in (6, 13) else "normal"
        c *= 2 if kind == "reduce" else 1
        total += (before + last) * c + 4 * c
        total += sum(operation(name, c, kind == "reduce" and source < 2) for name, source in cells[kind])
        before, last = last, width[kind] * c
    return total + last * 10 + 10


def parameters(genotype: Genotype, size: Any = None) -> int:
    with torch.device("meta"):
        space = space_of(genotype)
        network = (
            space.network(genotype, Classification((3, 32, 32), 10), size)
            if size
            else space.standard_network(genotype)[0]
        )
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("text", "millions", "with_auxiliary"), PUBLISHED)
def test_the_authors_texts_give_the_published_networks(
    text: str, millions: float, with_auxiliary: bool, tmp_path: Path
) -> None:
    file = tmp_path / "genotype.txt"
    file.write_text(text)
    genotype = Genotype.from_file(file)
    found = parameters(genotype, NetworkSettings() if with_auxiliary else None)
    assert round(found / 1e6, 2) == millions
    assert Genotype.from_json(json.loads(json.dumps(genotype.to_json()))) == genotype


@pytest.mark.parametrize("text", [*(param.values[0] for param in PUBLISHED), NONE_INSIDE])
def test_counts_equal_a_count_by_hand(text: Any) -> None:
    class Parts:  # what a plain namedtuple would hold
        def __init__(self, **parts: Any) -> None:
            vars(self).update(parts)

    # Python's own reading of this file's own constants: nothing that raydarts' reader does is shared.
    plain = eval(text.strip().split("=", 1)[1] if "= Genotype" in text else text, {"Genotype": Parts, "range": range})
    cells, width = {}, {}
    for kind in ("normal", "reduce"):
        edges = getattr(plain, kind)
        nested = not isinstance(edges[0][0], str)
        flat = [edge for node in edges for edge in node] if nested else edges
        fair = isinstance(flat[0][-1], int) and len(flat[0]) == 3
        cells[kind] = [(edge[0], edge[2] if fair else edge[1]) for edge in flat]
        width[kind] = len({edge[1] for edge in flat}) if fair else len(getattr(plain, f"{kind}_concat"))
    assert parameters(Genotype.from_json(text)) == by_hand(cells, width)


def test_the_hand_count_is_darts_own() -> None:
    """The two of the paper, whose exact counts are known."""
    normal = [("sep_conv_3x3", 0)] * 5 + [("skip_connect", 0)] * 2 + [("dil_conv_3x3", 2)]
    reduce = [("max_pool_3x3", 0)] * 5 + [("skip_connect", 2)] * 3
    assert by_hand({"normal": normal, "reduce": reduce}, {"normal": 4, "reduce": 4}) == 3_349_342


@pytest.mark.skipif(not RUNS.is_file(), reason="the published runs are not in shared/data/nas")
def test_every_genotype_of_the_published_runs_is_read_and_counted() -> None:
    runs = json.loads(gzip.decompress(RUNS.read_bytes()))
    texts = {run["genotype"] for run in runs} | {run["epoch_genotype"][0] for run in runs}
    assert len(texts) > 90
    for text in texts:
        genotype = Genotype.from_json({"genotype": text})
        cells = {name: cell.edges() for name, cell in genotype.cells}
        assert [len(edges) for edges in cells.values()] == [8, 8]
    for text in sorted(texts)[:12]:
        genotype = Genotype.from_json(text)
        assert parameters(genotype) == by_hand(
            {name: cell.edges() for name, cell in genotype.cells}, {"normal": 4, "reduce": 4}
        )


def test_recurrent_texts_and_positional_parts_are_read() -> None:
    found = Genotype.from_json("DARTS_V1 = Genotype(recurrent=[('relu', 0), ('tanh', 1)], concat=range(1, 3))")
    assert found["recurrent"].nodes == ((("relu", 0),), (("tanh", 1),))
    assert found["recurrent"].concat == (1, 2)
    cell = "[('skip_connect', 0), ('sep_conv_3x3', 1)]"
    plain = Genotype.from_json(f"gt.Genotype({cell}, [2], {cell}, list(range(2, 3)))")
    assert plain["reduce"].nodes == ((("skip_connect", 0), ("sep_conv_3x3", 1)),)


def test_flat_pairs_are_two_a_node_as_the_authors_read_them() -> None:
    """Also where the last nodes are not concatenated."""
    edges = [["skip_connect", 0], ["sep_conv_3x3", 1]] * 4
    plain = {"normal": edges, "normal_concat": [2, 3], "reduce": edges, "reduce_concat": [2, 5]}
    genotype = Genotype.from_json(plain)
    assert [len(node) for node in genotype["normal"].nodes] == [2, 2, 2, 2]
    assert Genotype.from_json(genotype.to_json()) == genotype


CELL = "[('skip_connect', 0), ('sep_conv_3x3', 1)]"
REST = f"normal_concat=[2], reduce={CELL}, reduce_concat=[2])"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(f"Genotype(normal=open('pwned', 'w'), {REST}", r":1: only texts, numbers", id="call"),
        pytest.param(f"a = 1\nGenotype(normal=__import__('os').system('touch pwned'), {REST}", ":2: only", id="import"),
        pytest.param(f"Genotype(normal={CELL} * 10**9, {REST}", ":1: only texts", id="arithmetic"),
        pytest.param(f"Genotype(normal=[{CELL} for _ in range(3)], {REST}", ":1: only texts", id="comprehension"),
        pytest.param(f"Genotype(normal=f'{{1}}', {REST}", ":1: only texts", id="f-string"),
        pytest.param(f"Genotype(normal=range(10**12), {REST}", ":1: only texts", id="range"),
        pytest.param(f"Genotype(normal=range(999999999), {REST}", ":1: only texts", id="long-range"),
        pytest.param(f"Genotype(normal=[('skip_connect', -1)], {REST}", ":1: only texts", id="negative"),
        pytest.param(f"Genotype(normal={CELL}, normal={CELL}, {REST}", "normal|repeated", id="twice"),
        pytest.param("Genotype(**{})", r":1: \*\* cannot stand here", id="stars"),
        pytest.param("Genotype(1, 2, 3, 4, 5)", "has 4 parts", id="five"),
        pytest.param("A = Genotype()\nB = Genotype(1)", r"2 genotypes; choose .*:B\. It has A \(line 1\), B", id="two"),
        pytest.param("def f():\n  return Genotype(normal=[])", "missing", id="hidden"),
        pytest.param("Genotype(normal=[(", ":1: not Python's form", id="cut"),
        pytest.param("Genotype(" + "(" * 100_000, "not Python's form", id="deep"),
        pytest.param("Genotype(" + "-" * 100_000 + "1)", "not Python's form|only texts", id="deep-signs"),
        pytest.param("Genotype(a" + ".a" * 100_000 + ")", "not Python's form|only texts", id="deep-dots"),
        pytest.param("Genotype(normal=" + "9" * 10_000 + ")", "not Python's form", id="digits"),
    ],
)  # fmt: skip
def test_a_hostile_text_is_refused_and_not_run(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("genotype.txt").write_text(text)
    with pytest.raises(GenotypeError, match=rf"^genotype\.txt.*({message})"):
        Genotype.from_file(Path("genotype.txt"))
    assert not Path("pwned").exists()


def hostile(**changes: str) -> str:
    edges = '[["sep_conv_3x3", 0], ["skip_connect", 1]]'
    parts = {"normal": edges, "normal_concat": "[2]", "reduce": edges, "reduce_concat": "[2]", **changes}
    return "{" + ", ".join(f'"{key}": {value}' for key, value in parts.items()) + "}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("[" * 200_000, "nested too deeply", id="deep"),
        pytest.param(hostile(normal="[" * 900 + "]" * 900), r"node 2: each edge is a pair .* not \[\[", id="nested"),
        pytest.param(hostile(normal=f'[["a", 0], ["a", {"9" * 5000}]]'), "digits", id="digits"),
        pytest.param(hostile(normal=f'[["a", 0], ["a", {"9" * 4000}]]'), "comes from node 9+\\.", id="large"),
        pytest.param(hostile(normal='[["a", 0], ["a", 1e999]]'), r"edge 1: .* not \['a', inf\]", id="infinite"),
        pytest.param(hostile(normal='[["a", 0], ["a", NaN]]'), "NaN is no JSON value", id="nan"),
        pytest.param(hostile(normal='[["a", 0], ["a", 1.0]]'), r"edge 1: .* not \['a', 1.0\]", id="fraction"),
        pytest.param(hostile(normal='[["a", 0], ["a", "1"]]'), r"edge 1: .* not \['a', '1'\]", id="text"),
        pytest.param(hostile(normal='[["a", 0], null]'), "edge 1: .* not None", id="null"),
        pytest.param(hostile()[:-1] + ', "normal": []}', "'normal' stands twice", id="twice"),
        pytest.param(hostile(normal='[["a", 0], ["\\ud800", 1]]'), "no primitive's name", id="surrogate"),
        pytest.param(hostile(normal='[["a", 0], ["\\u001b[31m", 1]]'), "no primitive's name", id="escape"),
        pytest.param(hostile(normal=f'[["a", 0], ["{"a" * 9999}", 1]]'), "no primitive's name", id="long-name"),
        pytest.param(hostile(normal_concat=f"[{10**30}]"), "at most 1000 are read", id="concat"),
        pytest.param(hostile(normal='[["a", 0], ["a", 2]]'), "comes from node 2; only 0..1", id="cycle"),
        pytest.param(hostile(normal='[["a", 0, 1000000000000]]'), "at most 1000 are read", id="triple"),
        pytest.param(hostile(normal='[["a", 0, 1, 2]]'), "edge 0: each edge is a pair", id="four"),
        pytest.param(hostile(normal="[" + '["a",0],' * 20_000 + '["a",0]]'), "at most 10000 are read", id="many"),
        pytest.param(hostile(normal_concat='"' + "2" * 2_000_000 + '"'), "larger than 1,000,000 bytes", id="huge"),
        pytest.param(hostile(**{"\\ud800": "1"}), r"unknown \\ud800", id="unknown-key"),
    ],
)  # fmt: skip
def test_a_hostile_json_is_refused_in_a_few_words(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "genotype.json"
    file.write_text(text)
    with pytest.raises(GenotypeError, match=rf"genotype\.json.*({message})") as error:
        Genotype.from_file(file)
    assert len(str(error.value)) < 400 + len(str(file))
    str(error.value).encode()


def test_a_byte_order_mark_and_the_benchmarks_own_notation_are_read(tmp_path: Path) -> None:
    file = tmp_path / "genotype"
    file.write_text("\ufeff" + hostile(), encoding="utf-8")
    assert Genotype.from_file(file).skips() == {"normal": 1, "reduce": 1}
    file.write_text("|skip_connect~0|+|none~0|none~1|+|none~0|none~1|none~2|\n")
    assert Genotype.from_file(file).skips() == {"cell": 1}
