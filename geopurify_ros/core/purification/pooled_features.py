"""Features pooled in a basis (METHODS 1.9), some columns at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from geopurify_ros.core.purification.affinity import Affinity
from geopurify_ros.core.purification.basis import FeatureBasis
from geopurify_ros.core.purification.pooling import IsUnwanted, Needed, pool

_ROWS_AT_ONCE = 1024  # that are made of length one together
_LEAST_COLUMNS = 32  # that are pooled together, and numbers where there are few rows: 64 MB
_NUMBERS_AT_ONCE = 1 << 24
_LEAST_LENGTH = 1e-6


def pooled_in(
    basis: FeatureBasis,
    chunks: tuple[Tensor, ...],  # (R, D) float16, V rows together
    pixels: Tensor,  # (V,)
    affinity: Affinity,
    rounds: int,
    is_unwanted: IsUnwanted,
    needed: Needed | None = None,
) -> tuple[Tensor, Tensor] | None:  # (V, r) float16 of length one, (V,) float32
    """Features of the voxels of a map, pooled in a basis; None when it is unwanted.

    As `pool_observations`, some columns at a time, so that memory does not grow with the rank;
    `needed` as there is for `pool`.
    """
    weight = pixels[:, None].clamp_min(1.0)
    values = weight.new_empty((len(weight), basis.rank), dtype=torch.float16)
    squared = weight.new_zeros(len(weight))
    total = weight  # replaced by the first group
    for columns in _column_groups(len(weight), basis.rank):
        if is_unwanted():
            return None
        vectors = basis.vectors[:, columns]
        part = torch.cat([chunk.to(torch.float32) @ vectors for chunk in chunks]).mul_(weight)
        if columns.start == 0:
            part = torch.cat((weight, part), dim=1)
        pooled = pool(part, affinity, rounds, needed)
        del part
        if columns.start == 0:
            total, pooled = pooled[:, :1], pooled[:, 1:]
        mean = pooled / total
        squared += mean.square().sum(dim=1)
        values[:, columns] = mean
    lengths = squared.sqrt()
    for start in range(0, len(values), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        unit = values[rows].to(torch.float32) / lengths[rows, None].clamp_min(_LEAST_LENGTH)
        values[rows] = unit
    return values, lengths


def _column_groups(num_rows: int, rank: int) -> list[slice]:
    """Wide groups are faster, and take more memory."""
    most = max(_LEAST_COLUMNS, _NUMBERS_AT_ONCE // max(1, num_rows))
    count = -(-rank // most)
    width = -(-rank // count) if count else 1
    return [slice(first, min(first + width, rank)) for first in range(0, rank, width)]
