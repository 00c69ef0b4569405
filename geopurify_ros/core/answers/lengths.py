"""Lengths of features, raw and purified: what turns scores into cosines (METHODS 1.15a).

The length of a purified feature is that of its part inside the main directions of the features.
Half of all directions, and 128 at least, keep scores within 1.5e-2 (7e-3 measured at D = 256 on
the sample room); 16 are not enough for features that are noisy or of many classes. Lengths are the
same for all queries until the map or its affinity changes, so they are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.linalg import vector_norm

from geopurify_ros.core.mapping.lifted_map import LiftedMap
from geopurify_ros.core.purification.affinity import Affinity
from geopurify_ros.core.purification.pooling import pool_observations

_FEWEST_DIRECTIONS = 128
_SAMPLE = 4096
_COLUMNS_AT_ONCE = 64  # so that memory does not grow with the number of directions


@dataclass(frozen=True)
class Lengths:
    """Lengths (V,) float32 of the features of a map."""

    raw: Tensor
    purified: Tensor


class LengthCache:
    """Lengths of the features as they are now, computed once for all queries."""

    def __init__(self) -> None:
        """Nothing known yet."""
        self._state: tuple[int, ...] = ()
        self._affinity: Affinity | None = None
        self._lengths: Lengths | None = None

    def of(self, lifted: LiftedMap, affinity: Affinity | None, iterations: int) -> Lengths:
        """Of `lifted`, pooled `iterations` times with `affinity`; one cache serves one map."""
        state = (len(lifted.voxels), lifted.voxels.version, iterations)
        if self._lengths is None or self._state != state or self._affinity is not affinity:
            self._lengths = lengths_of(lifted, affinity, iterations)
            self._state, self._affinity = state, affinity
        return self._lengths


def lengths_of(lifted: LiftedMap, affinity: Affinity | None, iterations: int) -> Lengths:
    """Lengths of the features; without an affinity nothing is purified yet."""
    count, device = len(lifted.voxels), lifted.voxels.device
    raw = raw_lengths(lifted.feature_chunks(), torch.empty(count, device=device))
    purified = raw.clone()
    if affinity is not None and len(affinity):
        pixels = lifted.voxels.weights()
        like = torch.empty((0, lifted.voxels.feature_dim), device=device)
        basis = main_directions(lifted.feature_chunks(), count, like)
        inside = lengths_inside(basis, lambda part: pool_observations(
            lifted.project(part), pixels, affinity, iterations))  # fmt: skip
        purified[: len(affinity)] = inside[: len(affinity)]
    return Lengths(raw, purified)


def raw_lengths(chunks: Iterator[tuple[slice, Tensor]], out: Tensor) -> Tensor:
    """Exact lengths of features that come in chunks (R, D), written to `out` (V,)."""
    for rows, chunk in chunks:
        vector_norm(chunk.to(torch.float32), dim=1, out=out[rows])
    return out


def main_directions(
    chunks: Iterator[tuple[slice, Tensor]], num_voxels: int, like: Tensor
) -> Tensor:  # (D, r) orthonormal
    """Main directions of a sample of the features; of no voxel one zero, like `like` (V, D)."""
    width = like.shape[1]
    if num_voxels == 0:
        return like.new_zeros((width, 1))
    step = max(1, num_voxels // _SAMPLE)
    sample = torch.cat([chunk[::step] for _, chunk in chunks]).to(torch.float32)
    vectors: Tensor = torch.linalg.eigh(sample.T @ sample).eigenvectors
    return vectors[:, -max(_FEWEST_DIRECTIONS, width // 2) :]


def lengths_inside(
    basis: Tensor,  # (D, r) orthonormal
    purified: Callable[[Tensor], Tensor],  # (D, C) -> (V, C)
) -> Tensor:  # (V,)
    """Lengths of the features whose products with a matrix `purified` gives."""
    parts = torch.split(basis, _COLUMNS_AT_ONCE, dim=1)
    squared = [purified(part).square().sum(dim=1) for part in parts]
    return torch.stack(squared).sum(dim=0).sqrt()
