"""Features pooled in a basis (METHODS 1.9), some columns at a time."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from geopurify_ros.core.mapping.block_index import inverse_order
from geopurify_ros.core.pauses import Pause, no_pause
from geopurify_ros.core.purification.affinity import Affinity
from geopurify_ros.core.purification.basis import FeatureBasis
from geopurify_ros.core.purification.pooling import Needed, pool

_ROWS_AT_ONCE = 1024  # that are made of length one together
_LEAST_COLUMNS = 32  # that are pooled together, and numbers where there are few rows: 128 MB
_NUMBERS_AT_ONCE = 1 << 25
_WIDTH = 16  # the kernel is a fifth slower where the columns are no multiple of it
_LEAST_LENGTH = 1e-6


class Pooled(NamedTuple):
    """What pooling makes of V voxels.

    Attributes:
        values: (V, r) float16, in the basis, of length one.
        lengths: (V,) float32, before they were.
        marks: (V, M) float32, pooled as the features are.
    """

    values: Tensor
    lengths: Tensor
    marks: Tensor


def pooled_in(
    basis: FeatureBasis,
    chunks: tuple[Tensor, ...],  # (R, D) float16, V rows together
    pixels: Tensor,  # (V,)
    affinity: Affinity,
    rounds: int,
    pause: Pause = no_pause,
    order: Tensor | None = None,  # (V,) int64
    needed: Needed | None = None,
    marks: Tensor | None = None,  # (V, M) float32
) -> Pooled:
    """Features of the voxels of a map, pooled in a basis.

    As `pool_observations`, some columns at a time, so that memory does not grow with the rank.

    Args:
        basis: what the results are in.
        chunks: the features.
        pixels: what each was seen by.
        affinity: of the rows, or of the rows `order`.
        rounds: T.
        pause: made now and then.
        order: rows of the features as the affinity has them; the results have them as they are.
        needed: see `pool`.
        marks: columns that are pooled beside.
    """
    place = None if order is None else inverse_order(order)
    weight = pixels[:, None].clamp_min(1.0)
    weight = weight if order is None else weight[order]
    beside = weight if marks is None else torch.cat((weight, marks * weight), dim=1)
    values = weight.new_empty((len(weight), basis.rank), dtype=torch.float16)
    squared = weight.new_zeros(len(weight))
    for columns in _column_groups(len(weight), basis.rank, beside.shape[1]):
        first = beside if columns.start == 0 else beside[:, :0]
        part = _projected(chunks, basis.vectors[:, columns], weight, first, place)
        pooled = pool(part, affinity, rounds, needed, pause)
        del part
        if columns.start == 0:
            beside = pooled[:, : beside.shape[1]].clone()
        mean = pooled[:, first.shape[1] :][:, : columns.stop - columns.start] / beside[:, :1]
        del pooled
        squared += mean.square().sum(dim=1)
        if order is None:
            values[:, columns] = mean
        else:
            values[:, columns].index_copy_(0, order, mean.to(torch.float16))
    found = Pooled(
        values, _placed(squared.sqrt(), place), _placed(beside[:, 1:] / beside[:, :1], place)
    )
    _make_unit(found)
    return found


def _projected(
    chunks: tuple[Tensor, ...], vectors: Tensor, weight: Tensor, first: Tensor,
    place: Tensor | None,
) -> Tensor:  # (V, C) float32  # fmt: skip
    """`first`, then features in a basis times their weight; zeros behind, see _WIDTH."""
    start = first.shape[1]
    width = -(-(start + vectors.shape[1]) // _WIDTH) * _WIDTH
    out = weight.new_zeros((len(weight), width))
    out[:, :start] = first
    row = 0
    for chunk in chunks:
        rows = slice(row, row + len(chunk)) if place is None else place[row : row + len(chunk)]
        out[rows, start : start + vectors.shape[1]] = chunk.to(torch.float32) @ vectors
        row += len(chunk)
    out[:, start:].mul_(weight)
    return out


def _placed(held: Tensor, place: Tensor | None) -> Tensor:
    return held if place is None else held[place]


def _make_unit(found: Pooled) -> None:
    for start in range(0, len(found.values), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        length = found.lengths[rows, None].clamp_min(_LEAST_LENGTH)
        found.values[rows] = found.values[rows].to(torch.float32) / length


def _column_groups(num_rows: int, rank: int, num_beside: int) -> list[slice]:
    """Columns of the basis, some together: wide groups are faster, and take more memory."""
    most = max(_LEAST_COLUMNS, _NUMBERS_AT_ONCE // max(1, num_rows))
    count = -(-(rank + num_beside) // most)
    width = -(-(rank + num_beside) // count // _WIDTH) * _WIDTH
    edges = [0, *range(width - num_beside, rank, width), rank]
    return [slice(first, last) for first, last in pairwise(edges)]
