"""All of a map is purified (METHODS 1.2, 1.9)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geopurify_ros.core.mapping.block_index import spatial_order
from geopurify_ros.core.purification.affinity import Affinity, affinity_weights, row_entropies
from geopurify_ros.core.purification.basis import basis_for
from geopurify_ros.core.purification.gate import Judged, best_texts, judged
from geopurify_ros.core.purification.job_parts import Needs
from geopurify_ros.core.purification.neighbors import nearest_neighbors
from geopurify_ros.core.purification.pooled_features import pooled_in
from geopurify_ros.core.purification.pooling import IsUnwanted
from geopurify_ros.core.purification.purified import Frozen, Purified
from geopurify_ros.core.purification.student import floor_of, joined_of, learnt_of


def full_pass(
    needs: Needs, is_unwanted: IsUnwanted, embeddings: Tensor | None = None
) -> Purified | None:
    """Purify; None when the result becomes unwanted.

    `embeddings` (V, E) of unit norm, in place of those that the settings name.
    """
    shot, watch = needs.shot, needs.stopwatch
    frozen, learnt = Frozen(normalize(shot.up_sum, dim=0), None), None
    if embeddings is None:
        with watch.measure("embed"):
            # one unit vector e_i per voxel, by the student (1.2) or by hand
            frozen = frozen_of(needs)
            learnt = needs.learnt(frozen)
            embeddings = needs.joined(learnt)
    if is_unwanted():
        return None
    with watch.measure("purify"):
        # the K nearest other voxels, at most 8 voxels away (6.3)
        graph = nearest_neighbors(shot.index, shot.coords, needs.settings.neighbors)
        # A_ij, a soft-max of alpha e_i . e_j over them (1.9)
        affinity = affinity_weights(embeddings, graph, needs.settings.affinity_scale)
    del embeddings, graph
    return None if is_unwanted() else _pooled(needs, affinity, learnt, frozen, is_unwanted)
