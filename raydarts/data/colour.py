"""Random changes of brightness, contrast, saturation and hue for each image, on the device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from raydarts.data.settings import ColourJitter
from raydarts.errors import DataError
from raydarts.streams import WHOLE, Share

LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in a grey value (ITU-R BT.601, rounded as in torchvision)."""


def require_colours(jitter: ColourJitter, name: str, channels: int) -> None:
    """Raises `DataError` if images with this many channels have nothing that this jitter could change."""
    asked = jitter.strengths
    if channels not in (1, 3) and asked:
        raise DataError(f"augment.colour_jitter: {name}'s images have {channels} channels; it needs 1 or 3")
    if channels == 1 and (useless := [key for key in ("saturation", "hue") if key in asked]):
        raise DataError(f"augment.colour_jitter: {' and '.join(useless)} of {name}'s grey images cannot be changed")


def jittered(values: Tensor, jitter: ColourJitter, generator: torch.Generator, share: Share = WHOLE) -> Tensor:
    """Returns the images changed by what `jitter` asks for. The order of the changes is drawn for each image.

    `values` is NHWC in [0, 255]: the `share` of a batch.
    """
    asked = jitter.strengths
    if not asked:
        return values
    drawn, device = share.whole(len(values)), values.device
    orders = share.of(torch.rand((drawn, len(asked)), generator=generator, device=device)).argsort(1).cpu()
    spread = 2 * share.of(torch.rand((len(asked), drawn), generator=generator, device=device), 1) - 1
    factors = [
        spread[number] * strength
        if name == "hue"
        else _between(max(0.0, 1 - strength), 1 + strength, (spread[number] + 1) / 2)
        for number, (name, strength) in enumerate(asked.items())
    ]
    changes = [_CHANGES[name] for name in asked]
    values = values.clone()
    for turn in range(len(asked)):
        for number, change in enumerate(changes):
            chosen = (orders[:, turn] == number).nonzero().flatten().to(device)
            if len(chosen):
                factor = factors[number][chosen].to(values.dtype)[:, None, None, None]
                values[chosen] = change(values[chosen], factor)
    return values


def _between(low: float, high: float, share: Tensor) -> Tensor:
    return low + (high - low) * share


def _blended(values: Tensor, other: Tensor | float, factor: Tensor) -> Tensor:
    return (factor * values + (1 - factor) * other).clamp(0, 255)


def _grey(values: Tensor) -> Tensor:
    if values.shape[3] == 1:
        return values
    return (values * values.new_tensor(LUMA)).sum(3, keepdim=True)


def brightness(values: Tensor, factor: Tensor) -> Tensor:
    """Multiplies by `factor` `(n, 1, 1, 1)`."""
    return _blended(values, 0.0, factor)


def contrast(values: Tensor, factor: Tensor) -> Tensor:
    """Moves away from the image's mean grey (factor below 1: towards it)."""
    return _blended(values, _grey(values).mean((1, 2, 3), keepdim=True), factor)


def saturation(values: Tensor, factor: Tensor) -> Tensor:
    """Moves away from each pixel's grey (factor below 1: towards it)."""
    return _blended(values, _grey(values), factor)


def hue(values: Tensor, turn: Tensor) -> Tensor:
    """Turns the hue by `turn` of a full circle. Value and saturation (HSV) stay."""
    red, green, blue = values.unbind(3)
    value = values.amax(3)
    chroma = value - values.amin(3)
    safe = torch.where(chroma == 0, 1, chroma)
    sector = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sector = sector + 6 * turn[..., 0]
    away = torch.stack([(sector + offset) % 6 for offset in (5, 3, 1)], 3)
    return value[..., None] - chroma[..., None] * torch.minimum(away, 4 - away).clamp(0, 1)


_CHANGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "brightness": brightness,
    "contrast": contrast,
    "saturation": saturation,
    "hue": hue,
}
