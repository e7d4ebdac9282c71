"""Genotype files that nobody meant: `python -m tests.fuzz.genotypes --inputs 1000 --seed 0`.

Each input is a published genotype, in JSON or in the authors' Python text, changed some times: other primitives,
sources and nesting, cut and doubled text, numbers and depth at the limits, several in one file, and what people's files
hold around it.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.fuzz.feeding import main, places
from tests.unit.spaces import test_published_genotypes as published

SMALL = {
    "normal": [["sep_conv_3x3", 0], ["skip_connect", 1]],
    "normal_concat": [2],
    "reduce": [["max_pool_3x3", 0], ["dil_conv_5x5", 1]],
    "reduce_concat": [2],
}
JSON = [
    SMALL,
    {"recurrent": [["tanh", 0], ["relu", 1], ["identity", 1]], "concat": [1, 2, 3]},
    {"cell": [[["nor_conv_3x3", 0]], [["none", 0], ["skip_connect", 1]]], "cell_concat": [2]},
    {
        "normal": [["sep_conv_3x3", 2, 0]],
        "normal_concat": [2],
        "reduce": [["skip_connect", 2, 1]],
        "reduce_concat": [2],
    },
    {"genotype": SMALL, "name": "A"},
    {"genotype": "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|none~2|"},
    {"A": SMALL, "B": {"genotype": SMALL}},
    [{"name": "A", "genotype": SMALL}, SMALL, 3],
]
PYTHON = [
    "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1)], normal_concat=range(2, 3), "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1)], reduce_concat=[2])",
    "Genotype(recurrent=[('tanh', 0), ('relu', 1)], concat=range(1, 3))",
    published.NASNET,
    published.SNAS,
    published.GDAS_WITH_STRENGTHS,
    published.GDAS_NESTED,
    published.FAIRDARTS_A,
    published.NONE_INSIDE,
]
AROUND = [
    "{}",
    "A = {}\n",
    "A: Genotype = {}\n",
    '"""Doc.\n"""\n# found\nX = {}\n',
    "print({})\n",
    "2024-01-01 12:00:00 INFO genotype = {}\n",
    "A = {}\nB = {}\nC = A\n",
    "# {}\n",
    "def f():\n    return {}\n",
    "GS = {{'a': {}, 'b': None}}\n",
    "it's #1: {} '\n",
    "print {}\n",
    "\x1b[31m{}\x1b[0m",
    "class Genotype(tuple):\n    pass\nX = {}\n",
    "{}\n{}\n",
    "\ufeff{}",
    '"{}"',
    "[{}, {}]",
    "x = f'{}'",
    "{} = 3",
    "\n\n  {}\n",
]
WORDS = [
    "none",
    "skip_connect",
    "sep_conv_3x33",
    "",
    "²",
    "\x1b[2J",
    "\u202e",
    "x" * 3000,
    "a b",
    "json:JSONDecoder",
    "tanh",
    "\ud800",
]
NUMBERS: list[Any] = [0, 1, 2, -1, 5, 999, 1001, 10**12, 0.5, True, None, "0", [], {}, [0]]
TEXTS = [
    "(",
    ")",
    "[",
    "]",
    "'",
    '"',
    ",",
    "=",
    "Genotype(",
    "range(0, 10**9)",
    "range(2)",
    "*",
    "**{}",
    "None",
    "-1",
    "0x" + "f" * 6000,
    "9" * 6000,
    "lambda: 0",
    "__import__('os').system('x')",
    "open('y', 'w')",
    "\0",
    "\n",
    "\\",
    "#",
    "1e400",
    "...",
    "(" * 300,
    "[" * 5000,
    "-" * 20000,
    "not " * 5000,
    ".a" * 20000,
    "1+" * 20000,
    "NaN",
    "Infinity",
    "\ud800",
    "é",
    "|",
    "~",
    "+",
]


def _change(tree: Any, rng: random.Random) -> None:
    there = places(tree)
    if not there:
        return
    holder, key = rng.choice(there)
    old = holder[key]
    kind = rng.randrange(7)
    if kind == 0:
        holder[key] = rng.choice(WORDS if isinstance(old, str) else NUMBERS)
    elif kind == 1:
        holder[key] = rng.choice([*NUMBERS, *WORDS])
    elif kind == 2:
        del holder[key]
    elif kind == 3 and isinstance(holder, list) and len(holder) < 6:
        holder.insert(key, copy.deepcopy(old))
    elif kind == 4:
        holder[key] = rng.choice([[old], {"x": old}, str(old), [old, old]])
    elif kind == 5 and isinstance(holder, dict):
        holder[rng.choice([*WORDS, "normal", "recurrent", "cell", "concat", "genotype", "space", "skip"])] = (
            copy.deepcopy(old)
        )
    elif kind == 6:
        nested: Any = old
        for _ in range(rng.choice([2, 50, 400])):
            nested = [nested]
        holder[key] = nested


def _torn(text: str, rng: random.Random) -> str:
    place = rng.randrange(len(text) + 1)
    end = min(len(text), place + rng.choice([1, 1, 3, 20]))
    kind = rng.randrange(5)
    if kind == 0:
        return text[:place] + text[end:]
    if kind == 1:
        return text[:place] + rng.choice(TEXTS) + text[place:]
    if kind == 2:
        return text[:place] + rng.choice(TEXTS) + text[end:]
    if kind == 3:
        return text[:place] + text[place:end] * 2 + text[end:]
    return text.replace(
        rng.choice(["'", ",", "(", "3", "conv", "="]), rng.choice([*TEXTS[:12], *WORDS[:4]]), rng.randrange(1, 3)
    )


def make(rng: random.Random, folder: Path) -> Sequence[str]:
    if rng.random() < 0.5:
        tree = copy.deepcopy(rng.choice(JSON))
        for _ in range(rng.randrange(1, 4)):
            _change(tree, rng)
        text = json.dumps(tree)
    else:
        around = rng.choice(AROUND)
        text = around.format(*(rng.choice(PYTHON).strip() for _ in range(2)))
    if rng.random() < 0.7:
        for _ in range(rng.randrange(1, 4)):
            text = _torn(text, rng)
    name = rng.choice(["g.json", "g.py", "g.txt", "my genotype (1).json"])
    (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    chosen = rng.choice(["", "", "", ":A", ":2", ":²", ":a", ":x:y"])
    return ["show", f"{name}{chosen}", "--json"]


def sound(_: random.Random, folder: Path) -> Sequence[str]:
    (folder / "g.py").write_text(PYTHON[0])
    return ["show", "g.py", "--json"]


if __name__ == "__main__":
    main(make, sound)
