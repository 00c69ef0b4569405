"""What the pipeline says of a step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class IntegrateReport:
    """What one frame added."""

    num_points: int
    num_voxels_seen: int
    num_new_voxels: int


@dataclass(frozen=True)
class PurifyReport:
    """What purification is like: `entropy` 1 is a blur, 0 a copy; see affinity.row_entropy."""

    num_purifications: int
    num_voxels: int
    entropy: float
