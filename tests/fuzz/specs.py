"""Specs and `--set` that nobody meant: `python -m tests.fuzz.specs --inputs 2000 --seed 0`.

Each input is a shipped spec, or one of the tests' bad ones, changed some times: values of other types, keys deleted,
doubled and nested, distributions in odd places, numbers and characters at the limits, and the text itself cut and torn.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from raydarts.config.distributions import KINDS
from tests.fuzz.feeding import main, places
from tests.unit.config.test_bad_specs import BAD

ROOT = Path(__file__).parents[2]

NUMBERS = [0, -1, 1, 2, 0.5, -0.0, 1e308, -1e308, 5e-324, float("inf"), float("nan"), 10**18, 2**63, 10**400, 3.0]
TEXTS = [
    *(
        "",
        " ",
        "null",
        "true",
        "1",
        "1e-3",
        "lr",
        "0x10",
        "²",
        "٣",
        "\0",
        "\x1b[31mred\x07",
        "\x9b2J",
        "\u202eevil",
        "\ud800",
    ),
    *(
        "a\nb: 1",
        "[red]x[/red]",
        ":smile:",
        "%s %d {0} {",
        "'",
        '"',
        "../../x",
        "~",
        "$HOME",
        "s3://b/k",
        "x" * 5000,
        "é" * 300,
    ),
    *(
        "tune.uniform(0, 1)",
        "hp.choice('a', [1])",
        "json:JSONDecoder",
        "no.such.module:X",
        ":",
        "a:",
        "NaN",
        "first_order",
        "digits",
    ),
    *("{{ x }}", "<script>", "a b (1)", "😀", "ﬀ", "\u2028", "\ufeff", "-", ".", "..", "name", "choice"),
]
KEYS = [
    "choice",
    "grid",
    "uniform",
    "tied_to",
    "optional",
    "times",
    "weights",
    "name",
    "preset",
    "values",
    "min",
    "max",
    "x",
    "",
    " ",
    "²",
    "\x1b[2J",
    "é",
    "a.b",
    "0",
    "<<",
    "k" * 3000,
]
DIGITS = ["0", "1", "-1", "²", "٣", "9" * 5000, "007", "1e3", "+1", " 1", "99"]


@cache
def corpus() -> list[str]:
    shipped = sorted([*ROOT.glob("sweeps/*.yaml"), *ROOT.glob("benchmarks/*.yaml")])
    return [path.read_text() for path in shipped] + [text for text, *_ in BAD.values()]


@cache
def parsed(text: str) -> Any:
    try:
        tree = YAML(typ="safe", pure=True).load(text)
        json.dumps(tree)
    except Exception:  # one of the bad ones
        return None
    return tree


def _value(rng: random.Random, deep: int = 2) -> Any:
    """Anything at all."""
    kind = rng.randrange(9 if deep else 5)
    if kind == 0:
        return rng.choice(NUMBERS)
    if kind in (1, 2):
        return rng.choice(TEXTS)
    if kind == 3:
        return rng.choice([None, True, False, [], {}, [[]], [None]])
    if kind == 4:
        return rng.randrange(-3, 200)
    if kind in (5, 6):
        return _distribution(rng, deep - 1)
    if kind == 7:
        return [_value(rng, deep - 1) for _ in range(rng.randrange(4))]
    return {rng.choice(KEYS): _value(rng, deep - 1) for _ in range(rng.randrange(4))}


def _distribution(rng: random.Random, deep: int) -> dict[str, Any]:
    if rng.random() < 0.3:
        forms = [
            {"values": [1, 2]},
            {"min": 0, "max": 1},
            {"distribution": "q_log_normal", "mu": 0, "sigma": 1},
            {"grid_search": [1]},
            {"_type": "choice", "_value": {"a": 1}},
            {"type": "range", "bounds": [0, "x"]},
            {"value": [[]]},
            {"min": "a", "max": None},
            {"distribution": "log_uniform", "min": -1e9, "max": 1e9},
        ]
        return dict(rng.choice(forms))
    if rng.random() < 0.05:
        return {"optional": _value(rng, deep)}
    if rng.random() < 0.15:
        place = rng.choice(
            ["search", "search.lr", "search.space", "search.estimator.xi", "search.regularizers.0", *TEXTS]
        )
        times = {"times": rng.choice([*NUMBERS, "x", None])} if rng.random() < 0.5 else {}
        return {"tied_to": place, **times}
    kind = rng.choice([*KINDS, "chioce"])
    count = rng.choice([0, 1, 2, 2, 2, 3, 3, 4, 40])
    if kind in ("choice", "grid") or rng.random() < 0.2:
        weights = {"weights": [rng.choice(NUMBERS) for _ in range(count)]} if rng.random() < 0.2 else {}
        return {kind: [_value(rng, deep) if deep > 0 else rng.choice(NUMBERS) for _ in range(count)], **weights}
    return {kind: [rng.choice(NUMBERS) if rng.random() < 0.6 else rng.random() for _ in range(count)]}


def _change(tree: Any, rng: random.Random) -> None:
    there = places(tree)
    if not there:
        return
    holder, key = rng.choice(there)
    old = holder[key]
    kind = rng.randrange(10)
    if kind <= 2:
        holder[key] = _value(rng)
    elif kind == 3:
        del holder[key]
    elif kind == 4:
        holder[key] = rng.choice(
            [
                [old],
                {"name": old},
                {"optional": old},
                [{"optional": old}, old],
                {rng.choice(KEYS): old},
                [old, old],
                {"choice": [old, old]},
            ]
        )
    elif kind == 5:
        holder[key] = {rng.choice(["grid", "choice"]): [copy.deepcopy(old), _value(rng, 1)]}
    elif kind == 6:
        other, where = rng.choice(there)
        holder[key], other[where] = copy.deepcopy(other[where]), copy.deepcopy(old)
    elif kind == 7 and isinstance(holder, dict):
        holder[rng.choice(KEYS)] = _value(rng)
    elif kind == 8 and isinstance(old, int | float):
        times = 10**9 if isinstance(old, int) else 1e9
        holder[key] = rng.choice(
            [-old, old * times, str(old), old + 0.5 if abs(old) < 1e200 else old, [old], rng.choice(NUMBERS)]
        )
    elif kind == 9:
        nested: Any = old
        for _ in range(rng.choice([3, 30, 58, 59, 60, 61, 200])):
            nested = [nested] if rng.random() < 0.5 else {"x": nested}
        holder[key] = nested


def _dumped(tree: Any) -> str:
    """As JSON, which is YAML, but for what JSON has no form of."""
    text = json.dumps(tree, indent=1, ensure_ascii=True)
    return text.replace("NaN", ".nan").replace("-Infinity", "-.inf").replace("Infinity", ".inf")


def _torn(text: str, rng: random.Random) -> bytes:
    """A text changed as a text."""
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    kind = rng.randrange(14)
    changes: dict[int, Callable[[], Any]] = {
        0: lambda: lines.pop(at),
        1: lambda: lines.insert(at, lines[at]),
        2: lambda: lines.__setitem__(at, " " * rng.randrange(5) + lines[at]),
        3: lambda: lines.__setitem__(at, lines[at] + "\t"),
        4: lambda: lines.__setitem__(at, "\t" + lines[at]),
        5: lambda: lines.__setitem__(at, lines[at].replace(": ", ":\t", 1)),
        6: lambda: lines.__setitem__(at, lines[at].replace(": ", ": &a ", 1)),
        7: lambda: lines.append("x: *a"),
        8: lambda: lines.__setitem__(at, lines[at] + " # " + rng.choice(TEXTS).replace("\n", " ")),
        9: lambda: lines.insert(
            at, rng.choice(["---", "...", "%YAML 1.1", "? a", "- b", "<<: {a: 1}", "!!set {a}", "!x y"])
        ),
        10: lambda: lines.__setitem__(at, "".join(each for each in lines[at] if rng.random() > 0.1)),
    }
    changes.get(kind, lambda: None)()
    whole = "\n".join(lines).encode("utf-8", "surrogatepass")
    place = rng.randrange(len(whole) + 1)
    if kind == 11:
        return whole[:place]
    if kind == 12:
        return whole[:place] + bytes([rng.randrange(256)]) + whole[place:]
    if kind == 13:
        return rng.choice([b"\xff\xfe", b"\xef\xbb\xbf", b"\0"]) + whole.replace(
            b"\n", rng.choice([b"\r\n", b"\r", b"\n"])
        )
    return whole


def _set(tree: Any, rng: random.Random) -> str:
    """A `--set` of something that is there, or nearly."""
    parts: list[str] = []
    node = tree
    while isinstance(node, dict | list) and node and (not parts or rng.random() < 0.8):
        key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
        parts.append(str(key))
        node = node[key]
    for index in range(len(parts)):
        if rng.random() < 0.15:
            parts[index] = rng.choice([*KEYS, *DIGITS])
    if rng.random() < 0.3:
        parts.append(rng.choice([*KEYS, *DIGITS, "name", "strength"]))
    if rng.random() < 0.03:
        parts *= rng.choice([20, 500])
    text = (
        _dumped(_value(rng))
        if rng.random() < 0.7
        else rng.choice([*TEXTS, "[1", "{a", "*a", "&a [*a]", "[" * 500, "? "])
    )
    assignment = ".".join(parts) + rng.choice(["=", "=", "=", "=", "", "==", ":"]) + text
    return assignment.replace("\0", "0")  # no shell hands a NUL over


def make(rng: random.Random, folder: Path) -> Sequence[str]:
    text = rng.choice(corpus())
    tree = copy.deepcopy(parsed(text))
    if tree is None or rng.random() < 0.3:
        content = text.encode()
        for _ in range(rng.randrange(1, 4)):
            content = _torn(content.decode("utf-8", "replace"), rng)
    else:
        for _ in range(rng.randrange(0, 4)):
            _change(tree, rng)
        content = _dumped(tree).encode()
    (folder / "spec.yaml").write_bytes(content)
    sets = [_set(tree, rng) for _ in range(rng.randrange(1, 4))] if rng.random() < 0.4 else []
    json_or_not = ["--json"] if rng.random() < 0.2 else []
    return ["validate", "spec.yaml", *json_or_not, *(word for each in sets for word in ("--set", each))]


def sound(_: random.Random, folder: Path) -> Sequence[str]:
    (folder / "spec.yaml").write_text((ROOT / "sweeps/quick.yaml").read_text())
    return ["validate", "spec.yaml"]


if __name__ == "__main__":
    main(make, sound)
