"""The learning rate of each epoch of a retraining."""

from __future__ import annotations

import math

from raydarts.evaluation.settings import EvaluationSettings


def learning_rate(settings: EvaluationSettings, epoch: int) -> float:
    """The learning rate during `epoch` (0 the first), a function of the settings alone: a resumed run needs no state.

    With t = epoch / epochs:

        cosine       lr_min + (lr - lr_min) (1 + cos(pi t)) / 2    DARTS paper, A.2.1
        linear       lr_min + (lr - lr_min) (1 - t)                P-DARTS and PC-DARTS on ImageNet
        exponential  lr * lr_factor ** epoch                       DARTS paper, A.2.3: 0.97

    The first `warmup_epochs` have lr (epoch + 1) / warmup_epochs instead, and the schedule goes on at its own
    epoch after them (PC-DARTS' code, train_imagenet.py). P-DARTS' code multiplies the scheduled value by
    (epoch + 1) / 5, and both codes' linear schedules are a little steeper, lr (epochs - 5 - epoch) / (epochs - 5),
    with five flatter epochs at the end.
    """
    if epoch < settings.warmup_epochs:
        return settings.lr * (epoch + 1) / settings.warmup_epochs
    if settings.lr_factor is not None:
        return float(settings.lr * settings.lr_factor**epoch)
    passed = epoch / settings.epochs
    share = (1 + math.cos(math.pi * passed)) / 2 if settings.schedule == "cosine" else 1 - passed
    return settings.lr_min + (settings.lr - settings.lr_min) * share
