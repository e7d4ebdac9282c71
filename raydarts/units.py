"""Units of settings. A setting whose type is one of these shows the unit in docs/spec.md and in `raydarts list`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Unit:
    """Marks a type with its unit: `Annotated[int, Unit("epochs")]`. Pydantic ignores it when it validates."""

    name: str


Channels = Annotated[int, Unit("channels")]
Columns = Annotated[int, Unit("columns of text")]
Edges = Annotated[int, Unit("edges")]
Entries = Annotated[int, Unit("vector entries")]
Epochs = Annotated[int, Unit("epochs")]
Genotypes = Annotated[int, Unit("genotypes")]
Hours = Annotated[float, Unit("hours")]
ImagesOrColumns = Annotated[int, Unit("images, or columns of text")]
Nodes = Annotated[int, Unit("nodes")]
Pixels = Annotated[int, Unit("pixels")]
Processes = Annotated[int, Unit("processes")]
Seconds = Annotated[float, Unit("seconds")]
SkipConnections = Annotated[int, Unit("skip connections")]
Steps = Annotated[int, Unit("steps")]
StackedCells = Annotated[int, Unit("cells")]
Tokens = Annotated[int, Unit("tokens")]
Trials = Annotated[int, Unit("trials")]
