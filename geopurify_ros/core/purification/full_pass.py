"""All of a map is purified (METHODS 1.2, 1.9)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geopurify_ros.core.mapping.block_index import inverse_order, spatial_order
from geopurify_ros.core.pauses import Pause, no_pause
from geopurify_ros.core.purification.affinity import Affinity, affinity_weights, row_entropies
from geopurify_ros.core.purification.basis import basis_for
from geopurify_ros.core.purification.gate import Judged, best_texts, judged
from geopurify_ros.core.purification.neighbors import nearest_neighbors
from geopurify_ros.core.purification.pooled_features import pooled_in
from geopurify_ros.core.purification.purified import Frozen, Purified
from geopurify_ros.core.purification.scene import floor_of
from geopurify_ros.core.purification.scene_embeddings import learnt_of, scene_of
from geopurify_ros.core.purification.task import PurifyTask


def full_pass(
    task: PurifyTask, pause: Pause = no_pause, embeddings: Tensor | None = None
) -> Purified:
    """Purify.

    `embeddings` (V, E) of unit norm, in place of those that the settings name.
    """
    shot, watch = task.shot, task.stopwatch
    coords = shot.coords.to(torch.int64)
    frozen, learnt = frozen_of(task), None
    if embeddings is None:
        with watch.measure("embed"):
            # one unit vector e_i per voxel, by the student (1.2) or by hand
            scene = scene_of(shot, frozen.up, frozen.floor_m)
            learnt = learnt_of(scene, task.settings.embedding, task.student, None, pause)
            learnt = learnt.to(torch.float16)
            del scene
    pause()
    order = spatial_order(coords)
    with watch.measure("purify"):
        # the K nearest other voxels, at most 8 voxels away (6.3)
        graph = nearest_neighbors(shot.index, coords, task.settings.neighbors, order)
        if learnt is not None:
            affinity, entropies = task.weighed(order, graph, learnt.__getitem__, pause)
        elif embeddings is not None:
            scale = task.settings.affinity_scale
            affinity = affinity_weights(embeddings, graph, scale, order)
            entropies = row_entropies(affinity)
    del graph, coords
    pause()
    return _pooled(task, order, affinity, entropies, learnt, frozen, pause)


def frozen_of(task: PurifyTask) -> Frozen:
    """What embeddings of the map as it is now refer to."""
    up = normalize(task.shot.up_sum.to(torch.float64).cpu(), dim=0)
    sees_heights = (
        task.settings.embedding == "student" and task.student is not None
        and task.student.shape.input == "geometry"
    )  # fmt: skip
    return Frozen(up, floor_of(scene_of(task.shot, up, None)) if sees_heights else None)


def _pooled(
    task: PurifyTask,
    order: Tensor,  # (V,) int64, rows as the affinity has them
    affinity: Affinity,
    entropies: Tensor,  # (V,) in that order
    learnt: Tensor | None,
    frozen: Frozen,
    pause: Pause,
) -> Purified:
    shot, rounds = task.shot, task.settings.iterations
    place = inverse_order(order)
    with task.stopwatch.measure("pool"):
        basis, misfit = basis_for(shot.features, shot.feature_dim, order.device, task.basis)
        rename_(affinity.index, place)
        # F <- A F, T rounds (1.9), in the basis: it is linear
        pooled = pooled_in(
            basis, shot.features, shot.weights(), affinity, rounds, pause, order=order
        )
    rename_(affinity.index, order)
    affinity = Affinity(affinity.index[place], affinity.weight[place])
    return Purified(
        basis, pooled.values, pooled.lengths, affinity, entropies[place], learnt, frozen,
        shot.version, misfit, _judged(task, basis.vectors, pooled.values, affinity.index),
    )  # fmt: skip


def _judged(
    task: PurifyTask, vectors: Tensor, values: Tensor, index: Tensor
) -> Judged | None:
    """The gate's view (5.1) of the best names of the vocabulary."""
    if task.vocabulary is None:
        return None
    raw = best_texts(task.shot.features, task.vocabulary)
    best = best_texts(torch.split(values, 4096), task.vocabulary @ vectors)
    return judged(torch.stack((raw, best), dim=1), index)


def rename_(index: Tensor, number: Tensor) -> None:  # (R, K) int32, (V,) int64
    """Rows by their new numbers, in place and some at a time."""
    for start in range(0, len(index), 65_536):
        part = slice(start, start + 65_536)
        index[part] = number[index[part].to(torch.int64)].to(torch.int32)
