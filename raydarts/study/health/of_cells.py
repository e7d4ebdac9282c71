"""The shipped health checks. Their bars hold for each space that does not say otherwise (`Space.HEALTH`)."""

from __future__ import annotations

from pydantic import Field

from raydarts.study.health.base import HealthCheck


class SkipShare(HealthCheck):
    """At most half of the judged cell's edges are skip connections."""

    NAME = "skip_share"
    SOURCE = "ours; RobustDARTS' S1 grid: accuracy alone crowns cells with 7 to 8 skips of 8 (docs/method.md)"
    COLUMN = "skip_share"

    class Settings(HealthCheck.Settings):
        most: float = Field(0.5, ge=0, le=1, description="The largest share of skip connections.")


class ParameterFreeShare(HealthCheck):
    """Less than three quarters of the judged cell's edges have no parameters (skips, pools, noise, `none`)."""

    NAME = "parameter_free_share"
    SOURCE = "ours; of 214 random cells those with 6 or more of 8 edges without parameters lose (docs/method.md)"
    COLUMN = "parameter_free_share"

    class Settings(HealthCheck.Settings):
        most: float = Field(
            0.7,
            ge=0,
            le=1,
            description="The largest share of edges without parameters. 0.7 allows 5 of 8 edges, and 4 of 6.",
        )


class NoiseEdges(HealthCheck):
    """No edge of the judged cell is noise or `none`."""

    NAME = "noise_edges"
    SOURCE = "ours; a bar on skips alone is blind in RobustDARTS' S4 and in NAS-Bench-201"
    COLUMN = "noise_edges"

    class Settings(HealthCheck.Settings):
        most: float = Field(0, ge=0, description="The most edges that do not pass on their input.")


class Disconnected(HealthCheck):
    """No cell of any type is cut off from its inputs."""

    NAME = "disconnected"
    SOURCE = "ours"
    COLUMN = "disconnected"

    class Settings(HealthCheck.Settings):
        most: float = Field(0, ge=0, description="The most cells whose output depends on none of their inputs.")
