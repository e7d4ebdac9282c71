"""The DARTS recurrent space (DARTS paper, section 3.1.2, appendix A.1.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from raydarts.errors import GenotypeError
from raydarts.genotypes.genotype import CellGenotype, Genotype
from raydarts.spaces.base import CellSpec, Edge, Space
from raydarts.spaces.recurrent import ACTIVATIONS, CELL_TYPE, RecurrentNetwork, RecurrentSupernet
from raydarts.spaces.regularization import RecurrentNetworkSettings, Regularization
from raydarts.spaces.transform import MixedTransform
from raydarts.tasks import LanguageModelling, Task, required
from raydarts.units import Entries, Nodes

PRIMITIVES = ("none", *ACTIVATIONS)
PENN_TREEBANK = 10_000


class DartsRnn(Space):
    """The paper's recurrent cell: five candidates, eight nodes with one predecessor each. h_t is their mean.

    The paper has 300 units. The nodes' numbers start at 1. Node 0 is s_0, made of x_t and h_{t-1}. `identity` is the
    skip connection.
    """

    NAME = "darts-rnn"
    SOURCE = "Liu, Simonyan, Yang 2018 (arXiv 1806.09055), sections 2.1 and 3.1.2"
    TASK: ClassVar[type[Task]] = LanguageModelling
    LANES: ClassVar[bool] = True
    SKIP: ClassVar[str] = "identity"
    EDGES_PER_NODE: ClassVar[int] = 1
    EXACT_EDGES: ClassVar[bool] = True
    SEARCH_ONLY: ClassVar[frozenset[str]] = frozenset({"units", *Regularization.model_fields})

    class Settings(Regularization):
        nodes: Nodes = Field(8, ge=1, description="Nodes of the cell, without node 0.")
        units: Entries = Field(300, ge=1, description="Entries of token vectors, hidden state and output.")

    @cached_property
    def cells(self) -> Mapping[str, CellSpec]:
        nodes = self.settings.nodes
        edges = tuple(Edge(src, dst) for dst in range(1, nodes + 1) for src in range(dst))
        return {CELL_TYPE: CellSpec(1, nodes, edges, (PRIMITIVES,) * len(edges))}

    def supernet(self, task: Task, transforms: Sequence[MixedTransform] = (), lanes: int = 1) -> nn.Module:
        vocabulary = required(task, LanguageModelling).vocabulary_size
        return RecurrentSupernet(
            self.cells[CELL_TYPE], vocabulary, self.settings.units, self.settings, transforms, lanes
        )

    def genotype(self, picks: Mapping[str, Sequence[tuple[int, str]]]) -> Genotype:
        spec = self.cells[CELL_TYPE]
        numbers = tuple(range(1, spec.num_nodes + 1))
        nodes = tuple(
            tuple(
                (primitive, spec.edges[index].src)
                for index, primitive in picks[CELL_TYPE]
                if spec.edges[index].dst == number
            )
            for number in numbers
        )
        return Genotype(((CELL_TYPE, CellGenotype(nodes, numbers)),))

    def network(self, genotype: Genotype, task: Task, settings: RecurrentNetworkSettings) -> nn.Module:
        if not self.owns(genotype):
            raise GenotypeError(f"the genotype is not of space {self.registered} (primitives: {', '.join(PRIMITIVES)})")
        vocabulary = required(task, LanguageModelling).vocabulary_size
        return RecurrentNetwork(genotype[CELL_TYPE], vocabulary, settings)

    def standard_network(self, genotype: Genotype) -> tuple[nn.Module, Tensor]:
        """Returns the paper's network on Penn Treebank, 850 units and a vocabulary of 10,000, and one token."""
        network = self.network(genotype, LanguageModelling(PENN_TREEBANK), RecurrentNetworkSettings())
        return network, torch.zeros(1, 1, dtype=torch.int64)
