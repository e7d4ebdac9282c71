"""Values that are tied to another place of the same configuration: whether that place always holds a single value.

A tie is good if the other place exists in every configuration that has the tie, if it is no mapping and no list, and if
it does not follow from the tie itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from raydarts.config.distributions import Tie, Tree
from raydarts.config.open_values import Branch, Leaf, OptionalItem, Options, Tied, TreeNode
from raydarts.errors import Problem
from raydarts.registry import nearest


def refuse_broken_ties(tree: Tree, problems: list[Problem]) -> Tree:
    """Returns a tree without the ties that cannot be followed. Each of them is added to `problems`."""
    broken = set()
    for tie in tree.ties():
        why = next(_Follow(tree, tie).misfits(), None)
        if why is not None:
            problems.append(Problem(*tie.tied.where, ".".join(tie.written), f"{tie.tied}: {why}"))
            broken.add(id(tie.tied))
    return replace(tree, root=_without(tree.root, broken)) if broken else tree


def _without(node: TreeNode, broken: set[int]) -> TreeNode:
    """Returns a part with an empty value in place of each broken tie."""
    if isinstance(node, Branch):
        return replace(node, items=tuple(_without(item, broken) for item in node.items))
    if isinstance(node, Options):
        return replace(node, options=tuple(_without(option, broken) for option in node.options))
    return Leaf(None, node.where) if id(node) in broken else node


@dataclass(frozen=True)
class _Follow:
    """Follows one tie through every configuration that has it."""

    tree: Tree
    tie: Tie

    def misfits(self) -> Iterator[str]:
        """Yields why the tie cannot be followed. Nothing: it can."""
        yield from self._from_root(self.tie.tied, self.tie.forced, (self.tie.tied,))

    def _from_root(self, tied: Tied, forced: Mapping[str, int], followed: tuple[Tied, ...]) -> Iterator[str]:
        yield from self._at(self.tree.root, self.tree.name, tied.place, forced, followed)

    def _at(
        self,
        node: TreeNode,
        name: str,
        rest: tuple[str, ...],
        forced: Mapping[str, int],
        followed: tuple[Tied, ...],
    ) -> Iterator[str]:
        """Yields why the place `rest` below a part is no single value. `followed`: the ties on the way."""
        if isinstance(node, Branch):
            yield from self._in_branch(node, name, rest, forced, followed)
        elif isinstance(node, Options):
            for index, (option, label) in enumerate(zip(node.options, node.labels, strict=True)):
                if forced.get(name, index) != index:
                    continue
                if isinstance(node, OptionalItem) and label == node.ABSENT:
                    yield f"{name} is absent in some configurations that have the tie; tie within the optional item"
                else:
                    yield from self._at(option, f"{name}[{label}]", rest, {**forced, name: index}, followed)
        elif rest:
            yield (
                f"{name} is no mapping and has no {'.'.join(rest)}, and there are configurations with both; tie within "
                "one option, or to a place that every configuration has"
            )
        elif isinstance(node, Tied):
            if any(node is each for each in followed):
                yield f"{name} follows from this value itself; give one of them a value"
            else:
                yield from self._from_root(node, forced, (*followed, node))
        elif isinstance(node, Leaf):
            is_number = isinstance(node.value, int | float) and not isinstance(node.value, bool)
            if not is_number and any(tied.times is not None for tied in followed):
                yield f"{name} is {json.dumps(node.value)}, which cannot be multiplied; leave times out"

    def _in_branch(
        self,
        node: Branch,
        name: str,
        rest: tuple[str, ...],
        forced: Mapping[str, int],
        followed: tuple[Tied, ...],
    ) -> Iterator[str]:
        if not rest:
            what = "list" if node.keys is None else "mapping"
            yield f"{name} is a {what}, and a value can be tied to a single value alone"
            return
        parts = {str(key): (inner, item) for key, inner, item in node.parts(name)}
        if rest[0] in parts:
            inner, item = parts[rest[0]]
            yield from self._at(item, inner, rest[1:], forced, followed)
        else:
            written = ", ".join(parts) or "nothing"
            yield (
                f"{name} has no '{rest[0]}' in this spec{nearest(rest[0], list(parts))} (written there: {written}); "
                "a value can be tied to what is written alone"
            )
