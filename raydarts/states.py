"""The state of an object in a checkpoint."""

from __future__ import annotations

from typing import Any

State = dict[str, Any]
"""What `state_dict()` returns and `load_state_dict()` takes: tensors, numbers, texts, lists, and states of parts.

torch's own optimizers and modules type it in the same way.
"""
