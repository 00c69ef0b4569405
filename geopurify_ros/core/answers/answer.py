"""What the pipeline answers to a query."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from geopurify_ros.core.answers.query import VoxelLabels
from geopurify_ros.core.purification.gate import Effect


@dataclass(frozen=True)
class Answer:
    """Labels of all V voxels, before and after purification, in row order of the map.

    Attributes:
        raw: before; None: nobody asked for them, and the gate did not need them.
        pooled: after.
        effect: what pooling did to the labels.
        objection: why the gate declines the pooled labels; empty if it does not.
    """

    raw: VoxelLabels | None
    pooled: VoxelLabels
    effect: Effect = field(default_factory=lambda: Effect(0.0, 0.0, 0.0, 0.0))
    objection: str = ""

    @property
    def purified(self) -> VoxelLabels:
        """The labels to use: pooled, or raw where the gate declined."""
        return self.raw if self.raw is not None and self.objection else self.pooled

    @property
    def changed_fraction(self) -> float:
        """Share of voxels whose label purification changed; 0 where raw labels are not known."""
        if self.raw is None:
            return 0.0
        differs = (self.purified.label != self.raw.label).to(torch.float32)
        return float(differs.mean()) if len(differs) else 0.0
