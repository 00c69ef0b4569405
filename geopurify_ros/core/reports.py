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
    """What purification is like.

    Attributes:
        num_purifications: of this map so far, this one included.
        num_voxels: that are purified.
        num_updated: of them, in this pass; all of them in a full one.
        entropy: 1 is a blur, 0 a copy; see affinity.row_entropies.
        rank: directions that features are kept in; 0: nothing was purified.
        news: what is worth telling of the basis, in one sentence; empty: nothing.
    """

    num_purifications: int
    num_voxels: int
    entropy: float
    rank: int = 0
    news: str = ""
    num_updated: int = 0
