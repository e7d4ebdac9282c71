"""A genotype as papers print it, and the file that holds both forms."""

from __future__ import annotations

import json

from raydarts.genotypes.genotype import CONVOLUTIONAL, CellGenotype, Genotype


def printed(genotype: Genotype) -> str:
    """Returns the authors' Python text, `Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=range(2, 6), ...)`.

    A cell of NAS-Bench-201 is printed in that benchmark's notation, `|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|`. A
    space of the user's own stands in the JSON alone.
    """
    plain, cells = genotype.to_json(), dict(genotype.cells)
    if "cell" in cells:
        nodes = ("".join(f"|{primitive}~{src}" for primitive, src in node) + "|" for node in cells["cell"].nodes)
        return "+".join(nodes)
    parts = []
    for name, cell in cells.items():
        concat = f"{name}_concat" if name in CONVOLUTIONAL else "concat"
        parts += [f"{name}={_pairs(plain[name])}", f"{concat}={_range(cell)}"]
    return f"Genotype({', '.join(parts)})"


def _pairs(value: object) -> str:
    """Returns pairs as tuples, and lists of pairs as lists."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str):
        return f"({value[0]!r}, {value[1]})"
    return f"[{', '.join(_pairs(item) for item in value)}]" if isinstance(value, list) else repr(value)


def _range(cell: CellGenotype) -> str:
    first, last = min(cell.concat), max(cell.concat)
    whole = list(cell.concat) == list(range(first, last + 1))
    return f"range({first}, {last + 1})" if whole else str(list(cell.concat))


def file_text(genotype: Genotype) -> str:
    """Returns the text of a genotype's file: its JSON, and the form of papers as comments. `Genotype.from_file` reads
    it.
    """
    return f"{json.dumps(genotype.to_json())}\n\n# As papers print it:\n# {printed(genotype)}\n"
