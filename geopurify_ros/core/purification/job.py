"""A purification from beginning to end on a snapshot: any thread can do it, nothing else moves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from geopurify_ros.config import PurifyConfig
from geopurify_ros.core.mapping.block_index import BlockIndex
from geopurify_ros.core.mapping.map_records import MapSnapshot
from geopurify_ros.core.purification.affinity import Affinity, affinity_weights, row_entropy
from geopurify_ros.core.purification.basis import FeatureBasis, basis_for
from geopurify_ros.core.purification.gate import Effect, best_texts, effect_of, objection
from geopurify_ros.core.purification.neighbors import nearest_neighbors
from geopurify_ros.core.purification.purified import IsUnwanted, Purified, pooled_in
from geopurify_ros.core.purification.sparse_conv import index_of
from geopurify_ros.core.purification.student import StudentNet, embeddings_of
from geopurify_ros.core.stopwatch import Stopwatch


@dataclass(frozen=True)
class PurifyJob:
    """What a purification needs to know.

    Attributes:
        shot: the map.
        settings: parameters purify.*.
        student: for purify.embedding student.
        basis: of the map so far; None: not known yet.
        vocabulary: (L, D) texts that the gate looks at; None: the encoder names none.
        stopwatch: of the pipeline.
    """

    shot: MapSnapshot
    settings: PurifyConfig
    student: StudentNet | None
    basis: FeatureBasis | None
    vocabulary: Tensor | None
    stopwatch: Stopwatch

    @torch.inference_mode()
    def run(
        self, is_unwanted: IsUnwanted = lambda: False, embeddings: Tensor | None = None
    ) -> Purified | None:
        """Purify; None where there is nothing to do, or when the result becomes unwanted.

        `embeddings` (V, E) of unit norm, in place of those that the settings name.
        """
        kind = self.settings.embedding
        if not len(self.shot) or (kind == "none" and embeddings is None):
            return None
        coords = self.shot.coords.to(torch.int64)
        index = index_of(coords)
        if embeddings is None:
            with self.stopwatch.measure("embed"):
                # one unit vector e_i per voxel, by the student (1.2) or by hand
                embeddings = embeddings_of(self.shot, index, kind, self.student)
        if is_unwanted():
            return None
        affinity = self._affinity(index, coords, embeddings)
        if is_unwanted():
            return None
        found = self._pooled(affinity, is_unwanted)
        if found is None or self.vocabulary is None:
            return found
        return self._judged(found, self.vocabulary)

    def _affinity(self, index: BlockIndex, coords: Tensor, embeddings: Tensor) -> Affinity:
        with self.stopwatch.measure("purify"):
            # the K nearest other voxels, at most 8 voxels away (6.3)
            graph = nearest_neighbors(index, coords, self.settings.neighbors)
            # A_ij, a soft-max of alpha e_i . e_j over them (1.9)
            return affinity_weights(embeddings, graph, self.settings.affinity_scale)

    def _pooled(self, affinity: Affinity, is_unwanted: IsUnwanted) -> Purified | None:
        shot, rounds = self.shot, self.settings.iterations
        with self.stopwatch.measure("pool"):
            basis, misfit = basis_for(
                shot.features, shot.feature_dim, shot.coords.device, self.basis
            )
            # F <- A F, T rounds (1.9), in the basis: it is linear
            pooled = pooled_in(
                basis, shot.features, shot.weights(), affinity, rounds, is_unwanted
            )
        if pooled is None:
            return None
        return Purified(basis, *pooled, affinity, row_entropy(affinity), misfit)

    def _judged(self, found: Purified, vocabulary: Tensor) -> Purified:
        """With the gate's judgement (5.1) on the best names of a vocabulary (L, D)."""
        raw = best_texts(self.shot.features, vocabulary)
        kept: Iterable[Tensor] = (chunk for _, chunk in found.chunks())
        best = best_texts(kept, vocabulary @ found.basis.vectors)
        effect: Effect = effect_of(raw, best, found.affinity, found.entropy)
        return replace(found, effect=effect, objection=objection(effect, self.settings))
