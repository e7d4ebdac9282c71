"""How a penalty's strength changes over a search."""

from __future__ import annotations

import math
from typing import Literal

from raydarts.search.moments import Moment

Ramp = Literal["linear", "constant", "turning"]


def ramped(ramp: Ramp, now: Moment) -> float:
    """Returns the factor on the strength in this epoch.

    - `linear`: epoch / (epochs - 1), from 0 to 1.
    - `constant`: 1.
    - `turning`: -cos(pi * epoch / (epochs - 1)), from -1 through 0 in the middle to 1. The penalty first rewards what
      it punishes
    later.

    A search of one epoch has only the first value.
    """
    if ramp == "constant":
        return 1.0
    return now.progress if ramp == "linear" else -math.cos(math.pi * now.progress)
