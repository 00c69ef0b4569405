"""Scores of labelled point clouds, as received or read from a file, against a sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geopurify_ros.config import Config
from geopurify_ros.core.mapping.block_index import BlockIndex
from geopurify_ros.core.purification.neighbors import nearest_neighbors
from geopurify_ros.data.readers.sequence import Sequence
from geopurify_ros.evaluate.metrics import boundary_band
from geopurify_ros.evaluate.runner import BAND_NEIGHBORS, VoxelTruth, scores


@dataclass(frozen=True)
class LabeledPoints:
    """A labelled cloud: xyz_m (N, 3), rgb (N, 3) uint8, label (N,), score (N,)."""

    xyz_m: NDArray[np.float32]
    rgb: NDArray[np.uint8]
    label: NDArray[np.int64]
    score: NDArray[np.float32]


def cloud_scores(points: LabeledPoints, sequence: Sequence, voxel_size_m: float) -> dict[str, Any]:
    """The scores of `evaluate`, for voxel centres whose label i is the i-th class name.

    A voxel answered with "not there" counts as a miss.
    """
    device = torch.device("cpu")
    coords = torch.from_numpy(np.floor(points.xyz_m.astype(np.float64) / voxel_size_m)).long()
    index = BlockIndex(device)
    index.insert(coords)
    truth = VoxelTruth(list(sequence.class_names))
    for number in range(len(sequence)):
        truth.add(
            index, sequence.frame(number), sequence.label(number), Config().depth, voxel_size_m
        )
    labels = truth.labels(len(coords))
    graph = nearest_neighbors(index, coords, BAND_NEIGHBORS)
    band = boundary_band(labels, graph.index, graph.mask)
    names = tuple(sequence.class_names.values())
    return scores(torch.from_numpy(points.label), labels, band, names)
