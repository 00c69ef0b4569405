"""What a purification works on: a map as it was, and how it shall be purified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from geopurify_ros.config import PurifyConfig
from geopurify_ros.core.mapping.feature_chunks import rows_of
from geopurify_ros.core.mapping.map_records import MapSnapshot
from geopurify_ros.core.pauses import Pause, no_pause
from geopurify_ros.core.purification.affinity import Affinity, affinity_weights, row_entropies
from geopurify_ros.core.purification.basis import FeatureBasis
from geopurify_ros.core.purification.neighbors import NeighborGraph
from geopurify_ros.core.purification.scene_embeddings import joined_of
from geopurify_ros.core.purification.student import StudentNet
from geopurify_ros.core.stopwatch import Stopwatch

_ROWS_AT_ONCE = 16_384  # whose embeddings, and those of their neighbours, are put together


@dataclass(frozen=True)
class PurifyTask:
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

    def features_of(self, rows: Tensor) -> Tensor:  # (R,) int64 -> (R, D) float16
        """Raw features of some voxels."""
        return rows_of(self.shot.features, rows, self.shot.feature_dim)

    def weighed(
        self,
        rows: Tensor,  # (R,) int64
        graph: NeighborGraph,  # of these rows
        learnt_of: Callable[[Tensor], Tensor],  # (N,) int64 -> (N, E), of any rows
        pause: Pause = no_pause,
    ) -> tuple[Affinity, Tensor]:  # R rows, and their entropies (R,)
        """A_ij, a soft-max of alpha e_i . e_j over the neighbours (1.9).

        Embeddings are put together from their two halves for some rows at a time: those of a
        whole map would take more memory than its features.
        """
        weight = torch.empty(graph.index.shape, device=rows.device)
        place = torch.zeros(len(self.shot), dtype=torch.int32, device=rows.device)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            near = graph.index[part].to(torch.int64)
            asked = torch.zeros(len(self.shot), dtype=torch.bool, device=rows.device)
            asked[rows[part]] = True
            asked[near.reshape(-1)] = True
            some = torch.nonzero(asked).squeeze(1)
            place[some] = torch.arange(len(some), dtype=torch.int32, device=rows.device)
            local = NeighborGraph(place[near], graph.mask[part])
            embeddings = joined_of(self.shot.attributes[some], learnt_of(some), self.student)
            weight[part] = affinity_weights(
                embeddings, local, self.settings.affinity_scale, place[rows[part]].to(torch.int64)
            ).weight
            pause()
        affinity = Affinity(graph.index, weight)
        return affinity, row_entropies(affinity)
