"""The part of a map that a purification looks at, by its distance from what changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from geopurify_ros.config import PurifyConfig
from geopurify_ros.core.mapping.block_index import spatial_order
from geopurify_ros.core.mapping.map_records import MapSnapshot
from geopurify_ros.core.purification.affinity import Affinity
from geopurify_ros.core.purification.neighbors import MAX_RADIUS
from geopurify_ros.core.purification.pooling import Needed
from geopurify_ros.core.purification.surroundings import CELL_VOXELS, FAR, steps_from

MOST_SHARE = 0.6  # of a map: beyond that a full pass takes as long
# Voxels that features go in T rounds over K neighbours: as far as the root of both. At 5 cm and
# all defaults 2.2 m, within which lies more than 99.9 % of what a voxel pools.
_REACH, _REACH_OF = 44, 32 * 100
# Where rings end, as shares of the region: the less rounds are left, the less far they reach.
_RINGS = (0.9, 0.94, 0.97)
_INNER = 0.6  # of the region, which all rounds are made for
_GROWTH = 1.5


@dataclass(frozen=True)
class Region:
    """What is to be looked at.

    Attributes:
        seeds: (M, 3) int64, voxels that changed or are gone.
        steps: (V,) uint8 from them, see `steps_from`.
        reach: steps within which embeddings and neighbours may change.
        rim: steps within which features are pooled.
    """

    seeds: Tensor
    steps: Tensor
    reach: int
    rim: int

    def rows(self, steps: int) -> Tensor:  # (R,) int64
        """Rows within so many steps."""
        return torch.nonzero(self.steps <= steps).squeeze(1)

    @cached_property
    def share(self) -> float:
        """Of the map; more than all of it where the region can grow no further."""
        inside = (self.steps <= self.rim).to(torch.float32)
        return float(inside.mean()) if self.rim < FAR else 2.0

    @property
    def ring_ends(self) -> list[int]:
        """Steps at which rings end, but for the last one."""
        return [round(share * self.rim) for share in _RINGS]

    def grown(self, shot: MapSnapshot) -> Region:
        """The same with a wider rim."""
        rim = min(FAR, round(_GROWTH * self.rim))
        near = min(rim, FAR - 1)
        steps = steps_from(self.seeds, shot.index, shot.coords, 2 * self.reach, near)
        return replace(self, steps=steps, rim=rim)


def region_around(
    seeds: Tensor,  # (M, 3) int64
    shot: MapSnapshot,
    sees_voxels: int,  # how far an embedding sees
    settings: PurifyConfig,
) -> Region:
    """The region that voxels which changed may matter to."""
    reach = -(-max(MAX_RADIUS, sees_voxels) // CELL_VOXELS)
    far = _REACH * (settings.neighbors * settings.iterations / _REACH_OF) ** 0.5
    rim = min(max(round(far / CELL_VOXELS), 4 * reach), FAR - 1)
    steps = steps_from(seeds, shot.index, shot.coords, 2 * reach, rim)
    return Region(seeds, steps, reach, rim)


def cut_affinity(
    region: Region,
    shot: MapSnapshot,
    old: Affinity,  # of all rows that were purified before
    weighed_rows: Tensor,  # (W,) int64
    weighed: Affinity,  # of these, as it is now
) -> tuple[Tensor, Affinity]:
    """The rows to pool, and the affinity among them; who leaves the region is not asked.

    Rings from the inside to the outside, near to each other in space within a ring.
    """
    rows = _in_rings(region, shot.coords)
    number = torch.full((len(shot),), -1, dtype=torch.int32, device=rows.device)
    itself = torch.arange(len(rows), dtype=torch.int32, device=rows.device)
    number[rows] = itself
    index = torch.empty((len(rows), old.index.shape[1]), dtype=torch.int32, device=rows.device)
    weight = torch.empty(index.shape, device=rows.device)
    fresh = number[weighed_rows].to(torch.int64)
    is_old = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    is_old[fresh] = False
    index[fresh], weight[fresh] = number[weighed.index.to(torch.int64)], weighed.weight
    index[is_old] = number[old.index[rows[is_old]].to(torch.int64)]
    weight[is_old] = old.weight[rows[is_old]]
    outside = index < 0
    index = torch.where(outside, itself[:, None], index)
    weight.masked_fill_(outside, 0.0)
    total = weight.sum(dim=1, keepdim=True)
    alone = total[:, 0] <= 0.0  # all whom it asks are outside
    weight[alone, 0], index[alone, 0], total[alone] = 1.0, itself[alone], 1.0
    return rows, Affinity(index, weight / total)


def _in_rings(region: Region, coords: Tensor) -> Tensor:  # (R,) int64
    rows = region.rows(region.rim)
    rows = rows[spatial_order(coords[rows].to(torch.int64))]
    ends = torch.tensor(region.ring_ends, device=rows.device)
    ring = torch.bucketize(region.steps[rows].to(torch.int64), ends)
    return rows[torch.sort(ring, stable=True).indices]


def needed_rows(region: Region, steps: Tensor, rounds: int) -> Needed:  # steps: (R,) of the rows
    """Rows that count after a round: as many rings as the rounds that are left can cross.

    What diffuses goes as far as the root of the rounds.
    """
    counts = [int((steps <= end).sum()) for end in region.ring_ends]

    def needed(done: int) -> int:
        left = (rounds - 1 - done) / max(1, rounds)
        for share, count in zip(_RINGS, counts, strict=True):
            if left <= ((share - _INNER) / (1.0 - _INNER)) ** 2:
                return count
        return len(steps)

    return needed
