"""What a genotype's standard network costs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from raydarts.genotypes.facts import Facts, cell_facts
from raydarts.spaces import Genotype, Space, space_of


def _unchanged(x: Tensor, *_: object) -> Tensor:
    return x


def network_cost(space: Space, genotype: Genotype) -> tuple[int, int]:
    """Returns parameters and FLOPs of the space's standard evaluation network. See `facts`. Nothing is drawn."""
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415 - imports triton, for a quarter of a second

    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        network, example = space.standard_network(genotype)
        network.eval()
        for module in network.modules():
            if isinstance(module, _BatchNorm):  # half of the time, for nothing: it has no multiply-add that is counted
                setattr(module, "forward", _unchanged)  # noqa: B010 - to mypy a method cannot be assigned
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(example)
    return sum(parameter.numel() for parameter in network.parameters()), int(counter.get_total_flops())


def parameters_of(genotype: Genotype, where: str = "") -> int:
    """Parameters of the space's standard evaluation network, auxiliary head not counted."""
    with torch.device("meta"):
        network, _ = space_of(genotype, where).standard_network(genotype)
    return sum(parameter.numel() for parameter in network.parameters())


def facts(genotype: Genotype, where: str = "") -> Facts:
    """Parameters and FLOPs of the space's standard evaluation network, auxiliary head not counted.

    `flops` counts two per multiply-add, of convolutions and linear layers, for one input (an image, a token); `macs` is
    half of it (what papers call FLOPs or multi-adds). Built on torch's meta device: nothing is computed.
    """
    space = space_of(genotype, where)
    parameters, flops = network_cost(space, genotype)
    return {
        "id": genotype.id,
        "space": space.registered,
        "parameters": parameters,
        "flops": flops,
        "macs": flops // 2,
        "skips": genotype.skips(space.SKIP),
        **cell_facts(genotype, space.kinds),  # type: ignore[typeddict-item]
        "genotype": genotype.to_json(),
    }
