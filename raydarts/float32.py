"""How exactly float32 numbers are multiplied, while a job computes and no longer: TF32 on NVIDIA GPUs, mixed types."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def _flags() -> tuple[tuple[object, str], ...]:
    """Where torch keeps what it does. The last is a CPU's; torch changes it together with the first."""
    import torch  # noqa: PLC0415 - settings ask `require_float32`, and a trial's process reads them before it needs torch

    return (
        (torch.backends.cuda.matmul, "fp32_precision"),
        (torch.backends.cudnn.conv, "fp32_precision"),  # type: ignore[attr-defined]
        (torch.backends.cudnn.rnn, "fp32_precision"),
        (torch.backends.mkldnn.matmul, "fp32_precision"),  # type: ignore[attr-defined]
    )


def _set_matmul(precise: bool) -> None:
    """By the function that sets torch's old and new flag alike: torch.compile read the old one until torch 2.13."""
    import torch  # noqa: PLC0415

    torch.set_float32_matmul_precision("highest" if precise else "high")


@contextmanager
def arithmetic(*, tf32: bool) -> Iterator[None]:
    """Inside, float32 convolutions and matrix products on a GPU may round what they multiply to TF32, or must not.

    TF32 keeps 10 of a float32's 23 bits; GPUs of compute capability 8.0 and above have it. torch allows it in
    convolutions unless it is told otherwise. cuDNN takes deterministic algorithms alone inside: else a resumed run
    would not end as one that was never killed.

    The flags are the process's, so they are put back on leaving: in a process that runs many trials none has the
    setting of another. What a CPU does stays as it is.
    """
    import torch  # noqa: PLC0415

    flags = _flags()
    before = [getattr(*flag) for flag in flags]
    deterministic, on_cpu = torch.backends.cudnn.deterministic, before[-1]
    value = "tf32" if tf32 else "ieee"
    torch.backends.cudnn.deterministic = True
    _set_matmul(not tf32)
    torch.backends.mkldnn.matmul.fp32_precision = on_cpu  # type: ignore[attr-defined]
    torch.backends.cudnn.conv.fp32_precision = value  # type: ignore[attr-defined]
    torch.backends.cudnn.rnn.fp32_precision = value  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = deterministic
        _set_matmul(before[0] != "tf32")
        for (backend, name), was in zip(flags, before, strict=True):
            setattr(backend, name, was)


def mixed(device: torch.device, amp: str) -> AbstractContextManager[object]:
    """Inside, convolutions and linear layers compute in the type `amp` (`torch.autocast`). "off" changes nothing.

    What was cast is not kept: a step that is captured as a CUDA graph must cast the weights that it has then.
    """
    import torch  # noqa: PLC0415

    if amp == "off":
        return nullcontext()
    return torch.autocast(device.type, getattr(torch, amp), cache_enabled=False)


def state() -> dict[str, bool]:
    """Whether TF32 is allowed now, in `matmul` and in `conv`."""
    import torch  # noqa: PLC0415

    return {
        "matmul": torch.backends.cuda.matmul.fp32_precision == "tf32",
        "conv": torch.backends.cudnn.conv.fp32_precision == "tf32",  # type: ignore[attr-defined]
    }


def require_float32(allowed: bool, precision: str | None) -> None:
    """Raise `ValueError` where TF32 is asked for and nothing computes in float32."""
    if allowed and precision == "float64":
        raise ValueError("has no effect in precision float64; write precision: float32, or tf32: false")


def require_mixable(amp: str, precision: str | None) -> None:
    """Raise `ValueError` where mixed precision is asked for and nothing computes in float32."""
    if amp != "off" and precision == "float64":
        raise ValueError("mixes with precision float32 alone; write precision: float32, or amp: off")
