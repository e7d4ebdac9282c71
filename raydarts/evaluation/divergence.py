"""Names the setting that made a retraining leave the range of its numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from raydarts.evaluation.language_settings import LanguageSettings
from raydarts.evaluation.settings import EvaluationSettings
from raydarts.measure import outgrown, setting_of


def blamed(
    section: str,
    settings: EvaluationSettings | LanguageSettings,
    optimizer: torch.optim.Optimizer,
    inputs: Tensor,
    begun: bool,
) -> str:
    """Returns the setting to look at after a training loss was not finite.

    Args:
        section: the stage's place in the spec.
        begun: whether a step has been made.
    """
    if inputs.is_floating_point() and not bool(torch.isfinite(inputs).all()):
        return "data.dataset, whose batch holds values that are not finite"
    if not begun:
        return f"data.dataset and {section}.training.network: the loss is not finite before any step"
    place = f"{section}.training"
    key = outgrown(optimizer, type(settings)())
    blame = setting_of(place, key, getattr(settings, key), unclipped=settings.grad_clip == 0)
    return f"{blame} or {place}.amp (float16)" if getattr(settings, "amp", "off") == "float16" else blame
