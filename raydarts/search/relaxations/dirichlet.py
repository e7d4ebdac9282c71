"""DrNAS' relaxation."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from raydarts.search.relaxations.base import Relaxation
from raydarts.spaces.context import Context


def concentration(alpha: Tensor) -> Tensor:
    """Returns elu(alpha) + 1: alpha + 1 above 0, else exp(alpha).

    exp(alpha) stays above 0 where elu(alpha) + 1 would round to 0.
    """
    above = alpha > 0
    return torch.where(above, alpha + 1, alpha.masked_fill(above, 0).exp())  # clamp has no derivative at 0


class _Draw(torch.autograd.Function):
    """Draws x ~ Dirichlet(c) for each row of c, with the pathwise gradient in c. It has no second derivative."""

    @staticmethod
    def forward(ctx: Context, c: Tensor, generator: torch.Generator | None) -> Tensor:
        x = torch._sample_dirichlet(c, generator)
        ctx.save_for_backward(x, c)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Context, gradient: Tensor) -> tuple[Tensor, None]:
        x, c = ctx.saved_tensors
        along = torch._dirichlet_grad(x, c, c.sum(-1, keepdim=True).expand_as(c))
        return along * (gradient - (x * gradient).sum(-1, keepdim=True)), None


class Dirichlet(Relaxation):
    """Draws each edge's arch weights from Dirichlet(elu(alpha) + 1) in each pass, with the pathwise gradient.

    The gradient is that of implicit reparameterisation. Measuring, penalties and the selection use the distribution's
    mean: elu(alpha) + 1 divided by its sum over the edge. Every estimator works: `exact_hvp` takes one derivative
    through the draw and the other in the weights.
    """

    NAME = "dirichlet"
    LANES = True
    SOURCE = "DrNAS (Chen et al. 2021, arXiv 2006.10355), section 2.2"
    REMEDY = True
    RANDOM: ClassVar[bool] = True
    FORMULA = "arch_weights ~ Dirichlet(elu(alpha) + 1), pathwise gradient"
    DIFFERS = (
        "The authors' code picks the genotype by softmax(alpha) and validates on a draw; here both look at the mean: "
        "the order within an edge is the same, edges may rank otherwise. Its second-order passes draw anew each time; "
        "here the passes of one alpha step share a draw."
    )

    def __call__(self, alpha: Tensor) -> Tensor:
        draw: Tensor = _Draw.apply(concentration(alpha), self.generator)
        return draw

    def expected(self, alpha: Tensor) -> Tensor:
        c = concentration(alpha)
        return c / c.sum(-1, keepdim=True)
