"""Only what changed, and what that reaches, is purified anew (METHODS 6.2).

Embeddings, neighbours and weights come out as those of a full pass: they are looked for as far as
a change can reach. Features are pooled in a region around the changes as if there were nothing
beyond. A row is taken over where what it pools comes from what changed rather than from the rim of
the region; the others stay as they are. What that leaves amiss is estimated, and where it is too
much, the region grows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from geopurify_ros.core.pauses import Pause, no_pause
from geopurify_ros.core.purification.affinity import Affinity
from geopurify_ros.core.purification.gate import Judged, best_texts, judged
from geopurify_ros.core.purification.neighbors import NeighborGraph, nearest_neighbors
from geopurify_ros.core.purification.pooled_features import Pooled, pooled_in
from geopurify_ros.core.purification.purified import Patch, Purified
from geopurify_ros.core.purification.region import MOST_SHARE, Region, cut_affinity, needed_rows
from geopurify_ros.core.purification.scene_embeddings import cut_out, learnt_of
from geopurify_ros.core.purification.sparse_conv import index_of
from geopurify_ros.core.purification.task import PurifyTask

_NEAR = 1  # steps: what changed, and what touches it
_REWEIGHED = 0.2  # sum of the changes of a row's weights that counts as a change of the row
_RIM = 4  # steps
_AMISS = 0.01  # estimated error of a unit vector that is too much
_MOST_AMISS = 0.003  # share of the rows that may have it


def region_pass(
    task: PurifyTask, before: Purified, region: Region, pause: Pause = no_pause
) -> Patch | None:
    """Purify a region anew; None where it would have to grow to most of the map."""
    shot, watch = task.shot, task.stopwatch
    embedded = region.rows(region.reach)
    with watch.measure("embed"):
        learnt = _learnt(task, before, region, embedded, pause)
    pause()
    with watch.measure("purify"):
        weighed = _weighed(task, before, region, embedded, learnt)
    pause()
    is_changed = _is_changed(before, region, weighed[0], weighed[1])
    while region.share <= MOST_SHARE:
        with watch.measure("pool"):
            rows, local = cut_affinity(region, shot, before.affinity, weighed[0], weighed[1])
            steps = region.steps[rows]
            marks = torch.stack((is_changed[rows], steps > region.rim - _RIM), dim=1)
            found = pooled_in(
                before.basis, (task.features_of(rows),), shot.weights()[rows], local,
                task.settings.iterations, pause, marks=marks.to(torch.float32),
                needed=needed_rows(region, steps, task.settings.iterations),
            )  # fmt: skip
        if _is_good(before, region, rows, found):
            taken = _taken(region, rows, is_changed[rows], found)
            seen = _judged(task, before, region, rows, local.index, taken)
            return Patch(shot.version, len(shot), (embedded, learnt), weighed, taken, seen)
        region = region.grown(shot)
    return None


def _is_changed(
    before: Purified, region: Region, rows: Tensor, weighed: Affinity
) -> Tensor:  # (V,) bool
    """Voxels that are new or not what they were, and those that ask others than before."""
    made = region.steps <= _NEAR
    known = torch.nonzero(rows < len(before)).squeeze(1)
    old = before.affinity
    index, weight = old.index[rows[known]], old.weight[rows[known]]
    others = (index != weighed.index[known]).any(dim=1)
    others |= (weight - weighed.weight[known]).abs().sum(dim=1) > _REWEIGHED
    made[rows[known[others]]] = True
    return made


def _is_good(before: Purified, region: Region, rows: Tensor, found: Pooled) -> bool:
    """Whether next to no row is far from what a full pass would find.

    The truth lies between the old value and the new one where as much comes from the rim as from
    what changed; on a mapped room the largest estimate was .3 to 3 times the largest error.
    """
    known = torch.nonzero((rows < len(before)) & _is_settled(region, rows)).squeeze(1)
    old = before.values[rows[known]].to(torch.float32)
    moved = (found.values[known].to(torch.float32) - old).norm(dim=1)
    change, rim = found.marks[known].unbind(dim=1)
    amiss = moved * torch.minimum(change, rim) / (change + rim).clamp_min(1e-9)
    return int((amiss > _AMISS).sum()) <= _MOST_AMISS * len(rows)


def _is_settled(region: Region, rows: Tensor) -> Tensor:  # (R,) bool
    """Rows that went through all rounds."""
    return region.steps[rows] <= region.ring_ends[0]


def _taken(
    region: Region, rows: Tensor, is_changed: Tensor, found: Pooled
) -> tuple[Tensor, Tensor, Tensor]:
    is_taken = is_changed | (found.marks[:, 0] > found.marks[:, 1])
    picked = torch.nonzero(is_taken & _is_settled(region, rows)).squeeze(1)
    picked = picked[torch.sort(rows[picked]).indices]
    return rows[picked], found.values[picked], found.lengths[picked]


def _learnt(
    task: PurifyTask, before: Purified, region: Region, embedded: Tensor, pause: Pause
) -> Tensor:  # (R, E) float16
    """What the student makes of rows whose input, or that of whose surroundings, changed."""
    shot = task.shot
    around = region.rows(2 * region.reach)
    coords = shot.coords[around].to(torch.int64)
    scene = cut_out(shot, around, index_of(coords), task.features_of(around), before.frozen.up,
                    before.frozen.floor_m)
    wanted = torch.nonzero(region.steps[around] <= region.reach).squeeze(1)
    return learnt_of(scene, task.settings.embedding, task.student, wanted, pause).to(torch.float16)


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
    here = torch.nonzero(region.steps[rows] <= region.rim - region.reach).squeeze(1)
    found = judged(best[rows], index)
    order = torch.sort(rows[here]).indices
    here = here[order]
    return rows[here], Judged(found.best[here], found.ragged[here])
