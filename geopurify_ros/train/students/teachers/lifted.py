"""Teacher `lifted`: the geometric one, beside what the scene's own features say once smoothed.

Two surfaces of one object differ in normal and colour, and two objects may not; the encoder's
features know better where they are right. Smoothed inside surfaces of one normal and colour they
are right more often. No label is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geopurify_ros.core.purification.affinity import affinity_weights
from geopurify_ros.core.purification.embedding import geometric_embedding
from geopurify_ros.core.purification.neighbors import nearest_neighbors
from geopurify_ros.core.purification.pooling import pool
from geopurify_ros.core.purification.scene import VoxelScene
from geopurify_ros.train.students.teachers.geometric import GeometricTeacher

_DIRECTIONS = 16  # that the features of a scene differ most along
_NEIGHBORS = 32
_SCALE = 40.0
_ROUNDS = 10


@dataclass(frozen=True)
class LiftedTeacher:
    """Similar where geometry and smoothed features are; both count the same."""

    id: str = "lifted-1"

    @torch.inference_mode()
    def features(self, scene: VoxelScene) -> Tensor:  # (V, 67 + up to 16) float32 unit norm
        """The two halves side by side."""
        halves = (GeometricTeacher().features(scene), smoothed_features(scene))
        return normalize(torch.cat(halves, dim=1), dim=1)


def smoothed_features(scene: VoxelScene) -> Tensor:  # (V, R) float32 unit norm, R up to 16
    """The scene's features along their main directions, pooled by the hand-made embedding."""
    features = scene.features.to(torch.float32)
    centered = features - features.mean(dim=0)
    directions = torch.linalg.eigh(centered.T @ centered).eigenvectors[:, -_DIRECTIONS:]
    graph = nearest_neighbors(scene.index, scene.coords, _NEIGHBORS)
    embedding = geometric_embedding(scene.normal, scene.color)
    affinity = affinity_weights(embedding, graph, _SCALE)
    return normalize(pool(centered @ directions, affinity, _ROUNDS), dim=1)
