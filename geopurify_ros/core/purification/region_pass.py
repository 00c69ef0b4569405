"""Only what changed, and what that reaches, is purified anew (METHODS 6.2).

Embeddings, neighbours and weights come out as those of a full pass: they are looked for as far as
a change can reach. Features are pooled within two metres of the changes, as if there were nothing
beyond: a hundred rounds reach one and a half metres with 99 % of their weight. A row is taken over
where what it pools comes from what changed rather than from the rim of the region; the others stay
as they are. What is left is a cosine of 0.002 in the middle, 0.01 for single voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geopurify_ros.core.mapping.block_index import spatial_order
from geopurify_ros.core.purification.affinity import Affinity
from geopurify_ros.core.purification.gate import Judged, best_texts, judged
from geopurify_ros.core.purification.neighbors import MAX_RADIUS, NeighborGraph, nearest_neighbors
from geopurify_ros.core.purification.pooled_features import pooled_in
from geopurify_ros.core.purification.pooling import IsUnwanted, Needed
from geopurify_ros.core.purification.purified import Patch, Purified
from geopurify_ros.core.purification.scene_embeddings import cut_out, learnt_of
from geopurify_ros.core.purification.sparse_conv import index_of
from geopurify_ros.core.purification.surroundings import CELL_VOXELS, steps_from
from geopurify_ros.core.purification.task import PurifyTask

REACH_M = 2.0
# Where the region is cut off, as shares of it: the less rounds are left, the less far they reach.
_RINGS = (0.64, 0.76, 0.88)
_NEAR = 1  # steps: what changed, and what touched voxels that are gone
_RIM = 4  # steps
_REACH = -(-MAX_RADIUS // CELL_VOXELS)  # steps that a new voxel can change neighbours at


@dataclass(frozen=True)
class Region:
    """What is to be looked at, by steps from the changes.

    Attributes:
        steps: (V,) uint8, see `steps_from`.
        reach: steps within which embeddings and neighbours may change.
        rim: steps within which features are pooled.
    """

    steps: Tensor
    reach: int
    rim: int

    def rows(self, steps: int) -> Tensor:  # (R,) int64
        """Rows within so many steps."""
        return torch.nonzero(self.steps <= steps).squeeze(1)


def region_of(task: PurifyTask, before: Purified) -> Region | None:
    """Around what changed since; None where nothing did."""
    shot = task.shot
    changed = shot.coords[shot.changed_at > before.version].to(torch.int64)
    seeds = torch.cat([changed, *before.gone])
    if not len(seeds):
        return None
    sees = task.student.shape.reach_voxels if task.student is not None else 0
    reach = max(_REACH, -(-sees // CELL_VOXELS))
    rim = max(round(REACH_M / shot.voxel_size_m) // CELL_VOXELS, 4 * reach)
    return Region(steps_from(seeds, shot.index, shot.coords, 2 * reach, rim), reach, rim)


def region_pass(
    task: PurifyTask, before: Purified, region: Region, is_unwanted: IsUnwanted
) -> Patch | None:
    """Purify a region anew; None when the result becomes unwanted."""
    shot, watch = task.shot, task.stopwatch
    embedded = region.rows(region.reach)
    with watch.measure("embed"):
        learnt = _learnt(task, before, region, embedded)
    if is_unwanted():
        return None
    with watch.measure("purify"):
        weighed = _weighed(task, before, region, embedded, learnt)
    if is_unwanted():
        return None
    with watch.measure("pool"):
        rows, local = _cut(task, before, region, weighed[0], weighed[1])
        steps = region.steps[rows]
        marks = torch.stack((steps <= _NEAR, steps > region.rim - _RIM), dim=1)
        found = pooled_in(
            before.basis, (task.features_of(rows),), shot.weights()[rows], local,
            task.settings.iterations, is_unwanted, needed=_needed(task, region, rows),
            marks=marks.to(torch.float32),
        )  # fmt: skip
    if found is None:
        return None
    is_taken = (steps <= _NEAR) | (found.marks[:, 0] > found.marks[:, 1])
    is_taken &= steps <= int(_edges(region, rows.device)[0])
    order = torch.sort(rows[is_taken]).indices
    taken = (rows[is_taken][order], found.values[is_taken][order], found.lengths[is_taken][order])
    return Patch(
        shot.version, len(shot), (embedded, learnt), weighed, taken,
        _judged(task, before, region, rows, local.index, taken),
    )  # fmt: skip


def _learnt(
    task: PurifyTask, before: Purified, region: Region, embedded: Tensor
) -> Tensor:  # (R, E) float16
    """What the student makes of rows whose input, or that of whose surroundings, changed."""
    shot = task.shot
    around = region.rows(2 * region.reach)
    coords = shot.coords[around].to(torch.int64)
    scene = cut_out(shot, around, index_of(coords), task.features_of(around), before.frozen.up,
                    before.frozen.floor_m)
    wanted = torch.nonzero(region.steps[around] <= region.reach).squeeze(1)
    return learnt_of(scene, task.settings.embedding, task.student, wanted).to(torch.float16)


def _weighed(
    task: PurifyTask, before: Purified, region: Region, embedded: Tensor, learnt: Tensor
) -> tuple[Tensor, Affinity, Tensor]:
    """Rows whose weights change, their affinity and its entropies.

    Those with a new embedding, and those that have one of them as a neighbour.
    """
    shot, old = task.shot, before.affinity
    has_new = region.steps <= region.reach
    graph = nearest_neighbors(
        shot.index, shot.coords.to(torch.int64), task.settings.neighbors, embedded
    )
    near = torch.nonzero((region.steps > region.reach) & (region.steps <= 2 * region.reach))
    near = near.squeeze(1)
    columns = old.index[near]
    affected = has_new[columns.to(torch.int64)].any(dim=1)
    near, columns = near[affected], columns[affected]
    rows, order = torch.sort(torch.cat((embedded, near)))
    # an isolated voxel stands for itself where it has no neighbours
    mask = torch.cat((graph.mask, columns != near[:, None]))[order]
    index = torch.cat((graph.index.to(torch.int32), columns))[order]

    place = torch.full((len(shot),), -1, dtype=torch.int64, device=rows.device)
    place[embedded] = torch.arange(len(embedded), device=rows.device)
    known = before.learnt if before.learnt is not None else learnt[:0]

    def learnt_at(wanted: Tensor) -> Tensor:
        here = place[wanted]
        is_known = here < 0
        values = learnt[here.clamp_min(0)]
        values[is_known] = known[wanted[is_known]]
        return values

    return (rows, *task.weighed(rows, NeighborGraph(index, mask), learnt_at))


def _cut(
    task: PurifyTask, before: Purified, region: Region, weighed_rows: Tensor, weighed: Affinity
) -> tuple[Tensor, Affinity]:
    """The rows to pool, and the affinity among them; who leaves the region is not asked.

    Rings from the inside to the outside, near to each other in space within a ring.
    """
    rows = region.rows(region.rim)
    order = spatial_order(task.shot.coords[rows].to(torch.int64))
    ring = torch.bucketize(region.steps[rows[order]].to(torch.int64), _edges(region, rows.device))
    rows = rows[order[torch.sort(ring, stable=True).indices]]
    number = torch.full((len(task.shot),), -1, dtype=torch.int32, device=rows.device)
    number[rows] = torch.arange(len(rows), dtype=torch.int32, device=rows.device)
    index = torch.empty((len(rows), weighed.index.shape[1]), dtype=torch.int32, device=rows.device)
    weight = torch.empty(index.shape, device=rows.device)
    fresh = number[weighed_rows].to(torch.int64)
    is_old = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    is_old[fresh] = False
    old = before.affinity
    index[fresh], weight[fresh] = number[weighed.index.to(torch.int64)], weighed.weight
    index[is_old] = number[old.index[rows[is_old]].to(torch.int64)]
    weight[is_old] = old.weight[rows[is_old]]
    outside = index < 0
    itself = torch.arange(len(rows), dtype=torch.int32, device=rows.device)
    index = torch.where(outside, itself[:, None], index)
    weight.masked_fill_(outside, 0.0)
    total = weight.sum(dim=1, keepdim=True)
    alone = total[:, 0] <= 0.0  # all whom it asks are outside
    weight[alone, 0], index[alone, 0], total[alone] = 1.0, itself[alone], 1.0
    return rows, Affinity(index, weight / total)


def _edges(region: Region, device: torch.device) -> Tensor:
    """Steps at which rings end, but for the last one."""
    return torch.tensor([round(share * region.rim) for share in _RINGS], device=device)


def _needed(task: PurifyTask, region: Region, rows: Tensor) -> Needed:
    """Rows that count after a round: as many rings as the rounds that are left can cross.

    What diffuses goes as far as the root of the rounds.
    """
    rounds, first = task.settings.iterations, _RINGS[0] / 1.6
    steps = region.steps[rows].to(torch.int64)
    counts = [int((steps <= edge).sum()) for edge in _edges(region, rows.device).tolist()]

    def needed(done: int) -> int:
        left = (rounds - 1 - done) / max(1, rounds)
        for share, count in zip(_RINGS, counts, strict=True):
            if left <= ((share - first) / (1.0 - first)) ** 2:
                return count
        return len(rows)

    return needed


def _judged(
    task: PurifyTask, before: Purified, region: Region, rows: Tensor, index: Tensor,
    taken: tuple[Tensor, Tensor, Tensor],
) -> tuple[Tensor, Judged] | None:
    """What the gate sees anew: rows whose best text may have changed, and who touches them."""
    if task.vocabulary is None or before.judged is None:
        return None
    shot = task.shot
    best = torch.zeros((len(shot), 2), dtype=torch.int64, device=rows.device)
    best[: len(before)] = before.judged.best.to(torch.int64)
    changed = torch.nonzero(shot.changed_at > before.version).squeeze(1)
    best[changed, 0] = best_texts(torch.split(task.features_of(changed), 4096), task.vocabulary)
    kept = torch.split(taken[1], 4096)
    best[taken[0], 1] = best_texts(kept, task.vocabulary @ before.basis.vectors)
    here = torch.nonzero(region.steps[rows] <= region.rim - _REACH).squeeze(1)
    found = judged(best[rows], index)
    order = torch.sort(rows[here]).indices
    here = here[order]
    return rows[here], Judged(found.best[here], found.ragged[here])
